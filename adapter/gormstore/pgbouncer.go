package gormstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

const useExecMode = "add default_query_exec_mode=exec to REFRESHD_DATABASE_URL"

var (
	errPrepared = errors.New("a pooler in transaction mode (PgBouncer: pool_mode) gives each transaction another " +
		"server connection, which lacks the prepared statements: " + useExecMode)
	errStartup = errors.New("a pooler (PgBouncer) refuses the settings of a connection: " + forPooler())
)

// forPooler says how to set sessionSettings behind a pooler that does not accept them from a connection.
func forPooler() string {
	var names, set []string
	for _, name := range slices.Concat(verifiedSettings, plannerSettings) {
		names = append(names, name)
		set = append(set, fmt.Sprintf("ALTER ROLE … SET %s = '%s';", name, sessionSettings[name]))
	}
	return "add ignore_startup_parameters = " + strings.Join(names, ", ") + " to pgbouncer.ini, and as an " +
		"administrator set them for the role: " + strings.Join(set, " ")
}

// explain adds to a pooler's error what an operator can do. PgBouncer has one SQLSTATE for everything that it refuses.
func explain(err error) error {
	var e *pgconn.PgError
	if errors.As(err, &e) && strings.Contains(e.Message, "unsupported startup parameter") {
		return fmt.Errorf("%w: %w", err, errStartup)
	}
	return err
}

// probe finds out whether a pooler gives two clients one server connection, on which the prepared statements of one
// conflict with those of the other. A busy pooler may hide it; link.check reports it later.
func (l *link) probe(ctx context.Context) error {
	switch l.config.DefaultQueryExecMode {
	case pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeCacheDescribe:
		return nil // no prepared statement outlives a round trip
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
