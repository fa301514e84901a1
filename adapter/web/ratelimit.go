package web

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

// burstSeconds is the capacity of a bucket, in seconds of its rate.
const burstSeconds = 10

// A Limiter is a rate limiter with a token bucket for each key, by the generic cell rate algorithm (GCRA): a number of
// requests a second, with a burst of burstSeconds times as many. It is safe for concurrent use, and allocates all of
// its memory in NewLimiter.
//
// The state of a bucket is one number, the time at which it will be full again (the theoretical arrival time of GCRA).
// A full bucket equals a missing one, so none has to be swept. Keys are hashed with a seed of the process, and only the
// hash is stored. It selects one of many small sets, each with its own lock. If a set has no room for a new key, the
// bucket that is nearest to full is dropped. So an attacker who makes up keys to drop an empty bucket first has to
// empty the fifteen others of its set, without knowing which keys those are. Waiting is cheaper.
//
// golang.org/x/time/rate was rejected: its bucket is five times as large, needs a map and a sweeper, and does not say
// when it is full, which decides here which bucket is dropped.
type Limiter struct {
	clock  func() time.Time
	start  time.Time     // times are stored relative to it, so a step of the system clock changes none
	period time.Duration // in which one request is earned; 0 for no limit
	seed   maphash.Seed
	sets   []bucketSet
}

// wholeBucket is the time in which an empty bucket becomes full.
const wholeBucket = burstSeconds * time.Second

const bucketsInSet = 15 // with the lock, four cache lines

type bucketSet struct {
	mu      sync.Mutex
	buckets [bucketsInSet]bucket
	_       [8]byte
}

// bucket is zero if it is unused.
type bucket struct {
	key    uint64
	fullAt time.Duration // since the limiter's start
}

// NewLimiter returns a Limiter that allows perSecond requests a second for each key, or any number if perSecond is 0.
// It has room for at least the given number of keys.
func NewLimiter(perSecond, keys int, clock func() time.Time) *Limiter {
	l := &Limiter{
		clock: clock, start: clock(), seed: maphash.MakeSeed(),
		sets: make([]bucketSet, max(1, (keys+bucketsInSet-1)/bucketsInSet)),
	}
	if perSecond > 0 {
		l.period = time.Second / time.Duration(perSecond)
	}
	return l
}

// Take takes n requests from key's bucket and returns 0. If the bucket has fewer, it takes nothing and returns the time
// until the bucket has them.
func (l *Limiter) Take(key string, n int) (wait time.Duration) {
	now := l.now()
	l.with(key, func(b *bucket) {
		var fullAt time.Duration
		if fullAt, wait = l.after(b, now, n); wait == 0 {
			b.fullAt = fullAt
		}
	})
	return wait
}

// Wait returns what Take would return, and takes nothing.
func (l *Limiter) Wait(key string, n int) (wait time.Duration) {
	h, s := l.find(key)
	now := l.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.index(h); i >= 0 {
		_, wait = l.after(&s.buckets[i], now, n)
	}
	return wait
}

// after returns the time at which b would be full again after n requests, and how long they have to wait.
func (l *Limiter) after(b *bucket, now time.Duration, n int) (fullAt, wait time.Duration) {
	fullAt = max(b.fullAt, now) + time.Duration(n)*l.period
	return fullAt, max(0, fullAt-now-wholeBucket)
}

// Charge takes n requests from key's bucket even if it has fewer. Later requests then have to wait longer, at most
// until an empty bucket would be full. A negative n gives requests back.
func (l *Limiter) Charge(key string, n int) {
	now := l.now()
	l.with(key, func(b *bucket) { b.fullAt = min(max(b.fullAt, now)+time.Duration(n)*l.period, now+2*wholeBucket) })
}

// Knows reports whether key has a bucket. A bucket is dropped only for lack of room, or by Forget.
func (l *Limiter) Knows(key string) bool {
	h, s := l.find(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.index(h) >= 0
}

// Forget drops key's bucket.
func (l *Limiter) Forget(key string) {
	h, s := l.find(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.index(h); i >= 0 {
		s.buckets[i] = bucket{}
	}
}

func (l *Limiter) now() time.Duration { return l.clock().Sub(l.start) }

// with calls f with key's bucket. A new key may replace the bucket of its set that is nearest to full.
func (l *Limiter) with(key string, f func(*bucket)) {
	h, s := l.find(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.index(h)
	if i < 0 {
		i = 0
		for j := range s.buckets {
			if s.buckets[j].key == 0 {
				i = j
				break
			}
			if s.buckets[j].fullAt < s.buckets[i].fullAt {
				i = j
			}
		}
		s.buckets[i] = bucket{key: h}
	}
	f(&s.buckets[i])
}

func (l *Limiter) find(key string) (hash uint64, s *bucketSet) {
	hash = maphash.String(l.seed, key)
	return max(hash, 1), &l.sets[hash%uint64(len(l.sets))]
}

func (s *bucketSet) index(hash uint64) int {
	for i := range s.buckets {
		if s.buckets[i].key == hash {
			return i
		}
	}
	return -1
}

// slots is a table of keys, by a hash with a seed of the process. Each slot allows one of its keys a second.
type slots struct {
	clock func() time.Time
	start time.Time
	seed  maphash.Seed
	free  *[slotCount]atomic.Int64 // from when on, in nanoseconds since start
}

const (
	slotCount = 512
	slotPause = time.Second
)

func newSlots(clock func() time.Time) slots {
	return slots{clock: clock, start: clock(), seed: maphash.MakeSeed(), free: new([slotCount]atomic.Int64)}
}

// take reports whether key's slot was free, and takes it.
func (s *slots) take(key string) bool {
	slot := &s.free[maphash.String(s.seed, key)%slotCount]
	free, now := slot.Load(), int64(s.clock().Sub(s.start))
	return free <= now && slot.CompareAndSwap(free, now+int64(slotPause))
}
