package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/refreshd/refreshd/domain"
)

func (l *line) token() *cobra.Command {
	return l.noun("token", "List, show and revoke refresh tokens",
		`List, show and revoke the refresh tokens of a tenant, on the database or on a running service.

Without --server a command opens the database itself, as the operator of it. With --server it sends
requests to a running service, with the API key in REFRESHD_API_KEY or REFRESHD_API_KEY_FILE, which
needs permissions on /jwt/refresh and, for lists without --user, on /sessions.`,
		`  refreshd token list --tenant acme --user u-1
  refreshd token show --tenant acme 01981e2c-9a38-7b4d-8a8e-d5a2f1a4c0de
  refreshd token revoke --tenant acme --user u-1 --yes`,
		l.tokenList(), l.tokenShow(), l.tokenRevoke())
}

var tokenColumns = []column{
	{"ID", "id"}, {"APPLICATION", "applicationsId"}, {"USER", "userId"}, {"STATE", "state"},
	{"CREATED", "insertInstant"}, {"LAST USED", "lastUsedInstant"}, {"EXPIRES", "expirationInstant"},
}

// scope is the flags that select refresh tokens.
type scope struct{ user, application textFlag }

func (f *scope) add(c *cobra.Command) {
	f.user, f.application = textFlag{form: "ID"}, textFlag{form: "ID"}
	c.Flags().Var(&f.user, "user", "those of this user")
	c.Flags().Var(&f.application, "application", "those of this application")
}

func (f *scope) query() url.Values {
	q := url.Values{}
	set(q, "userId", f.user.text)
	set(q, "applicationsId", f.application.text)
	return q
}

// set sets a parameter that is not empty.
func set(q url.Values, name, value string) {
	if value != "" {
		q.Set(name, value)
	}
}

func (l *line) tokenList() *cobra.Command {
	var (
		selected scope
		state    = textFlag{form: "STATE"}
		limit    limitFlag
		output   outputFlag
	)
	c := &cobra.Command{
		Use:   "list",
		Short: "List the refresh tokens of a user, an application or a tenant",
		Long: `List refresh tokens, the newest first: those of a user, of an application, of a user in an
application, or of the whole tenant. It lists active ones, unless --state says otherwise. Ended
ones are listed until they are purged.`,
		Example: `  refreshd token list --tenant acme
  refreshd token list --tenant acme --user u-1 --state all --output json`,
		Args: noArguments,
	}
	selected.add(c)
	l.completeFlag(c, "application", "/application")
	c.Flags().Var(&state, "state", "active, ended or all; without it active")
	_ = c.RegisterFlagCompletionFunc("state",
		cobra.FixedCompletions([]string{"active", "ended", "all"}, cobra.ShellCompDirectiveNoFileComp))
	limit.add(c)
	output.add(c)
	return l.administers(c, func(ctx context.Context, s *session, _ []string) error {
		if err := s.check(output.check, limit.check, (*session).needsTenant); err != nil {
			return err
		}
		q := selected.query()
		set(q, "state", state.text)
		return s.list(ctx, request{path: "/jwt/refresh", query: q, what: "list of refresh tokens"}, &output, &limit,
			nil, tokenColumns...)
	})
}

// tokenID takes one argument, the id of a refresh token.
func tokenID(c *cobra.Command, args []string) error {
	if err := oneID("refresh token")(c, args); err != nil {
		return err
	}
	return isTokenID(c, args[0])
}

func isTokenID(c *cobra.Command, id string) error {
	if _, ok := domain.ParseID(id); !ok { // not repeated: it may be a token string
		return wrong(c, "that is not the id of a refresh token: use an id as `refreshd token list` prints it")
	}
	return nil
}

func (l *line) tokenShow() *cobra.Command {
	var output outputFlag
	c := &cobra.Command{
		Use:   "show ID",
		Short: "Show a refresh token",
		Long: `Show a refresh token, active or ended, until it is purged. The token string is not known to the
service and cannot be shown.`,
		Example: "  refreshd token show --tenant acme 01981e2c-9a38-7b4d-8a8e-d5a2f1a4c0de",
		Args:    tokenID,
	}
	output.add(c)
	return l.administers(c, func(ctx context.Context, s *session, args []string) error {
		if err := s.check(output.check, (*session).needsTenant); err != nil {
			return err
		}
		client, err := s.client(ctx, reading)
		if err != nil {
			return err
		}
		got, err := client.token(ctx, args[0])
		if err != nil {
			return err
		}
		return s.object(&output, got.data)
	})
}

// token requests one refresh token, active or ended.
func (c *client) token(ctx context.Context, id string) (response, error) {
	return c.do(ctx, request{
		method: "GET", path: segment("/jwt/refresh", id), query: url.Values{"state": {"all"}}, what: "refresh token " + id,
	})
}

// countTokens returns the number of active refresh tokens that q selects, as text: "10000+" for more than 10000.
func (c *client) countTokens(ctx context.Context, q url.Values) (string, error) {
	q = cloneValues(q)
	q.Set("count", "true")
	q.Set("limit", "1")
	got, err := c.do(ctx, request{method: "GET", path: "/jwt/refresh", query: q, what: "list of refresh tokens"})
	if err != nil {
		return "", err
	}
	return printable(got.header.Get("X-Total-Count")), nil
}

// revocation is the command line of `token revoke`.
type revocation struct {
	scope
	except textFlag
	all    bool
	dry    bool
	confirmation
	output outputFlag
}

func (l *line) tokenRevoke() *cobra.Command {
	r := revocation{except: textFlag{form: "ID"}}
	c := &cobra.Command{
		Use:   "revoke [ID]",
		Short: "Revoke a refresh token, or those of a user, an application or a tenant",
		Long: `Revoke one refresh token, or those of a user, of an application, of a user in an application, or
of the whole tenant. No exchange succeeds with them afterwards, and resource servers that follow
the revocations refuse their access tokens. A revocation cannot be undone.

It prints how many active refresh tokens there were just before, if the API key may list them. An
id that selects none, which may be misspelt, is no error: a revocation holds also for a refresh
token that is being issued.

With --dry-run it prints how many active refresh tokens it would revoke, and revokes none. All but
the revocation of one refresh token need a confirmation: the id of the user, application or tenant
is typed on the terminal. Without a terminal --yes is needed.`,
		Example: `  refreshd token revoke --tenant acme 01981e2c-9a38-7b4d-8a8e-d5a2f1a4c0de
  refreshd token revoke --tenant acme --user u-1 --dry-run
  refreshd token revoke --tenant acme --all-in-tenant --yes`,
	}
	c.Args = func(c *cobra.Command, args []string) error { return r.checkArgs(c, args) }
	r.scope.add(c)
	l.completeFlag(c, "application", "/application")
	c.Flags().Var(&r.except, "except", "all of --user but the refresh token with this id")
	c.Flags().BoolVar(&r.all, "all-in-tenant", false, "all of the tenant")
	c.Flags().BoolVar(&r.dry, "dry-run", false, "print how many it would revoke, and revoke none")
	r.confirmation.add(c)
	r.output.add(c)
	return l.administers(c, func(ctx context.Context, s *session, args []string) error {
		checks := []func(*session) error{r.output.check, (*session).needsTenant}
		if len(args) == 0 && !r.dry {
			checks = append(checks, r.possible)
		}
		if err := s.check(checks...); err != nil {
			return err
		}
		client, err := s.client(ctx, r.dry)
		if err != nil {
			return err
		}
		if len(args) == 1 {
			return r.one(ctx, s, client, args[0])
		}
		return r.many(ctx, s, client)
	})
}

// checkArgs checks that the line selects something, in one way.
func (r *revocation) checkArgs(c *cobra.Command, args []string) error {
	narrow := r.user.text != "" || r.application.text != "" || r.except.text != ""
	switch {
	case len(args) > 1 || len(args) == 1 && (narrow || r.all), narrow && r.all:
		return wrong(c, "name one thing to revoke: an id, --user and --application, or --all-in-tenant")
	case len(args) == 1:
		return tokenID(c, args)
	case !narrow && !r.all:
		return wrong(c, "name what to revoke: an id, --user ID, --application ID or --all-in-tenant")
	case r.except.text != "" && (r.user.text == "" || r.application.text != ""):
		return wrong(c, "--except needs --user, and no --application")
	case r.except.text != "":
		return isTokenID(c, r.except.text)
	}
	for _, name := range []string{"user", "application"} { // a variable of a script that is not set widens nothing
		if f := c.Flags().Lookup(name); f.Changed && f.Value.String() == "" {
			return wrong(c, "--%s is empty: give it a value, or leave it out", name)
		}
	}
	return nil
}

func (r *revocation) one(ctx context.Context, s *session, c *client, id string) error {
	if r.dry {
		got, err := c.token(ctx, id)
		if err != nil {
			return err
		}
		var token struct{ State string }
		_ = json.Unmarshal(got.data, &token)
		count := "0"
		if token.State == "active" {
			count = "1"
		}
		return s.wouldRevoke(&r.output, count)
	}
	got, err := c.do(ctx, request{method: "DELETE", path: segment("/jwt/refresh", id), what: "active refresh token " + id})
	if err != nil {
		return err
	}
	return s.done(&r.output, got.data, "revoked the refresh token %s", id)
}

func (r *revocation) many(ctx context.Context, s *session, c *client) error {
	what, id, body := r.selection(s.config.Tenant)
	count, err := r.count(ctx, c)
	switch {
	case r.dry && err != nil:
		return err
	case r.dry:
		return s.wouldRevoke(&r.output, count)
	case err != nil: // the API key may not list
		count = "an unknown number of"
	}
	if err := r.ask(ctx, s, id, fmt.Sprintf("This revokes %s: %s active refresh tokens", what, count)); err != nil {
		return err
	}
	got, err := c.do(ctx, request{method: "DELETE", path: "/jwt/refresh", body: body, what: what})
	if err != nil {
		return err
	}
	if count == "0" {
		s.note("No active refresh token was selected: check the ids of --tenant, --user and --application.")
	}
	data, err := withMember(got.data, "refreshTokens", count)
	if err != nil {
		return err
	}
	return s.done(&r.output, data, "revoked %s: %s active refresh tokens", what, count)
}

// withMember returns a JSON object with a text as one more member.
func withMember(object json.RawMessage, name, text string) (json.RawMessage, error) {
	rest, ok := bytes.CutPrefix(bytes.TrimSpace(object), []byte("{"))
	if !ok {
		return nil, failed(StatusFailed, "the response is not an object")
	}
	member, err := json.Marshal(map[string]string{name: text})
	if err != nil {
		return nil, err
	}
	if member = member[:len(member)-1]; !bytes.Equal(bytes.TrimSpace(rest), []byte("}")) {
		member = append(member, ',')
	}
	return append(member, rest...), nil
}

// selection returns what is revoked in words, the id that confirms it, and the selector.
func (r *revocation) selection(tenant string) (what, confirm string, body map[string]any) {
	body = map[string]any{}
	if r.all {
		body["allInTenant"] = true
		return "all refresh tokens of the tenant " + tenant, tenant, body
	}
	what = "the refresh tokens of"
	if r.application.text != "" {
		body["applicationsId"], confirm = r.application.text, r.application.text
	}
	if r.user.text != "" {
		body["userId"], confirm = r.user.text, r.user.text
		what += " the user " + printable(r.user.text)
	}
	switch {
	case r.application.text != "" && r.user.text != "":
		what += " in the application " + printable(r.application.text)
	case r.application.text != "":
		what += " the application " + printable(r.application.text)
	case r.except.text != "":
		body["exceptTokenId"] = r.except.text
		what += " but " + r.except.text
	}
	return what, confirm, body
}

// count returns how many active refresh tokens would be revoked.
func (r *revocation) count(ctx context.Context, c *client) (string, error) {
	text, err := c.countTokens(ctx, r.query())
	n, notExact := strconv.Atoi(text)
	if err != nil || r.except.text == "" || notExact != nil {
		return text, err
	}
	kept, err := c.token(ctx, r.except.text)
	if failure := (*Failure)(nil); errors.As(err, &failure) && failure.Status == StatusNotFound {
		return text, nil
	}
	var token struct{ State, UserID string }
	_ = json.Unmarshal(kept.data, &token)
	if token.State == "active" && token.UserID == r.user.text {
		n--
	}
	return strconv.Itoa(n), err
}

// wouldRevoke is the result of a dry run.
func (s *session) wouldRevoke(o *outputFlag, count string) error {
	data, err := json.Marshal(map[string]any{"dryRun": true, "refreshTokens": count})
	if err != nil {
		return err
	}
	return s.done(o, data, "would revoke %s active refresh tokens (dry run: nothing was written)", count)
}

// done writes the result of a command that has one line of output, or the data of its response in another format.
func (s *session) done(o *outputFlag, data json.RawMessage, format string, a ...any) error {
	if o.format.text != "table" {
		return s.object(o, data)
	}
	_, err := fmt.Fprintf(s.Stdout, format+"\n", a...)
	return err
}
