package gormstore_test

import (
	"database/sql"
	"errors"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/refreshd/refreshd/adapter/gormstore"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/support/postgres"
)

// pair is a primary with a synchronous standby, a store whose DSN names both, and a refresh token in it.
type pair struct {
	primary, standby *postgres.Server
	admin            *sql.DB // of the primary
	store            *gormstore.Store
	token            domain.RefreshToken
}

func newPair(t *testing.T) (p pair) {
	t.Helper()
	postgres.LeaveOut(t)
	p.primary = must(postgres.StartServer(t.Context(), postgres.Options{Durable: true, Own: true}))(t)
	t.Cleanup(func() { p.primary.Stop() })
	dsn := must(p.primary.NewDatabase(t.Context()))(t)
	p.standby = must(postgres.StartStandby(t.Context(), p.primary))(t)
	t.Cleanup(func() { p.standby.Stop() })
	p.admin = closing(t, stdlib.OpenDB(*must(pgx.ParseConfig(dsn))(t)))
	u := must(url.Parse(dsn))(t)
	u.Host = p.primary.Address() + "," + p.standby.Address()
	p.store = must(gormstore.OpenPostgres(t.Context(), domain.NewSecret(u.String()), gormstore.Options{}))(t)
	t.Cleanup(func() { p.store.Close() })
	if err := p.store.Migrate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	shop(t, p.store)
	p.token = issue(t, p.store, 1)[0]
	return p
}

// stuck is the time after which the machine is stuck; no test result depends on it.
const stuck = 2 * time.Minute

func execute(tb testing.TB, db *sql.DB, statements ...string) {
	tb.Helper()
	for _, s := range statements {
		if _, err := db.ExecContext(tb.Context(), s); err != nil {
			tb.Fatalf("%s: %v", s, err)
		}
	}
}

// All subtests share one pair, in this order: the last one promotes the standby.
func TestFailOver(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	t.Run("a standby alone is refused", p.refusesAStandbyAlone)
	t.Run("a commit that the standby lacks is not seen when its time is over", p.hidesWhatTheStandbyLacks)
	t.Run("a connection to a server that became read-only is left", p.leavesAReadOnlyServer)
}

// An operator who fences the old primary by making it read-only does not close the store's connections. Each of them
// would refuse every write for its maximum lifetime: half an hour.
func (p pair) leavesAReadOnlyServer(t *testing.T) {
	execute(t, p.admin, `ALTER SYSTEM SET default_transaction_read_only = on`,
		`ALTER SYSTEM SET synchronous_standby_names = ''`,
		`SELECT pg_reload_conf()`)
	if err := p.standby.Promote(); err != nil {
		t.Fatal(err)
	}
	// Each connection sees the reload at its next statement: until then, this may be the last write.
	for deadline := time.Now().Add(stuck); p.store.Ready(t.Context()) == nil; {
		if time.Now().After(deadline) {
			t.Fatal("ready on a server that accepts no writes")
		}
	}
	if err := p.store.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "target_session_attrs=read-write") {
		t.Errorf("ready on a server that accepts no writes: got %v, want an error that names target_session_attrs=read-write",
			err)
	}
	if _, _, err := p.store.Advance(t.Context(), p.token.ID,
		domain.Call{Generation: 2, Now: start.Add(time.Minute)}); err == nil {
		t.Error("a server that accepts no writes has written")
	}
	// That connection is closed; the next one finds the promoted server.
	token := must(p.store.Snapshot(t.Context(), p.token.ID))(t).Token
	if got := rotate(t, p.store, token).Generation; token.Generation != 2 || got != 3 {
		t.Errorf("generation %d, then %d; want 2 and 3", token.Generation, got)
	}
	if err := p.store.Ready(t.Context()); err != nil {
		t.Errorf("ready: %v", err)
	}
}

// While its standby is stopped, a primary with synchronous commit completes no commit. If a cancelled call ended that
// wait, the retry would return the answer of a commit that the standby does not have; and after a fail-over the answer
// would be from the future.
func (p pair) hidesWhatTheStandbyLacks(t *testing.T) {
	if err := p.standby.Kill(); err != nil {
		t.Fatal(err)
	}
	waiting := func() (n int) {
		t.Helper()
		const query = `SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'`
		if err := p.admin.QueryRowContext(t.Context(), query).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	call := domain.Call{Generation: 1, Now: start.Add(time.Minute)}
	if _, _, err := p.store.Advance(t.Context(), p.token.ID, call); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("an exchange without the standby: got %v, want that its time is over", err)
	}
	// A cancel request would arrive immediately, on another connection: within this second.
	for deadline := time.Now().Add(time.Second); time.Now().Before(deadline); {
		if got := must(p.store.Snapshot(t.Context(), p.token.ID))(t).Token.Generation; got != 1 {
			t.Fatalf("generation %d is seen, and the standby does not have it", got)
		}
	}
	if n := waiting(); n != 1 {
		t.Errorf("%d commits wait for the standby; want 1", n)
	}
	if err := p.standby.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(stuck); must(p.store.Snapshot(t.Context(), p.token.ID))(t).Token.Generation != 2; {
		if time.Now().After(deadline) {
			t.Fatal("the standby is back, and the commit is not seen")
		}
	}
}

// A service whose DSN mistakenly names only the standby would start, answer every reading call, and issue nothing.
func (p pair) refusesAStandbyAlone(t *testing.T) {
	s, err := gormstore.OpenPostgres(t.Context(),
		domain.NewSecret("postgres://postgres@"+p.standby.Address()+"/postgres?sslmode=disable"), gormstore.Options{})
	if err == nil {
		s.Close()
		t.Fatal("opened a standby")
	}
	if !strings.Contains(err.Error(), "accepts no writes") {
		t.Errorf("got %q, want it to say that the server accepts no writes", err)
	}
}
