package web

import (
	"context"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// MaxInProgress and MinInProgress limit the bound of concurrent requests. One caller gets half of the bound. The
	// store writes 128 exchanges together: half of MinInProgress fills one write, and half of MaxInProgress leaves as
	// many to wait for the next.
	MaxInProgress = 512
	MinInProgress = 256

	// SlowExchange is the duration above which an exchange lowers the bound: with a slow store, 512 exchanges are a
	// queue of seconds.
	SlowExchange = 100 * time.Millisecond

	// turnTime is the minimum of a request's time that remains when it gets its turn. With less, its first query would
	// fail, and the log would say that the store took too long.
	turnTime = time.Second

	// defaultTurns is the number of requests of one caller, other than exchanges, that run concurrently: half of the
	// default connection pool.
	defaultTurns = 8
)

// places bounds the number of concurrent requests. A caller is a verified API key, or otherwise a client address.
//
// The bound is shared fairly by a dynamic threshold (Choudhury and Hahne, IEEE/ACM Transactions on Networking 6:2,
// 1998): a caller may hold as many places as are free. A caller that takes all it can get has half of them, k such
// callers have 1/(k+1) each, and as much is free, so that the next caller always finds a place. This needs neither the
// number of callers nor a share for each. Fixed shares were rejected, because a single backend that sends everybody's
// requests could not fill the store's batches.
//
// The bound is AIMD (additive increase, multiplicative decrease): a slow exchange lowers it by a quarter of its value,
// and any other exchange raises it by a quarter of a place. Requests that began before the last decrease do not lower
// it again, because they say nothing about the present bound. By then the excess requests have ended. So a decrease
// takes the last free places from no caller, as long as requests end in the order in which they began. Only exchanges
// of genuine token strings move the bound. Each reads and writes one row by its id, so a slow one means a slow store. A
// slow list or revocation may be due to what was requested, and a fast refusal means nothing. This does not protect the
// latency of other callers from one whose exchanges overload the store.
//
// A request other than an exchange shares no write with others, and can be expensive. So it also needs a turn of its
// caller, and waits for one, first in, first out. While it waits it holds no place. Waiting requests have a bound of
// their own, MaxInProgress, with the same threshold.
type places struct {
	running, waiting atomic.Int64
	bound            atomic.Int64 // of running, in quarters of a place
	cutAt            atomic.Int64 // time of the last decrease, in nanoseconds since start
	clock            func() time.Time
	start            time.Time
	turns            int // for each caller
	seed             maphash.Seed
	shards           [64]shard
}

type shard struct {
	mu      sync.Mutex
	callers map[uint64]callerState // by hash; only callers with a request in progress
	_       [40]byte               // pads it to a cache line
}

type callerState struct {
	places, turns int
	queue         []chan struct{} // requests that wait for a turn; closed when it is granted
}

func newPlaces(turns int, clock func() time.Time) *places {
	p := &places{clock: clock, start: clock(), turns: turns, seed: maphash.MakeSeed()}
	if turns <= 0 {
		p.turns = defaultTurns
	}
	p.bound.Store(4 * MaxInProgress)
	for i := range p.shards {
		p.shards[i].callers = map[uint64]callerState{}
	}
	return p
}

func (p *places) caller(key string) uint64 { return maphash.String(p.seed, key) }

func (p *places) now() time.Duration { return p.clock().Sub(p.start) }

func (p *places) of(caller uint64) *shard { return &p.shards[caller%uint64(len(p.shards))] }

// set stores the state of a caller. s.mu must be held.
func (s *shard) set(caller uint64, h callerState) {
	if h.places == 0 && h.turns == 0 && len(h.queue) == 0 {
		delete(s.callers, caller)
		return
	}
	s.callers[caller] = h
}

// full reports whether a request would be refused now. It takes no place.
func (p *places) full(caller uint64, turn bool) bool {
	running := p.running.Load()
	if !turn && 4*(2*running+1) <= p.bound.Load() { // even if the caller holds all of them
		return false
	}
	s := p.of(caller)
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.callers[caller]
	if turn && h.turns >= p.turns {
		return int64(len(h.queue))+p.waiting.Load()+1 > MaxInProgress
	}
	return 4*(int64(h.places)+running+1) > p.bound.Load()
}

// take takes a place for a caller that already holds the given number, and reports whether there was one.
func (p *places) take(held int) bool {
	if running := p.running.Add(1); 4*(int64(held)+running) > p.bound.Load() {
		p.running.Add(-1)
		return false
	}
	return true
}

// enter takes a place for an exchange, and reports whether there was one.
func (p *places) enter(caller uint64) bool {
	s := p.of(caller)
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.callers[caller]
	if !p.take(h.places) {
		return false
	}
	h.places++
	s.set(caller, h)
	return true
}

// leave gives back the place of an exchange.
func (p *places) leave(caller uint64) {
	s := p.of(caller)
	s.mu.Lock()
	defer s.mu.Unlock()
	p.running.Add(-1)
	h := s.callers[caller]
	h.places--
	s.set(caller, h)
}

// enterTurn takes a place and a turn. If the caller has no free turn, it waits for one until client has ended, or until
// turnTime before ctx ends. It reports whether it got them.
func (p *places) enterTurn(caller uint64, client, ctx context.Context) bool {
	s := p.of(caller)
	s.mu.Lock()
	h := s.callers[caller]
	if h.turns < p.turns {
		defer s.mu.Unlock()
		if !p.take(h.places) {
			return false
		}
		h.places++
		h.turns++
		s.set(caller, h)
		return true
	}
	if waiting := p.waiting.Add(1); int64(len(h.queue))+waiting > MaxInProgress {
		p.waiting.Add(-1)
		s.mu.Unlock()
		return false
	}
	granted := make(chan struct{})
	h.queue = append(h.queue, granted)
	s.set(caller, h)
	s.mu.Unlock()

	if end, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, end.Add(-turnTime))
		defer cancel()
	}
	select {
	case <-granted:
		return true
	case <-client.Done():
	case <-ctx.Done():
	}
	s.mu.Lock()
	h = s.callers[caller]
	if i := slices.Index(h.queue, granted); i >= 0 {
		h.queue = slices.Delete(h.queue, i, i+1)
		p.waiting.Add(-1)
		s.set(caller, h)
		s.mu.Unlock()
		return false
	}
	s.mu.Unlock()
	p.leaveTurn(caller) // it was granted in the same moment
	return false
}

// leaveTurn gives back a place and a turn, or passes both to the caller's request that has waited longest.
func (p *places) leaveTurn(caller uint64) {
	s := p.of(caller)
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.callers[caller]
	if len(h.queue) > 0 {
		close(h.queue[0])
		h.queue = slices.Delete(h.queue, 0, 1)
		p.waiting.Add(-1)
	} else {
		p.running.Add(-1)
		h.places--
		h.turns--
	}
	s.set(caller, h)
}

// adjust moves the bound by the duration of an exchange.
func (p *places) adjust(begun time.Duration) {
	now, bound := p.now(), p.bound.Load()
	if now-begun <= SlowExchange {
		if bound < 4*MaxInProgress {
			p.bound.CompareAndSwap(bound, bound+1)
		}
		return
	}
	if cut := p.cutAt.Load(); int64(begun) >= cut && p.cutAt.CompareAndSwap(cut, int64(now)) {
		p.bound.Store(max(4*MinInProgress, bound-bound/4))
	}
}
