package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/refreshd/refreshd/test/support/postgres"
	"github.com/refreshd/refreshd/test/support/rig"
)

// server is a durable PostgreSQL: a commit waits for the disk.
type server struct {
	*postgres.Server
	admin      *pgx.Conn // to a database of its own, so that its work is not counted
	postmaster int       // 0 where it runs elsewhere
	settings   string
	copies     int // of databases
}

// startServer starts the server, whose flushes of the log take that much longer. The caller has to stop it even if
// there is an error.
func startServer(ctx context.Context, flush time.Duration) (s *server, err error) {
	s = &server{}
	if s.Server, err = postgres.StartServer(ctx, postgres.Options{Durable: true, Flush: flush}); err != nil {
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
	if os.Getenv(postgres.Variable) == "" {
		if err := s.spaceCheckpoints(ctx); err != nil {
			return s, err
		}
	}
	var settings []string
	for _, name := range []string{
		"fsync", "synchronous_commit", "shared_buffers", "max_wal_size", "checkpoint_timeout",
	} {
		var value string
		if err := s.admin.QueryRow(ctx, `SELECT current_setting($1)`, name).Scan(&value); err != nil {
			return s, err
		}
		settings = append(settings, name+"="+value)
	}
	var version string
	err = s.admin.QueryRow(ctx, `SELECT current_setting('server_version')`).Scan(&version)
	s.settings = "PostgreSQL " + version + ": " + strings.Join(settings, ", ")
	return s, err
}

// spaceCheckpoints keeps checkpoints out of the runs. The first change of a page after a checkpoint writes the whole
// page to the WAL. With a million sessions that is most of the WAL, and depends on how long ago the checkpoint was.
func (s *server) spaceCheckpoints(ctx context.Context) error {
	for _, statement := range []string{
		"ALTER SYSTEM SET max_wal_size = '16GB'", "ALTER SYSTEM SET checkpoint_timeout = '1h'",
		"SELECT pg_reload_conf()",
	} {
		if _, err := s.admin.Exec(ctx, statement); err != nil {
			return err
		}
	}
	for timeout := "5min"; timeout == "5min"; {
		if err := rig.Sleep(ctx, time.Until(time.Now().Add(10*time.Millisecond))); err != nil {
			return err
		}
		if err := s.admin.QueryRow(ctx, `SELECT current_setting('checkpoint_timeout')`).Scan(&timeout); err != nil {
			return err
		}
	}
	return nil
}

// copyDatabase copies a database that has no connections. From version 15 on PostgreSQL does that without a checkpoint.
func (s *server) copyDatabase(ctx context.Context, of string) (dsn string, drop func() error, err error) {
	u, err := url.Parse(of)
	if err != nil {
		return "", nil, errors.New("copy a database: malformed DSN")
	}
	s.copies++
	template := strings.TrimPrefix(u.Path, "/")
	name := fmt.Sprintf("%s_%d", template, s.copies)
	u.Path = "/" + name
	for _, n := range []*string{&template, &name} {
		*n = pgx.Identifier{*n}.Sanitize()
	}
	if _, err := s.admin.Exec(ctx, "CREATE DATABASE "+name+" TEMPLATE "+template); err != nil {
		return "", nil, fmt.Errorf("copy a database: %w", err)
	}
	return u.String(), func() error {
		_, err := s.admin.Exec(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)")
		return err
	}, nil
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

// cpu returns the processor time of all its processes.
func (s *server) cpu() time.Duration {
	if s.postmaster == 0 {
		return 0
	}
	return rig.TreeCPU(s.postmaster)
}

// written returns how many bytes of WAL were written.
func (s *server) written(ctx context.Context) (bytes float64, err error) {
	err = s.admin.QueryRow(ctx, `SELECT pg_current_wal_lsn() - '0/0'::pg_lsn`).Scan(&bytes)
	return bytes, err
}

// position returns where the WAL ends.
func (s *server) position(ctx context.Context) (at string, err error) {
	return at, s.admin.QueryRow(ctx, `SELECT pg_current_wal_flush_lsn()::text`).Scan(&at)
}

// hotRecords returns how many HOT updates the WAL has from a position on, and their bytes without full-page images.
// Without the extension pg_walinspect, as before version 15, both are zero.
func (s *server) hotRecords(ctx context.Context, from string) (records, bytes float64, err error) {
	if _, err := s.admin.Exec(ctx, `CREATE EXTENSION IF NOT EXISTS pg_walinspect`); err != nil {
		return 0, 0, nil
	}
	to, err := s.position(ctx)
	if err != nil || to == from {
		return 0, 0, err
	}
	return records, bytes, s.admin.QueryRow(ctx, `
		SELECT COALESCE(sum(count), 0)::float8, COALESCE(sum(record_size), 0)::float8
		FROM pg_get_wal_stats($1::text::pg_lsn, $2::text::pg_lsn, true)
		WHERE "resource_manager/record_type" = 'Heap/HOT_UPDATE'`, from, to).Scan(&records, &bytes)
}

// counters are PostgreSQL's own counters of a database.
type counters struct {
	transactions, updates, hot, rows int64
}

func (c counters) since(before counters) counters {
	return counters{
		c.transactions - before.transactions, c.updates - before.updates, c.hot - before.hot, c.rows - before.rows,
	}
}

// counters reads the counters when the database has no connections: a backend reports its counts when it ends, and
// otherwise with a delay of up to ten seconds. This function adds a few counts itself.
func (s *server) counters(ctx context.Context, dsn string) (c counters, err error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return c, err
	}
	for {
		var connected int
		if err := s.admin.QueryRow(ctx,
			`SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND backend_type = 'client backend'`,
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
