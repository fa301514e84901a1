package gormstore

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/refreshd/refreshd/domain"
)

// rowName is what a call may have to wait for in the database: the row of a tenant, the refresh tokens of a user, in an
// application or in all, one refresh token, or the row that orders the writes of keys.
type rowName struct {
	tenantID, applicationID, userID string
	token                           domain.ID
	keyRing                         bool
}

// turns let one call of this process at a time wait for a row. The others wait here, without a connection: else the
// callers of one row that somebody holds would take all connections, and stop the calls of everyone else. It costs
// those callers nothing, for the row orders them anyway.
//
// If the one that waited in the database did so in vain, those behind it that have waited for longWait fail with it:
// the row is held, and one after another they would wait for minutes. One that came later is not failed by a wait
// that was all but over: the first of these waits in the database next. So calls of others make one wait longer by
// longWait at most.
//
// There is an entry only while a call is under way.
type turns struct {
	mu      sync.Mutex
	waiting map[rowName][]waiter // in the order of their coming, behind the call that has its turn
}

// waiter is a call that waits behind another.
type waiter struct {
	turn  chan error
	since time.Time
}

// longWait is half of lock_timeout.
const longWait = 500 * time.Millisecond

// failsWith reports whether a call that has waited behind another one since then fails with it, which ended with err.
func failsWith(err error, since time.Time) bool {
	return lockedOut(err) && time.Since(since) >= longWait
}

// take returns nil when it is the caller's turn, who then has to call pass; or the error of the call that had it; or
// that of ctx.
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

// leave takes back a call whose caller has gone. The turn may just have been passed to it.
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

// pass ends a turn. err is what the call returned.
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

// inTurn runs f, which may wait for r and for no other rowName that this process would wait for elsewhere.
func (s *Store) inTurn(ctx context.Context, operation string, r rowName, f func() error) (err error) {
	if err := s.turns.take(ctx, r); err != nil {
		return fmt.Errorf("gormstore: %s: wait behind a call on the same row: %w", operation, err)
	}
	defer func() { s.turns.pass(r, err) }()
	return f()
}
