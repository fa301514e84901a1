package gormstore

import (
	"context"
	"database/sql"
	"time"

	"gorm.io/gorm"
)

// TableStatistics tell how well PostgreSQL keeps exchanges HOT.
type TableStatistics struct {
	Updates           int64         // of refresh tokens, since PostgreSQL's statistics began
	HOTUpdates        int64         // of these, those that touched no index
	OldestTransaction time.Duration // in the whole cluster: what it could still see, vacuum may not remove
}

// statistics leave out our own transaction, and those that hold no snapshot.
const statistics = `
SELECT COALESCE(s.n_tup_upd, 0), COALESCE(s.n_tup_hot_upd, 0), COALESCE((
    SELECT max(EXTRACT(EPOCH FROM clock_timestamp() - a.xact_start)) FROM pg_stat_activity AS a
    WHERE a.pid <> pg_backend_pid() AND (a.backend_xmin IS NOT NULL OR a.backend_xid IS NOT NULL)), 0)::float8
FROM pg_stat_user_tables AS s WHERE s.relname = 'refresh_tokens' AND s.schemaname = current_schema()`

// TableStatistics reads them. SQLite has none: the zero value.
func (s *Store) TableStatistics(ctx context.Context) (t TableStatistics, err error) {
	if s.engine.statistics == "" {
		return t, nil
	}
	var seconds float64
	err = s.reading(ctx, "statistics", func(db *gorm.DB) error {
		return queryRow(db.Raw(s.engine.statistics), sql.ErrNoRows, &t.Updates, &t.HOTUpdates, &seconds)
	})
	t.OldestTransaction = time.Duration(seconds * float64(time.Second))
	return t, err
}
