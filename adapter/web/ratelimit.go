package web

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

// burstSeconds is how many seconds' worth of requests a full bucket holds.
const burstSeconds = 10

// A Limiter keeps a token bucket for each key: so many requests a second, and burstSeconds times as many in a burst. It
// is safe for concurrent use, and takes all the memory that it will ever take when it is made.
//
// A bucket is one number: when it will be full again. One that is full is as good as one that is not there, so nothing has to be
// swept. Keys are hashed with a seed of the process, and only the hash is kept; it chooses one of many small sets, each under a
// lock of its own. Where a set has no place for one more key, the bucket in it that is nearest to full gives way. So whoever makes up keys
// to push out a bucket that is empty has to empty fifteen others of its set first, and cannot know which keys they are: to wait is cheaper.
//
// golang.org/x/time/rate lost: a bucket there is five times as large, needs a map and something that sweeps it around it, and does not
// tell when it is full, which is what decides here who gives way.
type Limiter struct {
	clock  func() time.Time
	start  time.Time     // instants are counted from it, so that a step of the machine's clock moves none
	period time.Duration // that earns one call; 0 for no limit
	seed   maphash.Seed
	sets   []bucketSet
}

// wholeBucket is how long an empty one takes to be full.
const wholeBucket = burstSeconds * time.Second

const bucketsInSet = 15 // with the lock, four lines of a processor's cache

type bucketSet struct {
	mu      sync.Mutex
	buckets [bucketsInSet]bucket
	_       [8]byte
}

// bucket is zero where it is nobody's.
type bucket struct {
	key    uint64
	fullAt time.Duration // since the limiter's start
}

// NewLimiter lets perSecond calls a second through for each key; any number if that is 0. It has room for at least as many keys.
func NewLimiter(perSecond, keys int, clock func() time.Time) *Limiter {
	l := &Limiter{
		clock: clock, start: clock(), seed: maphash.MakeSeed(), sets: make([]bucketSet, max(1, (keys+bucketsInSet-1)/bucketsInSet)),
	}
	if perSecond > 0 {
		l.period = time.Second / time.Duration(perSecond)
	}
	return l
}

// Take takes n calls from key's bucket, and returns 0; or, if there are not as many in it, takes nothing, and returns how long it
// takes until there are.
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

// Wait is what Take would return. It takes nothing.
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

// after is when b would be full again after n calls, and how long they have to wait.
func (l *Limiter) after(b *bucket, now time.Duration, n int) (fullAt, wait time.Duration) {
	fullAt = max(b.fullAt, now) + time.Duration(n)*l.period
	return fullAt, max(0, fullAt-now-wholeBucket)
}

// Charge takes n calls from key's bucket also if there are not as many in it: what comes next has to wait for longer, at most until
// an empty bucket would be full. A negative n gives calls back.
func (l *Limiter) Charge(key string, n int) {
	now := l.now()
	l.with(key, func(b *bucket) { b.fullAt = min(max(b.fullAt, now)+time.Duration(n)*l.period, now+2*wholeBucket) })
}

// Knows reports whether key has a bucket. It forgets one only for want of room, or when it is told to.
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

// with calls f with key's bucket, which may be a new one in the place of the bucket that is nearest to full.
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

// slots are a table for keys, by a hash with a seed of the process. Each slot lets one of its keys through a second.
type slots struct {
	clock func() time.Time
	start time.Time
	seed  maphash.Seed
	free  *[slotCount]atomic.Int64 // when, in nanoseconds since start
}

const (
	slotCount = 512
	slotPause = time.Second
)

func newSlots(clock func() time.Time) slots {
	return slots{clock: clock, start: clock(), seed: maphash.MakeSeed(), free: new([slotCount]atomic.Int64)}
}

// take reports whether key's slot was free. It is taken then.
func (s *slots) take(key string) bool {
	slot := &s.free[maphash.String(s.seed, key)%slotCount]
	free, now := slot.Load(), int64(s.clock().Sub(s.start))
	return free <= now && slot.CompareAndSwap(free, now+int64(slotPause))
}
