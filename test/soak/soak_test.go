package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/refreshd/refreshd/test/rig"
)

const moment = 4 * time.Second

// A soak of some seconds, with everything in it that half an hour has but expiry and purging: the driver itself has to work, and
// what it drives has to bear it.
func TestSoakOfAMoment(t *testing.T) {
	t.Parallel()
	program, err := rig.Build(t.Context(), t.TempDir(), rig.BuildOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, engine := range []string{"postgres", "sqlite"} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			s := newSoak(newPlan(moment), engine, "", 7, 150)
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

// mutant is the program with texts replaced in files of it; each has to be there once.
func mutant(t *testing.T, name string, replaced map[string][2]string) rig.Program {
	t.Helper()
	dir := t.TempDir()
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for file, texts := range replaced {
		path, err := filepath.Abs(filepath.Join("../..", file))
		if err != nil {
			t.Fatal(err)
		}
		source, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Count(string(source), texts[0]) != 1 {
			t.Fatalf("%s does not hold %q once: what the mutant changes has moved", file, texts[0])
		}
		overlay.Replace[path] = filepath.Join(dir, strings.ReplaceAll(file, "/", "_"))
		if err := os.WriteFile(overlay.Replace[path], []byte(strings.Replace(string(source), texts[0], texts[1], 1)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := rig.Build(t.Context(), dir, rig.BuildOptions{Name: name, Overlay: filepath.Join(dir, "overlay.json")})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A soak that passes whatever it drives would prove nothing: this service forgets a goroutine with each exchange, and every
// revocation of an application.
func TestSoakFindsABadService(t *testing.T) {
	t.Parallel()
	s := newSoak(newPlan(moment), "sqlite", "", 7, 150)
	s.program = mutant(t, "refreshd-bad", map[string][2]string{
		"usecase/exchange.go": {"	presented, genuine, err := x.present(ctx, in)\n",
			"	go func() { select {} }()\n	presented, genuine, err := x.present(ctx, in)\n"},
		"usecase/revoke.go": {"		_, err = r.Revocations.RevokeScope(",
			"		if selector.Scope.ApplicationID != \"\" {\n			return Revoked{Selector: selector, At: at}, nil\n		}\n		_, err = r.Revocations.RevokeScope("},
	})
	if err := s.run(t.Context(), progress{t}); err != nil {
		t.Fatal(err)
	}
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
