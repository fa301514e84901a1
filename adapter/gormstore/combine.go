package gormstore

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/refreshd/refreshd/domain"
)

const (
	// mostTogether is how many exchanges share a write at most.
	mostTogether = 64
	// togetherTimeout bounds a shared write, which no caller's context may end. The server's own time-outs come first, unless it is
	// gone.
	togetherTimeout = 12 * time.Second
)

// exchange is one call of Advance, and what came of it.
type exchange struct {
	id   domain.ID
	call domain.Call

	settled bool // what follows is the answer
	token   domain.RefreshToken
	policy  domain.Policy
	err     error

	turn chan turn
}

// turn is what an exchange that waited is told.
type turn int

const (
	over  turn = iota // it is settled
	alone             // it has to go by itself
	next              // it has to go by itself, in the place of a write, which is now its own to pass on
)

// combiner lets exchanges that come while others are being written share the next write, and its commit. It is no queue with a
// timer: an exchange that finds a place free is written at once, by itself, in the goroutine that brought it, and never waits.
// Who finds none waits until a write ends, and then goes together with all who came meanwhile.
//
// What is shared is the statement, never the answer: each exchange is a compare-and-swap with its own instant, and nothing is
// answered before the commit. A refresh token is in one write only. One exchange that the database cannot take must not fail
// its neighbours: after such an error, and where a row was held by somebody else, each goes alone, outside of the places, for
// it may have to wait.
//
// # Measured
//
// On two cores that driver and database share, PostgreSQL waiting for its disk: 2.3 times as many exchanges a second as one by
// one at 32 callers, 2.7 at 64, 1.2 at 8, and the same for a lone one. Two places are better than one, which leaves the
// database idle between two writes; more make the batches small.
type combiner struct {
	one func(context.Context, *exchange) error
	// many writes a batch and settles those of it that it has an answer for; the others are to go alone. An error is everybody's:
	// whether they were written is then unknown.
	many func(context.Context, []*exchange) error

	mu      sync.Mutex
	places  int                // writes that may begin now
	waiting []*exchange        // in the order of their coming
	written map[domain.ID]bool // the refresh tokens of the writes that are under way
}

func newCombiner(
	places int, one func(context.Context, *exchange) error, many func(context.Context, []*exchange) error,
) *combiner {
	return &combiner{one: one, many: many, places: places, written: map[domain.ID]bool{}}
}

// do returns when e is written, or when ctx is done: e may then be written all the same.
func (c *combiner) do(ctx context.Context, e *exchange) error {
	if !c.enter(e) {
		select {
		case t := <-e.turn:
			switch t {
			case over:
				return e.err
			case alone:
				return c.one(ctx, e)
			case next:
			}
		case <-ctx.Done():
			c.leave(e)
			return fmt.Errorf("gormstore: advance: wait for a place: %w", ctx.Err())
		}
	}
	defer c.end([]*exchange{e})
	err := c.one(ctx, e)
	e.settled = err == nil
	return err
}

// enter takes a free place for e; else it lets e wait, and returns false.
func (c *combiner) enter(e *exchange) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.places > 0 && !c.written[e.id] {
		c.places--
		c.written[e.id] = true
		return true
	}
	e.turn = make(chan turn, 1)
	c.waiting = append(c.waiting, e)
	return false
}

// leave takes back an exchange whose caller is gone. What is being written can no longer be taken back.
func (c *combiner) leave(e *exchange) {
	c.mu.Lock()
	if i := slices.Index(c.waiting, e); i >= 0 {
		c.waiting = slices.Delete(c.waiting, i, i+1)
	}
	c.mu.Unlock()
	select {
	case t := <-e.turn:
		if t == next {
			c.end([]*exchange{e})
		}
	default:
	}
}

// end passes on the place of a write that has ended.
func (c *combiner) end(batch []*exchange) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range batch {
		delete(c.written, e.id)
	}
	switch following := c.pick(batch); len(following) {
	case 0:
		c.places++
	case 1:
		following[0].turn <- next // under the lock, or leave could miss it
	default:
		go c.together(following)
	}
}

// pick chooses who is written next. Who waits with a generation that has just been left has lost: generations do not come back, so
// there is nothing to ask the database.
func (c *combiner) pick(ended []*exchange) (batch []*exchange) {
	c.waiting = slices.DeleteFunc(c.waiting, func(e *exchange) bool {
		lost := slices.ContainsFunc(ended, func(won *exchange) bool {
			return won.settled && won.err == nil && won.id == e.id && won.call.Generation >= e.call.Generation
		})
		switch {
		case lost:
			e.err = fmt.Errorf("gormstore: advance: %w", domain.ErrConflict)
			e.turn <- over
			return true
		case c.written[e.id], len(batch) == mostTogether:
			return false
		default:
			c.written[e.id] = true
			batch = append(batch, e)
			return true
		}
	})
	return batch
}

// together writes a batch.
func (c *combiner) together(batch []*exchange) {
	ctx, cancel := context.WithTimeout(context.Background(), togetherTimeout)
	defer cancel()
	err := c.many(ctx, batch)
	c.end(batch) // first, so that the database works while the callers wake
	for _, e := range batch {
		switch {
		case err != nil:
			e.err = err
			e.turn <- over
		case e.settled:
			e.turn <- over
		default:
			e.turn <- alone
		}
	}
}
