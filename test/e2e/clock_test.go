package e2e_test

import (
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/refreshd/refreshd/test/support/rig"
)

// clocked is the program with a clock that a test sets. It is built once.
var clocked = sync.OnceValues(func() (rig.Program, error) {
	return build(binaries, rig.BuildOptions{Name: "clocked", Clock: true})
})

// clock is the time for the services that use it.
type clock struct {
	t    *testing.T
	file string

	mu sync.Mutex
	at time.Time // the time at which it is stopped; zero if it runs
}

// newClock returns a clock that is ahead of the real time, and makes s run a program that reads it.
func newClock(t *testing.T, s *settings, ahead time.Duration) *clock {
	t.Helper()
	p, err := clocked()
	if err != nil {
		t.Fatal(err)
	}
	c := &clock{t: t, file: filepath.Join(t.TempDir(), "clock")}
	c.set(rig.Ahead(ahead))
	s.program, s.env = p, append(s.env, rig.ClockFile(c.file))
	return c
}

// stop stops the clock at an instant.
func (c *clock) stop(at time.Time) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = at
	c.set(rig.Standing(at))
}

// advance moves a stopped clock. A test of a grace period then holds on a busy machine, too: no time passes while a
// request waits for a processor.
func (c *clock) advance(d time.Duration) { c.stop(c.now().Add(d)) }

// afterGrace moves it past the grace period of the applications quick and guarded.
func (c *clock) afterGrace() { c.advance(1100 * time.Millisecond) }

// now returns the time of the clock.
func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

// startStopped starts a service whose clock is stopped until the test moves it.
func startStopped(t *testing.T, d database, s settings) (*service, *clock) {
	t.Helper()
	s.env = append(s.env, "REFRESHD_PURGE_INTERVAL=0s")
	c := newClock(t, &s, 0)
	v := start(t, d, s)
	c.stand()
	return v, c
}

// stand stops the clock after the instant at which the keys that a service made at its start begin to sign.
func (c *clock) stand() { c.stop(time.Now().Truncate(time.Second).Add(2 * time.Second)) }

func (c *clock) set(to rig.Clock) {
	c.t.Helper()
	if err := to.Set(c.file); err != nil {
		c.t.Fatal(err)
	}
}
