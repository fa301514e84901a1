package cli

import (
	"fmt"
	"io"
	"strings"
)

// Usage writes the help of refreshd as a whole; settings writes the table of the settings, which stands at its end.
func Usage(w io.Writer, settings func(io.Writer) error) error {
	return help(w, usage, settings)
}

// VerbUsage writes the help of one verb, with the settings for those that have them. A verb that it does not know is answered
// with Usage.
func VerbUsage(w io.Writer, verb string, settings func(io.Writer) error) error {
	text, ok := verbs[verb]
	if !ok {
		return Usage(w, settings)
	}
	if !strings.HasSuffix(text, settingsHeading) {
		settings = nil
	}
	return help(w, text, settings)
}

func help(w io.Writer, text string, settings func(io.Writer) error) error {
	if _, err := io.WriteString(w, text); err != nil {
		return fmt.Errorf("cli: write help: %w", err)
	}
	if settings == nil {
		return nil
	}
	return settings(w)
}

const settingsHeading = `
Settings: a flag wins over the environment, that over the file that --config names, that over the
default. In the file a setting has its name in the environment, in lower case, without REFRESHD_.
One line break at the end of a value is removed. PGPASSFILE and PGPASSWORD work for PostgreSQL.

`

const usage = `refreshd is a multi-tenant refresh token service: it issues refresh tokens, exchanges them for
signed access tokens, lists them and revokes them. A retry never logs a user out, a copy used beside
its owner is caught, and a revocation is real at once.

Usage: refreshd [verb] [flags]

  serve          serve the API; this is what refreshd does without a verb
  migrate        bring the database up to date
  apply -f FILE  create or update the tenants, applications and API keys of a kickstart file
  purge          delete what has been dead for a while, now
  health         ask a running service whether it is ready
  version        print the version

"refreshd VERB --help" says more about a verb.

Examples:

  # Try it: an embedded database in ./refreshd-data, and commands to paste.
  refreshd

  # On PostgreSQL. Secrets are in files, or in the environment: process lists show neither.
  export REFRESHD_DATABASE_URL_FILE=/run/secrets/refreshd-database-url
  export REFRESHD_MASTER_KEY_FILE=/run/secrets/refreshd-master-key
  refreshd migrate
  BACKEND_KEY=ak_... refreshd apply -f kickstart.yaml
  refreshd serve --listen 0.0.0.0:3000 --public-url https://auth.example.com
` + settingsHeading

var verbs = map[string]string{
	"serve": `Usage: refreshd [serve] [flags]

Serves the API on --listen, and metrics, health and, with --pprof=true, profiles on --admin-listen,
until SIGTERM or SIGINT. Then it is no longer ready, finishes the requests that are running, and
ends with status 0. Logs go to stderr.

The embedded databases (sqlite:, memory:) are made and migrated at start. If one is empty and there
is no kickstart file, serve makes a tenant, an application and an API key, which it leaves in a file
beside the database, and shows how to try them. On PostgreSQL serve changes no schema: it refuses to
start before "refreshd migrate" has run, and without a --public-url.

With --kickstart-file it does at each start what "refreshd apply" does.

  # Nothing is kept: for a test.
  refreshd serve --database-url memory: --listen 127.0.0.1:0
` + settingsHeading,

	"migrate": `Usage: refreshd migrate [flags]

Brings the schema of --database-url up to date, says what it did, and ends. It may be called again,
and while an earlier version of the service is running: migrations add, in small steps.

  REFRESHD_DATABASE_URL='postgres://refreshd:PASSWORD@db.example/refreshd' refreshd migrate
` + settingsHeading,

	"apply": `Usage: refreshd apply -f FILE [--dry-run] [flags]

Creates or updates the tenants, applications and API keys of a kickstart file, and shows the old and
the new value of each field that it changes. It deletes nothing: an object that the file does not
mention stays. A field that is left out of an object takes its default, also if it was set before.
Applied again, the same file changes nothing. The file is checked before the database is opened, and
against it before anything is written; each problem is named with its line and field. A tenant and
its applications are then written in one step. With --dry-run nothing is written. A store in memory
is applied to by serve, with --kickstart-file.

  tenants:
    - id: acme
      name: Acme
      issuer: https://auth.acme.example       # default: the public URL and /t/acme
      jwtConfiguration: {timeToLiveInSeconds: 900}
      applications:
        - id: shop
          name: Shop
          requireAuthentication: false        # any setting of a tenant, for this application
          jwtConfiguration: {refreshTokenOneTimeUseConfiguration: {gracePeriodInSeconds: 30}}
  apiKeys:
    - name: backend
      key: ${BACKEND_KEY}                     # ak_ and at least 24 more of A-Z a-z 0-9 _ -
      tenantId: acme                          # left out: every tenant
      permissions: {endpoints: {"/jwt/issue": [POST], "/jwt/refresh": [GET, PATCH, DELETE]}}
      expiresAt: 2030-01-31T00:00:00Z         # left out: never

${NAME} in a text is taken from the environment, ${file:PATH} from a file, each without a line break
at its end; $$ is a dollar sign. A setting that an application
leaves out has the value of its tenant; one that both leave out, its default:

  active: true
  requireAuthentication: false             # true: an exchange needs an API key, too
  cookieOnly: true                         # false: refreshToken is in the body as well
  cookieName: ""                           # empty: refresh_token and access_token; session: session
                                           # and session_access
  cookieDomain: ""                         # e.g. example.com, for its subdomains, too
  cookieHostOnly: false                    # true: issue may set cookies without a domain
  jwtConfiguration:
    timeToLiveInSeconds: 900               # of an access token
    accessTokenType: at+jwt                # or JWT, for verifiers that refuse at+jwt
    algorithm: ES256                       # or EdDSA, RS256, PS256
    refreshTokenExpirationPolicy: SlidingWindowWithMaximumLifetime  # or Fixed, SlidingWindow
    refreshTokenTimeToLiveInMinutes: 43200
    refreshTokenSlidingWindowConfiguration:
      maximumTimeToLiveInMinutes: 525600
    refreshTokenUsagePolicy: OneTimeUse    # or Reusable
    refreshTokenOneTimeUseConfiguration:
      gracePeriodInSeconds: 30             # how long a retry is answered; at most 3600
      recoveryBurst: 2                     # 0: a late retry is never answered; at most 100
      recoveryInterval: 10                 # exchanges that earn one more recovery; above the burst
    refreshTokenRevocationPolicy:
      onOneTimeTokenReuse: true            # a replay revokes the refresh token
    maximumActiveTokens: 0                 # of a user; 0: no limit

Flags:

  -f FILE  the kickstart file; without it, that of --kickstart-file
` + settingsHeading,

	"purge": `Usage: refreshd purge [flags]

Deletes the refresh tokens that have been dead for --purge-after: revoked, expired, or of an
application or tenant that was deleted. Until then whoever holds one hears why it is refused; then
it is unknown. After them go the marks of revocations that cover nothing any more, and what deleted
tenants left behind.

There is no need to run it: serve does the same every --purge-interval. It is for a schedule of your
own, with --purge-interval=0s for every serve, or for once, after many were revoked.

It makes one pass over all refresh tokens, by their ids, while the service serves: 500 at a time,
with a pause after each step that is four times as long as the step. It holds no lock for longer
than a step, and passes over what an exchange holds. Each second it says how far it is:

  looked at 250000 refresh tokens (25000 a second), deleted 31044

A pass that ended too early (Ctrl-C, kill -9, a power failure) has lost nothing: the next one, of
whichever process, goes on where it was, to the end. One process purges a database at a time. While
another one does, purge says so and ends with status 1; so it does for up to 30 seconds after one
was killed. The database keeps the space that became free for new refresh tokens; only VACUUM FULL
(SQLite: VACUUM) gives it back to the disk, and keeps everybody waiting meanwhile.

Where the clocks of this machine and of PostgreSQL are more than a minute apart it deletes nothing,
says by how much, and ends with status 1.

It needs no master key. A store in memory is purged by the serve that has it.

  REFRESHD_DATABASE_URL='postgres://refreshd:PASSWORD@db.example/refreshd' refreshd purge
  refreshd purge --purge-after 168h
` + settingsHeading,

	"health": `Usage: refreshd health [flags]

Asks the service that runs with these settings, on this machine, whether it is ready. Ends with
status 0 if it is, else with 1 and the reason: for the health check of a container.

  refreshd health --listen 127.0.0.1:3000
` + settingsHeading,

	"version": `Usage: refreshd version

Prints the version of refreshd.
`,
}
