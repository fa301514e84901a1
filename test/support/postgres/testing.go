package postgres

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/refreshd/refreshd/test/support/short"
)

// startTimeout includes installing the package over a slow network.
const startTimeout = 5 * time.Minute

// shared is this process's server: started by the first test that asks for a database.
var shared struct {
	once   sync.Once
	server *Server
	err    error
}

// NewDatabase creates an empty database for one test, on the server of this process, and drops it when the test is
// over. It returns the database's DSN, postgres://….
func NewDatabase(tb testing.TB) (dsn string) {
	tb.Helper()
	s := sharedServer(tb)
	dsn, err := s.NewDatabase(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.DropDatabase(context.Background(), dsn); err != nil {
			tb.Error(err)
		}
	})
	return dsn
}

func sharedServer(tb testing.TB) *Server {
	tb.Helper()
	LeaveOut(tb)
	shared.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
		defer cancel()
		shared.server, shared.err = StartServer(ctx, Options{})
	})
	if shared.err != nil {
		tb.Fatal(shared.err)
	}
	return shared.server
}

// LeaveOut leaves a test that starts a server of its own out of `go test -short`, as NewDatabase and NewBouncer do. In
// any other run nothing is left out, and a missing server is a failure.
func LeaveOut(tb testing.TB) {
	tb.Helper()
	short.LeaveOut(tb, "PostgreSQL")
}

// NewBouncer starts a PgBouncer for one test, in front of the server of this process, and returns its host and port,
// for the DSN that NewDatabase returned. Settings are those of StartBouncer.
func NewBouncer(tb testing.TB, settings ...string) (address string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), startTimeout)
	defer cancel()
	b, err := sharedServer(tb).StartBouncer(ctx, settings...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := b.Stop(); err != nil {
			tb.Error(err)
		}
	})
	return b.Address()
}

// Main runs a package's tests, then stops the server if one of them started it:
//
//	func TestMain(m *testing.M) { os.Exit(postgres.Main(m)) }
//
// A package without it leaves the server to end by itself a moment after the process.
func Main(m *testing.M) (status int) {
	status = m.Run()
	if shared.server == nil {
		return status
	}
	if err := shared.server.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return max(status, 1)
	}
	return status
}
