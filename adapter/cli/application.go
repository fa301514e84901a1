package cli

import (
	"context"
	"encoding/json"
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
  refreshd application update shop --tenant acme --set 'origins=[https://shop.example.com]'
  refreshd application secret shop --tenant acme
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
		l.applicationSecret(r), l.applicationEndPrevious(r),
		l.deleteOf(r, texts{`Delete an application, and revoke all its refresh tokens, in one step. It cannot be undone: an
application of the same id, made later, knows none of them.

With --dry-run it prints how many active refresh tokens it would revoke. It asks for a
confirmation: the id of the application is typed on the terminal. Without a terminal --yes is
needed.`,
			"  refreshd application delete shop --tenant acme --dry-run\n" +
				"  refreshd application delete shop --tenant acme --yes"}),
	)
}

func (l *line) applicationSecret(r *resource) *cobra.Command {
	var (
		match  ifMatch
		force  bool
		file   = secretFile{name: "secret-file", noun: "secret"}
		output outputFlag
	)
	c := &cobra.Command{
		Use: "secret ID", Short: "Make a client secret for an application",
		Long: `Make a client secret for an application, which is then a confidential OAuth client: it has to
authenticate. The former secret stays valid as the previous one, until it is ended by "refreshd
application end-previous". While two are valid, both of which may be in use, the older one has to be
ended first: another secret is refused. With --force it ends the older one.

The secret is printed once, on the output, and cannot be shown again: a hash of it is stored. With
--secret-file it is written to a new file with mode 0600 instead.`,
		Example: "  refreshd application secret shop --tenant acme\n" +
			"  refreshd application secret shop --tenant acme --secret-file shop.secret",
		Args: oneID(r.name), ValidArgsFunction: r.complete,
	}
	match.add(c)
	c.Flags().BoolVar(&force, "force", false, "end the older one of two secrets that are valid")
	file.add(c)
	output.add(c)
	return l.administers(c, func(ctx context.Context, s *session, args []string) error {
		if err := r.checks(s, &output, match.check, file.check); err != nil {
			return err
		}
		client, id, err := r.open(ctx, s, writing, args[0])
		if err != nil {
			return err
		}
		sent := request{
			method: "POST", path: segment(r.path, id) + "/secret", ifMatch: match.text, what: r.what(args[0]),
		}
		if force {
			sent.body = map[string]any{"force": true}
		}
		got, err := client.do(ctx, sent)
		if err != nil {
			return err
		}
		return file.showSecret(s, &output, got, r.what(args[0]))
	})
}

// showSecret writes an application whose secret was made.
func (f *secretFile) showSecret(s *session, o *outputFlag, got response, what string) error {
	var made struct {
		ClientSecret  string
		ClientSecrets []json.RawMessage
	}
	if err := json.Unmarshal(got.data, &made); err != nil || made.ClientSecret == "" {
		return failed(StatusFailed, "the response is not an application with a client secret: %v", err)
	}
	if len(made.ClientSecrets) > 1 {
		s.note("The former secret is valid too, until it is ended: refreshd application end-previous")
	}
	return f.write(s, o, got, "clientSecret", made.ClientSecret, "made a client secret for the "+what)
}

func (l *line) applicationEndPrevious(r *resource) *cobra.Command {
	var (
		match   ifMatch
		all     bool
		confirm confirmation
		output  outputFlag
	)
	c := &cobra.Command{
		Use: "end-previous ID", Short: "End the previous client secret of an application",
		Long: `End the previous client secret of an application. The next request with it is refused. Without a
previous secret it changes nothing, and says so.

With --all it ends the newest secret too: the application is then a public client, unless it has
keys, and no client has to authenticate as it. It asks for a confirmation: the id of the application is
typed on the terminal. Without a terminal --yes is needed.`,
		Example: "  refreshd application end-previous shop --tenant acme\n" +
			"  refreshd application end-previous shop --tenant acme --all",
		Args: oneID(r.name), ValidArgsFunction: r.complete,
	}
	match.add(c)
	c.Flags().BoolVar(&all, "all", false, "end every client secret: it becomes a public client")
	confirm.add(c)
	output.add(c)
	return l.administers(c, func(ctx context.Context, s *session, args []string) error {
		checks := []func(*session) error{match.check}
		if all {
			checks = append(checks, confirm.possible)
		}
		if err := r.checks(s, &output, checks...); err != nil {
			return err
		}
		client, id, err := r.open(ctx, s, writing, args[0])
		if err != nil {
			return err
		}
		sent := request{
			method: "DELETE", path: segment(r.path, id) + "/secret", ifMatch: match.text, what: r.what(args[0]),
		}
		if all {
			sent.query = url.Values{"all": {"true"}}
			if !confirm.yes {
				text := "This ends every client secret of the " + r.what(args[0]) + ", and makes it a public client"
				if err := confirm.ask(ctx, s, id, text); err != nil {
					return err
				}
			}
		}
		got, err := client.do(ctx, sent)
		if err != nil {
			return err
		}
		var end struct{ EndedSecrets int }
		if err := json.Unmarshal(got.data, &end); err != nil {
			return failed(StatusFailed, "the response is not an application: %v", err)
		}
		switch {
		case end.EndedSecrets == 0:
			return s.done(&output, got.data, "the %s has no client secret to end: nothing was changed", r.what(args[0]))
		case all:
			return s.done(&output, got.data, "ended every client secret of the %s", r.what(args[0]))
		default:
			return s.done(&output, got.data, "ended the previous client secret of the %s", r.what(args[0]))
		}
	})
}
