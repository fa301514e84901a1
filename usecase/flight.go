package usecase

import (
	"context"
	"fmt"
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
	done chan struct{}
	err  error
}

// do does work, or waits for the one of this name that is under way. The work has a deadline of its own and does not
// end with the request that happened to be first.
func (f *flights) do(ctx context.Context, name string, limit time.Duration, work func(context.Context) error) error {
	f.mu.Lock()
	if other, ok := f.under[name]; ok {
		f.mu.Unlock()
		select {
		case <-other.done:
			return other.err
		case <-ctx.Done():
			return fmt.Errorf("wait for the keys: %w: %w", domain.ErrUnavailable, ctx.Err())
		}
	}
	own := &flight{done: make(chan struct{}), err: domain.ErrUnavailable} // which the others get if work panics
	if f.under == nil {
		f.under = make(map[string]*flight)
	}
	f.under[name] = own
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.under, name)
		f.mu.Unlock()
		close(own.done)
	}()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	own.err = work(ctx)
	return own.err
}
