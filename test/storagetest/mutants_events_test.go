package storagetest

import (
	"context"
	"slices"
	"sync"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// onEvents changes what each page of events holds.
func (f *faulty) onEvents(change func(q port.EventQuery, page *port.EventPage)) {
	within := f.events
	f.events = func(ctx context.Context, q port.EventQuery) (port.EventPage, error) {
		page, err := within(ctx, q)
		if err == nil {
			change(q, &page)
		}
		return page, err
	}
}

var eventMutants = []mutant{
	{
		clause: recordStores,
		fault:  "an event loses its request",
		inject: func(f *faulty) {
			f.onEvents(func(_ port.EventQuery, page *port.EventPage) {
				for i := range page.Events {
					page.Events[i].RequestID = ""
				}
			})
		},
	},
	{
		clause: recordStores,
		fault:  "the caller says which version an event is about",
		inject: func(f *faulty) {
			var mu sync.Mutex
			given := map[domain.ID]domain.Version{}
			f.record = func(ctx context.Context, e domain.Event) error {
				mu.Lock()
				defer mu.Unlock()
				given[e.ID] = e.Version
				return f.within.Record(ctx, e)
			}
			f.onEvents(func(_ port.EventQuery, page *port.EventPage) {
				mu.Lock()
				defer mu.Unlock()
				for i, e := range page.Events {
					page.Events[i].Version = given[e.ID]
				}
			})
		},
	},
	{
		clause: recordOnce,
		fault:  "an event that is recorded twice is a duplicate",
		inject: func(f *faulty) {
			var mu sync.Mutex
			seen := map[domain.ID]bool{}
			f.record = func(ctx context.Context, e domain.Event) error {
				mu.Lock()
				defer mu.Unlock()
				if seen[e.ID] {
					return domain.ErrDuplicate
				}
				seen[e.ID] = true
				return f.within.Record(ctx, e)
			}
		},
	},
	{
		clause: eventsTenant,
		fault:  "a tenant sees the events of all",
		inject: func(f *faulty) {
			f.events = func(ctx context.Context, q port.EventQuery) (port.EventPage, error) {
				q.TenantID = ""
				return f.within.Events(ctx, q)
			}
		},
	},
	{
		clause: eventsPages,
		fault:  "events are listed oldest first",
		inject: func(f *faulty) {
			f.onEvents(func(_ port.EventQuery, page *port.EventPage) { slices.Reverse(page.Events) })
		},
	},
	{
		clause: eventsPages,
		fault:  "a full page of events is always followed by another",
		inject: func(f *faulty) {
			f.onEvents(func(q port.EventQuery, page *port.EventPage) {
				if len(page.Events) == q.Limit {
					page.Next = page.Events[q.Limit-1].ID
				}
			})
		},
	},
	{
		clause: eventsBytes,
		fault:  "a page of events does not count bytes",
		inject: func(f *faulty) {
			f.events = func(ctx context.Context, q port.EventQuery) (port.EventPage, error) {
				q.MaxBytes = unbounded
				return f.within.Events(ctx, q)
			}
		},
	},
	{
		clause: eventsHandles,
		fault:  "a handle caches its events",
		each:   true,
		inject: func(f *faulty) { f.events = once(f.within.Events) },
	},
}
