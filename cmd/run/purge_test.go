package run

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/refreshd/refreshd/adapter/gormstore"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/test/storagetest"
	"github.com/refreshd/refreshd/usecase"
)

// steps is a janitor that returns these results, each after 400 ms.
type steps struct {
	does []port.Purged
	ends error
	// unrecorded is the error of the event, if it has one.
	unrecorded error
	now        time.Time
}

func (s *steps) clock() time.Time { return s.now }

func (s *steps) Purge(context.Context, port.PurgeStep) (port.Purged, error) {
	s.now = s.now.Add(400 * time.Millisecond)
	if len(s.does) == 0 {
		return port.Purged{}, s.ends
	}
	p := s.does[0]
	s.does = s.does[1:]
	return p, nil
}

func (s *steps) Lease(context.Context, port.JobLease) error { return nil }

func (s *steps) Release(context.Context, string, string) error { return nil }

func (s *steps) Events(context.Context, port.EventQuery) (port.EventPage, error) {
	return port.EventPage{}, nil
}

func (s *steps) Record(context.Context, domain.Event) error { return s.unrecorded }

func (s *steps) once(ctx context.Context) (told string, err error) {
	var out strings.Builder
	err = purgeOnce(ctx, &usecase.Purge{
		Janitor: s, Events: s, Jobs: s, Clock: s.clock, Random: rand.Reader,
		Pause: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
	}, &out, s.clock)
	return out.String(), err
}

func TestAPurgeTellsHowFarItIsEachSecondAndWhatItDid(t *testing.T) {
	some := port.Purged{LookedAt: 500, Deleted: 20}
	s := steps{does: []port.Purged{some, some, some, some, some, some, {Marks: 3}, {Tenants: 1, Done: true}}}
	got, err := s.once(t.Context())
	want := `looked at 1500 refresh tokens (1250 a second), deleted 60
looked at 3000 refresh tokens (1250 a second), deleted 120
the pass is complete: looked at 3000 refresh tokens and deleted 120, 3 marks, 1 tenants and 0 events in 3.2s
`
	if err != nil || got != want {
		t.Errorf("got %v and\n%s\nwant none and\n%s", err, got, want)
	}
}

func TestAPurgeThatEndsTooEarlySaysWhatToDo(t *testing.T) {
	cut, cancel := context.WithCancel(t.Context())
	cancel()
	for name, tt := range map[string]struct {
		ctx  context.Context
		s    steps
		says string
	}{
		"another's": {t.Context(), steps{ends: domain.ErrConflict},
			"another process is purging this database, or was killed less than 30s ago: try again"},
		"overtaken": {t.Context(), steps{does: []port.Purged{{LookedAt: 500, Deleted: 9}}, ends: domain.ErrConflict},
			"looked at 500 refresh tokens and deleted 9,"},
		"wrong clock": {t.Context(), steps{ends: &domain.ClockError{Ahead: 744 * time.Hour}},
			"the clock of this machine is 744h0m0s ahead of that of the database: synchronize both by NTP. " +
				"Until then nothing is purged"},
		"cut off": {cut, steps{does: []port.Purged{{LookedAt: 500}}},
			"looked at 500 refresh tokens and deleted 0, 0 marks, 0 tenants and 0 events in 400ms. The next one continues " +
				"from there"},
		"overtaken without an event": {t.Context(), steps{
			does: []port.Purged{{LookedAt: 500, Deleted: 9}}, ends: domain.ErrConflict, unrecorded: errors.New("disk full"),
		}, "the pass was not recorded as an event: it looked at 500 refresh tokens and deleted 9,"},
		"store down": {t.Context(), steps{ends: errors.New("no route to host")}, "no route to host"},
	} {
		got, err := tt.s.once(tt.ctx)
		if err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(got, "complete") {
			t.Errorf("%s: got %q and error %v, want one that says %q", name, got, err, tt.says)
		}
	}
}

func TestAPurgeWithoutADatabaseIsARefusal(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "refreshd.db")
	for url, says := range map[string]string{
		"memory:":           "REFRESHD_PURGE_INTERVAL",
		"sqlite:" + missing: "there is no database at " + missing,
	} {
		o := Options{
			Stdout: io.Discard, Stderr: io.Discard, Args: []string{"purge"},
			Environ: []string{"REFRESHD_DATABASE_URL=" + url},
		}
		if err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: error %v, want one that says %q", url, err, says)
		}
	}
	if found, err := filepath.Glob(missing + "*"); err != nil || len(found) > 0 {
		t.Errorf("it left %v", found)
	}
}

// A fact without a position is never purged. So where `refreshd purge` runs without a service, it stamps.
func TestAPurgeStampsWhatWasRevoked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "refreshd.db")
	open := func() *gormstore.Store {
		t.Helper()
		s, err := gormstore.OpenSQLite(t.Context(), path, gormstore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	facts := func(s *gormstore.Store) (stamped, all int) {
		t.Helper()
		if _, err := s.Revoked(t.Context(), port.FactQuery{}, func(f domain.Fact) {
			if all++; f.Position != 0 {
				stamped++
			}
		}); err != nil {
			t.Fatal(err)
		}
		return stamped, all
	}
	s := open()
	err := errors.Join(s.Migrate(t.Context(), nil),
		storagetest.SaveTenant(t.Context(), s, domain.Tenant{ID: "acme"}, domain.Application{TenantID: "acme", ID: "shop"}))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC().Truncate(time.Microsecond)
	const n = 1100 // more than a stamp takes
	for i := range n {
		token, err := s.Insert(t.Context(), domain.RefreshToken{
			ID: domain.ID{byte(i), byte(i >> 8), 1}, TenantID: "acme", ApplicationID: "shop", UserID: "ana",
			Generation: 1, IssuedAt: now, RotatedAt: now, LastUsedAt: now, ExpiresAt: now.Add(time.Hour),
		})
		if err != nil {
			t.Fatal(err)
		}
		r := port.Revocation{At: now, Reason: domain.RevokedByRequest}
		if err := s.Revoke(t.Context(), "acme", token.ID, r, storagetest.NewEvent()); err != nil {
			t.Fatal(err)
		}
	}
	if stamped, all := facts(s); stamped != 0 || all != n {
		t.Fatalf("got %d of %d facts with a position, want 0 of %d", stamped, all, n)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	o := Options{
		Stdout: io.Discard, Stderr: io.Discard, Args: []string{"purge"},
		Environ: []string{"REFRESHD_DATABASE_URL=sqlite:" + path},
	}
	if err := Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	s = open()
	defer s.Close()
	if stamped, all := facts(s); stamped != n || all != n {
		t.Errorf("got %d of %d facts with a position after a purge, want all of %d", stamped, all, n)
	}
}
