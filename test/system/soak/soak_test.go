package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/refreshd/refreshd/test/support/postgres"
	"github.com/refreshd/refreshd/test/support/rig"
	"github.com/refreshd/refreshd/test/support/short"
)

const (
	// moment is the length of the plan: as many requests are made as belong to it, however long they take.
	moment = 4 * time.Second
	// stuck is when the test gives up. Nothing is judged by it.
	stuck = 20 * time.Minute
)

// newMoment returns a run of so many requests, and of more until everything has happened that the test checks.
func newMoment(engine string) *soak {
	s := newSoak(newPlan(moment), engine, "", 7, 150)
	s.counted = &counted{turns: make(chan struct{}), enough: func() bool {
		s.tally.mu.Lock()
		defer s.tally.mu.Unlock()
		o := s.tally.outcomes
		return s.tally.calls["issue"] >= 100 && o["rotated"] >= 100 && o["retried"] >= 1 && o["revoked"] >= 1
	}}
	return s
}

func runMoment(t *testing.T, s *soak) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), stuck, errors.New("the machine is stuck"))
	defer cancel()
	if err := s.run(ctx, progress{t}); err != nil {
		t.Fatal(err, context.Cause(ctx))
	}
}

// A soak of some seconds has everything that half an hour has, except expiry and purging: the driver has to work, and
// the service has to pass.
func TestSoakOfAMoment(t *testing.T) {
	t.Parallel()
	program, err := rig.Build(t.Context(), t.TempDir(), rig.BuildOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, engine := range []string{"postgres", "sqlite"} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			if engine == "postgres" {
				postgres.LeaveOut(t)
			}
			s := newMoment(engine)
			s.program = program
			runMoment(t, s)
			text, _ := s.report() // a trend of seconds is none
			if s.faults.sum() > 0 {
				t.Error(text)
			}
			if s.stopped < 3 || s.killed < 3 || len(s.comparisons) < 6 || len(s.windows) < 25 {
				t.Errorf("too little happened: stopped %d, killed %d, compared %d times, %d windows", s.stopped, s.killed,
					len(s.comparisons), len(s.windows))
			}
			last := s.comparisons[len(s.comparisons)-1]
			live := last.storeLive - last.modelLive
			issued := s.tally.calls["issue"]
			if last.rows+s.purged != issued || last.rows != last.sessions || live < 0 || live > last.undecided {
				t.Errorf("in the end got %+v, after %d issues, %d of them purged", last, issued, s.purged)
			}
			compared := 0
			for _, c := range s.comparisons {
				compared += c.generations
			}
			if compared < 50 || s.listed < 50 || s.exchanged+s.stale < 100 {
				t.Errorf("too little was checked: %d generations, %d lists, %d active and %d ended tokens",
					compared, s.listed, s.exchanged, s.stale)
			}
		})
	}
}

// A soak that passes for any service would prove nothing. This service leaks a goroutine at each exchange, and ignores
// revocations of an application.
func TestSoakFindsABadService(t *testing.T) {
	short.LeaveOut(t, "half a minute")
	t.Parallel()
	s := newMoment("sqlite")
	bad, err := rig.Build(t.Context(), t.TempDir(), rig.BuildOptions{Name: "refreshd-bad", Changes: []rig.Change{
		{File: "usecase/exchange.go", From: "	fits, err := x.fits(ctx, presented, in.AccessToken)\n",
			To: "	go func() { select {} }()\n	fits, err := x.fits(ctx, presented, in.AccessToken)\n"},
		{File: "usecase/revoke.go", From: "		_, err = r.Revocations.RevokeScope(",
			To: "		if selector.Scope.ApplicationID != \"\" {\n" +
				"			return Revoked{Selector: selector, At: at}, nil\n		}\n		_, err = r.Revocations.RevokeScope("},
	}})
	if err != nil {
		t.Fatal(err)
	}
	s.program = bad
	runMoment(t, s)
	text, err := s.report()
	if err == nil || !strings.Contains(err.Error(), "goroutines grows") {
		t.Errorf("got %v and\n%s\nwant that goroutines grow", err, text)
	}
	for _, kind := range []string{answeredOff, wrongStore} {
		if s.faults.counts[kind] == 0 {
			t.Errorf("%q was not found:\n%s", kind, text)
		}
	}
}

func TestEngineHasToBeKnown(t *testing.T) {
	if _, err := openStore(t.Context(), "oracle", t.TempDir()); err == nil || !strings.Contains(err.Error(), `"oracle"`) {
		t.Errorf("got %v, want an error that names it", err)
	}
}

// progress is a test's log.
type progress struct{ t *testing.T }

func (p progress) Write(line []byte) (int, error) {
	p.t.Log(strings.TrimSpace(string(line)))
	return len(line), nil
}
