package e2e_test

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// openTerminal gives a terminal and what is shown on it.
func openTerminal(t *testing.T) (terminal *os.File, shown func() string) {
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

func TestTheFirstRunShowsTheKeyOnATerminalAndNowhereElse(t *testing.T) {
	d := newDatabase(t, sqlite)
	terminal, shown := openTerminal(t)
	s := &service{t: t, database: d}
	s.cmd, s.stdout, s.log = command(t, d, settings{}, "serve")
	s.cmd.Stdout = terminal
	s.launch()
	t.Cleanup(s.Stop)
	s.await("showing commands", func() bool { return strings.Contains(shown(), "refreshToken=$CURRENT") })
	key := keyShown.FindString(shown())
	if key == "" {
		t.Fatal("the API key is not shown on a terminal")
	}
	remember("API key", key)
	if found := files(t, d.dir); found["/data/first-api-key"] != "" {
		t.Errorf("a key that was shown is in a file, too: %v", found)
	}
	tryCommands(t, shown()+"\n")
}
