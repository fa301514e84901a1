package gormstore

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/refreshd/refreshd/domain"
)

const (
	// mostTogether is how many exchanges share a write at most.
	mostTogether = 64
	// patience is how long a write keeps its place from others.
	patience = 250 * time.Millisecond
	// togetherTimeout bounds the wait for a connection of a shared write, which no caller's context may end.
	togetherTimeout = 12 * time.Second
)

// exchange is one call of Advance, and what came of it.
type exchange struct {
	id   domain.ID
	call domain.Call

	settled bool // committed or refused: err, or token and policy, are the answer
	token   domain.RefreshToken
	policy  domain.Policy
	err     error

	turn  chan turn
	since time.Time // when it began to wait for its turn
}

// turn is what an exchange that waited is told.
type turn int

const (
	over  turn = iota // it has its answer, or its error
	alone             // it has to go by itself
	next              // it has to go by itself, in a place that is now its own
)

// combiner lets exchanges that come while others are being written share the next write, and its commit. None waits for
// company: an exchange that finds a place free is written at once, by itself, in the goroutine that brought it. Who finds none waits
// until a write ends, and then goes together with all who came meanwhile.
//
// What is shared is the statement, never the answer: each exchange is a compare-and-swap with its own instant, and nothing is
// answered before the commit. A refresh token is in one write only. What one exchange lacks, or the database cannot take of it,
// is not its neighbours' affair: what a shared write leaves over goes alone, outside of the places, for it may have to wait.
//
// A write that takes long, because its row is held or its server does not answer, keeps nobody waiting for longer than patience: it
// then goes on without its place. Without that, two dead connections would stop all exchanges until a time-out, once for every
// two connections in the pool.
//
// An exchange that waits while its refresh token is rotated here learns from that rotation that its answer stands,
// and asks the database nothing. One that comes later is not told so from memory, though most retries could be: a
// policy that was changed meanwhile would go unseen, and Advance promises to fail for a condition that fails now. It
// costs a retry that waits in a batch three statements where a lone one takes two.
//
// # Measured
//
// On two cores that driver and database share, PostgreSQL waiting for its disk (`make bench`): 3.0 times as many exchanges a second
// as one by one at 32 callers, 4.6 at 64, 1.2 at 8, and no more than the noise for a lone one. One place leaves the database idle
// between two writes; three and four were no better than two.
type combiner struct {
	one func(context.Context, *exchange) error
	// many writes a batch, and settles those of it that it has an answer for; the others are to go alone. An error is everybody's:
	// whether they were written is then unknown.
	many func(context.Context, []*exchange) error

	mu      sync.Mutex
	places  int                // writes that may begin now
	waiting []*exchange        // in the order of their coming
	written map[domain.ID]bool // the refresh tokens of the writes that are under way

	writes, exchanges atomic.Int64 // that have begun
}

// Sharing is how exchanges share writes.
type Sharing struct {
	Waiting   int   // exchanges that wait for a place now
	Writes    int64 // that have begun, of one exchange or of many
	Exchanges int64 // in these, without those that had to go alone afterwards
}

// write is one that is under way, of one exchange or more.
type write struct {
	batch       []*exchange
	ended, lent bool
	patience    *time.Timer
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
			return fmt.Errorf("gormstore: advance: wait for a place to write: %w", ctx.Err())
		}
	}
	w := c.begin(e)
	defer c.end(w)
	e.err = c.one(ctx, e)
	e.settled = e.err == nil
	return e.err
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
	e.turn, e.since = make(chan turn, 1), time.Now()
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
			c.end(c.begin(e))
		}
	default:
	}
}

// begin is called by who has a place.
func (c *combiner) begin(batch ...*exchange) *write {
	w := &write{batch: batch}
	w.patience = time.AfterFunc(patience, func() { c.lend(w) })
	c.writes.Add(1)
	c.exchanges.Add(int64(len(batch)))
	return w
}

// lend passes on the place of a write that takes long.
func (c *combiner) lend(w *write) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !w.ended {
		w.lent = true
		c.pass()
	}
}

// end passes on the place of a write, unless that is lent.
func (c *combiner) end(w *write) {
	w.patience.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	w.ended = true
	for _, e := range w.batch {
		delete(c.written, e.id)
	}
	c.settle(w.batch)
	if w.lent {
		if c.places == 0 {
			return
		}
		c.places-- // for who waits because of these refresh tokens
	}
	c.pass()
}

// pass gives a place to who waits, or back.
func (c *combiner) pass() {
	switch batch := c.pick(); len(batch) {
	case 0:
		c.places++
	case 1:
		batch[0].turn <- next // under the lock, or leave could miss it
	default:
		go c.together(batch)
	}
}

// settle ends the wait of those whose refresh token was in a write that has ended, where there is nothing left to ask
// the database. Who waits while its refresh token is rotated has lost if its generation has just been left, since
// generations do not come back, or if the rotation's answer stands for it. That is what makes a thousand who present
// one string bearable for all others. And if the write waited for the row in vain, those who have waited long for the
// write fail with it, as in turns.
func (c *combiner) settle(ended []*exchange) {
	c.waiting = slices.DeleteFunc(c.waiting, func(e *exchange) bool {
		i := slices.IndexFunc(ended, func(ended *exchange) bool { return ended.id == e.id })
		if i < 0 {
			return false
		}
		switch before := ended[i]; {
		case before.settled && before.err == nil &&
			(before.call.Generation >= e.call.Generation || before.token.InGracePeriod(before.policy, e.call.Now)):
			e.err = fmt.Errorf("gormstore: advance: %w", domain.ErrConflict)
		case failsWith(before.err, e.since):
			e.err = before.err
		default:
			return false
		}
		e.turn <- over
		return true
	})
}

// pick chooses who is written next.
func (c *combiner) pick() (batch []*exchange) {
	c.waiting = slices.DeleteFunc(c.waiting, func(e *exchange) bool {
		if c.written[e.id] || len(batch) == mostTogether {
			return false
		}
		c.written[e.id] = true
		batch = append(batch, e)
		return true
	})
	return batch
}

// together writes a batch.
func (c *combiner) together(batch []*exchange) {
	w := c.begin(batch...)
	err := c.guarded(batch)
	if err != nil {
		for _, e := range batch {
			e.settled = false
		}
	}
	c.end(w) // first, so that the database works while the callers wake
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

// guarded is many, in a goroutine where nobody else would catch a panic.
func (c *combiner) guarded(batch []*exchange) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("gormstore: advance together: panic: %v\n%s", v, debug.Stack())
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), togetherTimeout)
	defer cancel()
	return c.many(ctx, batch)
}

// Sharing tells how exchanges share writes; all zero where each is written by itself.
func (s *Store) Sharing() Sharing {
	c := s.combiner
	if c == nil {
		return Sharing{}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return Sharing{Waiting: len(c.waiting), Writes: c.writes.Load(), Exchanges: c.exchanges.Load()}
}
