package gormstore

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/refreshd/refreshd/domain"
)

// rowName names what a call may have to wait for in the database: the row of a tenant, the refresh tokens of a user (in
// one application or in all), one refresh token, a key of Once, or the row that orders the writes of keys.
type rowName struct {
	tenantID, applicationID, userID string
	token                           domain.ID
	once                            string
	keyRing                         bool
}

// turns is a FIFO lock for each row: one call of this process at a time waits for a row in the database. The others
// wait here, without a connection. Otherwise the callers of one locked row would take all connections, and stop the
// calls of everyone else. It costs those callers nothing, because the row orders them anyway.
//
// If the call that waited in the database did not get the row, those behind it that have waited for longWait fail with
// it: the row is locked, and one after another they would wait for minutes. A call that arrived later does not fail
// with it, because that wait was almost over; the first of those waits in the database next. So calls of others
// lengthen a wait by at most longWait.
//
// An entry exists only while a call is running.
type turns struct {
	mu      sync.Mutex
	waiting map[rowName][]waiter // in the order of arrival, behind the call that has its turn
}

// waiter is a call that waits behind another.
type waiter struct {
	turn  chan error
	since time.Time
}

// longWait is half of lock_timeout.
const longWait = 500 * time.Millisecond

// failsWith reports whether a call that has waited since then fails with err, the result of the call before it.
func failsWith(err error, since time.Time) bool {
	return lockTimedOut(err) && time.Since(since) >= longWait
}

// take returns nil when it is the caller's turn; the caller then has to call pass. Otherwise it returns the error of
// the call that had the turn, or that of ctx.
func (t *turns) take(ctx context.Context, r rowName) error {
	t.mu.Lock()
	behind, taken := t.waiting[r]
	if !taken {
		if t.waiting == nil {
			t.waiting = map[rowName][]waiter{}
		}
		t.waiting[r] = nil
		t.mu.Unlock()
		return nil
	}
	turn := make(chan error, 1)
	t.waiting[r] = append(behind, waiter{turn, time.Now()})
	t.mu.Unlock()
	select {
	case err := <-turn:
		return err
	case <-ctx.Done():
		t.leave(r, turn)
		return ctx.Err()
	}
}

// leave removes a call whose context is done. The turn may just have been passed to it.
func (t *turns) leave(r rowName, turn chan error) {
	t.mu.Lock()
	if i := slices.IndexFunc(t.waiting[r], func(w waiter) bool { return w.turn == turn }); i >= 0 {
		t.waiting[r] = slices.Delete(t.waiting[r], i, i+1)
	}
	t.mu.Unlock()
	select {
	case err := <-turn:
		if err == nil {
			t.pass(r, nil)
		}
	default:
	}
}

// pass ends a turn. err is the result of the call.
func (t *turns) pass(r rowName, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	behind := t.waiting[r]
	for len(behind) > 0 && failsWith(err, behind[0].since) {
		behind[0].turn <- err
		behind = behind[1:]
	}
	if len(behind) == 0 {
		delete(t.waiting, r)
		return
	}
	behind[0].turn <- nil
	t.waiting[r] = behind[1:]
}

// inTurn runs f while it holds the turn of r. f may wait for r, and for no other rowName that calls wait for here.
func (s *Store) inTurn(ctx context.Context, operation string, r rowName, f func() error) (err error) {
	if err := s.turns.take(ctx, r); err != nil {
		return fmt.Errorf("gormstore: %s: wait behind a call on the same row: %w", operation, err)
	}
	defer func() { s.turns.pass(r, err) }()
	return f()
}
