package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// openTerminal returns a terminal, and what is shown on it.
func openTerminal(t *testing.T) (terminal *os.File, shown func() string) {
	t.Helper()
	terminal, screen := newTerminal(t)
	var (
		mu   sync.Mutex
		text strings.Builder
	)
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := screen.Read(b)
			mu.Lock()
			text.Write(b[:n])
			mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return terminal, func() string {
		mu.Lock()
		defer mu.Unlock()
		return strings.ReplaceAll(text.String(), "\r\n", "\n")
	}
}

// newTerminal returns a terminal, and the screen from which its output is read.
func newTerminal(t *testing.T) (terminal, screen *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { screen.Close() })
	if err := unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { terminal.Close() })
	return terminal, screen
}

// serveOnATerminal starts the service in d on a terminal, and returns its output once that contains word.
func serveOnATerminal(t *testing.T, d database, word string) (s *service, shown string) {
	t.Helper()
	terminal, screen := openTerminal(t)
	s = &service{t: t, database: d, settings: settings{under: func(cmd *exec.Cmd) { cmd.Stdout = terminal }}}
	s.run()
	t.Cleanup(s.Stop)
	s.await("saying "+word, func() bool { return strings.Contains(screen(), word) })
	return s, screen()
}

// A reader of README has a terminal, where README's statements have to hold.
func TestREADMEsTourWorksAfterAStartOnATerminal(t *testing.T) {
	d := newDatabase(t, sqlite)
	d.url = "sqlite:refreshd-data/refreshd.db" // the default
	s, shown := serveOnATerminal(t, d, "refreshToken=$CURRENT")
	if keyShown.MatchString(shown) {
		t.Error("the API key is shown: a terminal keeps what was on it")
	}
	key := leftOfAFirstRun(t, "on a terminal", filepath.Join(d.dir, "refreshd-data"), s)
	everything := call{method: "DELETE", path: "/jwt/refresh", body: `{"allInTenant": true}`}
	s.want(t, as(everything, key, "default"), http.StatusOK)
	tourShows(t, pasted(t, d.dir, readmesTour(t, s.URL())))
	tryCommands(t, shown+"\n")
	file := keyInFile.FindStringSubmatch(shown)[1]
	s.Stop()

	s, shown = serveOnATerminal(t, d, "/docs")
	if !strings.Contains(shown, file) || !strings.Contains(shown, s.URL()+"/docs") {
		t.Errorf("the second start does not say where the key and the documents are: %s", shown)
	}
	s.Stop()

	// The output does not refer to an invalid key.
	if got := runVerb(t, d, settings{}, "apply", "-f", kickstartFile(t, "apiKeys: [{name: first, key: "+newAPIKey()+
		", tenantId: default, permissions: {endpoints: {\"*\": [\"*\"]}}}]\n")); got.Status != 0 {
		t.Fatalf("apply: %s", got)
	}
	terminal, screen := openTerminal(t)
	s = &service{t: t, database: d, settings: settings{under: func(cmd *exec.Cmd) { cmd.Stdout = terminal }}}
	s.run()
	s.Stop()
	if got := screen(); strings.Contains(got, file) {
		t.Errorf("a file with a key that was replaced is pointed to: %s", got)
	}
}

// Closing the window of a service on trial ends it; and Ctrl-S must not stop it, nor keep it from stopping.
func TestOnATerminalSIGHUPStopsAndAFullScreenDoesNot(t *testing.T) {
	terminal, screen := newTerminal(t)
	s := startedBlind(t, func(s *service) { s.writeTo(terminal) })
	servesOn(t, s, true, syscall.SIGHUP)
	b := make([]byte, 4096)
	if n, err := screen.Read(b); err != nil || !strings.Contains(string(b[:n]), "acme") {
		t.Errorf("the screen shows %q, %v: the service wrote elsewhere", b[:n], err)
	}
}

// A wide revocation asks on a terminal for the id of what it is about. Anything else revokes nothing.
func TestAWideRevocationIsConfirmedOnATerminal(t *testing.T) {
	d := newDatabase(t, sqlite).migrated(t)
	s := start(t, d, settings{kickstart: administered})
	s.issue(t, "alice", "shop")
	for _, tt := range []struct {
		typed  string
		status int
		says   string
	}{
		{"y\n", 4, "not confirmed: nothing was done"},
		{"\n", 4, "not confirmed: nothing was done"},
		{"alice\n", 0, ""},
	} {
		terminal, screen := newTerminal(t)
		with := settings{noKickstart: true, under: func(cmd *exec.Cmd) { cmd.Stdin = terminal }}
		if _, err := screen.WriteString(tt.typed); err != nil {
			t.Fatal(err)
		}
		got := runVerb(t, d, with, "token", "revoke", "--tenant=acme", "--user=alice")
		question := "This revokes the refresh tokens of the user alice: 1 active refresh tokens.\nType alice to confirm: "
		if got.Status != tt.status || !strings.Contains(got.Stderr, question) || !strings.Contains(got.Stderr, tt.says) {
			t.Errorf("%q: %v, want status %d, and %q", tt.typed, got, tt.status, tt.says)
		}
	}
	left := runVerb(t, d, settings{noKickstart: true}, "token", "list", "--tenant=acme")
	if strings.Contains(left.Stdout, "alice") {
		t.Errorf("after the confirmation there is still %v", left)
	}
}
