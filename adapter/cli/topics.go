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

// topic is a text of `refreshd help NAME`. A topic is not a command: `refreshd kickstart FILE` would print help, exit
// with status 0, and apply nothing.
type topic struct {
	short string
	text  func() string
}

var topics = map[string]topic{
	"configuration": {"Where settings come from, and all of them", configurationText},
	"exit-status":   {"What the exit status of a command says", exitStatusText},
	"kickstart":     {"The file that creates tenants, applications and API keys", kickstartText},
	"permissions":   {"What an API key may do", permissionsText},
	"settings":      {"The flags that all commands of administration take", settingsText},
}

func topicNames() []string { return slices.Sorted(maps.Keys(topics)) }

func configurationText() string {
	var out strings.Builder
	out.WriteString(`A setting has a flag, an environment variable and a name in a file. The order of precedence is:
the flag, the environment, the file that --config or REFRESHD_CONFIG_FILE names, the default. A
command takes the flags of the settings that it uses; the environment and the file may hold any
setting, and an unknown one is refused. "refreshd config show" prints the values in force.

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
		fmt.Fprintf(&out, "\n%s%s", wrap(k.Help, "    "), wrap("Used by "+strings.Join(k.Commands, ", ")+".", "    "))
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
	var out strings.Builder
	out.WriteString(`A kickstart file creates or updates tenants, applications and API keys, and imports signing keys:
"refreshd apply -f FILE", or at each start of "refreshd serve --kickstart-file FILE", which deletes
nothing.

`)
	for line := range strings.Lines(manifest.Example) {
		out.WriteString("  " + line)
	}
	out.WriteString(`
A signing key of another server is imported, so that verifiers know it when its tenant moves here:

  keys:
    - id: former-1
      tenantId: acme
      privateKey: ${file:former.pem}
      knownSince: 2026-01-31T12:00:00Z

${NAME} in a text is replaced by an environment variable, ${file:PATH} by the content of a file,
each without a line break at its end; $$ is a dollar sign.

A name with dots stands for objects within objects: jwtConfiguration: {timeToLiveInSeconds: 900}.
A field of the policy that an application leaves out has the value of its tenant. A field that
both leave out has its default.
`)
	for _, object := range []struct {
		title  string
		fields []manifest.Field
	}{
		{"A tenant has a list of applications, the fields of the policy, and these", manifest.TenantFields()},
		{"An application has the fields of the policy, and these", manifest.ApplicationFields()},
		{"An API key has these fields", manifest.APIKeyFields()},
		{"A signing key, in keys, has these fields", manifest.KeyFields()},
		{"The policy has these fields", manifest.PolicyFields()},
	} {
		out.WriteString("\n" + object.title + ":\n\n")
		for _, f := range object.fields {
			out.WriteString("  " + f.Name + "\n" + wrap(valuesOf(f)+f.Meaning, "      "))
		}
	}
	out.WriteString(`
"refreshd export" writes the tenants, applications and API keys of a store as such a file, and
"refreshd diff" compares the two. Only "refreshd apply --prune" deletes what a file does not name,
and it never ends a key. An export with keys has a further object, sealedKeys: a text that is
encrypted with a passphrase.
`)
	out.WriteString("\n\"refreshd help permissions\" lists what the permissions of an API key can name.\n")
	return out.String()
}

// valuesOf returns the values that a field can have and its default, as a sentence.
func valuesOf(f manifest.Field) string {
	values := strings.ToUpper(f.Type[:1]) + f.Type[1:]
	if f.Words != nil {
		values = "One of " + strings.Join(f.Words, ", ")
	}
	if f.Required {
		return values + "; required. "
	}
	return values + "; default " + f.Default + ". "
}

func exitStatusText() string {
	return `A command exits with one of these statuses:

  0  It is done.
  1  It failed: a setting or a file is not valid, or the database or the service cannot be reached,
     is overloaded, or had an internal error. To repeat the command is safe.
  2  The command line is wrong. Nothing was done, and no database was made. A command that needs a
     confirmation has this status too if it has no terminal to ask on, and no --yes.
  3  There is no such object: refresh token, tenant, application, API key or key.
  4  It was refused, and nothing was done: a field is not valid, the object has changed since the
     version of --if-match, the API key may not do it, or it was not confirmed.

Statuses 3 and 4 are those of the commands of administration: token, tenant, application, apikey,
key and audit. All other commands exit with 0, 1 or 2. diff has the statuses of the program diff:
0 if there is no difference, 1 if there is one, 2 for a failure. Status 1 of
"refreshd doctor" is a check that failed.
`
}

func permissionsText() string {
	var out strings.Builder
	out.WriteString(`An API key has permissions: endpoints of the API, each with methods. In a kickstart file they are
the field permissions.endpoints of an entry of apiKeys ("refreshd help kickstart" has an example).

`)
	all := manifest.Permissions()
	width := 0
	for _, p := range all {
		width = max(width, len(p.Endpoint))
	}
	for _, p := range all {
		row := fmt.Sprintf("  %-*s  %-6s  ", width, p.Endpoint, p.Method)
		indent := strings.Repeat(" ", len(row))
		out.WriteString(row + strings.TrimPrefix(wrap(p.Meaning, indent), indent))
	}
	fmt.Fprintf(&out, `
An endpoint covers itself and one further segment: /jwt/refresh covers /jwt/refresh/:id. "*" as a
method is all methods. "*" as an endpoint is all of the above except %s and %s,
which open the data of a whole tenant, and except the endpoints of administration:
%s. These have to be written out.

What "*" covers is decided at each request. A later release may have more endpoints or methods, and
a key with "*" then allows them too. Name endpoints and methods for a key that must not widen.

A key with a permission on /api-key manages API keys that are not wider than itself: none for
another tenant, with a permission that it lacks, or that expires later.

An endpoint or a method that does not exist is refused. A key without a tenantId is for every
tenant.
`, domain.SessionsPermission, domain.RevocationsPermission, strings.Join(domain.AdministrationEndpoints(), ", "))
	return out.String()
}
