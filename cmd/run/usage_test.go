package run

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// running runs the program in an empty directory, on a database below it, and returns the names of what it made.
func running(t *testing.T, args ...string) (stdout string, made []string, err error) {
	t.Helper()
	t.Chdir(t.TempDir())
	stdout, err = runningHere(t, args...)
	found, readErr := os.ReadDir(".")
	if readErr != nil {
		t.Fatal(readErr)
	}
	for _, f := range found {
		made = append(made, f.Name())
	}
	return stdout, made, err
}

func runningHere(t *testing.T, args ...string) (stdout string, err error) {
	t.Helper()
	var out bytes.Buffer
	err = Run(t.Context(), Options{Args: args, Stdout: &out, Stderr: &out})
	return out.String(), err
}

// A mistake in a command line must not make a database in the working directory.
func TestAWrongCommandLineMakesNothingAndExitsWith2(t *testing.T) {
	for command, slips := range map[string][]string{
		"serve":         {"--lisen=:0", "x", "--listen=x", "--listen", "-listen=:0", "--log-level=x", "--status", "-f=x"},
		"migrate":       {"--statsu", "x", "--database-url=mysql:x", "--status=x", "--listen=:0", "--log-level=x"},
		"apply":         {"", "x.yaml", "--file", "--dry-run=x", "--listen=:0", "-f=x --log-level=x", "-f=x --yes"},
		"diff":          {"", "x.yaml", "--file", "-f=x --prune", "-f=x --listen=:0", "-f=x --log-level=x"},
		"export":        {"x", "--output", "--with-keys=x", "--passphrase-file=x", "--passphrase=x", "-f=x"},
		"purge":         {"--purge-aftr=1h", "x", "--purge-after=1s", "--purge-interval=1h"},
		"health":        {"--listen=x", "x", "--port=1", "--database-url=memory:"},
		"token":         {"x", "lst", "--tenant=acme"},
		"token revoke":  {"--tenant=acme", "--tenant=acme --user=u", "--tenant=acme --all-in-tenant", "--tenant=acme x"},
		"tenant":        {"x", "shw"},
		"tenant create": {"a b", "acme --set=name", "acme --set=key=x", "--sett=a=b"},
		"tenant delete": {"", "acme", "acme --if-match=x --yes"},
		"apikey":        {"x", "rotat"},
		"application":   {"x", "list"},
		"key":           {"x", "delete k"},
		"audit":         {"x", "--from=x", "--output=yaml", "--follow --until=1h"},
		"token list":    {"", "--tenant=a/b", "--tenant=acme x", "--tenant=acme --limit=-1", "--tenant=acme --output=xml"},
		"config":        {"x", "--listen=x"},
		"config show":   {"x", "--lisen=x", "--listen=x", "--output=xml"},
		"version":       {"x", "--listen=x"},
		"completion":    {"", "x", "bash x"},
		"help":          {"x"},
		"man":           {"", "a b"},
		"":              {"x", "--listen=:0", "-listen=:0", "srve", "--speed"},
		"--listen :0":   {"x"},
		"--version":     {"x"},
		"migrate apply": {""},
	} {
		for _, slip := range slips {
			line := strings.TrimSpace(command + " " + slip)
			t.Run(line, func(t *testing.T) {
				_, made, err := running(t, strings.Fields(line)...)
				if err == nil || status(err) != 2 || made != nil {
					t.Errorf("error %v, made %q; want nothing and exit status 2", err, made)
				}
			})
		}
	}
}

// Commands that only print create no file.
func TestACommandThatOnlyLooksMakesNothing(t *testing.T) {
	for _, line := range []string{
		"", "--help", "-h", "--version", "-v", "version", "help", "help serve", "help kickstart", "config", "config show",
		"config show -o json", "completion bash", "serve --help", "migrate --help", "apply -h", "purge -h",
	} {
		stdout, made, err := running(t, strings.Fields(line)...)
		if err != nil || stdout == "" || made != nil {
			t.Errorf("refreshd %s: %v, made %q, printed %q", line, err, made, stdout)
		}
	}
}

// The status is for a script that decides whether to migrate.
func TestMigrateStatusSaysWhatIsPendingAndMakesNothing(t *testing.T) {
	const url = "--database-url=sqlite:data/refreshd.db"
	stdout, made, err := running(t, "migrate", "--status", url)
	if err == nil || status(err) != 1 || made != nil || !strings.Contains(err.Error(), "run `refreshd migrate`") ||
		!strings.Contains(stdout, "sqlite:data/refreshd.db does not exist yet, or is empty\n") ||
		!strings.Contains(stdout, "pending 00001_initial.sql\n") {
		t.Errorf("without a database: %v, made %q, printed\n%s", err, made, stdout)
	}
	if out, err := runningHere(t, "migrate", url); err != nil {
		t.Fatal(err, out)
	}
	stdout, err = runningHere(t, "migrate", "--status", url)
	upToDate := regexp.MustCompile(`: schema version (\d+), this program: (\d+)\nthe schema is up to date\n$`)
	if m := upToDate.FindStringSubmatch(stdout); err != nil || m == nil || m[1] != m[2] {
		t.Errorf("after migrate: %v, printed\n%s", err, stdout)
	}
	if found, err := os.ReadDir("data"); err != nil || len(found) != 1 {
		t.Errorf("%v beside the database (%v)", found, err)
	}
	if _, err := runningHere(t, "migrate", "--status", "--database-url=memory:"); err == nil ||
		!strings.Contains(err.Error(), "no schema") {
		t.Errorf("in memory: error %v", err)
	}
	if err := os.WriteFile(filepath.Join("data", "text.db"), []byte(strings.Repeat("text ", 200)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := runningHere(t, "migrate", "--status", "--database-url=sqlite:data/text.db"); err == nil ||
		status(err) != 1 {
		t.Errorf("on a text: error %v, want a failure", err)
	}
}
