package main

import (
	"strings"
	"testing"
	"time"

	"github.com/refreshd/refreshd/test/rig"
)

// A soak of some seconds, with everything in it that half an hour has but expiry and purging: the driver itself has to work, and
// what it drives has to bear it.
func TestSoakOfAMoment(t *testing.T) {
	program, err := rig.Build(t.Context(), t.TempDir(), rig.BuildOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, engine := range []string{"postgres", "sqlite"} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			s := newSoak(newPlan(6*time.Second), engine, "", 7, 150)
			s.program = program
			if err := s.run(t.Context(), progress{t}); err != nil {
				t.Fatal(err)
			}
			text, _ := s.report() // a trend of seconds is none
			if s.faults.sum() > 0 {
				t.Error(text)
			}
			if s.stopped < 3 || s.killed < 3 || len(s.comparisons) < 6 || len(s.windows) < 25 {
				t.Errorf("too little happened: stopped %d, killed %d, compared %d times, %d windows", s.stopped, s.killed, len(s.comparisons), len(s.windows))
			}
			last := s.comparisons[len(s.comparisons)-1]
			if last.rows < 100 || last.rows != s.tally.calls["issue"] || last.rows != last.sessions || last.storeLive != last.modelLive || last.generations < 50 {
				t.Errorf("in the end got %+v, after %d issues", last, s.tally.calls["issue"])
			}
			for _, outcome := range []string{"rotated", "retried", "revoked"} {
				if s.tally.outcomes[outcome] == 0 {
					t.Errorf("no exchange was %s", outcome)
				}
			}
		})
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
