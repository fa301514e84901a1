package gormstore_test

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/refreshd/refreshd/adapter/gormstore"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/test/storagetest"
	"github.com/refreshd/refreshd/test/support/postgres"
)

// events returns the pool's events in the log since the last call.
func (j *journal) events(t *testing.T) (events []string) {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	for d := json.NewDecoder(&j.text); d.More(); {
		var line struct{ Event string }
		if err := d.Decode(&line); err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(line.Event, "database.pool_") {
			events = append(events, line.Event)
		}
	}
	return events
}

// newRole creates a role that owns nothing, and returns it with its DSN.
func newRole(t *testing.T, dsn string) (role string, as domain.Secret, owner *sql.DB) {
	t.Helper()
	owner = closing(t, stdlib.OpenDB(*must(pgx.ParseConfig(dsn))(t)))
	u := must(url.Parse(dsn))(t)
	role = "role_" + strings.TrimPrefix(u.Path, "/")
	execute(t, owner, `CREATE ROLE `+role+` LOGIN PASSWORD 'of-a-test'`)
	t.Cleanup(func() {
		for _, statement := range []string{`DROP OWNED BY ` + role, `DROP ROLE ` + role} {
			if _, err := owner.Exec(statement); err != nil {
				t.Errorf("%s: %v", statement, err)
			}
		}
	})
	u.User = url.UserPassword(role, "of-a-test")
	return role, domain.NewSecret(u.String()), owner
}

// A role may be limited to few connections, and the service that is being upgraded holds some.
func TestPostgresAMigrationTakesThreeConnections(t *testing.T) {
	t.Parallel()
	role, as, owner := newRole(t, postgres.NewDatabase(t))
	execute(t, owner, `GRANT CREATE ON SCHEMA public TO `+role, `ALTER ROLE `+role+` CONNECTION LIMIT 3`)
	s := must(gormstore.OpenPostgres(t.Context(), as, gormstore.Options{MaxConnections: 16}))(t)
	defer s.Close()
	if err := s.Migrate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
}

// If the server has fewer slots than the pool, calls wait for the open connections, from the first call on. The pool
// remembers it, logs it once, and grows again once there are slots.
func TestPostgresAPoolThatCannotGrowWaitsForWhatThereIs(t *testing.T) {
	t.Parallel()
	const size, slots, callers, rounds = 16, 3, 12, 20
	dsn := postgres.NewDatabase(t)
	role, as, owner := newRole(t, dsn)
	execute(t, owner, `GRANT CREATE ON SCHEMA public TO `+role)
	var j journal
	s := must(gormstore.OpenPostgres(t.Context(), as, gormstore.Options{MaxConnections: size, Logger: j.logger()}))(t)
	defer s.Close()
	if err := s.Migrate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	shop(t, s)
	s.Remember(time.Hour, time.Hour)
	limit := func(n int) { execute(t, owner, fmt.Sprintf(`ALTER ROLE %s CONNECTION LIMIT %d`, role, n)) }
	call := domain.Call{Generation: 1, Now: start.Add(time.Minute)}
	load := func() {
		t.Helper()
		var group sync.WaitGroup
		for n := range callers {
			group.Go(func() {
				for i := range rounds {
					token, err := s.Insert(t.Context(), newToken(t, fmt.Sprintf("user %d %d", n, i)))
					if err == nil {
						_, _, err = s.Advance(t.Context(), token.ID, call)
					}
					err = errors.Join(err, s.Revoke(t.Context(), "acme", token.ID,
						port.Revocation{At: start}, storagetest.NewEvent()),
						second(s.RevokeScope(t.Context(), domain.Scope{TenantID: "acme", UserID: token.UserID}, domain.ID{},
							port.Revocation{At: start}, storagetest.NewEvent())), s.Ready(t.Context()))
					if err != nil {
						t.Errorf("a call failed that had only to wait: %v", err)
						return
					}
				}
			})
		}
		group.Wait()
	}
	limit(slots)
	load()
	if got := s.Stats().MaxOpenConnections; got < 1 || got > slots {
		t.Errorf("the pool may open %d connections, want %d at most", got, slots)
	}
	if got := j.events(t); !slices.Equal(got, []string{"database.pool_limited"}) {
		t.Errorf("the log has %q, want that the pool is limited, once", got)
	}

	// When the timer fires, the limit still holds: that delays no call, and is not logged again.
	s.Remember(time.Hour, time.Millisecond)
	s.Grow()
	load()
	if got := s.Stats().MaxOpenConnections; got > slots+1 {
		t.Errorf("the pool may open %d connections, want %d at most", got, slots+1)
	}

	limit(-1)
	for deadline := time.Now().Add(20 * time.Second); s.Stats().MaxOpenConnections < size; {
		s.Grow()
		fill(t, s, owner)
		if time.Now().After(deadline) {
			t.Fatal("the pool does not grow again")
		}
	}
	fill(t, s, owner)
	if got := s.Stats().OpenConnections; got != size {
		t.Errorf("%d connections, want %d", got, size)
	}
	if got := j.events(t); !slices.Equal(got, []string{"database.pool_restored"}) {
		t.Errorf("the log has %q, want that the pool can grow again, once", got)
	}
}

// A pool that was refused a connection and is then idle does nothing while it is idle. Once it uses its limit it grows
// again.
func TestAPoolThatIsIdleLooksForNoSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		limit := gormstore.NewPoolLimit(8, j.logger())
		defer limit.Close()
		for range 3 {
			if err := limit.Open(false); err != nil {
				t.Fatal(err)
			}
		}
		if err := limit.Open(true); err == nil {
			t.Fatal("a connection that was refused is open")
		}
		limit.Lose()
		time.Sleep(time.Hour)
		if limit.Ticking() {
			t.Error("an idle pool looks for slots")
		}
		time.Sleep(time.Hour)
		for open := 3; open <= 8; open++ {
			if err := limit.Open(false); err != nil {
				t.Errorf("connection %d: %v", open, err)
			}
			time.Sleep(time.Minute)
		}
		if got := j.events(t); !slices.Equal(got, []string{"database.pool_limited", "database.pool_restored"}) {
			t.Errorf("the log has %q, want that the pool was limited, and is as it was", got)
		}
		if limit.Ticking() {
			t.Error("a pool that is as it was looks for slots")
		}
	})
}

// Without any open connection there is none to wait for.
func TestPostgresAPoolWithoutAConnectionFails(t *testing.T) {
	t.Parallel()
	dsn := postgres.NewDatabase(t)
	role, as, owner := newRole(t, dsn)
	s := must(gormstore.OpenPostgres(t.Context(), as, gormstore.Options{}))(t)
	defer s.Close()
	execute(t, owner, `ALTER ROLE `+role+` CONNECTION LIMIT 0`,
		`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '`+role+`'`)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 3 {
				if err := s.Ready(t.Context()); err == nil {
					t.Error("ready without a connection")
				}
			}
		})
	}
	group.Wait()
	execute(t, owner, `ALTER ROLE `+role+` CONNECTION LIMIT -1`)
	if err := s.Pool().PingContext(t.Context()); err != nil {
		t.Errorf("no connection, although there are slots again: %v", err)
	}
}

func TestARefusalForWantOfASlotIsTold(t *testing.T) {
	for _, tc := range []struct {
		code, message string
		want          bool
	}{
		{"53300", "sorry, too many clients already", true},
		{"53300", `too many connections for role "refreshd"`, true},
		{"53300", "remaining connection slots are reserved for non-replication superuser connections", true},
		{"53400", "configuration limit exceeded", true},
		{"08P01", "no more connections allowed (max_client_conn)", true},
		{"08P01", `server login failed: FATAL: too many connections for role "refreshd"`, true},
		{"08P01", "unsupported startup parameter: lock_timeout", false},
		{"28P01", "password authentication failed", false},
		{"57P03", "the database system is starting up", false},
	} {
		err := fmt.Errorf("connect: %w", &pgconn.PgError{Code: tc.code, Message: tc.message})
		if got := gormstore.LacksSlot(err); got != tc.want {
			t.Errorf("%s %s: got %t, want %t", tc.code, tc.message, got, tc.want)
		}
	}
}
