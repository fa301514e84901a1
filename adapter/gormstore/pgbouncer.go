package gormstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

const useExecMode = "put default_query_exec_mode=exec into REFRESHD_DATABASE_URL"

var (
	errPrepared = errors.New("a pooler in transaction mode (PgBouncer: pool_mode) gives each transaction another " +
		"server connection, and our prepared statements are not there: " + useExecMode)
	errStartup = errors.New("a pooler (PgBouncer) refuses the settings that each connection brings: " + forPooler())
)

// forPooler says where our settings have to be, where a pooler does not take them from a connection.
func forPooler() string {
	var names, set []string
	for _, name := range append(promised, "plan_cache_mode", "enable_seqscan", "jit") {
		names = append(names, name)
		set = append(set, fmt.Sprintf("ALTER ROLE … SET %s = '%s';", name, sessionSettings[name]))
	}
	return "put ignore_startup_parameters = " + strings.Join(names, ", ") + " into pgbouncer.ini, and give them to the " +
		"role as an administrator: " + strings.Join(set, " ")
}

// explain says what to do about what a pooler answers. PgBouncer has one SQLSTATE for everything that it refuses.
func explain(err error) error {
	var e *pgconn.PgError
	if errors.As(err, &e) && strings.Contains(e.Message, "unsupported startup parameter") {
		return fmt.Errorf("%w: %w", err, errStartup)
	}
	return err
}

// probe finds out, where a pooler stands between and the driver prepares statements, whether it gives two clients one
// server connection: what the one prepares is then in the other's way. A pooler that is busy may hide it; fits tells
// later.
func (l *link) probe(ctx context.Context) error {
	switch l.config.DefaultQueryExecMode {
	case pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeCacheDescribe:
		return nil // nothing has a name that would outlive a round trip
	}
	if !l.pooled.Load() {
		return nil
	}
	name, c := "refreshd_"+strings.ToLower(rand.Text()), l.connector()
	for range 2 {
		conn, err := c.Connect(ctx)
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.(*stdlib.Conn).Conn().PgConn().Prepare(ctx, name, "SELECT 1", nil)
		if err != nil && !l.broken.Load() {
			return err
		}
	}
	if l.broken.Load() {
		return errPrepared
	}
	return nil
}
