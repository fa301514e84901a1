package gormstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// Store is a port.Store. Make one with OpenSQLite or OpenPostgres.
type Store struct {
	engine engine
	// The same pool on PostgreSQL. In SQLite one connection writes and others read.
	write, read *gorm.DB
	// feed has two connections of its own on PostgreSQL, so that the feed is read and its positions are given while
	// exchanges have all others. In SQLite it is read.
	feed        *gorm.DB
	groupCommit *groupCommit // nil if each exchange is written by itself
	turns       turns
	policies    policyCache
	beats       beats
	feedPool    *sql.DB // of feed
	pool        *sql.DB
	close       func() error
}

var _ port.Store = (*Store)(nil)

// Close closes all connections.
func (s *Store) Close() error {
	if err := s.close(); err != nil {
		return fmt.Errorf("gormstore: close: %w", err)
	}
	return nil
}

// Stats returns the statistics of the pool: that of all connections but the feed's on PostgreSQL, that of the writing
// one in SQLite.
// Exchanges wait before they ask the pool: see Sharing.
func (s *Store) Stats() sql.DBStats { return s.pool.Stats() }

// reading runs f, which only reads.
func (s *Store) reading(ctx context.Context, operation string, f func(db *gorm.DB) error) error {
	return s.run(ctx, s.read, s.engine.limit, operation, retryable, f)
}

// writing runs f, which waits for at most one row. Callers that may wait for the same row call it inTurn.
func (s *Store) writing(ctx context.Context, operation string, f func(db *gorm.DB) error) error {
	return s.run(ctx, s.write, s.engine.limit, operation, retryable, f)
}

// feeding runs f, one statement of the feed, which waits for no row.
func (s *Store) feeding(ctx context.Context, operation string, f func(db *gorm.DB) error) error {
	return s.run(ctx, s.feed, s.engine.feedLimit, operation, retryable, f)
}

// writingMany runs f, which may wait for a row while it holds others.
func (s *Store) writingMany(ctx context.Context, operation string, f func(db *gorm.DB) error) error {
	return s.run(ctx, s.write, s.engine.limit, operation,
		func(err error) bool { return retryable(err) || lockTimedOut(err) }, f)
}

// tenantWriting runs f in a transaction that locks the tenant's row.
//
// It does not run f again when lock_timeout ends that wait. If several rows are locked, the wait may be a deadlock. But
// every transaction that locks a tenant's row locks it first, so the holder is slow, and the caller gets the error.
func (s *Store) tenantWriting(ctx context.Context, operation, tenantID string, f func(tx *gorm.DB) error) error {
	return s.inTurn(ctx, operation, rowName{tenantID: tenantID}, func() error {
		return s.writing(ctx, operation, func(db *gorm.DB) error { return db.Transaction(f) })
	})
}

// transacting runs f in a transaction, which is rolled back if f returns an error.
func (s *Store) transacting(ctx context.Context, operation string, f func(tx *gorm.DB) error) error {
	return s.writingMany(ctx, operation, func(db *gorm.DB) error { return db.Transaction(f) })
}

const maxAttempts = 5

// run runs every statement of a Store: it runs f again while retry reports true for its error, up to maxAttempts times,
// and translates the last error. limit is that of the pool of db.
func (s *Store) run(
	ctx context.Context, db *gorm.DB, limit *poolLimit, operation string, retry func(error) bool,
	f func(db *gorm.DB) error,
) error {
	if err := ctx.Err(); err != nil { // otherwise the log would say that the database took too long
		return fmt.Errorf("gormstore: %s: not started, because the context was done before: %w", operation, err)
	}
	for attempt := 1; ; attempt++ {
		err := f(db.WithContext(ctx))
		if err == nil {
			if err = s.engine.checkFiles(); err != nil {
				return fmt.Errorf("gormstore: %s: %w", operation, err)
			}
			return nil
		}
		switch {
		case errors.Is(err, errNoSlot) && limit.refused() && pause(ctx, attempt):
			attempt = 0 // nothing was sent: f only has to wait for an open connection
		case attempt >= maxAttempts || !retry(err) || !pause(ctx, attempt):
			return fmt.Errorf("gormstore: %s: %w", operation, s.engine.explain(translate(err)))
		}
	}
}

// retryable reports a deadlock or a serialization failure: PostgreSQL has rolled back, and another attempt may succeed.
func retryable(err error) bool { return hasState(err, "40P01") || hasState(err, "40001") }

// lockTimedOut reports that lock_timeout ended a wait. If several rows are locked, that may be a deadlock too, because
// PostgreSQL looks for one after a second. If it is one row, its holder is slow, and the caller gets the error.
func lockTimedOut(err error) bool { return hasState(err, "55P03") }

// rejected reports that PostgreSQL rejected a value, or that an operator's constraint or trigger did; the statement is
// rolled back. The classes of SQLSTATE are data exceptions, constraints, limits of the program, and PL/pgSQL.
func rejected(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && slices.Contains([]string{"22", "23", "54", "P0"}, e.Code[:min(2, len(e.Code))])
}

func hasState(err error, code string) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && e.Code == code
}

// pause waits for a random time, longer with each attempt. It returns false when ctx is done.
func pause(ctx context.Context, attempt int) bool {
	t := time.NewTimer(rand.N(time.Duration(attempt) * 20 * time.Millisecond))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func translate(err error) error {
	if errors.Is(err, gorm.ErrDuplicatedKey) {
		return fmt.Errorf("%w: %w", domain.ErrDuplicate, err)
	}
	if hasState(err, "26000") || hasState(err, "42P05") {
		return fmt.Errorf("%w: %w", err, errPrepared)
	}
	return err
}
