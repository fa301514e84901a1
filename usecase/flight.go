package usecase

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/refreshd/refreshd/domain"
)

// lock is a mutex with a number of places. A caller stops waiting for one when its context is done: the store can be
// slow while it is held.
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

// flights do a piece of work once for all who ask for it at the same time. The zero value is ready.
type flights struct {
	mu    sync.Mutex
	under map[string]*flight
}

type flight struct {
	done chan struct{} // closed when err is there
	err  error
}

// do waits for the work of this name that is under way, or begins it. All wait alike, also the one who began it: the
// work has a goroutine and a deadline of its own, and a caller leaves when its context is done.
func (f *flights) do(ctx context.Context, name string, limit time.Duration, work func(context.Context) error) error {
	own := f.join(ctx, name, limit, work)
	select {
	case <-own.done:
		return own.err
	case <-ctx.Done():
		return fmt.Errorf("wait for the keys: %w: %w", domain.ErrUnavailable, ctx.Err())
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

// guarded is work, in a goroutine where nobody else would catch a panic.
func guarded(ctx context.Context, work func(context.Context) error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%w: panic: %v\n%s", domain.ErrUnavailable, v, debug.Stack())
		}
	}()
	return work(ctx)
}
