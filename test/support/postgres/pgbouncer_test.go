package postgres_test

import (
	"context"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/refreshd/refreshd/test/support/postgres"
)

// Tests of what a pooler does to the service have to stand before a pooler, and before the pool mode that they name.
func TestBouncerInTransactionModeSharesAConnection(t *testing.T) {
	postgres.LeaveOut(t)
	s := start(t)
	if s == nil {
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	b, err := s.StartBouncer(ctx, "pool_mode = transaction", "default_pool_size = 1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Stop() })
	direct := newDatabase(t, s)
	u, err := url.Parse(direct)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = b.Address()
	u.RawQuery += "&default_query_exec_mode=exec"
	first, second := connect(t, u.String()), connect(t, u.String())
	const pid, database = `SELECT pg_backend_pid()`, `SELECT current_database()`
	if got, want := query[int](t, first, pid), query[int](t, second, pid); got != want {
		t.Errorf("two clients are served by processes %d and %d, want one", got, want)
	}
	if got, want := query[string](t, first, database), query[string](t, connect(t, direct), database); got != want {
		t.Errorf("database %s, want %s", got, want)
	}
	if err := b.Stop(); err != nil {
		t.Fatal(err)
	}
	if c, err := pgx.Connect(t.Context(), u.String()); err == nil {
		c.Close(t.Context())
		t.Error("it takes connections after Stop")
	}
}

// PgBouncer prints what is wrong with a setting once, at its start: the error must hold it.
func TestBouncerThatCannotStartSaysWhy(t *testing.T) {
	postgres.LeaveOut(t)
	s := start(t)
	if s == nil {
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // by far more than it takes to say so
	defer cancel()
	if b, err := s.StartBouncer(ctx, "pool_mode = nonsense"); err == nil {
		b.Stop()
		t.Fatal("started with a mode that does not exist")
	} else if ctx.Err() != nil || !strings.Contains(err.Error(), "pool_mode") {
		t.Errorf("got %v, want immediately what PgBouncer printed about pool_mode", err)
	}
}
