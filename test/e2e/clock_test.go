package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// clockSource goes into a program under test, and into no other: it replaces time.Now where the program is put
// together. The file that E2E_CLOCK names holds an instant at which the clock stands, or 0, and how far it is ahead;
// both in microseconds.
const clockSource = `
func testClock() time.Time {
	var at, ahead int64
	text, err := os.ReadFile(os.Getenv("E2E_CLOCK"))
	if err == nil {
		_, err = fmt.Sscanf(string(text), "%d %d", &at, &ahead)
	}
	if err != nil {
		panic(err)
	}
	if at == 0 {
		at = time.Now().UnixMicro()
	}
	return time.UnixMicro(at + ahead)
}
`

// clocked is the program with a clock that a test sets, built once.
var clocked = sync.OnceValues(func() (path string, err error) {
	path = filepath.Join(filepath.Dir(program), "clocked")
	return path, buildChanged(path, "cmd/run/wire.go", func(text string) string {
		const clock, imports = "clock: time.Now,\n", "import (\n"
		if strings.Count(text, clock) != 1 {
			return text
		}
		text = strings.Replace(text, imports, imports+"\t\"os\"\n", 1)
		return strings.Replace(text, clock, "clock: testClock,\n", 1) + clockSource
	})
})

// clock is what services with it take for the time.
type clock struct {
	t    *testing.T
	file string

	mu sync.Mutex
	at time.Time // where it stands; zero if it goes
}

// newClock returns a clock that is ahead of the true time, and has s run a program that reads it.
func newClock(t *testing.T, s *settings, ahead time.Duration) *clock {
	t.Helper()
	path, err := clocked()
	if err != nil {
		t.Fatal(err)
	}
	c := &clock{t: t, file: filepath.Join(t.TempDir(), "clock")}
	c.set(0, ahead)
	s.program, s.env = path, append(s.env, "E2E_CLOCK="+c.file)
	return c
}

// stop has the clock stand at an instant.
func (c *clock) stop(at time.Time) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = at
	c.set(at.UnixMicro(), 0)
}

// advance moves a clock that stands. What a test says of a grace period then holds on a machine that is busy, too: time
// does not pass while a request waits for a processor.
func (c *clock) advance(d time.Duration) { c.stop(c.now().Add(d)) }

// afterGrace moves it past the grace period of the applications quick and guarded.
func (c *clock) afterGrace() { c.advance(1100 * time.Millisecond) }

// now is where the clock stands.
func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

// startStopped starts a service whose clock stands until the test moves it.
func startStopped(t *testing.T, d database, s settings) (*service, *clock) {
	t.Helper()
	s.env = append(s.env, "REFRESHD_PURGE_INTERVAL=0s")
	c := newClock(t, &s, 0)
	v := start(t, d, s)
	c.stand()
	return v, c
}

// stand stops the clock, where the keys that a service made at its start sign.
func (c *clock) stand() { c.stop(time.Now().Truncate(time.Second).Add(2 * time.Second)) }

func (c *clock) set(at int64, ahead time.Duration) {
	c.t.Helper()
	next := c.file + ".next"
	if err := os.WriteFile(next, fmt.Appendf(nil, "%d %d\n", at, ahead.Microseconds()), 0o600); err != nil {
		c.t.Fatal(err)
	}
	if err := os.Rename(next, c.file); err != nil {
		c.t.Fatal(err)
	}
}
