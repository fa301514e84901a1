package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/refreshd/refreshd/test/postgres"
	"github.com/refreshd/refreshd/test/rig"
)

// server is PostgreSQL, durable: a commit waits for the disk.
type server struct {
	*postgres.Server
	admin      *pgx.Conn // to a database of its own, so that it counts nowhere
	postmaster int       // 0 where it runs elsewhere
	settings   string
}

// startServer returns what has to be stopped also with an error.
func startServer(ctx context.Context) (s *server, err error) {
	s = &server{}
	if s.Server, err = postgres.StartServer(ctx, postgres.Options{Durable: true}); err != nil {
		return s, err
	}
	dsn, err := s.NewDatabase(ctx)
	if err != nil {
		return s, err
	}
	if s.admin, err = pgx.Connect(ctx, dsn); err != nil {
		return s, err
	}
	if backend, ok := rig.ReadProcess(int(s.admin.PgConn().PID())); ok && strings.HasPrefix(backend.Name, "postgres") {
		s.postmaster = backend.Parent
	}
	var version, fsync, synchronous, buffers string
	err = s.admin.QueryRow(ctx, `SELECT current_setting('server_version'), current_setting('fsync'),
		current_setting('synchronous_commit'), current_setting('shared_buffers')`).Scan(&version, &fsync, &synchronous, &buffers)
	s.settings = fmt.Sprintf("PostgreSQL %s: fsync=%s, synchronous_commit=%s, shared_buffers=%s", version, fsync, synchronous, buffers)
	return s, err
}

func (s *server) stop() error {
	if s.admin != nil {
		s.admin.Close(context.Background())
	}
	if s.Server == nil {
		return nil
	}
	return s.Stop()
}

// cpu is that of all its processes.
func (s *server) cpu() time.Duration {
	if s.postmaster == 0 {
		return 0
	}
	return rig.TreeCPU(s.postmaster)
}

// written is how far the log (WAL) has grown, in bytes.
func (s *server) written(ctx context.Context) (bytes float64, err error) {
	err = s.admin.QueryRow(ctx, `SELECT pg_current_wal_lsn() - '0/0'::pg_lsn`).Scan(&bytes)
	return bytes, err
}

// counters are PostgreSQL's own of a database.
type counters struct {
	transactions, updates, hot, rows int64
}

func (c counters) since(before counters) counters {
	return counters{c.transactions - before.transactions, c.updates - before.updates, c.hot - before.hot, c.rows - before.rows}
}

// counters reads them once nobody is connected to the database: a backend hands in what it counted when it ends, and else with
// a delay of up to ten seconds. What this itself counts is a handful.
func (s *server) counters(ctx context.Context, dsn string) (c counters, err error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return c, err
	}
	for {
		var connected int
		if err := s.admin.QueryRow(ctx, `SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND backend_type = 'client backend'`,
			config.Database).Scan(&connected); err != nil {
			return c, err
		}
		if connected == 0 {
			break
		}
		select {
		case <-ctx.Done():
			return c, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	if err := s.admin.QueryRow(ctx, `SELECT xact_commit FROM pg_stat_database WHERE datname = $1`,
		config.Database).Scan(&c.transactions); err != nil {
		return c, err
	}
	return c, withConnection(ctx, dsn, func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `SELECT n_tup_upd, n_tup_hot_upd, (SELECT count(*) FROM refresh_tokens)
			FROM pg_stat_user_tables WHERE relname = 'refresh_tokens'`).Scan(&c.updates, &c.hot, &c.rows)
	})
}

func withConnection(ctx context.Context, dsn string, f func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return f(conn)
}
