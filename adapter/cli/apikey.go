package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/refreshd/refreshd/domain"
)

func (l *line) apikey() *cobra.Command {
	r := &resource{
		name: "API key", plural: "API keys", command: "apikey", path: "/api-key",
		columns: []column{
			{"ID", "id"}, {"NAME", "name"}, {"TENANT", "tenantId"}, {"EXPIRES", "expiresAt"},
			{"PREVIOUS KEY", "hasPreviousKey"},
		},
		find: findAPIKey, complete: l.completeNames("/api-key"),
	}
	return l.noun("apikey", "List, show, create, change, rotate and delete API keys",
		`List, show, create, change, rotate and delete API keys, on the database or on a running service. A
command takes the id of an API key or its name. The API key of --server needs permissions on
/api-key, and manages no API key that may do more than itself.

To change a key without an outage: rotate it, give the new text to its users, and end the previous
text when no request uses it any more.`,
		`  refreshd apikey create backend --set 'permissions.endpoints={/jwt/issue: [POST]}'
  refreshd apikey rotate backend --key-file backend.key
  refreshd apikey end-previous backend`,
		l.listOf(r, texts{`List the API keys by name: all, or with --tenant those of that tenant. The keys themselves are not
known, only a hash of each.`,
			"  refreshd apikey list\n  refreshd apikey list --output json"}),
		l.showOf(r, texts{`Show an API key: its permissions, its tenant, when it expires, whether a previous key is valid too,
and in a table its version.`,
			"  refreshd apikey show backend\n  refreshd apikey show backend --output yaml > apikey.yaml"}),
		l.apikeyCreate(r),
		l.updateOf(r, texts{`Change an API key. ` + updateText("API key", "apikey") + documentHelp,
			"  refreshd apikey update backend --set expiresAt=2030-01-31T12:00:00Z\n" +
				"  refreshd apikey update backend -f apikey.yaml --if-match 3"}),
		l.apikeyRotate(r), l.apikeyEndPrevious(r),
		l.deleteOf(r, texts{`Delete an API key. The next request with it is refused.`, "  refreshd apikey delete backend"}),
	)
}

// apiKeyRow is what commands need of an API key.
type apiKeyRow struct{ ID, Name string }

// findAPIKey returns the id of the API key with that id or name.
func findAPIKey(ctx context.Context, c *client, argument string) (string, error) {
	if _, ok := domain.ParseID(argument); ok {
		return argument, nil
	}
	all, err := rowsOf[apiKeyRow](ctx, c, request{path: "/api-key", what: "list of API keys"}, 0)
	if err != nil {
		return "", err
	}
	for _, k := range all {
		if k.Name == argument {
			return k.ID, nil
		}
	}
	return "", failed(StatusNotFound, "there is no API key %s%s", printable(argument), c.whereNot())
}

// secretFile is a flag that names a file for the secret that a command makes. noun is what the secret is called.
type secretFile struct {
	textFlag
	name, noun string
}

func newKeyFile() secretFile { return secretFile{name: "key-file", noun: "key"} }

func (f *secretFile) add(c *cobra.Command) {
	f.form = "FILE"
	c.Flags().Var(&f.textFlag, f.name, "write the "+f.noun+" to this new file, with mode 0600, and not to the output")
}

// check refuses a file that exists, before there is a secret that could be lost.
func (f *secretFile) check(s *session) error { return newFile(s, "--"+f.name, f.text) }

// write writes the secret, which is the member of a response, and what was done.
func (f *secretFile) write(s *session, o *outputFlag, got response, member, secret, did string) error {
	if f.text != "" {
		err := WriteKeyFile(f.text, domain.NewSecret(secret))
		if err == nil {
			data, err := without(got.data, member)
			if err != nil {
				return err
			}
			return s.done(o, data, "%s; the %s is in %s", did, f.noun, f.text)
		}
		s.note("%v; the %s is on the output instead", err, f.noun)
	}
	s.note("%s. Keep the %s: it is shown once.", did, f.noun)
	return s.done(o, got.data, "%s", printable(secret))
}

// newFile refuses a file that exists. Without a name there is none.
func newFile(s *session, flag, file string) error {
	if file == "" {
		return nil
	}
	if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		return s.wrong("the file of %s exists, or cannot be looked up: name a new one", flag)
	}
	return nil
}

const keyHelp = `The text of the key is printed once, on the output, and cannot be shown again: a hash of it is
stored. With --key-file it is written to a new file with mode 0600 instead.`

// showKey writes an API key whose text was made.
func (f *secretFile) showKey(s *session, o *outputFlag, got response, did string) error {
	var members map[string]json.RawMessage
	var row apiKeyRow
	var key string
	if err := errors.Join(json.Unmarshal(got.data, &members), json.Unmarshal(got.data, &row)); err != nil {
		return failed(StatusFailed, "the response is not an API key: %v", err)
	}
	_ = json.Unmarshal(members["key"], &key) // absent if the document gave it
	if key == "" {
		return s.object(o, got.data, versionOf(got)...)
	}
	did = fmt.Sprintf("%s the API key %s (%s)", did, printable(row.Name), printable(row.ID))
	return f.write(s, o, got, "key", key, did)
}

// without returns a JSON object without a member, and the others in their order.
func without(object json.RawMessage, name string) (json.RawMessage, error) {
	d := json.NewDecoder(strings.NewReader(string(object)))
	if _, err := d.Token(); err != nil {
		return nil, failed(StatusFailed, "the response is not an object: %v", err)
	}
	var parts []string
	for d.More() {
		member, err := d.Token()
		var value json.RawMessage
		if err = errors.Join(err, d.Decode(&value)); err != nil {
			return nil, failed(StatusFailed, "the response is not an object: %v", err)
		}
		if member != name {
			text, _ := json.Marshal(member) // a text
			parts = append(parts, fmt.Sprintf("%s:%s", text, value))
		}
	}
	return json.RawMessage("{" + strings.Join(parts, ",") + "}"), nil
}

func (l *line) apikeyCreate(r *resource) *cobra.Command {
	var (
		document documentFlags
		file     = newKeyFile()
		output   outputFlag
	)
	c := &cobra.Command{
		Use: "create [NAME]", Short: "Create an API key",
		Long: `Create an API key, from a document, from --set, or from both. It needs a name, in the argument, the
document or --set. Without permissions ("refreshd help permissions") every request with it is
refused. With tenantId it is valid for that tenant only. Its text is made, unless the document has
a key: then nothing is shown.

` + keyHelp + "\n\n" + documentHelp,
		Example: `  refreshd apikey create backend --set 'permissions.endpoints={/jwt/issue: [POST]}'
  refreshd apikey create -f apikey.yaml --key-file backend.key`,
		Args: oneNameAtMost,
	}
	document.add(c)
	file.add(c)
	output.add(c)
	return l.administers(c, func(ctx context.Context, s *session, args []string) error {
		if err := r.checks(s, &output, file.check); err != nil {
			return err
		}
		body, err := document.read(s)
		if err != nil {
			return err
		}
		if len(args) == 1 {
			if name, ok := body["name"]; ok && name != args[0] {
				return s.wrong("the argument and the document or --set give the API key two names: give it one")
			}
			body["name"] = args[0]
		}
		client, err := s.client(ctx, writing)
		if err != nil {
			return err
		}
		got, err := client.do(ctx, request{method: "POST", path: r.path, body: body, what: r.name})
		if err != nil {
			return err
		}
		return file.showKey(s, &output, got, "created")
	})
}

// oneNameAtMost takes the name of a new API key, and no key: process lists show arguments.
func oneNameAtMost(c *cobra.Command, args []string) error {
	switch {
	case len(args) > 1:
		return wrong(c, "name one API key only: %s", c.UseLine())
	case len(args) == 1 && (args[0] == "" || strings.HasPrefix(args[0], "ak_")):
		return wrong(c, "the argument is the name of the API key: %s", c.UseLine())
	}
	return nil
}

func (l *line) apikeyRotate(r *resource) *cobra.Command {
	var (
		match  ifMatch
		force  bool
		file   = newKeyFile()
		output outputFlag
	)
	c := &cobra.Command{
		Use: "rotate ID", Short: "Make a new text for an API key",
		Long: `Make a new text for an API key. The former text stays valid as the previous one, until it is ended
by "refreshd apikey end-previous". While there is a previous text already, which may be in use, it
has to be ended first: another rotation is refused. With --force it ends the previous text.

` + keyHelp,
		Example: "  refreshd apikey rotate backend\n  refreshd apikey rotate backend --key-file backend.key",
		Args:    oneID(r.name), ValidArgsFunction: r.complete,
	}
	match.add(c)
	c.Flags().BoolVar(&force, "force", false, "end a previous text that is still valid")
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
			method: "POST", path: segment(r.path, id) + "/key", ifMatch: match.text, what: r.what(args[0]),
		}
		if force {
			sent.body = map[string]any{"force": true}
		}
		got, err := client.do(ctx, sent)
		if err != nil {
			return err
		}
		s.note("The former text is valid too, until it is ended: refreshd apikey end-previous %s", printable(args[0]))
		return file.showKey(s, &output, got, "rotated")
	})
}

func (l *line) apikeyEndPrevious(r *resource) *cobra.Command {
	var (
		match  ifMatch
		output outputFlag
	)
	c := &cobra.Command{
		Use: "end-previous ID", Short: "End the previous text of an API key",
		Long: `End the previous text of an API key that was rotated. The next request with it is refused. Without a
previous text it changes nothing, and says so.`,

		Example: "  refreshd apikey end-previous backend",
		Args:    oneID(r.name), ValidArgsFunction: r.complete,
	}
	match.add(c)
	output.add(c)
	return l.administers(c, func(ctx context.Context, s *session, args []string) error {
		if err := r.checks(s, &output, match.check); err != nil {
			return err
		}
		client, id, err := r.open(ctx, s, writing, args[0])
		if err != nil {
			return err
		}
		got, err := client.do(ctx, request{
			method: "DELETE", path: segment(r.path, id) + "/key", ifMatch: match.text, what: r.what(args[0]),
		})
		if err != nil {
			return err
		}
		var end struct{ EndedPreviousKey bool }
		if err := json.Unmarshal(got.data, &end); err != nil {
			return failed(StatusFailed, "the response is not an API key: %v", err)
		}
		if !end.EndedPreviousKey {
			return s.done(&output, got.data, "the %s has no previous text: nothing was changed", r.what(args[0]))
		}
		return s.done(&output, got.data, "ended the previous text of the %s", r.what(args[0]))
	})
}
