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
	return path, buildChanged(path, "cmd/refreshd/wire.go", func(text string) string {
		const clock = "clock: time.Now,\n"
		if strings.Count(text, clock) != 1 {
			return text
		}
		return strings.Replace(text, clock, "clock: testClock,\n", 1) + clockSource
	})
})

// clock is what services with it take for the time.
type clock struct {
	t    *testing.T
	file string
}

// newClock returns a clock that is ahead of the true time, and has s run a program that reads it.
func newClock(t *testing.T, s *settings, ahead time.Duration) clock {
	t.Helper()
	path, err := clocked()
	if err != nil {
		t.Fatal(err)
	}
	c := clock{t, filepath.Join(t.TempDir(), "clock")}
	c.set(0, ahead)
	s.program, s.env = path, append(s.env, "E2E_CLOCK="+c.file)
	return c
}

// stop has the clock stand at an instant.
func (c clock) stop(at time.Time) { c.set(at.UnixMicro(), 0) }

func (c clock) set(at int64, ahead time.Duration) {
	c.t.Helper()
	next := c.file + ".next"
	if err := os.WriteFile(next, fmt.Appendf(nil, "%d %d\n", at, ahead.Microseconds()), 0o600); err != nil {
		c.t.Fatal(err)
	}
	if err := os.Rename(next, c.file); err != nil {
		c.t.Fatal(err)
	}
}
