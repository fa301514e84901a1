package main

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver
	_ "modernc.org/sqlite"             // the driver

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/support/postgres"
)

// store is the database, read without the service.
type store struct {
	db    *sql.DB
	url   string // REFRESHD_DATABASE_URL
	path  string // of SQLite's file
	about string
	close func() error
}

// openStore starts an empty store. The caller has to close it even if there is an error.
func openStore(ctx context.Context, engine, dir string) (s *store, err error) {
	s = &store{close: func() error { return nil }}
	switch engine {
	case "postgres":
		server, err := postgres.StartServer(ctx, postgres.Options{Durable: true})
		if err != nil {
			return s, err
		}
		s.close = server.Stop
		if s.url, err = server.NewDatabase(ctx); err != nil {
			return s, err
		}
		if s.db, err = sql.Open("pgx", s.url); err != nil {
			return s, err
		}
		s.close = func() error { s.db.Close(); return server.Stop() }
		return s, s.db.QueryRowContext(ctx,
			`SELECT 'PostgreSQL ' || current_setting('server_version') || ', fsync=' || current_setting('fsync') ||
			', synchronous_commit=' || current_setting('synchronous_commit')`).Scan(&s.about)
	case "sqlite":
		s.path, s.about = filepath.Join(dir, "refreshd.db"), "SQLite"
		s.url = "sqlite:" + s.path
		query := url.Values{"_pragma": {"busy_timeout(5000)"}}
		if s.db, err = sql.Open("sqlite", "file:"+s.path+"?"+query.Encode()); err != nil {
			return s, err
		}
		s.close = s.db.Close
		return s, nil
	default:
		return s, fmt.Errorf("there is no database %q: use postgres or sqlite", engine)
	}
}

// row is a refresh token as it is stored.
type row struct {
	id, tenant, application, user string
	generation                    uint32
	alive                         bool // whether it is active, by the row and by the marks
}

// rows returns all rows, with whether each is active at an instant.
func (s *store) rows(ctx context.Context, at time.Time) (all []row, err error) {
	rows, err := s.db.QueryContext(ctx, `
SELECT t.id, t.tenant_id, t.application_id, t.user_id, t.generation,
  t.revoked_at = 0 AND t.expires_at > $1 AND NOT EXISTS (
    SELECT 1 FROM marks AS m WHERE m.tenant_id = t.tenant_id AND m.application_id IN ('', t.application_id)
      AND m.user_id IN ('', t.user_id) AND m.epoch > t.issued_epoch)
FROM refresh_tokens AS t`, at.UnixMicro())
	if err != nil {
		return nil, fmt.Errorf("read the store: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var (
			r  row
			id []byte
		)
		if err := rows.Scan(&id, &r.tenant, &r.application, &r.user, &r.generation, &r.alive); err != nil {
			return nil, err
		}
		r.id = domain.ID(id).String()
		all = append(all, r)
	}
	return all, rows.Err()
}

func (s *store) marks(ctx context.Context) (scopes []scope, err error) {
	rows, err := s.db.QueryContext(ctx, `SELECT tenant_id, application_id, user_id FROM marks`)
	if err != nil {
		return nil, fmt.Errorf("read the marks: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var m scope
		if err := rows.Scan(&m.tenant, &m.application, &m.user); err != nil {
			return nil, err
		}
		scopes = append(scopes, m)
	}
	return scopes, rows.Err()
}

func (s *store) epoch(ctx context.Context, tenant string) (epoch uint64, err error) {
	return epoch, s.db.QueryRowContext(ctx, `SELECT epoch FROM tenants WHERE id = $1`, tenant).Scan(&epoch)
}

// sizes are the sizes of a store; NaN where the database does not report them.
type sizes struct{ rows, table, indexes, connections float64 }

func (s *store) sizes(ctx context.Context) (z sizes, err error) {
	if err = s.db.QueryRowContext(ctx, `SELECT count(*) FROM refresh_tokens`).Scan(&z.rows); err != nil {
		return z, err
	}
	if s.path != "" {
		z.indexes, z.connections = math.NaN(), math.NaN()
		for _, suffix := range []string{"", "-wal"} {
			if info, err := os.Stat(s.path + suffix); err == nil {
				z.table += float64(info.Size())
			}
		}
		return z, nil
	}
	// One of the connections is this program's.
	return z, s.db.QueryRowContext(ctx, `SELECT pg_table_size('refresh_tokens'), pg_indexes_size('refresh_tokens'),
		(SELECT count(*) - 1 FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend')`).
		Scan(&z.table, &z.indexes, &z.connections)
}
