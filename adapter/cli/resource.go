package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
)

// resource is a kind of configuration object: what its commands have in common.
type resource struct {
	name, plural string // "application", "applications"
	command      string // the noun of its commands
	path         string
	columns      []column
	derive       func(row []member) []member // see [rows]
	inTenant     bool                        // each belongs to a tenant, which has to be named
	// write writes one object; nil for its members unchanged.
	write func(s *session, o *outputFlag, data json.RawMessage) error
	// revokes returns the client and query of the refresh tokens that end with an object; nil if none do.
	revokes func(c *client, id string) (*client, url.Values)
	// find returns the id on the wire of the object that an argument names; nil if it is the argument.
	find     func(ctx context.Context, c *client, argument string) (string, error)
	complete cobra.CompletionFunc
}

// checks are those of each command before the store is opened.
func (r *resource) checks(s *session, output *outputFlag, more ...func(*session) error) error {
	if output != nil {
		more = append(more, output.check)
	}
	if r.inTenant {
		more = append(more, (*session).needsTenant)
	}
	return s.check(more...)
}

// open returns a client and the id of the object that an argument names.
func (r *resource) open(ctx context.Context, s *session, readOnly bool, argument string) (*client, string, error) {
	c, err := s.client(ctx, readOnly)
	if err != nil || r.find == nil {
		return c, argument, err
	}
	id, err := r.find(ctx, c, argument)
	return c, id, err
}

func (r *resource) what(id string) string { return r.name + " " + printable(id) }

// Texts of one command.
type texts struct{ long, example string }

func (l *line) listOf(r *resource, t texts) *cobra.Command {
	var (
		limit  limitFlag
		output outputFlag
	)
	c := &cobra.Command{Use: "list", Short: "List the " + r.plural, Long: t.long, Example: t.example, Args: noArguments}
	limit.add(c)
	output.add(c)
	return l.administers(c, func(ctx context.Context, s *session, _ []string) error {
		if err := r.checks(s, &output, limit.check); err != nil {
			return err
		}
		return s.list(ctx, request{path: r.path, what: "list of " + r.plural}, &output, &limit, r.derive, r.columns...)
	})
}

func (l *line) showOf(r *resource, t texts) *cobra.Command {
	var output outputFlag
	c := &cobra.Command{
		Use: "show ID", Short: "Show " + article(r.name), Long: t.long, Example: t.example,
		Args: oneID(r.name), ValidArgsFunction: r.complete,
	}
	output.add(c)
	return l.administers(c, func(ctx context.Context, s *session, args []string) error {
		if err := r.checks(s, &output); err != nil {
			return err
		}
		client, id, err := r.open(ctx, s, reading, args[0])
		if err != nil {
			return err
		}
		got, err := client.do(ctx, request{method: "GET", path: segment(r.path, id), what: r.what(args[0])})
		if err != nil {
			return err
		}
		if r.write != nil {
			return r.write(s, &output, got.data)
		}
		return s.object(&output, got.data, versionOf(got)...)
	})
}

// versionOf returns the version in the ETag of a response, for a table.
func versionOf(got response) []member {
	if version := strings.Trim(got.header.Get("ETag"), `"`); version != "" {
		return []member{{"version", version}}
	}
	return nil
}

// article returns a name with its article.
func article(name string) string {
	if strings.ContainsRune("aeioAEIO", rune(name[0])) {
		return "an " + name
	}
	return "a " + name
}

// createOf returns the command that creates an object. named is set if an argument may give it its id.
func (l *line) createOf(r *resource, named bool, t texts) *cobra.Command {
	var (
		document documentFlags
		output   outputFlag
	)
	c := &cobra.Command{
		Use: "create", Short: "Create " + article(r.name), Long: t.long, Example: t.example, Args: noArguments,
	}
	if named {
		c.Use = "create [ID]"
		c.Args = func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return oneID(r.name)(c, args)
		}
	}
	document.add(c)
	output.add(c)
	return l.administers(c, func(ctx context.Context, s *session, args []string) error {
		if err := r.checks(s, &output); err != nil {
			return err
		}
		body, err := document.read(s)
		if err != nil {
			return err
		}
		sent := request{method: "POST", path: r.path, body: body, what: r.name}
		id, _ := body["id"].(string)
		if len(args) == 1 {
			id = args[0]
		}
		if named && id != "" {
			sent.path = segment(r.path, id)
		}
		client, err := s.client(ctx, writing)
		if err != nil {
			return err
		}
		got, err := client.do(ctx, sent)
		if err != nil {
			return err
		}
		return s.object(&output, got.data, versionOf(got)...)
	})
}

func (l *line) updateOf(r *resource, t texts) *cobra.Command {
	var (
		document documentFlags
		match    ifMatch
		output   outputFlag
	)
	c := &cobra.Command{
		Use: "update ID", Short: "Change " + article(r.name), Long: t.long, Example: t.example,
		Args: oneID(r.name), ValidArgsFunction: r.complete,
	}
	document.add(c)
	match.add(c)
	output.add(c)
	return l.administers(c, func(ctx context.Context, s *session, args []string) error {
		if err := r.checks(s, &output, match.check, document.checkChange); err != nil {
			return err
		}
		body, err := document.read(s)
		if err != nil {
			return err
		}
		client, id, err := r.open(ctx, s, writing, args[0])
		if err != nil {
			return err
		}
		method := "PATCH"
		if document.file.text != "" {
			method = "PUT"
		}
		got, err := client.do(ctx, request{
			method: method, path: segment(r.path, id), body: body, ifMatch: match.text, what: r.what(args[0]),
		})
		if err != nil {
			return err
		}
		return s.object(&output, got.data, versionOf(got)...)
	})
}

func (l *line) deleteOf(r *resource, t texts) *cobra.Command {
	var (
		match   ifMatch
		confirm confirmation
		dry     bool
		output  outputFlag
	)
	c := &cobra.Command{
		Use: "delete ID", Short: "Delete " + article(r.name), Long: t.long, Example: t.example,
		Args: oneID(r.name), ValidArgsFunction: r.complete,
	}
	match.add(c)
	if r.revokes != nil {
		c.Flags().BoolVar(&dry, "dry-run", false, "print how many refresh tokens it would revoke, and delete nothing")
		confirm.add(c)
	}
	output.add(c)
	return l.administers(c, func(ctx context.Context, s *session, args []string) error {
		checks := []func(*session) error{match.check}
		if r.revokes != nil && !dry {
			checks = append(checks, confirm.possible)
		}
		if err := r.checks(s, &output, checks...); err != nil {
			return err
		}
		client, id, err := r.open(ctx, s, dry, args[0])
		if err != nil {
			return err
		}
		if r.revokes != nil && (dry || !confirm.yes) {
			done, err := r.confirmDeletion(ctx, s, client, id, dry, &confirm, &output)
			if done || err != nil {
				return err
			}
		}
		got, err := client.do(ctx, request{
			method: "DELETE", path: segment(r.path, id), ifMatch: match.text, what: r.what(args[0]),
		})
		if err != nil {
			return err
		}
		return s.done(&output, got.data, "deleted the %s", r.what(args[0]))
	})
}

// confirmDeletion asks for a confirmation of a deletion that revokes refresh tokens. It reports whether the command is
// done, because it is a dry run.
func (r *resource) confirmDeletion(
	ctx context.Context, s *session, c *client, id string, dry bool, confirm *confirmation, output *outputFlag,
) (done bool, err error) {
	if _, err := c.do(ctx, request{method: "GET", path: segment(r.path, id), what: r.what(id)}); err != nil {
		return false, err
	}
	of, query := r.revokes(c, id)
	count, err := of.countTokens(ctx, query)
	switch {
	case dry && err != nil:
		return true, err
	case dry:
		return true, s.wouldRevoke(output, count)
	case err != nil: // the API key may not list
		count = "an unknown number of"
	}
	return false, confirm.ask(ctx, s, id,
		fmt.Sprintf("This deletes the %s, and revokes %s active refresh tokens", r.what(id), count))
}

// ifMatch is the flag --if-match of a change.
type ifMatch struct{ textFlag }

func (f *ifMatch) add(c *cobra.Command) {
	f.form = "VERSION"
	c.Flags().Var(&f.textFlag, "if-match", "only if the object still has this version, as show prints it")
}

func (f *ifMatch) check(s *session) error {
	if strings.Trim(f.text, "0123456789") != "" {
		return s.wrong("--if-match is not a version: use the number that show prints")
	}
	return nil
}

// rowsOf returns the rows of a list as objects.
func rowsOf[T any](ctx context.Context, c *client, r request, limit int) (all []T, err error) {
	_, err = c.pages(ctx, r, limit, func(rows []json.RawMessage) error {
		for _, row := range rows {
			var v T
			if err := json.Unmarshal(row, &v); err != nil {
				return failed(StatusFailed, "a row of the list of GET %s is not valid: %v", r.path, err)
			}
			all = append(all, v)
		}
		return nil
	})
	return all, err
}
