package gormstore_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/refreshd/refreshd/adapter/gormstore"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/test/storagetest"
)

// A locked row takes one connection, however many calls wait for it; the others of the pool serve everyone else. Calls
// that wait behind another one fail with it if the row stays locked: one after another they would wait for minutes.
func TestPostgresAHeldRowTakesOneConnection(t *testing.T) {
	t.Parallel()
	const callers = 40
	id := must(domain.NewID(start, rand.Reader))(t)
	revocation := port.Revocation{At: start}
	type call = func(context.Context, *gormstore.Store, domain.RefreshToken) error
	advance := func(ctx context.Context, s *gormstore.Store, token domain.RefreshToken) error {
		_, _, err := s.Advance(ctx, token.ID, domain.Call{Generation: 1, Now: start.Add(time.Minute)})
		return err
	}
	const (
		tenant = `UPDATE tenants SET epoch = epoch`
		token  = `UPDATE refresh_tokens SET ordinal = ordinal`
	)
	for name, tc := range map[string]struct {
		hold     string
		oneByOne bool
		call     call
	}{
		"revoke a scope": {tenant, false, func(ctx context.Context, s *gormstore.Store, t domain.RefreshToken) error {
			return second(s.RevokeScope(ctx, domain.Scope{TenantID: "acme", UserID: t.UserID},
				domain.ID{}, revocation, storagetest.NewEvent()))
		}},
		"revoke all but one": {tenant, false, func(ctx context.Context, s *gormstore.Store, t domain.RefreshToken) error {
			return second(s.RevokeScope(ctx, domain.Scope{TenantID: "acme"}, t.ID, revocation, storagetest.NewEvent()))
		}},
		"revoke, in turns with others of the tenant": {tenant, false, func() call {
			var n atomic.Int64
			return func(ctx context.Context, s *gormstore.Store, t domain.RefreshToken) error {
				switch n.Add(1) % 6 {
				case 0:
					return storagetest.DeleteTenant(ctx, s, "acme", start)
				case 1:
					return storagetest.DeleteApplication(ctx, s, "acme", "shop", start)
				case 2:
					return storagetest.SaveTenant(ctx, s, domain.Tenant{ID: "acme"})
				case 3:
					return storagetest.SaveApplication(ctx, s, domain.Application{TenantID: "acme", ID: "shop"})
				case 4:
					return storagetest.SaveAPIKey(ctx, s, domain.APIKey{Name: "k", TenantID: "acme", Hash: "h"})
				default:
					return second(s.RevokeScope(ctx, domain.Scope{TenantID: "acme"},
						domain.ID{}, revocation, storagetest.NewEvent()))
				}
			}
		}()},
		"revoke one": {token, false, func(ctx context.Context, s *gormstore.Store, t domain.RefreshToken) error {
			return s.Revoke(ctx, "acme", t.ID, revocation, storagetest.NewEvent())
		}},
		"swap": {token, false, func(ctx context.Context, s *gormstore.Store, t domain.RefreshToken) error {
			return s.Swap(ctx, t, t, start, storagetest.NewEvent())
		}},
		"exchange":             {token, false, advance},
		"exchange, one by one": {token, true, advance},
		"keep the newest": {token, false, func(ctx context.Context, s *gormstore.Store, t domain.RefreshToken) error {
			scope := domain.Scope{TenantID: "acme", ApplicationID: "shop", UserID: t.UserID}
			return s.KeepNewest(ctx, scope, 1, revocation, storagetest.NewEvent())
		}},
		"issue": {fmt.Sprintf(`INSERT INTO refresh_tokens SELECT (r).* FROM (SELECT jsonb_populate_record(t,
			jsonb_build_object('id', '\x%x')) AS r FROM refresh_tokens AS t LIMIT 1) AS one`, id[:]), false,
			func(ctx context.Context, s *gormstore.Store, t domain.RefreshToken) error {
				t.ID = id
				return second(s.Insert(ctx, t))
			}},
		"add and reseal keys": {`UPDATE key_ring SET revision = revision`, false, func() call {
			var n atomic.Int64
			return func(ctx context.Context, s *gormstore.Store, _ domain.RefreshToken) error {
				key := domain.SealedKey{Kind: domain.KeyToken, Number: uint32(n.Add(1)), CreatedAt: start, Sealed: "sealed"}
				if key.Number%2 == 1 {
					return s.AddKeys(ctx, storagetest.NewEvent(), key)
				}
				if err := s.Reseal(ctx, key, "again", ""); !errors.Is(err, domain.ErrConflict) {
					return err
				}
				return nil // the key does not exist
			}
		}()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := onPostgres(t)
			s := d.migrated(t, gormstore.Options{MaxConnections: 8, OneByOne: tc.oneByOne})
			shop(t, s)
			one := issue(t, s, 1)[0]
			must(s.Insert(t.Context(), newToken(t, one.UserID)))(t) // for a limit of 1 to revoke
			admin := d.raw(t)
			fill(t, s, admin)
			holder := must(admin.BeginTx(t.Context(), nil))(t)
			defer holder.Rollback()
			must(holder.ExecContext(t.Context(), tc.hold))(t)

			var (
				group  sync.WaitGroup
				ended  atomic.Int64
				begin  = make(chan struct{})
				longer = t.Context()
			)
			for range callers {
				group.Go(func() {
					<-begin
					if err := tc.call(longer, s, one); err == nil || !strings.Contains(err.Error(), "55P03") {
						t.Errorf("got %v, want that the lock time-out ended it", err)
					}
					ended.Add(1)
				})
			}
			close(begin)
			most := 0
			for ended.Load() < callers {
				var waiting int
				if err := admin.QueryRowContext(t.Context(), `SELECT count(*) FROM pg_stat_activity
					WHERE datname = current_database() AND application_name = 'refreshd' AND wait_event_type = 'Lock'`,
				).Scan(&waiting); err != nil {
					t.Fatal(err)
				}
				most = max(most, waiting)
				if err := second(s.Policy(t.Context(), "acme", "shop")); err != nil {
					t.Errorf("a call beside them: %v", err)
				}
			}
			group.Wait()
			if most != 1 {
				t.Errorf("%d connections waited for the row, want 1", most)
			}
			if err := holder.Rollback(); err != nil {
				t.Fatal(err)
			}
			if err := tc.call(t.Context(), s, one); err != nil {
				t.Errorf("once the row is free: %v", err)
			}
			if n := s.TurnsRunning(); n != 0 {
				t.Errorf("%d turns are still taken", n)
			}
		})
	}
}

// A revocation whose tenant is locked ends within the time of a call: it does not wait five times.
func TestPostgresARevocationWaitsOnceForItsTenant(t *testing.T) {
	t.Parallel()
	var j journal
	d := onPostgres(t)
	s := d.migrated(t, gormstore.Options{Logger: j.logger()})
	shop(t, s)
	holder := must(d.raw(t).BeginTx(t.Context(), nil))(t)
	defer holder.Rollback()
	must(holder.ExecContext(t.Context(), `UPDATE tenants SET epoch = epoch`))(t)
	for name, call := range map[string]func() error{
		"revoke": func() error {
			scope := domain.Scope{TenantID: "acme"}
			return second(s.RevokeScope(t.Context(), scope, domain.ID{},
				port.Revocation{At: start}, storagetest.NewEvent()))
		},
		"delete": func() error { return storagetest.DeleteTenant(t.Context(), s, "acme", start) },
	} {
		j.statements(t)
		if err := call(); err == nil || !strings.Contains(err.Error(), "55P03") {
			t.Errorf("%s: got %v, want that the lock time-out ended it", name, err)
		}
		n := 0
		for _, text := range j.statements(t) {
			n += strings.Count(text, "UPDATE tenants")
		}
		if n != 1 {
			t.Errorf("%s: waited %d times, want once", name, n)
		}
	}
}

// errLockTimeOut is the error of a statement whose wait for a row timed out.
var errLockTimeOut = fmt.Errorf("statement: %w", &pgconn.PgError{Code: "55P03"})

// If a call's wait times out, the calls behind it fail that have waited half of its time. One that arrived a moment
// before has a wait of its own, and those behind it continue to wait.
func TestACallThatHasJustComeHasATurnOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var turns gormstore.Turns
		if err := turns.Take(t.Context(), "acme"); err != nil {
			t.Fatal(err)
		}
		take := func() <-chan error {
			got := make(chan error, 1)
			go func() { got <- turns.Take(t.Context(), "acme") }()
			synctest.Wait()
			return got
		}
		want := func(name string, got <-chan error, want error) {
			t.Helper()
			synctest.Wait()
			select {
			case err := <-got:
				if !errors.Is(err, want) {
					t.Errorf("%s: got %v, want %v", name, err, want)
				}
			default:
				t.Errorf("%s still waits", name)
			}
		}
		early := take()
		time.Sleep(500 * time.Millisecond)
		half := take()
		time.Sleep(490 * time.Millisecond)
		late, last := take(), take()
		time.Sleep(10 * time.Millisecond)
		turns.Pass("acme", errLockTimeOut)
		want("one that came with it", early, errLockTimeOut)
		want("one that came half-way", half, errLockTimeOut)
		want("one that came late", late, nil)
		select {
		case err := <-last:
			t.Errorf("the last one does not wait for its turn: %v", err)
		default:
		}
		time.Sleep(time.Second)
		turns.Pass("acme", errLockTimeOut)
		want("the last one", last, errLockTimeOut)
		if n := turns.Running(); n != 0 {
			t.Errorf("%d turns are still taken", n)
		}
	})
}

// A caller that leaves while it waits for its turn does not take another turn along, even if it gets the turn at that
// moment.
func TestATurnIsNotLostWithACallerThatLeaves(t *testing.T) {
	var turns gormstore.Turns
	var inside atomic.Int64
	var group sync.WaitGroup
	for n := range 2000 {
		group.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(n%50)*20*time.Microsecond)
			defer cancel()
			if n%10 == 0 {
				ctx = t.Context()
			}
			if err := turns.Take(ctx, "acme"); err != nil {
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
				return
			}
			if inside.Add(1) != 1 {
				t.Error("two have their turn")
			}
			inside.Add(-1)
			turns.Pass("acme", nil)
		})
	}
	group.Wait()
	if n := turns.Running(); n != 0 {
		t.Errorf("%d turns are still taken", n)
	}
}

// A call whose context was done before it reached the store is not the database's fault, and its error says so.
func TestACallThatHadEndedBeforeIsNotBegun(t *testing.T) {
	t.Parallel()
	s := must(gormstore.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "a.db"), gormstore.Options{}))(t)
	defer s.Close()
	ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	_, err := s.APIKeyByHash(ctx, "h")
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "not started") {
		t.Errorf("error = %v, want it to say that nothing was begun", err)
	}
}
