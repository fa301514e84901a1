package gormstore

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/refreshd/refreshd/domain"
)

// rowName is what a call may have to wait for in the database: the row of a tenant, the refresh tokens of a user in an
// application, one refresh token, or the row that orders the writes of keys.
type rowName struct {
	tenantID, applicationID, userID string
	token                           domain.ID
	keyRing                         bool
}

// turns let one call of this process at a time wait for a row. The others wait here, without a connection: else the
// callers of one row that somebody holds would take all connections, and stop the calls of everyone else. It costs
// those callers nothing, for the row orders them anyway.
//
// If the one that waited in the database did so in vain, those behind it fail with it: the row is held, they have
// waited as long as a call may, and one after another they would wait for minutes.
//
// There is an entry only while a call is under way, and a waiting call is a channel.
type turns struct {
	mu      sync.Mutex
	waiting map[rowName][]chan error // in the order of their coming, behind the call that has its turn
}

// take returns nil when it is the caller's turn, who then has to call pass; or the error of the call that had it; or
// that of ctx.
func (t *turns) take(ctx context.Context, r rowName) error {
	t.mu.Lock()
	behind, taken := t.waiting[r]
	if !taken {
		if t.waiting == nil {
			t.waiting = map[rowName][]chan error{}
		}
		t.waiting[r] = nil
		t.mu.Unlock()
		return nil
	}
	turn := make(chan error, 1)
	t.waiting[r] = append(behind, turn)
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
	if i := slices.Index(t.waiting[r], turn); i >= 0 {
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
	if !lockedOut(err) && len(behind) > 0 {
		behind[0] <- nil
		t.waiting[r] = behind[1:]
		return
	}
	for _, turn := range behind {
		turn <- err
	}
	delete(t.waiting, r)
}

// inTurn runs f, which may wait for r and for no other rowName that this process would wait for elsewhere.
func (s *Store) inTurn(ctx context.Context, operation string, r rowName, f func() error) (err error) {
	if err := s.turns.take(ctx, r); err != nil {
		return fmt.Errorf("gormstore: %s: wait behind a call on the same row: %w", operation, err)
	}
	defer func() { s.turns.pass(r, err) }()
	return f()
}
