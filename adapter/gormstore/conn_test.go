package gormstore_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/refreshd/refreshd/adapter/gormstore"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/test/storagetest"
	"github.com/refreshd/refreshd/test/support/postgres"
)

// fill opens all connections of the pool, and returns the server's processes behind them.
func fill(t *testing.T, s *gormstore.Store, admin *sql.DB) []int {
	t.Helper()
	var held []*sql.Conn
	for range s.Stats().MaxOpenConnections {
		held = append(held, must(s.Pool().Conn(t.Context()))(t))
	}
	for _, c := range held {
		c.Close()
	}
	return processes(t, admin)
}

// processes returns the server's processes that serve connections of a store.
func processes(t *testing.T, admin *sql.DB) (pids []int) {
	t.Helper()
	rows := must(admin.QueryContext(t.Context(), `SELECT pid FROM pg_stat_activity
		WHERE application_name = 'refreshd' AND datname = current_database()`))(t)
	defer rows.Close()
	for rows.Next() {
		var pid int
		if err := rows.Scan(&pid); err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(pids)
	return pids
}

// A client that hangs up costs the others nothing. The pool is full, so a connection is opened only after one was lost.
func TestPostgresACallerThatLeavesCostsNoConnection(t *testing.T) {
	t.Parallel()
	const size = 8
	d := onPostgres(t)
	s := d.migrated(t, gormstore.Options{MaxConnections: size})
	shop(t, s)
	admin := d.raw(t)
	tokens := issue(t, s, 4)
	token := tokens[0]
	before := fill(t, s, admin)
	if len(before) != size {
		t.Fatalf("%d connections, want %d", len(before), size)
	}
	check := func(t *testing.T) {
		t.Helper()
		if err := s.Ready(t.Context()); err != nil {
			t.Errorf("ready afterwards: %v", err)
		}
		if diff := cmp.Diff(before, processes(t, admin)); diff != "" {
			t.Errorf("the server's processes have changed (-before +after):\n%s", diff)
		}
	}
	calls := map[string]func(context.Context) error{
		"ready": s.Ready,
		"list": func(ctx context.Context) error {
			return second(s.List(ctx, port.ListQuery{
				TenantID: "acme", UserID: "u", State: domain.ActiveSessions,
				Limit: 10, MaxBytes: 1 << 20, MaxRows: 5000, Now: start,
			}))
		},
		"key set":    func(ctx context.Context) error { return second(s.KeysOfTenant(ctx, "acme")) },
		"API key":    func(ctx context.Context) error { return second(s.APIKeyByHash(ctx, "hash")) },
		"snapshot":   func(ctx context.Context) error { return second(s.Snapshot(ctx, token.ID)) },
		"policy":     func(ctx context.Context) error { return second(s.Policy(ctx, "acme", "shop")) },
		"statistics": func(ctx context.Context) error { return second(s.TableStatistics(ctx)) },
		"exchange": func(ctx context.Context) error {
			t := tokens[rand.N(len(tokens))]
			_, _, err := s.Advance(ctx, t.ID, domain.Call{Generation: 1, Now: start.Add(time.Minute)})
			return err
		},
		"revoke a user": func(ctx context.Context) error {
			return second(s.RevokeScope(ctx, ofUser, domain.ID{}, port.Revocation{At: start}, storagetest.NewEvent()))
		},
		"save": func(ctx context.Context) error { return storagetest.SaveTenant(ctx, s, domain.Tenant{ID: "acme"}) },
	}
	t.Run("at any moment", func(t *testing.T) {
		var group sync.WaitGroup
		for name, call := range calls {
			group.Go(func() {
				for range 200 {
					ctx, cancel := context.WithTimeout(t.Context(), rand.N(1500*time.Microsecond))
					if err := call(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, domain.ErrNotFound) &&
						!errors.Is(err, domain.ErrConflict) {
						t.Errorf("%s: %v", name, err)
					}
					cancel()
				}
			})
		}
		group.Wait()
		check(t)
	})
	t.Run("while they wait for a row", func(t *testing.T) {
		holder := must(admin.BeginTx(t.Context(), nil))(t)
		defer holder.Rollback()
		for _, statement := range []string{
			`UPDATE tenants SET epoch = epoch`, `UPDATE refresh_tokens SET ordinal = ordinal`,
		} {
			if _, err := holder.ExecContext(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
		var group sync.WaitGroup
		for _, name := range []string{"exchange", "revoke a user", "save"} {
			group.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
				defer cancel()
				if err := calls[name](ctx); err == nil {
					t.Errorf("%s: done, although its row was held", name)
				}
			})
		}
		group.Wait()
		check(t)
	})
}

var ofUser = domain.Scope{TenantID: "acme", UserID: "u"}

func second[T any](_ T, err error) error { return err }

// In SQLite one connection writes, and opening it again delays all callers. A setting that only this test makes shows
// which connections are still the old ones.
func TestSQLiteACallerThatLeavesCostsNoConnection(t *testing.T) {
	t.Parallel()
	const mine = -12345
	d := onSQLite(t)
	s := d.migrated(t, gormstore.Options{MaxConnections: 2})
	shop(t, s)
	token := issue(t, s, 1)[0]
	pools := []*sql.DB{s.Pool(), must(s.Readers())(t)}
	// each calls f with every connection of the pool.
	each := func(pool *sql.DB, f func(*sql.Conn)) {
		var held []*sql.Conn
		for range pool.Stats().MaxOpenConnections {
			held = append(held, must(pool.Conn(t.Context()))(t))
		}
		for _, c := range held {
			f(c)
			c.Close()
		}
	}
	for _, pool := range pools {
		each(pool, func(c *sql.Conn) {
			must(c.ExecContext(t.Context(), fmt.Sprintf(`PRAGMA cache_size = %d`, mine)))(t)
		})
	}

	for range 500 {
		ctx, cancel := context.WithTimeout(t.Context(), rand.N(500*time.Microsecond))
		_ = storagetest.SaveTenant(ctx, s, domain.Tenant{ID: "acme"})
		_, _ = s.Snapshot(ctx, token.ID)
		_ = second(s.RevokeScope(ctx, ofUser, domain.ID{}, port.Revocation{At: start}, storagetest.NewEvent()))
		cancel()
	}
	// While another process writes, a caller's context ends.
	holder := must(d.raw(t).Conn(t.Context()))(t)
	defer holder.Close()
	must(holder.ExecContext(t.Context(), `BEGIN IMMEDIATE`))(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	ended := make(chan error, 1)
	time.AfterFunc(200*time.Millisecond, func() {
		ended <- second(holder.ExecContext(context.Background(), `ROLLBACK`))
	})
	if err := storagetest.SaveTenant(ctx, s, domain.Tenant{ID: "acme"}); err == nil {
		t.Error("saved while another process was writing")
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}

	for i, pool := range pools {
		each(pool, func(c *sql.Conn) {
			var got int
			if err := c.QueryRowContext(t.Context(), `PRAGMA cache_size`).Scan(&got); err != nil || got != mine {
				t.Errorf("pool %d: a connection is another one: cache_size is %d, %v; want %d", i, got, err, mine)
			}
		})
	}
	rotate(t, s, token)
}

// A stopped server acknowledges what it receives, and sends nothing. A call that waits for it has to end, even in the
// middle of its rows. It costs one connection for that time, not the service.
func TestPostgresAStatementEndsWhereItsServerHasStopped(t *testing.T) {
	t.Parallel()
	postgres.LeaveOut(t)
	server := must(postgres.StartServer(t.Context(), postgres.Options{Own: true}))(t)
	t.Cleanup(func() { server.Stop() })
	dsn := must(server.NewDatabase(t.Context()))(t)
	s := must(gormstore.OpenPostgres(t.Context(), domain.NewSecret(dsn), gormstore.Options{MaxConnections: 2}))(t)
	defer s.Close()
	if err := s.Migrate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	admin := closing(t, stdlib.OpenDB(*must(pgx.ParseConfig(dsn))(t)))
	pids := fill(t, s, admin)

	begin := time.Now()
	rows := must(s.Pool().QueryContext(t.Context(), `SELECT repeat('x', 1000) FROM generate_series(1, 100000)`))(t)
	defer rows.Close()
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		defer syscall.Kill(pid, syscall.SIGCONT)
	}
	var group sync.WaitGroup
	group.Go(func() {
		for rows.Next() {
		}
		if err := rows.Err(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("rows of a server that has stopped: got %v, want that their time is over", err)
		}
	})
	group.Go(func() {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := second(s.KeysOfTenant(ctx, "acme")); err == nil {
			t.Error("a server that has stopped has answered")
		}
	})
	group.Wait()
	// The deadline is the promise; a minute more allows for a busy machine.
	if took := time.Since(begin); took > gormstore.StatementDeadline+time.Minute {
		t.Errorf("ended after %s, want %s", took, gormstore.StatementDeadline)
	}
	// The server itself continues, so new connections serve.
	if err := s.Ready(t.Context()); err != nil {
		t.Errorf("ready: %v", err)
	}
	if got := processes(t, admin); len(got) == 0 || fmt.Sprint(got) == fmt.Sprint(pids) {
		t.Errorf("processes %v before, %v after; want others", pids, got)
	}
}
