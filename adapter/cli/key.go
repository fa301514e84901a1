package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/refreshd/refreshd/domain"
)

// timeLine is the column of the time line, which derives from the moments of a key.
const timeLine = "timeLine"

// keyResource is what the commands of keys have in common.
func (l *line) keyResource() *resource {
	return &resource{
		name: "key", plural: "keys", command: "key", path: "/key",
		columns: []column{
			{"ID", "id"}, {"KIND", "kind"}, {"TENANT", "tenantId"}, {"ALGORITHM", "algorithm"}, {"STATE", "state"},
			{"NAME", "name"}, {"TIME LINE", timeLine},
		},
		derive: timeLineOf, write: writeKey,
		complete: l.completeIDs("/key"),
	}
}

func (l *line) key() *cobra.Command {
	r := l.keyResource()
	return l.noun("key", "List, make, import, rotate, retire and revoke keys",
		`List, make, import, rotate, retire and revoke the keys of the store: those that sign access tokens,
and those that authenticate token strings and hash API keys. No secret is shown. The API key of
--server needs GET and POST on /key. One for a single tenant sees and changes the signing keys of
that tenant only.

The service rotates and retires keys by itself. A command that would make verifiers refuse valid
access tokens is refused, and says from when on it is safe; --force does it anyway, and the
audit trail records that. "refreshd help exit-status" has the exit statuses.`,
		`  refreshd key list --tenant acme
  refreshd key rotate --tenant acme --algorithm ES256
  refreshd key revoke NXRGzGX1Z5DsxE-aWxCPPQ`,
		l.listOf(r, texts{`List the keys with what happened to each, and what will: all, or with --tenant those of that
tenant. The times are in UTC; on a terminal they are in lines of their own.

The state of a signing key is standby before it signs, signing, published after it, retired or
revoked. In its time line, it was made; it is known to every verifier from some hours after it was
published; it starts; it is superseded by the next key; and it is retirable when all that it signed
has expired. A key with an id such as token-1 does not sign. It is active while what is new is made
with it, then accepted.`,
			"  refreshd key list\n  refreshd key list --tenant acme --output json"}),
		l.showOf(r, texts{`Show a key by its id, which an access token names in its header as kid. Keys that do not sign have
an id such as token-1.`,
			"  refreshd key show NXRGzGX1Z5DsxE-aWxCPPQ\n  refreshd key show token-1"}),
		l.keyGenerate(r), l.keyImport(r), l.keyUpdate(r), l.keyRotate(r), l.keyRetire(r), l.keyRevoke(r), l.keyReseal(),
	)
}

// moment is an instant in the time line of a key.
type moment struct {
	Instant int64
	What    string
}

// timeLineOf returns the moments of a key, as one member.
func timeLineOf(row []member) []member {
	var moments []moment
	for _, m := range row {
		if m.name == "timeline" {
			_ = json.Unmarshal([]byte("["+m.text+"]"), &moments) // a list of objects, as membersOf writes it
		}
	}
	parts := make([]string, len(moments))
	for i, m := range moments {
		parts[i] = time.UnixMilli(m.Instant).UTC().Format("2006-01-02 15:04") + " " + m.What
	}
	return []member{{timeLine, strings.Join(parts, betweenParts)}}
}

// writeKey writes a key: in a table with a line for each moment.
func writeKey(s *session, o *outputFlag, data json.RawMessage) error {
	var key struct{ Timeline []moment }
	if o.format.text != "table" || json.Unmarshal(data, &key) != nil {
		return s.object(o, data)
	}
	data, err := without(data, "timeline")
	if err != nil {
		return err
	}
	var moments []member
	for _, m := range key.Timeline {
		moments = append(moments, member{"timeline." + m.What, time.UnixMilli(m.Instant).UTC().Format(time.RFC3339)})
	}
	return s.object(o, data, moments...)
}

// keyFlags are the flags of a command that gives or changes a key.
type keyFlags struct {
	kind, algorithm, bits, name, starts, known textFlag
	now, force                                 bool
}

func (f *keyFlags) addKind(c *cobra.Command) {
	f.kind = textFlag{form: "KIND", text: string(domain.KeySigning)}
	c.Flags().Var(&f.kind, "kind", "what the key is for: signing, token or api")
	_ = c.RegisterFlagCompletionFunc("kind",
		cobra.FixedCompletions([]string{"signing", "token", "api"}, cobra.ShellCompDirectiveNoFileComp))
}

func (f *keyFlags) addAlgorithm(c *cobra.Command, help string) {
	f.algorithm = textFlag{form: "NAME"}
	var names []string
	for _, a := range domain.Algorithms {
		names = append(names, string(a))
	}
	c.Flags().Var(&f.algorithm, "algorithm", help+": "+strings.Join(names, ", "))
	_ = c.RegisterFlagCompletionFunc("algorithm", cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp))
}

func (f *keyFlags) addName(c *cobra.Command) {
	f.name = textFlag{form: "TEXT"}
	c.Flags().Var(&f.name, "name", "a name for people")
}

func (f *keyFlags) addStart(c *cobra.Command) {
	f.starts = textFlag{form: "TIME"}
	c.Flags().Var(&f.starts, "starts", "when its use begins, such as 2030-01-31T12:00:00Z, or never")
}

func (f *keyFlags) addNow(c *cobra.Command) {
	c.Flags().BoolVar(&f.now, "now", false, "begin now")
}

func (f *keyFlags) addForce(c *cobra.Command) {
	c.Flags().BoolVar(&f.force, "force", false, "do it although it is not safe")
}

// check checks the flags before the store is opened.
func (f *keyFlags) check(s *session) error {
	for name, value := range map[string]string{"starts": f.starts.text, "known-since": f.known.text} {
		if _, err := keyInstant(value); value != "" && err != nil {
			return s.wrong("--%s is not a time: write it as 2030-01-31T12:00:00Z", name)
		}
	}
	if f.now && f.starts.text != "" {
		return s.wrong("--now and --starts exclude each other")
	}
	if strings.Trim(f.bits.text, "0123456789") != "" {
		return s.wrong("--bits is not a number")
	}
	return nil
}

// keyInstant returns a time, or that of a start that does not come by itself.
func keyInstant(text string) (time.Time, error) {
	if text == "never" {
		return domain.Never, nil
	}
	return time.Parse(time.RFC3339, text)
}

// body returns the members that the flags set.
func (f *keyFlags) body(s *session) map[string]any {
	body := map[string]any{}
	put := func(name, flag, value string) {
		if c := s.command.Flags().Lookup(flag); c != nil && c.Changed {
			body[name] = value
		}
	}
	put("kind", "kind", f.kind.text)
	put("algorithm", "algorithm", f.algorithm.text)
	put("name", "name", f.name.text)
	if f.bits.text != "" {
		body["bits"] = json.Number(f.bits.text)
	}
	for name, value := range map[string]string{"startsInstant": f.starts.text, "knownInstant": f.known.text} {
		if at, err := keyInstant(value); err == nil {
			body[name] = at.UnixMilli()
		}
	}
	if f.now {
		body["signNow"] = true
	}
	if f.force {
		body["force"] = true
	}
	return body
}

// optionalID takes the id of a new key, or no argument.
func optionalID(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return oneID("key")(c, args)
}

// added sends a request for a new key, whose id may be an argument.
func (f *keyFlags) added(
	ctx context.Context, s *session, path string, args []string, body map[string]any, o *outputFlag,
) error {
	if len(args) == 1 {
		path = segment(path, args[0])
	}
	return changedKey(ctx, s, request{method: "POST", path: path, body: body, what: "key"}, o)
}

// changedKey sends a request that changes a key, and writes the key.
func changedKey(ctx context.Context, s *session, r request, o *outputFlag) error {
	client, err := s.client(ctx, writing)
	if err != nil {
		return err
	}
	got, err := client.do(ctx, r)
	if err != nil {
		return err
	}
	return writeKey(s, o, got.data)
}

func (l *line) keyGenerate(r *resource) *cobra.Command {
	var (
		flags  keyFlags
		output outputFlag
	)
	c := &cobra.Command{
		Use: "generate [ID]", Short: "Make a key",
		Long: `Make a key, with an id of its own or the given one. A signing key of --tenant, or without a tenant
one that all tenants share, is published now. It signs from --starts on, or from the earliest
instant at which every verifier knows it; with --now it signs now, which is safe only if no verifier
has read the keys yet.`,
		Example: `  refreshd key generate --tenant acme --algorithm RS256 --bits 3072
  refreshd key generate --kind token`,
		Args: optionalID,
	}
	flags.addKind(c)
	flags.addAlgorithm(c, "of a signing key")
	flags.bits = textFlag{form: "N"}
	c.Flags().Var(&flags.bits, "bits", "the size of an RSA key: 2048, 3072 or 4096; without it 2048")
	flags.addName(c)
	flags.addStart(c)
	flags.addNow(c)
	flags.addForce(c)
	output.add(c)
	return l.administers(c, func(ctx context.Context, s *session, args []string) error {
		if err := r.checks(s, &output, flags.check); err != nil {
			return err
		}
		return flags.added(ctx, s, "/key/generate", args, flags.body(s), &output)
	})
}

func (l *line) keyImport(r *resource) *cobra.Command {
	var (
		flags  keyFlags
		file   = textFlag{form: "FILE"}
		output outputFlag
	)
	c := &cobra.Command{
		Use: "import [ID] -f FILE", Short: "Import a signing key that was made elsewhere",
		Long: `Import the private key of another server, in PEM or as a JWK, with its kid as the ID. So verifiers
accept the access tokens of both while you move. With --known-since, the time since when the other
server has published the key, it may sign here immediately.

The key is read from a file, or from the standard input with -f -; it is stored sealed, and never
shown.`,
		Example: `  refreshd key import former-1 --tenant acme -f former.pem --known-since 2026-01-31T12:00:00Z
  vault read -field=key secret/former | refreshd key import former-1 --tenant acme -f -`,
		Args: optionalID,
	}
	c.Flags().VarP(&file, "file", "f", "the private key, in PEM or as a JWK; - for the standard input")
	flags.addAlgorithm(c, "what an RSA key signs with; without it RS256, of any other key its only one")
	flags.addName(c)
	flags.known = textFlag{form: "TIME"}
	c.Flags().Var(&flags.known, "known-since", "since when verifiers know the key, such as 2026-01-31T12:00:00Z")
	flags.addStart(c)
	flags.addNow(c)
	flags.addForce(c)
	output.add(c)
	return l.administers(c, func(ctx context.Context, s *session, args []string) error {
		if err := r.checks(s, &output, flags.check, func(s *session) error {
			if file.text == "" {
				return s.wrong("name the file of the private key: -f FILE, or -f - for the standard input")
			}
			return nil
		}); err != nil {
			return err
		}
		text, err := readInput(s, file.text)
		if err != nil {
			return failed(StatusFailed, "read the private key: %v", err)
		}
		body := flags.body(s)
		body["privateKey"] = string(text)
		return flags.added(ctx, s, "/key/import", args, body, &output)
	})
}

func (l *line) keyUpdate(r *resource) *cobra.Command {
	var (
		flags  keyFlags
		output outputFlag
	)
	c := &cobra.Command{
		Use: "update ID", Short: "Change the name or the start of a key",
		Long: `Change the name of a key, or when a key that has not started begins to sign.`,

		Example: "  refreshd key update KEY --starts 2030-01-31T12:00:00Z\n  refreshd key update KEY --name 'Old verifiers'",
		Args:    oneID(r.name), ValidArgsFunction: r.complete,
	}
	flags.addName(c)
	flags.addStart(c)
	flags.addForce(c)
	output.add(c)
	return l.administers(c, func(ctx context.Context, s *session, args []string) error {
		if err := r.checks(s, &output, flags.check, func(s *session) error {
			if !s.command.Flags().Changed("name") && flags.starts.text == "" {
				return s.wrong("name what to change: --name or --starts")
			}
			return nil
		}); err != nil {
			return err
		}
		return changedKey(ctx, s, request{
			method: "PATCH", path: segment(r.path, args[0]), body: flags.body(s), what: r.what(args[0]),
		}, &output)
	})
}

func (l *line) keyRotate(r *resource) *cobra.Command {
	var (
		flags  keyFlags
		output outputFlag
	)
	c := &cobra.Command{
		Use: "rotate", Short: "Let the next key sign",
		Long: `Let the standby of --tenant and --algorithm sign as soon as every verifier knows it, which is now if
it was published some hours ago. Without a standby a key is made. The former key stays published
until what it signed has expired, and is then retired by the service.`,
		Example: `  refreshd key rotate --tenant acme --algorithm ES256
  refreshd key rotate --kind token`,
		Args: noArguments,
	}
	flags.addKind(c)
	flags.addAlgorithm(c, "of a signing key")
	flags.addNow(c)
	flags.addForce(c)
	output.add(c)
	return l.administers(c, func(ctx context.Context, s *session, _ []string) error {
		if err := r.checks(s, &output, flags.check); err != nil {
			return err
		}
		return changedKey(ctx, s, request{method: "POST", path: "/key/rotate", body: flags.body(s), what: "key"}, &output)
	})
}

func (l *line) keyRetire(r *resource) *cobra.Command {
	var (
		flags  keyFlags
		dry    bool
		output outputFlag
	)
	c := &cobra.Command{
		Use: "retire ID", Short: "Retire a key that nothing needs any more",
		Long: `Retire a key: it is not published any more, and what it made is refused. The service does this by
itself when everything that the key made has expired. Before that it is refused, unless --force is
given. With --dry-run it shows the key, and from when on it may be retired.`,
		Example: "  refreshd key retire KEY --dry-run\n  refreshd key retire KEY",
		Args:    oneID(r.name), ValidArgsFunction: r.complete,
	}
	c.Flags().BoolVar(&dry, "dry-run", false, "show the key, and retire none")
	flags.addForce(c)
	output.add(c)
	return l.administers(c, func(ctx context.Context, s *session, args []string) error {
		if err := r.checks(s, &output); err != nil {
			return err
		}
		if dry {
			return r.wouldEnd(ctx, s, args[0], &output, func(data json.RawMessage) string {
				return r.retirement(args[0], data)
			})
		}
		return changedKey(ctx, s, request{
			method: "POST", path: "/key/retire/" + escaped(args[0]), body: flags.body(s), what: r.what(args[0]),
		}, &output)
	})
}

func (l *line) keyRevoke(r *resource) *cobra.Command {
	var (
		confirm confirmation
		newKey  bool
		dry     bool
		output  outputFlag
	)
	c := &cobra.Command{
		Use: "revoke ID", Short: "End a key in an emergency",
		Long: `End a key that leaked. Tokens that it made are refused: access tokens as soon as a verifier follows
the revocations or reads the keys again, token strings within seconds, and the sessions whose token
strings it made end. The standby signs now. With --new-key a new key signs instead, and the standby
is revoked too, because it cannot be trusted either; verifiers that do not read the keys again for
an unknown kid then refuse all access tokens until they do, which can take hours. After a revocation
without it, the same command with --new-key does the rest.

It asks for a confirmation: the id of the key is typed on the terminal. Without a terminal --yes is
needed. It ends when every process of the service knows of it, after some seconds.`,
		Example: "  refreshd key revoke KEY --dry-run\n  refreshd key revoke KEY --yes",
		Args:    oneID(r.name), ValidArgsFunction: r.complete,
	}
	c.Flags().BoolVar(&newKey, "new-key", false, "a new key takes its place, and the standby is revoked too")
	c.Flags().BoolVar(&dry, "dry-run", false, "show the key, and revoke none")
	confirm.add(c)
	output.add(c)
	return l.administers(c, func(ctx context.Context, s *session, args []string) error {
		var checks []func(*session) error
		if !dry {
			checks = append(checks, confirm.possible)
		}
		if err := r.checks(s, &output, checks...); err != nil {
			return err
		}
		if dry {
			return r.wouldEnd(ctx, s, args[0], &output, func(json.RawMessage) string {
				return r.revocation(args[0], newKey)
			})
		}
		client, id, err := r.open(ctx, s, writing, args[0])
		if err != nil {
			return err
		}
		if !confirm.yes {
			if _, err := client.do(ctx, request{method: "GET", path: segment(r.path, id), what: r.what(id)}); err != nil {
				return err
			}
		}
		effect := r.revocation(id, newKey)
		if newKey && confirm.yes {
			s.note("%s.", effect)
		}
		if err := confirm.ask(ctx, s, id, effect); err != nil {
			return err
		}
		body := map[string]any{}
		if newKey {
			body["newKey"] = true
		}
		got, err := client.do(ctx, request{
			method: "POST", path: "/key/revoke/" + escaped(id), body: body, what: r.what(id),
		})
		if err != nil {
			return err
		}
		return writeKey(s, &output, got.data)
	})
}

func escaped(id string) string { return strings.TrimPrefix(segment("", id), "/") }

// wouldEnd shows a key that a dry run does not end, and what would happen to it.
func (r *resource) wouldEnd(
	ctx context.Context, s *session, id string, o *outputFlag, effect func(json.RawMessage) string,
) error {
	client, err := s.client(ctx, reading)
	if err != nil {
		return err
	}
	got, err := client.do(ctx, request{method: "GET", path: segment(r.path, id), what: r.what(id)})
	if err != nil {
		return err
	}
	s.note("%s (dry run: nothing was written).", effect(got.data))
	return writeKey(s, o, got.data)
}

// retirement says from when on a key may be retired. The instant that the service gives is that of its own rule.
func (r *resource) retirement(id string, data json.RawMessage) string {
	var k struct {
		Kind, State string
		Timeline    []moment
	}
	_ = json.Unmarshal(data, &k) // then nothing more is known than that it exists
	switch k.State {
	case "retired", "revoked":
		return fmt.Sprintf("The %s is %s already", r.what(id), k.State)
	case "signing":
		return fmt.Sprintf("The %s signs, and cannot be retired: rotate to another one first", r.what(id))
	case "active":
		return fmt.Sprintf("The %s is in use, and cannot be retired: rotate to another one first", r.what(id))
	case "accepted":
		return fmt.Sprintf("It would retire the %s, if nothing that it made is in use any more", r.what(id))
	}
	for _, m := range k.Timeline {
		if at := time.UnixMilli(m.Instant); k.State == "published" && m.What == "retirable" && at.After(time.Now()) {
			return fmt.Sprintf("The %s may be retired from %s on, and before that with --force only", r.what(id),
				at.UTC().Format(time.RFC3339))
		}
	}
	return fmt.Sprintf("It would retire the %s", r.what(id))
}

// revocation says what the end of a key in an emergency does.
func (r *resource) revocation(id string, newKey bool) string {
	effect := fmt.Sprintf("This ends the %s, and what it made is refused", r.what(id))
	if newKey {
		effect += ". Its standby ends too, and a new key signs now: verifiers that do not read the keys again for an " +
			"unknown kid refuse all access tokens until they do"
	}
	return effect
}

func (l *line) keyReseal() *cobra.Command {
	var output outputFlag
	c := &cobra.Command{
		Use: "reseal", Short: "Seal all keys with the configured master key",
		Long: `Seal again with the master key in force here all keys that another one sealed, so that the other one
can be removed from the configuration. Give both to every process of the service first: the new one
as REFRESHD_MASTER_KEY, the former one as REFRESHD_MASTER_KEY_PREVIOUS. The keys themselves stay.
It prints how many keys it sealed meanwhile, and can be repeated after an interruption.`,
		Example: "  refreshd key reseal",
		Args:    noArguments,
	}
	output.add(c)
	return l.administers(c, func(ctx context.Context, s *session, _ []string) error {
		if err := s.check(output.check); err != nil {
			return err
		}
		client, err := s.client(ctx, writing)
		if err != nil {
			return err
		}
		for sealed, idle := 0, 0; ; {
			got, err := client.do(ctx, request{method: "POST", path: "/key/reseal", what: "key"})
			if err != nil {
				return err
			}
			var step struct {
				Keys     int
				Complete bool
			}
			if err := json.Unmarshal(got.data, &step); err != nil {
				return failed(StatusFailed, "the response is not the result of a key command: %v", err)
			}
			sealed += step.Keys
			if step.Complete {
				data, _ := json.Marshal(map[string]any{"keys": sealed, "complete": true}) // cannot fail
				return s.done(&output, data, "sealed %d keys; the master key is in force", sealed)
			}
			if idle++; step.Keys > 0 {
				idle = 0
			}
			if idle == 3 {
				return failed(StatusFailed, "no key was sealed for some time: the database is too slow; try again")
			}
			s.note("sealed %d keys", sealed)
		}
	})
}
