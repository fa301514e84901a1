package main

import (
	"context"
	"sync"
	"time"
)

const (
	// readyFor is how long a probe that succeeded is believed: a store that is lost in between shows in the requests
	// themselves. One that failed is asked again sooner, so that a service that is back gets its share of the
	// requests.
	readyFor    = time.Second
	notReadyFor = 200 * time.Millisecond
	// probeTimeout is shorter than anybody waits who asks: `refreshd health` 3 seconds, and a handler 10.
	probeTimeout = 2 * time.Second
)

// readiness answers everybody who asks whether the service is ready with one probe of the store: anybody may ask, and
// a probe for each would be a way to take the store's connections. A caller that leaves does not end the probe, for
// others wait for it, and on PostgreSQL a statement that is given up costs its connection. When ctx, the service's,
// is done nobody waits.
type readiness struct {
	ctx   context.Context
	probe func(context.Context) error

	mu   sync.Mutex
	last *probing // under way, or over; nil before the first
}

// probing is one probe.
type probing struct {
	done  chan struct{} // closed when err and until are there
	err   error
	until time.Time
}

// ready returns nil if the service is ready, else why not.
func (r *readiness) ready(ctx context.Context) error {
	if r.ctx.Err() != nil {
		return errStopping
	}
	p := r.current()
	select {
	case <-p.done:
		return p.err
	case <-r.ctx.Done():
		return errStopping
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// current is a probe that is under way or still believed. It begins one if there is none.
func (r *readiness) current() *probing {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last != nil {
		select {
		case <-r.last.done:
			if time.Now().Before(r.last.until) {
				return r.last
			}
		default:
			return r.last
		}
	}
	p := &probing{done: make(chan struct{})}
	r.last = p
	go func() {
		defer close(p.done)
		ctx, cancel := context.WithTimeout(r.ctx, probeTimeout)
		defer cancel()
		p.err = r.probe(ctx)
		believed := readyFor
		if p.err != nil {
			believed = notReadyFor
		}
		p.until = time.Now().Add(believed)
	}()
	return p
}
