package cli

import (
	"net/url"

	"github.com/spf13/cobra"
)

func (l *line) application() *cobra.Command {
	r := &resource{
		name: "application", plural: "applications", command: "application", path: "/application", inTenant: true,
		columns: []column{{"ID", "id"}, {"NAME", "name"}},
		revokes: func(c *client, id string) (*client, url.Values) {
			return c, url.Values{"applicationsId": {id}}
		},
		complete: l.completeIDs("/application"),
	}
	return l.noun("application", "List, show, create, change and delete applications",
		`List, show, create, change and delete the applications of a tenant, on the database or on a running
service. The API key of --server needs permissions on /application.`,
		`  refreshd application list --tenant acme
  refreshd application create shop --tenant acme --set name=Shop
  refreshd application delete shop --tenant acme --dry-run`,
		l.listOf(r, texts{`List the applications of the tenant by id.`,
			"  refreshd application list --tenant acme"}),
		l.showOf(r, texts{`Show an application: the fields that are set, and in a table its version. A field that is not set
has the value of its tenant.`,
			"  refreshd application show shop --tenant acme\n" +
				"  refreshd application show shop --tenant acme --output yaml > shop.yaml"}),
		l.createOf(r, true, texts{`Create an application, from a document, from --set, or from both. Without an ID, in the
argument or the document, an id is made. An application of that id must not exist in the tenant.

` + documentHelp,
			"  refreshd application create shop --tenant acme --set name=Shop\n" +
				"  refreshd application create --tenant acme -f shop.yaml"}),
		l.updateOf(r, texts{`Change an application. ` + updateText("application", "application") + documentHelp,
			"  refreshd application update shop --tenant acme --set cookieOnly=false\n" +
				"  refreshd application update shop --tenant acme -f shop.yaml --if-match 3"}),
		l.deleteOf(r, texts{`Delete an application, and revoke all its refresh tokens, in one step. It cannot be undone: an
application of the same id, made later, knows none of them.

With --dry-run it prints how many active refresh tokens it would revoke. It asks for a
confirmation: the id of the application is typed on the terminal. Without a terminal --yes is
needed.`,
			"  refreshd application delete shop --tenant acme --dry-run\n" +
				"  refreshd application delete shop --tenant acme --yes"}),
	)
}
