package web_test

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/refreshd/refreshd/adapter/web"
)

// clock is a clock that only a test advances.
type clock struct{ at atomic.Int64 }

func (c *clock) now() time.Time { return time.Unix(1_800_000_000, c.at.Load()) }

func (c *clock) wait(d time.Duration) { c.at.Add(int64(d)) }

func newLimiter(perSecond, keys int) (*web.Limiter, *clock) {
	c := &clock{}
	return web.NewLimiter(perSecond, keys, c.now), c
}

// drain takes requests until one is refused, and returns the number of allowed ones and the wait.
func drain(l *web.Limiter, key string, cost int) (through int, wait time.Duration) {
	for ; through < 1_000_000; through++ {
		if wait = l.Take(key, cost); wait > 0 {
			break
		}
	}
	return through, wait
}

func TestABucketHoldsTenSecondsOfCallsAndFillsByTheClock(t *testing.T) {
	l, c := newLimiter(5, 100)
	if got, _ := drain(l, "a", 1); got != 50 {
		t.Errorf("got %d requests allowed immediately, want 50", got)
	}
	if got := l.Take("b", 1); got != 0 {
		t.Errorf("another key has to wait %s, want its own bucket", got)
	}
	for _, step := range []struct {
		pause time.Duration
		want  int
	}{
		{199 * time.Millisecond, 0}, {time.Millisecond, 1}, {time.Second, 5}, {time.Minute, 50}, {10 * time.Second, 50},
		{9 * time.Second, 45},
	} {
		c.wait(step.pause)
		if got, _ := drain(l, "a", 1); got != step.want {
			t.Errorf("after %s more: got %d requests allowed, want %d", step.pause, got, step.want)
		}
	}
}

// A client that waits exactly as long as Retry-After says must be admitted.
func TestTheWaitThatIsToldIsEnoughAndNeeded(t *testing.T) {
	for _, perSecond := range []int{1, 3, 7, 100, 2000} {
		for _, cost := range []int{1, 10} {
			l, c := newLimiter(perSecond, 100)
			drain(l, "a", cost)
			wait := l.Take("a", cost)
			c.wait(wait - 1)
			if l.Take("a", cost) == 0 {
				t.Errorf("%d a second, cost %d: allowed a nanosecond before the returned %s", perSecond, cost, wait)
			}
			c.wait(1)
			if again := l.Take("a", cost); again != 0 {
				t.Errorf("%d a second, cost %d: the returned wait was %s, then %s more", perSecond, cost, wait, again)
			}
		}
	}
}

func TestARefusedCallTakesNothing(t *testing.T) {
	l, c := newLimiter(1, 100)
	drain(l, "a", 1)
	for range 1000 {
		l.Take("a", 1)
	}
	c.wait(time.Second)
	if wait := l.Take("a", 1); wait != 0 {
		t.Errorf("after refused requests: got a wait of %s, want none", wait)
	}
}

func TestAChargeGoesBelowNothingAndComesBack(t *testing.T) {
	l, c := newLimiter(1, 100)
	drain(l, "a", 1)
	l.Charge("a", 9)
	if got := l.Take("a", 1); got != 10*time.Second {
		t.Errorf("after a charge of 9: got a wait of %s, want 10s", got)
	}
	l.Charge("a", -10)
	if got := l.Take("a", 1); got != 0 {
		t.Errorf("after 10 were given back: got a wait of %s, want none", got)
	}
	l.Charge("a", 1_000_000)
	if got := l.Take("a", 1); got > 20*time.Second {
		t.Errorf("after a charge of a million: got a wait of %s, want 20s at most", got)
	}
	c.wait(time.Hour)
	l.Charge("a", -10)
	if got, _ := drain(l, "a", 1); got > 20 {
		t.Errorf("got %d requests allowed after a full bucket was given 10 more", got)
	}
}

func TestALimitOfZeroIsNone(t *testing.T) {
	l, _ := newLimiter(0, 100)
	for range 100_000 {
		if wait := l.Take("a", 10); wait != 0 {
			t.Fatalf("got a wait of %s", wait)
		}
	}
}

func TestAKeyIsKnownFromItsFirstCallUntilItIsForgotten(t *testing.T) {
	l, c := newLimiter(0, 100)
	if l.Knows("a") {
		t.Error("a key without requests is known")
	}
	l.Charge("a", 1)
	c.wait(time.Hour)
	if !l.Knows("a") || l.Knows("b") {
		t.Error("want a known, and b not")
	}
	l.Forget("a")
	l.Forget("b")
	if l.Knows("a") {
		t.Error("a is known after it was forgotten")
	}
}

// Made-up keys must not make a limiter allocate memory, nor drop a key that is refused.
func TestAMillionKeysTakeNoMemoryAndPushOutNoEmptyBucket(t *testing.T) {
	l, _ := newLimiter(100, 1<<16)
	for i := range 50 {
		drain(l, fmt.Sprint("refused ", i), 1)
	}
	keys := make([]string, 1_000_000)
	for i := range keys {
		keys[i] = fmt.Sprint("made up ", i)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, key := range keys {
		l.Take(key, 1)
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 1<<20 {
		t.Errorf("a million keys took %d bytes", grown)
	}
	for i := range 50 {
		if l.Take(fmt.Sprint("refused ", i), 1) == 0 {
			t.Errorf("bucket %d is full again, pushed out by made-up keys", i)
		}
	}
}

func TestCallersOfOneKeyAtOnceShareItsBucketAndOthersHaveTheirOwn(t *testing.T) {
	const callers = 8
	l, _ := newLimiter(100, 1<<10)
	var shared, own [callers]int
	var group sync.WaitGroup
	for i := range callers {
		group.Go(func() {
			for range 2000 {
				if l.Take("shared", 1) == 0 {
					shared[i]++
				}
				if l.Take(fmt.Sprint("own ", i), 1) == 0 {
					own[i]++
				}
			}
		})
	}
	group.Wait()
	sum := 0
	for i := range callers {
		sum += shared[i]
		if own[i] != 1000 {
			t.Errorf("caller %d got %d requests of its own allowed, want 1000", i, own[i])
		}
	}
	if sum != 1000 {
		t.Errorf("got %d requests of the shared key allowed, want 1000", sum)
	}
}

func BenchmarkLimiter(b *testing.B) {
	for name, keys := range map[string]int{"one key": 1, "1000 keys": 1000, "a million keys": 1_000_000} {
		b.Run(name, func(b *testing.B) {
			l := web.NewLimiter(100, 1<<16, time.Now)
			all := make([]string, keys)
			for i := range all {
				all[i] = fmt.Sprint("203.0.113.", i)
			}
			b.ReportAllocs()
			var workers atomic.Int64
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for i := int(workers.Add(1)) * 7919; pb.Next(); i++ {
					l.Take(all[i%keys], 1)
				}
			})
		})
	}
}
