package gormstore

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"gorm.io/gorm"
)

// TableStatistics show whether exchanges are HOT updates.
type TableStatistics struct {
	Updates           int64         // of refresh tokens, since PostgreSQL's statistics began
	HOTUpdates        int64         // those of them that touched no index
	OldestTransaction time.Duration // in the whole cluster: vacuum keeps what it can still see
}

// statistics excludes its own transaction, and those without a snapshot.
const statistics = `
SELECT COALESCE(s.n_tup_upd, 0), COALESCE(s.n_tup_hot_upd, 0), COALESCE((
    SELECT max(EXTRACT(EPOCH FROM clock_timestamp() - a.xact_start)) FROM pg_stat_activity AS a
    WHERE a.pid <> pg_backend_pid() AND (a.backend_xmin IS NOT NULL OR a.backend_xid IS NOT NULL)), 0)::float8
FROM pg_stat_user_tables AS s WHERE s.relname = 'refresh_tokens' AND s.schemaname = current_schema()`

// TableStatistics reads them; for SQLite it returns the zero value. It returns when ctx is done, although its statement
// may continue, because metrics are needed most while the database does not respond.
func (s *Store) TableStatistics(ctx context.Context) (TableStatistics, error) {
	if s.engine.statistics == "" {
		return TableStatistics{}, nil
	}
	type result struct {
		t   TableStatistics
		err error
	}
	done := make(chan result, 1)
	go func() {
		var (
			r       result
			seconds float64
		)
		r.err = s.reading(ctx, "statistics", func(db *gorm.DB) error {
			return queryRow(db.Raw(s.engine.statistics), sql.ErrNoRows, &r.t.Updates, &r.t.HOTUpdates, &seconds)
		})
		r.t.OldestTransaction = time.Duration(seconds * float64(time.Second))
		done <- r
	}()
	select {
	case r := <-done:
		return r.t, r.err
	case <-ctx.Done():
		return TableStatistics{}, fmt.Errorf("gormstore: statistics: %w", ctx.Err())
	}
}
