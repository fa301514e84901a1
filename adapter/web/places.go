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
	// MaxInProgress is the greatest bound of the requests that are worked on concurrently, and MinInProgress the
	// smallest. One caller gets half of it. The store writes 128 exchanges together: half of MinInProgress fills
	// that, and half of MaxInProgress leaves as many to wait for the next write.
	MaxInProgress = 512
	MinInProgress = 256

	// SlowCall is the duration from which an exchange lowers the bound: where the store is slow, 512 exchanges are a
	// queue of seconds.
	SlowCall = 100 * time.Millisecond

	// turnTime is how much of a request's time is left at least when it gets its turn. With next to nothing left the
	// first thing that it asks of the store would fail, and the log would say that the store took too long.
	turnTime = time.Second

	// defaultTurns is how many requests of one caller, other than exchanges, run concurrently: half of the default
	// pool.
	defaultTurns = 8
)

// places bounds the requests that are worked on concurrently. A caller is an API key that is known to be good, else a
// client address.
//
// Among callers it is fair by a dynamic threshold (Choudhury and Hahne, IEEE/ACM Transactions on Networking 6:2,
// 1998): a caller may hold as many places as are free. One that takes all it can get has half of them, k such callers
// have one k+1th each, and as much is left, so that the next caller always finds a place. It needs no number of
// callers and no share for each; fixed shares lost, since one backend behind which everybody comes could not fill the
// store's batches.
//
// The bound is AIMD: it falls by a quarter for an exchange that was slow, and rises by a quarter of one for one that
// was not. Requests that began before it last fell do not lower it again, because they say nothing of the bound that
// is now. By then those that were too many have ended, so a bound that falls takes the last free places from nobody,
// as long as requests end in the order in which they began. Only exchanges of genuine token strings move the bound.
// Such a one reads and writes one row by its id, so a slow one tells of the store; a slow list or revocation may tell
// of what was asked for, and a fast refusal of nothing. What this does not promise: that a caller whose exchanges
// overload the store leaves the latency of the others as it was.
//
// A request other than an exchange shares no write with others, and can be expensive. So it needs a turn of its
// caller as well, and waits for one, first in, first out. While it waits it holds no place: waiting requests have a
// bound of their own, MaxInProgress, with the same threshold.
type places struct {
	running, waiting atomic.Int64
	bound            atomic.Int64 // of running, in quarters
	cutAt            atomic.Int64 // when it last fell, in nanoseconds since start
	clock            func() time.Time
	start            time.Time
	turns            int // of a caller
	seed             maphash.Seed
	shards           [64]shard
}

type shard struct {
	mu      sync.Mutex
	callers map[uint64]holder // by hash; those that have something in progress
	_       [40]byte          // a line of a processor's cache for each
}

type holder struct {
	places, turns int
	queue         []chan struct{} // of what waits for a turn; closed when it has it
}

func newPlaces(turns int, clock func() time.Time) *places {
	p := &places{clock: clock, start: clock(), turns: turns, seed: maphash.MakeSeed()}
	if turns <= 0 {
		p.turns = defaultTurns
	}
	p.bound.Store(4 * MaxInProgress)
	for i := range p.shards {
		p.shards[i].callers = map[uint64]holder{}
	}
	return p
}

func (p *places) caller(key string) uint64 { return maphash.String(p.seed, key) }

func (p *places) now() time.Duration { return p.clock().Sub(p.start) }

func (p *places) of(caller uint64) *shard { return &p.shards[caller%uint64(len(p.shards))] }

// set stores what a caller has. The caller of set holds s.mu.
func (s *shard) set(caller uint64, h holder) {
	if h.places == 0 && h.turns == 0 && len(h.queue) == 0 {
		delete(s.callers, caller)
		return
	}
	s.callers[caller] = h
}

// full reports whether a request would be refused now. It takes nothing.
func (p *places) full(caller uint64, turn bool) bool {
	running := p.running.Load()
	if !turn && 4*(2*running+1) <= p.bound.Load() { // also if all of them are the caller's
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

// take takes a place for a caller that holds so many. All but it are free that nobody holds.
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

// enterTurn takes a place and a turn. Where the caller has no turn left it waits for one, until client has ended or
// turnTime before ctx will. It reports whether it has them.
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
	mine := make(chan struct{})
	h.queue = append(h.queue, mine)
	s.set(caller, h)
	s.mu.Unlock()

	if end, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, end.Add(-turnTime))
		defer cancel()
	}
	select {
	case <-mine:
		return true
	case <-client.Done():
	case <-ctx.Done():
	}
	s.mu.Lock()
	h = s.callers[caller]
	if i := slices.Index(h.queue, mine); i >= 0 {
		h.queue = slices.Delete(h.queue, i, i+1)
		p.waiting.Add(-1)
		s.set(caller, h)
		s.mu.Unlock()
		return false
	}
	s.mu.Unlock()
	p.leaveTurn(caller) // it came in the same moment
	return false
}

// leaveTurn gives back a place and a turn, or hands both to the caller's request that has waited for longest.
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

// learn moves the bound by how long an exchange took.
func (p *places) learn(begun time.Duration) {
	now, bound := p.now(), p.bound.Load()
	if now-begun <= SlowCall {
		if bound < 4*MaxInProgress {
			p.bound.CompareAndSwap(bound, bound+1)
		}
		return
	}
	if cut := p.cutAt.Load(); int64(begun) >= cut && p.cutAt.CompareAndSwap(cut, int64(now)) {
		p.bound.Store(max(4*MinInProgress, bound-bound/4))
	}
}
