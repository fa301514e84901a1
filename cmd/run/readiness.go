package run

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

const (
	// readyFor is how long the result of a successful probe is used: a store that is lost in between shows in the
	// requests themselves. A failed probe is repeated sooner, so that a service that is ready again gets its share of
	// the requests.
	readyFor    = time.Second
	notReadyFor = 200 * time.Millisecond
	// probeTimeout is shorter than any caller waits: `refreshd health` 3 seconds, and a handler 10.
	probeTimeout = 2 * time.Second
)

// readiness reports to all callers whether the service is ready, with one probe of the store: readiness is public, and
// a probe for each caller would let unauthenticated clients take the store's connections. So a caller that leaves does
// not end the probe, because others wait for it. When ctx, the service's, is done, all callers return.
//
// A call of the store may last longer than its context: on PostgreSQL until its statement has ended, which is 12
// seconds if the server is silent. Callers then stop waiting, and the probe has timed out; but the next probe begins
// only after it has ended, so that probes hold one connection at most.
type readiness struct {
	ctx   context.Context
	probe func(context.Context) error
	log   *slog.Logger

	loggedAt time.Time // of the last failure; no two probes are concurrent

	mu   sync.Mutex
	last *probing // nil before the first
	isUp bool     // the last result was nil
}

// probing is one probe.
type probing struct {
	done  chan struct{} // closed when err and until are set
	ended chan struct{} // closed when the call of the store has returned: after done, and long after it if it timed out
	err   error
	until time.Time
}

// ready returns nil if the service is ready, and otherwise the reason.
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

// isReady reports whether the last probe that has a result succeeded, and the service is not stopping.
func (r *readiness) isReady() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.isUp && r.ctx.Err() == nil
}

// scraped returns isReady for a scrape of the metrics. It begins a probe if the last result is old, so that the gauge
// is also right where nothing else requests readiness. It does not wait: a store that does not respond delays no
// scrape.
func (r *readiness) scraped() bool {
	if r.ctx.Err() == nil {
		r.current()
	}
	return r.isReady()
}

// current returns a probe that has not ended, or whose result is still used. It begins one if there is none.
func (r *readiness) current() *probing {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last != nil {
		select {
		case <-r.last.ended:
			if time.Now().Before(r.last.until) {
				return r.last
			}
		default:
			return r.last
		}
	}
	p := &probing{done: make(chan struct{}), ended: make(chan struct{})}
	r.last = p
	go r.run(p)
	return p
}

// run makes the probe p, and returns when it has ended.
func (r *readiness) run(p *probing) {
	ctx, cancel := context.WithTimeout(r.ctx, probeTimeout)
	defer cancel()
	result := make(chan error, 1)
	go func() { result <- r.probe(ctx) }()
	select {
	case err := <-result:
		r.publish(p, err)
	case <-ctx.Done():
		r.publish(p, fmt.Errorf("the store did not respond within %s: %w", probeTimeout, ctx.Err()))
		<-result // too late to be used
	}
	close(p.ended)
}

// publish gives the result to the callers that wait for p. A failure is logged here, at most once a second, and not by
// the two handlers, which any client may request at any rate. A stop is logged as such.
func (r *readiness) publish(p *probing, err error) {
	used := readyFor
	if err != nil {
		used = notReadyFor
	}
	r.mu.Lock()
	r.isUp = err == nil
	p.err, p.until = err, time.Now().Add(used)
	close(p.done)
	r.mu.Unlock()

	if now := time.Now(); err != nil && r.ctx.Err() == nil && now.Sub(r.loggedAt) >= time.Second {
		r.loggedAt = now
		r.log.Warn("not ready", "event", eventNotReady, "error", err)
	}
}
