package usecase

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

const (
	refusalsQueued = 64
	// refusalsKnown bounds the memory of one minute. Beyond it, a key may be written again: the store has it once.
	refusalsKnown = 4096
	// refusalTimeout bounds one write: it is longer than a store that works takes.
	refusalTimeout = 2 * time.Second
)

// Refusals records API keys that were refused although they are known: at most one event a minute for each key, over
// all processes, because the id of the event is that of the key and the minute. A request does not wait for it: Add
// only queues the event, and Run stores it.
type Refusals struct {
	events port.Events
	failed func(error)
	queue  chan domain.Event

	mu     sync.Mutex
	minute time.Time
	known  map[domain.ID]struct{} // the keys of that minute
}

// NewRefusals returns a Refusals that reports to failed each event that was not stored.
func NewRefusals(events port.Events, failed func(error)) *Refusals {
	return &Refusals{
		events: events, failed: failed, queue: make(chan domain.Event, refusalsQueued), known: map[domain.ID]struct{}{},
	}
}

// Add queues the event of a refusal, unless the key already had one in its minute. It does not wait. If the queue is
// full, because the store does not respond, the event is lost, and reported.
func (r *Refusals) Add(e domain.Event, key domain.ID) {
	if r == nil || !r.first(e.At, key) {
		return
	}
	select {
	case r.queue <- e:
	default:
		r.failed(fmt.Errorf("the refusal of API key %q is not recorded: the store is too slow", e.Actor.Name))
	}
}

// first reports whether the key had no event in that minute. Minutes of concurrent requests may alternate at their
// border: the store then has the event already.
func (r *Refusals) first(minute time.Time, key domain.ID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !minute.Equal(r.minute) || len(r.known) >= refusalsKnown {
		r.minute = minute
		clear(r.known)
	}
	_, known := r.known[key]
	r.known[key] = struct{}{}
	return !known
}

// Run stores queued events until ctx is done, and then those that are queued. It returns at most one time-out of a
// write after ctx is done, whatever is queued and whichever write has begun.
func (r *Refusals) Run(ctx context.Context) error {
	writes, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	// A deadline that begins when the drain begins is too late: select may take several events after ctx is done.
	defer context.AfterFunc(ctx, func() { time.AfterFunc(refusalTimeout, end) })()
	for {
		select {
		case e := <-r.queue:
			r.store(writes, e)
		case <-ctx.Done():
			for {
				select {
				case e := <-r.queue:
					r.store(writes, e)
				default:
					return nil
				}
			}
		}
	}
}

func (r *Refusals) store(ctx context.Context, e domain.Event) {
	ctx, cancel := context.WithTimeout(ctx, refusalTimeout)
	defer cancel()
	if err := r.events.Record(ctx, e); err != nil {
		r.failed(fmt.Errorf("the refusal of API key %q is not recorded: %w", e.Actor.Name, err))
	}
}
