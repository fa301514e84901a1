package cli

import (
	"fmt"
	"net/url"

	"github.com/spf13/cobra"
)

// documentHelp is what the help of each command with a document says.
const documentHelp = `A value of --set is a number, true, false, null, a list in [] or an object in {} if it reads
as one in YAML, otherwise a text; 'name="12"' is a text of digits. A name with dots is within
objects: jwtConfiguration.timeToLiveInSeconds=900. "refreshd help kickstart" lists the fields.`

const updateHelp = `With --set it changes these fields and keeps all others; null removes a
field, which then has its default. With -f it replaces the %[1]s: a field that the document
leaves out takes its default. So the output of show, edited, can be given back:

    refreshd %[2]s show ID -o yaml > %[2]s.yaml
    refreshd %[2]s update ID -f %[2]s.yaml --if-match VERSION

With --if-match the change is refused, with exit status 4, if the %[1]s has another
version by then, because somebody else has changed it.

`

// updateText returns the help of an update of an object, whose commands have that noun.
func updateText(name, command string) string { return fmt.Sprintf(updateHelp, name, command) }

func (l *line) tenant() *cobra.Command {
	r := &resource{
		name: "tenant", plural: "tenants", command: "tenant", path: "/tenant",
		columns: []column{{"ID", "id"}, {"NAME", "name"}, {"ISSUER", "issuer"}},
		revokes: func(c *client, id string) (*client, url.Values) {
			of := *c
			of.tenant = id
			return &of, url.Values{}
		},
		complete: l.completeIDs("/tenant"),
	}
	return l.noun("tenant", "List, show, create, change and delete tenants",
		`List, show, create, change and delete tenants, on the database or on a running service. The API key
of --server needs permissions on /tenant. One that is bound to a tenant sees and changes that one.`,
		`  refreshd tenant list
  refreshd tenant create acme --set name='Acme Ltd'
  refreshd tenant update acme --set jwtConfiguration.timeToLiveInSeconds=900`,
		l.listOf(r, texts{`List the tenants by id: all, or the one of --tenant.`,
			"  refreshd tenant list\n  refreshd tenant list --output json"}),
		l.showOf(r, texts{`Show a tenant: the fields that are set, and in a table its version. Its applications are listed
by "refreshd application list".`,
			"  refreshd tenant show acme\n  refreshd tenant show acme --output yaml > acme.yaml"}),
		l.createOf(r, true, texts{`Create a tenant, from a document, from --set, or from both. Without an ID, in the argument
or the document, an id is made. A tenant of that id must not exist.

` + documentHelp, "  refreshd tenant create acme --set name='Acme Ltd'\n  refreshd tenant create -f acme.yaml"}),
		l.updateOf(r, texts{`Change a tenant. ` + updateText("tenant", "tenant") + documentHelp,
			"  refreshd tenant update acme --set issuer=https://auth.acme.example\n" +
				"  refreshd tenant update acme -f acme.yaml --if-match 3"}),
		l.deleteOf(r, texts{`Delete a tenant with its applications and API keys, and revoke all its refresh tokens, in one
step.
It cannot be undone: a tenant of the same id that is made later has none of them.

With --dry-run it prints how many active refresh tokens it would revoke. It asks for a
confirmation: the id of the tenant is typed on the terminal. Without a terminal --yes is needed.`,
			"  refreshd tenant delete acme --dry-run\n  refreshd tenant delete acme --yes"}),
	)
}
