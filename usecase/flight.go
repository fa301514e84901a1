package usecase

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/refreshd/refreshd/domain"
)

// lock is a semaphore. A caller stops waiting when its context is done, because the store may be slow while the lock is
// held.
type lock chan struct{}

func newLock(places int) lock { return make(lock, places) }

func (l lock) acquire(ctx context.Context) error {
	select {
	case l <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the keys: %w: %w", domain.ErrUnavailable, ctx.Err())
	}
}

func (l lock) release() { <-l }

// flights does a piece of work once for its concurrent callers. The zero value is ready to use.
type flights struct {
	mu    sync.Mutex
	under map[string]*flight
}

type flight struct {
	done chan struct{} // closed when err is set
	err  error
}

// do waits for the work of this name that is in progress, or starts it. The work has its own goroutine and deadline, so
// a caller, also the one that started it, returns when its context is done.
func (f *flights) do(ctx context.Context, name string, limit time.Duration, work func(context.Context) error) error {
	own := f.join(ctx, name, limit, work)
	select {
	case <-own.done:
		return own.err
	case <-ctx.Done():
		return fmt.Errorf("wait for the store: %w: %w", domain.ErrUnavailable, ctx.Err())
	}
}

func (f *flights) join(
	ctx context.Context, name string, limit time.Duration, work func(context.Context) error,
) *flight {
	f.mu.Lock()
	defer f.mu.Unlock()
	if other, ok := f.under[name]; ok {
		return other
	}
	own := &flight{done: make(chan struct{})}
	if f.under == nil {
		f.under = make(map[string]*flight)
	}
	f.under[name] = own
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
		defer func() {
			cancel()
			f.mu.Lock()
			delete(f.under, name)
			f.mu.Unlock()
			close(own.done)
		}()
		own.err = guarded(ctx, work)
	}()
	return own
}

// guarded calls work and returns a panic as an error, because nothing else recovers it in this goroutine.
func guarded(ctx context.Context, work func(context.Context) error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%w: panic: %v\n%s", domain.ErrUnavailable, v, debug.Stack())
		}
	}()
	return work(ctx)
}
