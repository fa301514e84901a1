package run

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// onATerminal runs the program on a terminal where a user types the answers, each after the question that it is for. It
// returns what the terminal shows.
func onATerminal(t *testing.T, environ, args []string, answers ...[2]string) (shown, stdout string, err error) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer screen.Close()
	if err := unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	var (
		all  bytes.Buffer
		user sync.WaitGroup
	)
	user.Go(func() {
		b := make([]byte, 4096)
		seen := 0
		for {
			n, err := screen.Read(b)
			all.Write(b[:n])
			if len(answers) > 0 {
				if i := strings.Index(all.String()[seen:], answers[0][0]); i >= 0 {
					seen += i + len(answers[0][0])
					fmt.Fprintln(screen, answers[0][1])
					answers = answers[1:]
				}
			}
			if err != nil {
				return
			}
		}
	})
	var out bytes.Buffer
	err = Run(t.Context(), Options{Args: args, Environ: environ, Stdin: terminal, Stdout: &out, Stderr: terminal})
	terminal.Close() // the read of the screen then fails
	user.Wait()
	if len(answers) > 0 {
		t.Errorf("refreshd %q did not ask %q; it shows\n%s", args, answers[0][0], all.String())
	}
	return strings.ReplaceAll(all.String(), "\r\n", "\n"), out.String(), err
}

// Only the word yes deletes, and the user first sees what.
func TestAPruneIsConfirmedOnATerminal(t *testing.T) {
	environ := environment(t, newSQLite(t))
	ran(t, environ, "apply", "-f", fileWith(t, movedFile))
	before := ran(t, environ, "export").stdout
	apply := []string{"apply", "-f", fileWith(t, "tenants: [{id: hooli}]"), "--prune"}
	for _, answer := range []string{"", "no", "y", "YES"} {
		_, _, err := onATerminal(t, environ, apply, [2]string{"Type yes", answer})
		wantSays(t, "after "+answer, err, "not confirmed: nothing was changed")
		if now := ran(t, environ, "export").stdout; now != before {
			t.Fatalf("after %q the store has\n%s", answer, now)
		}
	}
	shown, stdout, err := onATerminal(t, environ, apply, [2]string{"Type yes", "yes"})
	list, _, _ := strings.Cut(shown, "Type yes")
	for _, line := range []string{
		"API key      backend", "tenant       acme\n", "tenant       globex\n", "active sessions that end: 0", "WARNING",
	} {
		if !strings.Contains(list, line) {
			t.Errorf("before the question it shows\n%s, want %q in it", list, line)
		}
	}
	if err != nil || !strings.Contains(stdout, "1 created, 0 updated, 0 unchanged, 3 deleted\n") {
		t.Errorf("%s, %v", stdout, err)
	}
}

// A passphrase is typed twice for an export and once to open it, and is not shown.
func TestAPassphraseIsTypedOnATerminal(t *testing.T) {
	environ := environment(t, newSQLite(t))
	ran(t, environ, "apply", "-f", fileWith(t, movedFile))
	file := filepath.Join(t.TempDir(), "export.yaml")
	export := []string{"export", "--with-keys", "-o", file}
	const passphrase, first, again = "correct horse battery", "Passphrase of the keys: ", "The passphrase again: "
	_, _, err := onATerminal(t, environ, export, [2]string{first, passphrase}, [2]string{again, passphrase + "x"})
	wantSays(t, "two that differ", err, "differ")
	_, _, err = onATerminal(t, environ, export, [2]string{first, "short"})
	wantSays(t, "a short one", err, "less than 12 bytes")
	if _, err := os.Stat(file); err == nil {
		t.Error("a refused export wrote its file")
	}
	shown, _, err := onATerminal(t, environ, export, [2]string{first, passphrase}, [2]string{again, passphrase})
	if err != nil || strings.Contains(shown, passphrase) {
		t.Errorf("%v; it shows\n%s", err, shown)
	}
	diff := []string{"diff", "-f", file}
	shown, stdout, err := onATerminal(t, environ, diff, [2]string{first, passphrase})
	if err != nil || strings.Contains(shown, passphrase) || !strings.Contains(stdout, "5 unchanged") {
		t.Errorf("%v; it shows\n%s%s", err, shown, stdout)
	}
}
