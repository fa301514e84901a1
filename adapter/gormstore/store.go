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
	// On PostgreSQL these are one; in SQLite there is one connection that writes, and others that read.
	write, read *gorm.DB
	combiner    *combiner // nil where each exchange is written by itself
	turns       turns
	policies    policyCache
	pool        *sql.DB
	close       func() error
}

var _ port.Store = (*Store)(nil)

// Close frees the handle.
func (s *Store) Close() error {
	if err := s.close(); err != nil {
		return fmt.Errorf("gormstore: close: %w", err)
	}
	return nil
}

// Stats tells of the connections: all of them on PostgreSQL, in SQLite the one that writes. Exchanges wait before that, see Sharing.
func (s *Store) Stats() sql.DBStats { return s.pool.Stats() }

// reading runs f, which writes nothing.
func (s *Store) reading(ctx context.Context, operation string, f func(db *gorm.DB) error) error {
	return s.run(ctx, s.read, operation, undone, f)
}

// writing runs f, which waits for one row at most. Many callers that may wait for the same row go through inTurn first.
func (s *Store) writing(ctx context.Context, operation string, f func(db *gorm.DB) error) error {
	return s.run(ctx, s.write, operation, undone, f)
}

// writingMany runs f, which may wait for one row while it holds others.
func (s *Store) writingMany(ctx context.Context, operation string, f func(db *gorm.DB) error) error {
	return s.run(ctx, s.write, operation, func(err error) bool { return undone(err) || lockedOut(err) }, f)
}

// tenantWriting runs f in a transaction that takes the lock on the tenant's row.
//
// That wait is not tried again when lock_timeout ends it. Where several rows are locked the wait may be a deadlock; but
// who locks a tenant's row locks it first, so this is a holder that is slow, and the caller hears of it.
func (s *Store) tenantWriting(ctx context.Context, operation, tenantID string, f func(tx *gorm.DB) error) error {
	return s.inTurn(ctx, operation, rowName{tenantID: tenantID}, func() error {
		return s.writing(ctx, operation, func(db *gorm.DB) error { return db.Transaction(f) })
	})
}

// transacting runs f in a transaction, which is undone if f returns an error.
func (s *Store) transacting(ctx context.Context, operation string, f func(tx *gorm.DB) error) error {
	return s.writingMany(ctx, operation, func(db *gorm.DB) error { return db.Transaction(f) })
}

const maxAttempts = 5

// run is the way of every call to the database: it runs f again after an error that again says so, and translates what f
// returns, once.
func (s *Store) run(ctx context.Context, db *gorm.DB, operation string, again func(error) bool, f func(db *gorm.DB) error) error {
	if err := ctx.Err(); err != nil { // else the log would say that the database took too long
		return fmt.Errorf("gormstore: %s: not begun, since the call had ended before: %w", operation, err)
	}
	for attempt := 1; ; attempt++ {
		err := f(db.WithContext(ctx))
		if err == nil {
			if err = s.engine.present(); err != nil {
				return fmt.Errorf("gormstore: %s: %w", operation, err)
			}
			return nil
		}
		switch {
		case errors.Is(err, errNoSlot) && s.engine.limit.refused() && pause(ctx, attempt):
			attempt = 0 // nothing was sent: f has only to wait for a connection that there is
		case attempt >= maxAttempts || !again(err) || !pause(ctx, attempt):
			return fmt.Errorf("gormstore: %s: %w", operation, s.engine.explain(translate(err)))
		}
	}
}

// undone tells of a deadlock or a serialization failure: PostgreSQL has rolled back, and trying again may succeed.
func undone(err error) bool { return hasState(err, "40P01") || hasState(err, "40001") }

// lockedOut tells that lock_timeout ran out. Where several rows are locked that may be a deadlock too, because PostgreSQL looks
// for one after a second. Where it is one row, its holder was slow, and the caller has to hear of it.
func lockedOut(err error) bool { return hasState(err, "55P03") }

// refused tells that PostgreSQL could not take what the statement brought, or an operator's constraint or trigger did not: it has
// undone the statement. The classes of SQLSTATE are data exceptions, constraints, limits of the program, and PL/pgSQL.
func refused(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && slices.Contains([]string{"22", "23", "54", "P0"}, e.Code[:min(2, len(e.Code))])
}

func hasState(err error, code string) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && e.Code == code
}

// pause waits a random while, longer at each attempt. It returns false as soon as ctx is done.
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
