package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/refreshd/refreshd/adapter/manifest"
	"github.com/refreshd/refreshd/config"
	"github.com/refreshd/refreshd/domain"
)

// topic is a text of `refreshd help NAME`. A topic is no command: `refreshd kickstart FILE` would print help, exit with
// status 0, and apply nothing.
type topic struct {
	short string
	text  func() string
}

var topics = map[string]topic{
	"configuration": {"Where settings come from, and all of them", configurationText},
	"kickstart":     {"The file that creates tenants, applications and API keys", kickstartText},
	"permissions":   {"What an API key may do", permissionsText},
}

func topicNames() []string { return slices.Sorted(maps.Keys(topics)) }

func configurationText() string {
	var out strings.Builder
	out.WriteString(`A setting has a flag, an environment variable and a name in a file. A flag wins over the
environment, that over the file that --config or REFRESHD_CONFIG_FILE names, and that over the
default. A command takes the flags of the settings that it uses; the environment and the file may
hold any setting, and an unknown one is refused. "refreshd config show" prints the values in
force.

The file is YAML. It names a setting like its environment variable, in lower case and without
REFRESHD_:

  listen: 0.0.0.0:3000
  cors_origins: [https://app.example.com]

One line break at the end of a value is removed. A value that is set and empty is a value: it
turns a listener or a list off, and is refused where a value is needed. A secret has a second
setting that ends in _FILE and names a file that holds it. PGPASSFILE and PGPASSWORD work for
PostgreSQL.

`)
	for _, k := range config.Keys() {
		out.WriteString(k.Env)
		if k.Flag != "" {
			out.WriteString(", --" + k.Flag)
		}
		if k.Default != "" {
			out.WriteString(" (default " + k.Default + ")")
		}
		fmt.Fprintf(&out, "\n%s    Used by %s.\n", wrap(k.Help, "    "), strings.Join(k.Commands, ", "))
	}
	return out.String()
}

// wrap breaks text into lines of at most helpWidth columns that begin with indent.
func wrap(text, indent string) string {
	var out strings.Builder
	line := indent
	for word := range strings.FieldsSeq(text) {
		if len(line) > len(indent) && len(line)+len(word) > helpWidth {
			out.WriteString(strings.TrimRight(line, " ") + "\n")
			line = indent
		}
		line += word + " "
	}
	return out.String() + strings.TrimRight(line, " ") + "\n"
}

func kickstartText() string {
	return kickstartBefore + indented(manifest.Example, "  ") + "\n" + kickstartAfter
}

func indented(text, indent string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		out.WriteString(indent + line)
	}
	return out.String()
}

const kickstartBefore = `A kickstart file creates or updates tenants, applications and API keys: "refreshd apply -f FILE",
or at each start of "refreshd serve --kickstart-file FILE".

`

const kickstartAfter = `${NAME} in a text is replaced by an environment variable, ${file:PATH} by the content of a file,
each without a line break at its end; $$ is a dollar sign. A setting that an application leaves
out has the value of its tenant. A setting that both leave out has its default:

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
      gracePeriodInSeconds: 30             # how long a retry gets its response again; at most 3600
      recoveryBurst: 2                     # late retries in a row; 0: none; at most 100
      recoveryInterval: 10                 # exchanges that earn one more recovery; above the burst
    refreshTokenRevocationPolicy:
      onOneTimeTokenReuse: true            # a replay revokes the refresh token
    maximumActiveTokens: 0                 # of a user; 0: no limit

"refreshd help permissions" lists what the permissions of an API key can name.`

func permissionsText() string {
	var out strings.Builder
	out.WriteString(`An API key has permissions: endpoints of the API, each with methods.

  permissions: {endpoints: {"/jwt/issue": [POST], "/jwt/refresh": [GET, PATCH, DELETE]}}

These endpoints can be named, with these methods:

`)
	endpoints := domain.Endpoints()
	width := 0
	for endpoint := range endpoints {
		width = max(width, len(endpoint))
	}
	for _, endpoint := range slices.Sorted(maps.Keys(endpoints)) {
		fmt.Fprintf(&out, "  %-*s  %s\n", width, endpoint, strings.Join(endpoints[endpoint], ", "))
	}
	fmt.Fprintf(&out, `
An endpoint covers itself and one further segment: /jwt/refresh covers /jwt/refresh/:id. "*" as a
method is all methods. "*" as an endpoint is all of the above. It covers neither the endpoints of
administration nor these names, which open the data of a whole tenant and have to be written out:

  %-*s  GET: lists of the refresh tokens of an application or a tenant
  %-*s  GET: the stream of revocations

An endpoint or a method that does not exist is refused. A key without a tenantId is for every
tenant.
`, width, domain.SessionsPermission, width, domain.RevocationsPermission)
	return out.String()
}
