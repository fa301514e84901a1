package cli_test

import (
	"context"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/adapter/cli"
	"github.com/refreshd/refreshd/adapter/manifest"
	"github.com/refreshd/refreshd/config"
	"github.com/refreshd/refreshd/domain"
)

var update = flag.Bool("update", false, "write testdata/help")

var (
	commands = []string{
		"serve", "health", "migrate", "apply", "diff", "export", "purge",
		"token", "token list", "token show", "token revoke",
		"tenant", "tenant list", "tenant show", "tenant create", "tenant update", "tenant delete",
		"application", "application list", "application show", "application create", "application update",
		"application delete",
		"apikey", "apikey list", "apikey show", "apikey create", "apikey update", "apikey rotate",
		"apikey end-previous", "apikey delete",
		"key", "key list", "key show", "key generate", "key import", "key update", "key rotate", "key retire", "key revoke",
		"key reseal", "audit", "doctor",
		"config", "config show", "version", "completion", "help",
	}
	topics = []string{"configuration", "exit-status", "kickstart", "permissions", "settings"}
)

func help(t *testing.T, args ...string) string {
	t.Helper()
	got := run(t, nil, args...)
	if got.err != nil || got.did != "" {
		t.Fatalf("refreshd %q did %q: %v", args, got.did, got.err)
	}
	return got.stdout
}

// A review of a change shows the help as the user gets it. `go test ./adapter/cli -update` writes the files.
func TestHelpIsTheTextInTestdata(t *testing.T) {
	for _, command := range append([]string{""}, commands...) {
		args := strings.Fields(command)
		got := help(t, append(args, "--help")...)
		file := filepath.Join("testdata", "help", strings.Join(append([]string{"refreshd"}, args...), "-")+".txt")
		if *update {
			if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(got), 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("refreshd %s --help (-want +got):\n%s", command, diff)
		}
		if !strings.Contains(got, "\nExamples:\n  ") {
			t.Errorf("the help of %q has no example", command)
		}
		if again := help(t, append([]string{"help"}, args...)...); again != got {
			t.Errorf("refreshd help %s is not refreshd %[1]s --help (-want +got):\n%s", command, cmp.Diff(got, again))
		}
		if short := help(t, append(args, "-h")...); short != got {
			t.Errorf("refreshd %s -h is not --help (-want +got):\n%s", command, cmp.Diff(got, short))
		}
	}
}

// `refreshd` without a command prints help, as git and kubectl do: it must not start a server.
func TestACommandThatHoldsOthersPrintsItsHelp(t *testing.T) {
	for _, args := range [][]string{{}, {"config"}} {
		if got, want := help(t, args...), help(t, append(args, "--help")...); got != want {
			t.Errorf("refreshd %q (-want +got):\n%s", args, cmp.Diff(want, got))
		}
	}
}

func TestHelpFitsATerminal(t *testing.T) {
	texts := map[string]string{"": help(t)}
	for _, command := range commands {
		texts[command] = help(t, append(strings.Fields(command), "--help")...)
	}
	for _, topic := range topics {
		texts[topic] = help(t, "help", topic)
	}
	for name, text := range texts {
		if !strings.HasSuffix(text, "\n") || strings.HasSuffix(text, "\n\n") {
			t.Errorf("help of %q does not end with one line break, before the prompt of the shell", name)
		}
		for line := range strings.Lines(text) {
			if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 100 {
				t.Errorf("help of %q: %d columns, want at most 100: %s", name, n, line)
			}
		}
	}
}

// The help of a command is where its settings are looked up.
func TestHelpHasTheSettingsOfItsCommand(t *testing.T) {
	all := help(t, "help", "configuration")
	for _, k := range config.Keys() {
		for _, command := range k.Commands { // a misspelt one would take the flag from its command
			if !slices.Contains(commands, command) {
				t.Errorf("%s is used by %q, which is not a command", k.Env, command)
			}
		}
		for _, command := range []string{"serve", "doctor", "health", "migrate", "apply", "diff", "export", "purge"} {
			text := help(t, command, "--help")
			if got := strings.Contains(text, k.Env+")") ||
				strings.Contains(text, k.Env+"  "); got != slices.Contains(k.Commands, command) {
				t.Errorf("the help of %s has %s: %t; commands %q", command, k.Env, got, k.Commands)
			}
		}
		row := k.Env
		if k.Flag != "" {
			row += ", --" + k.Flag
		}
		if k.Default != "" {
			row += " (default " + k.Default + ")"
		}
		if !strings.Contains(all, "\n"+row+"\n") {
			t.Errorf("the topic configuration has no line %q", row)
		}
	}
}

// The commands of administration take the same settings. Their help names them once, in a topic, and has its own flags.
func TestTheSettingsOfAdministrationAreInOneTopic(t *testing.T) {
	topic := help(t, "help", "settings")
	for _, command := range commands {
		name, _, below := strings.Cut(command, " ")
		nouns := []string{"token", "tenant", "application", "apikey", "key"}
		if !(slices.Contains(nouns, name) && below) && name != "audit" {
			continue
		}
		text := help(t, append(strings.Fields(command), "--help")...)
		if !strings.Contains(text, "`refreshd help settings`") || !strings.Contains(text, "--server URL") ||
			!strings.Contains(text, "--tenant ID") {
			t.Errorf("the help of %s does not name the topic, --server and --tenant", command)
		}
		for _, k := range config.Keys() {
			takes := slices.Contains(k.Commands, name)
			if k.Name != "server" && k.Name != "tenant" && strings.Contains(text, k.Env+")") {
				t.Errorf("the help of %s repeats %s", command, k.Env)
			}
			if (strings.Contains(topic, k.Env+")") || strings.Contains(topic, "\n  "+k.Env+" ")) != takes {
				t.Errorf("%s takes %s: %t; the topic does not say the same", command, k.Env, takes)
			}
		}
	}
}

// oneLine is text with each white space as one space.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// The help is where an operator looks up what an API key can be allowed.
func TestTheTopicOfPermissionsHasEveryPermission(t *testing.T) {
	text := oneLine(help(t, "help", "permissions"))
	all := manifest.Permissions()
	for _, p := range all {
		if want := " " + p.Endpoint + " " + p.Method + " " + p.Meaning + " "; !strings.Contains(text, want) {
			t.Errorf("no %q in %s", want, text)
		}
	}
	if !strings.Contains(text, `a key with "*" then allows them too`) {
		t.Error(`the topic does not say that "*" covers the endpoints of later releases`)
	}
	if len(all) == 0 {
		t.Error("there are no permissions")
	}
}

func TestTheKickstartFileOfTheHelpCanBeApplied(t *testing.T) {
	_, after, found := strings.Cut(help(t, "help", "kickstart"), "\n  tenants:")
	text, _, ends := strings.Cut("  tenants:"+after, "\n\n")
	if !found || !ends {
		t.Fatalf("no example in:\n%s", help(t, "help", "kickstart"))
	}
	k := read(t, text+"\n", map[string]string{"BACKEND_KEY": "ak_0123456789abcdefghijklmn"}).Kickstart
	if err := k.Validate(); err != nil {
		t.Error(err)
	}
	if len(k.Tenants) != 1 || len(k.Tenants[0].Applications) != 1 || len(k.APIKeys) != 1 ||
		k.APIKeys[0].APIKey.ExpiresAt.IsZero() {
		t.Errorf("the example is not complete: %+v", k)
	}
}

// The help is where an operator looks up fields and their defaults. Package manifest has them.
func TestTheTopicOfKickstartHasEveryFieldWithItsDefault(t *testing.T) {
	text := strings.ToLower(oneLine(help(t, "help", "kickstart")))
	fields := slices.Concat(manifest.TenantFields(), manifest.ApplicationFields(), manifest.APIKeyFields(),
		manifest.PolicyFields())
	for _, f := range fields {
		want := " " + f.Name + " " + f.Type
		if f.Words != nil {
			want = " " + f.Name + " one of " + strings.Join(f.Words, ", ")
		}
		if f.Required {
			want += "; required. " + f.Meaning
		} else {
			want += "; default " + f.Default + ". " + f.Meaning
		}
		if !strings.Contains(text, strings.ToLower(want)) {
			t.Errorf("no %q", want)
		}
	}
	if len(fields) < len(new(domain.Settings).Fields()) {
		t.Errorf("%d fields, want those of the policy at least", len(fields))
	}
}

type closedWriter struct{}

var errClosed = errors.New("closed")

func (closedWriter) Write([]byte) (int, error) { return 0, errClosed }

// A pipe that ends early must not look like a command that succeeded.
func TestOutputThatCannotBeWrittenIsAnError(t *testing.T) {
	for _, args := range [][]string{
		{}, {"--help"}, {"serve", "-h"}, {"help", "serve"}, {"help", "kickstart"}, {"version"}, {"config", "show"},
		{"config", "show", "-o", "json"}, {"config", "show", "-o", "yaml"}, {"completion", "bash"}, {"--version"},
	} {
		p := cli.Program{Stdout: closedWriter{}, Stderr: io.Discard, Schemes: []config.Scheme{config.SQLite}}
		if err := p.Run(context.Background(), args); !errors.Is(err, errClosed) {
			t.Errorf("refreshd %q: error %v, want that of the writer", args, err)
		}
	}
}
