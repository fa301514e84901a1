package postgres_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/refreshd/refreshd/test/support/postgres"
)

var durable = postgres.Options{Durable: true}

// A test that kills a server means all of it. A backend that continues for a moment commits what it has not confirmed,
// and a background writer makes the crash a clean one.
func TestKillLeavesNoProcessAndStartBringsBackWhatWasCommitted(t *testing.T) {
	postgres.LeaveOut(t)
	s := start(t, durable)
	if s == nil {
		return
	}
	dsn := newDatabase(t, s)
	c := connect(t, dsn)
	if _, err := c.Exec(t.Context(), `CREATE TABLE answered (n BIGINT)`); err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		pids := processes(t, connect(t, dsn))
		w := write(t, dsn)
		w.awaitTwenty(t)
		if err := s.Kill(); err != nil {
			t.Fatal(err)
		}
		for _, pid := range pids {
			if alive(pid) {
				t.Errorf("process %d is running", pid)
			}
		}
		if c, err := pgx.Connect(t.Context(), dsn); err == nil {
			c.Close(t.Context())
			t.Error("a killed server takes connections")
		}
		if err := s.Kill(); err == nil {
			t.Error("killed again: no error")
		}
		<-w.ended
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
		// The server may have committed the last one without confirming it.
		got, want := query[int64](t, connect(t, dsn), `SELECT max(n) FROM answered`), w.answered
		if got != want && got != want+1 {
			t.Errorf("round %d: %d is stored, the last one answered was %d", round, got, want)
		}
	}
}

// writer inserts growing numbers, each round from its own thousand, until the server has ended.
type writer struct {
	twenty, ended chan struct{}
	answered      int64 // the last one; to be read after ended
	err           error
}

func write(t *testing.T, dsn string) *writer {
	c := connect(t, dsn)
	begin := query[int64](t, c, `SELECT (COALESCE(max(n), 0) / 1000 + 1) * 1000 FROM answered`)
	w := &writer{twenty: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		defer close(w.ended)
		for n := begin; ; n++ {
			if _, w.err = c.Exec(t.Context(), `INSERT INTO answered VALUES ($1)`, n); w.err != nil {
				return
			}
			if w.answered = n; n == begin+20 {
				close(w.twenty)
			}
		}
	}()
	return w
}

// awaitTwenty returns in the middle of the writing.
func (w *writer) awaitTwenty(t *testing.T) {
	t.Helper()
	select {
	case <-w.twenty:
	case <-w.ended:
		t.Fatal(w.err)
	}
}

// processes are those of the server: the postmaster, and all that are its children as far as it tells.
func processes(t *testing.T, c *pgx.Conn) (pids []int) {
	t.Helper()
	rows, err := c.Query(t.Context(), `SELECT pid FROM pg_stat_activity UNION ALL
		SELECT split_part(pg_read_file('postmaster.pid'), E'\n', 1)::int`)
	if err != nil {
		t.Fatal(err)
	}
	if pids, err = pgx.CollectRows(rows, pgx.RowTo[int]); err != nil || len(pids) < 5 {
		t.Fatalf("the server's processes: %d, %v", pids, err)
	}
	return pids
}

// alive reports whether pid is a process, and not a zombie that has not been reaped.
func alive(pid int) bool {
	if status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)); err == nil {
		return !strings.Contains(string(status), "State:\tZ") && !strings.Contains(string(status), "State:\tX")
	}
	return syscall.Kill(pid, 0) == nil
}

func TestStopRemovesAKilledServer(t *testing.T) {
	postgres.LeaveOut(t)
	s := start(t, durable)
	if s == nil {
		return
	}
	files := query[string](t, connect(t, newDatabase(t, s)), `SHOW data_directory`)
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(files); !os.IsNotExist(err) {
		t.Errorf("stat of the server's files: got %v, want that they do not exist", err)
	}
}

// Without fsync a killed server may have forgotten what it has confirmed, and the service would be blamed for it.
func TestOnlyADurableServerOfOursIsKilled(t *testing.T) {
	postgres.LeaveOut(t)
	s := start(t)
	if s == nil {
		return
	}
	dsn := newDatabase(t, s)
	if err := s.Kill(); err == nil || !strings.Contains(err.Error(), "Durable") {
		t.Errorf("kill a server that is not durable: got %v, want an error that names Durable", err)
	}
	if _, err := postgres.StartStandby(t.Context(), s); err == nil || !strings.Contains(err.Error(), "Durable") {
		t.Errorf("a standby of a server that is not durable: got %v, want an error that names Durable", err)
	}
	t.Setenv(postgres.Variable, dsn)
	theirs, err := postgres.StartServer(t.Context(), durable)
	if err != nil {
		t.Fatal(err)
	}
	if err := theirs.Kill(); err == nil || !strings.Contains(err.Error(), postgres.Variable) {
		t.Errorf("kill a server of others: got %v, want an error that names %s", err, postgres.Variable)
	}
	own, err := postgres.StartServer(t.Context(), postgres.Options{Durable: true, Own: true})
	if err != nil {
		t.Fatal(err)
	}
	defer own.Stop()
	if err := own.Kill(); err != nil {
		t.Errorf("kill a server of our own beside one of others: %v", err)
	}
	query[int](t, connect(t, dsn), `SELECT 1`)
}

// The tests of fail-over rely on a synchronous standby: it has every commit that the primary has confirmed.
func TestAPromotedStandbyHasAllThatThePrimaryAnswered(t *testing.T) {
	postgres.LeaveOut(t)
	primary := start(t, durable)
	if primary == nil {
		return
	}
	dsn := newDatabase(t, primary)
	if _, err := connect(t, dsn).Exec(t.Context(), `CREATE TABLE answered (n BIGINT)`); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	standby, err := postgres.StartStandby(ctx, primary)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { standby.Stop() })
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = standby.Address()
	if _, err := connect(t, u.String()).Exec(t.Context(), `INSERT INTO answered VALUES (0)`); err == nil {
		t.Error("a standby takes writes")
	}

	w := write(t, dsn)
	w.awaitTwenty(t)
	if err := primary.Kill(); err != nil {
		t.Fatal(err)
	}
	<-w.ended
	if err := standby.Promote(); err != nil {
		t.Fatal(err)
	}
	c := connect(t, u.String())
	if got, want := query[int64](t, c, `SELECT max(n) FROM answered`), w.answered; got != want && got != want+1 {
		t.Errorf("%d is stored, the last one answered was %d", got, want)
	}
	if _, err := c.Exec(t.Context(), `INSERT INTO answered VALUES (0)`); err != nil {
		t.Errorf("write to the promoted standby: %v", err)
	}

	// And back: the old primary, at its old address, is the standby now.
	if err := standby.Rejoin(ctx, primary); err == nil {
		t.Error("a server that runs was made a standby")
	}
	if err := primary.Rejoin(ctx, standby); err != nil {
		t.Fatal(err)
	}
	if !query[bool](t, connect(t, dsn), `SELECT pg_is_in_recovery()`) {
		t.Error("the old primary is none's standby")
	}
	if _, err := c.Exec(t.Context(), `INSERT INTO answered VALUES (1000000)`); err != nil {
		t.Fatal(err)
	}
	if err := standby.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := primary.Promote(); err != nil {
		t.Fatal(err)
	}
	if got := query[int](t, connect(t, dsn), `SELECT max(n) FROM answered`); got != 1000000 {
		t.Errorf("%d is stored at the old primary, the last one answered was 1000000", got)
	}
}
