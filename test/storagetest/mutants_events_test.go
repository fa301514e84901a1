package storagetest

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// onEvents changes each page of events.
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

// asked changes each query of events.
func (f *faulty) asked(change func(*port.EventQuery)) {
	f.events = func(ctx context.Context, q port.EventQuery) (port.EventPage, error) {
		change(&q)
		return f.within.Events(ctx, q)
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
			given := f.asGiven(callersVersion)
			f.record = func(ctx context.Context, e domain.Event) error {
				given(e)
				return f.within.Record(ctx, e)
			}
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
		clause: eventsFilter,
		fault:  "events of a kind are not selected",
		inject: func(f *faulty) { f.asked(func(q *port.EventQuery) { q.Kinds = nil }) },
	},
	{
		clause: eventsFilter,
		fault:  "events of the first kind only are selected",
		inject: func(f *faulty) { f.asked(func(q *port.EventQuery) { q.Kinds = q.Kinds[:min(len(q.Kinds), 1)] }) },
	},
	{
		clause: eventsFilter,
		fault:  "events of any actor are selected",
		inject: func(f *faulty) { f.asked(func(q *port.EventQuery) { q.ActorID = "" }) },
	},
	{
		clause: eventsFilter,
		fault:  "the actor is compared without case",
		inject: func(f *faulty) { f.asked(func(q *port.EventQuery) { q.ActorID = strings.ToLower(q.ActorID) }) },
	},
	{
		clause: eventsFilter,
		fault:  "events about any object are selected",
		inject: func(f *faulty) { f.asked(func(q *port.EventQuery) { q.ObjectID = "" }) },
	},
	{
		clause: eventsFilter,
		fault:  "events of any request are selected",
		inject: func(f *faulty) { f.asked(func(q *port.EventQuery) { q.RequestID = "" }) },
	},
	{
		clause: eventsRange,
		fault:  "events from an id exclude it",
		inject: func(f *faulty) {
			f.asked(func(q *port.EventQuery) {
				if !q.From.IsZero() {
					q.From[15]++
				}
			})
		},
	},
	{
		clause: eventsRange,
		fault:  "events below an id include it",
		inject: func(f *faulty) {
			f.asked(func(q *port.EventQuery) {
				if !q.Below.IsZero() {
					q.Below[15]++
				}
			})
		},
	},
	{
		clause: eventsRange,
		fault:  "a tenant's events are not bounded below",
		inject: func(f *faulty) {
			f.asked(func(q *port.EventQuery) {
				if q.TenantID != "" {
					q.From = domain.ID{}
				}
			})
		},
	},
	{
		clause: eventsRows,
		fault:  "a page of events does not count those that it looks at",
		inject: func(f *faulty) { f.asked(func(q *port.EventQuery) { q.MaxRows = unbounded }) },
	},
	{
		clause: eventsRows,
		fault:  "an empty page of events is the last one",
		inject: func(f *faulty) {
			f.onEvents(func(_ port.EventQuery, page *port.EventPage) {
				if len(page.Events) == 0 {
					page.Next = domain.ID{}
				}
			})
		},
	},
	{
		clause: eventsRows,
		fault:  "the next page of events begins one event too late",
		inject: func(f *faulty) {
			f.onEvents(func(_ port.EventQuery, page *port.EventPage) {
				if !page.Next.IsZero() {
					page.Next[15]--
				}
			})
		},
	},
	{
		clause: eventsOwners,
		fault:  "an event has its refresh tokens in any order",
		inject: func(f *faulty) {
			f.onEvents(func(_ port.EventQuery, page *port.EventPage) {
				for _, e := range page.Events {
					slices.Reverse(e.Tokens)
				}
			})
		},
	},
	{
		clause: eventsHandles,
		fault:  "a handle caches its events",
		each:   true,
		inject: func(f *faulty) {
			cached := once(func(ctx context.Context, _ struct{}) (port.EventPage, error) {
				return f.within.Events(ctx, port.EventQuery{Limit: 1, MaxBytes: unbounded})
			})
			f.events = func(ctx context.Context, _ port.EventQuery) (port.EventPage, error) {
				return cached(ctx, struct{}{})
			}
		},
	},
}

// eachWrite replaces every method that stores an event with happens: within is the method of the store within, with the
// event that it receives.
func (f *faulty) eachWrite(
	happens func(ctx context.Context, e domain.Event, within func(domain.Event) error,
	) error) {
	f.revoke = func(ctx context.Context, tenantID string, id domain.ID, r port.Revocation, e domain.Event) error {
		return happens(ctx, e, func(e domain.Event) error { return f.within.Revoke(ctx, tenantID, id, r, e) })
	}
	f.revokeScope = func(
		ctx context.Context, s domain.Scope, except domain.ID, r port.Revocation, e domain.Event,
	) (epoch uint64, err error) {
		err = happens(ctx, e, func(e domain.Event) (err error) {
			epoch, err = f.within.RevokeScope(ctx, s, except, r, e)
			return err
		})
		return epoch, err
	}
	f.keepNewest = func(ctx context.Context, s domain.Scope, keep int, r port.Revocation, e domain.Event) error {
		return happens(ctx, e, func(e domain.Event) error { return f.within.KeepNewest(ctx, s, keep, r, e) })
	}
	f.addKey = func(ctx context.Context, e domain.Event, k domain.SealedKey) error {
		return happens(ctx, e, func(e domain.Event) error { return f.within.AddKeys(ctx, e, k) })
	}
	f.addKeys = func(ctx context.Context, e domain.Event, keys ...domain.SealedKey) error {
		return happens(ctx, e, func(e domain.Event) error { return f.within.AddKeys(ctx, e, keys...) })
	}
	f.changeKeys = func(ctx context.Context, e domain.Event, c port.KeyChange) error {
		return happens(ctx, e, func(e domain.Event) error { return f.within.ChangeKeys(ctx, e, c) })
	}
	f.turnCheck = func(ctx context.Context, e domain.Event, before, after domain.SealedKey) error {
		return happens(ctx, e, func(e domain.Event) error { return f.within.TurnCheck(ctx, e, before, after) })
	}
	f.swap = func(ctx context.Context, before, after domain.RefreshToken, now time.Time, e domain.Event) error {
		return happens(ctx, e, func(e domain.Event) error { return f.within.Swap(ctx, before, after, now, e) })
	}
	f.rebind = func(ctx context.Context, before, after domain.RefreshToken, now time.Time, e domain.Event) error {
		return happens(ctx, e, func(e domain.Event) error { return f.within.Rebind(ctx, before, after, now, e) })
	}
	f.eachVersionedWrite(happens)
	f.change = func(
		ctx context.Context, tenantID string, changes []domain.Change, now time.Time, e domain.Event,
	) error {
		return happens(ctx, e, func(e domain.Event) error { return f.within.Change(ctx, tenantID, changes, now, e) })
	}
}

// asGiven returns a function that is called with each event of a caller. Readers then see the part that take copies.
func (f *faulty) asGiven(take func(stored *domain.Event, given domain.Event)) func(domain.Event) {
	var mu sync.Mutex
	all := map[domain.ID]domain.Event{}
	f.onEvents(func(_ port.EventQuery, page *port.EventPage) {
		mu.Lock()
		defer mu.Unlock()
		for i, e := range page.Events {
			if given, ok := all[e.ID]; ok {
				take(&page.Events[i], given)
			}
		}
	})
	return func(e domain.Event) {
		mu.Lock()
		defer mu.Unlock()
		all[e.ID] = e
	}
}

func callersVersion(stored *domain.Event, given domain.Event) { stored.Version = given.Version }

func callersTokens(stored *domain.Event, given domain.Event) { stored.Tokens = given.Tokens }

// hide returns a function that gives an event another id, which no reader sees.
func (f *faulty) hide() (hidden func(domain.Event) domain.Event) {
	var mu sync.Mutex
	ids := map[domain.ID]bool{}
	f.onEvents(func(_ port.EventQuery, page *port.EventPage) {
		mu.Lock()
		defer mu.Unlock()
		page.Events = slices.DeleteFunc(page.Events, func(e domain.Event) bool { return ids[e.ID] })
	})
	return func(e domain.Event) domain.Event {
		mu.Lock()
		defer mu.Unlock()
		e.ID = NewEvent().ID
		ids[e.ID] = true
		return e
	}
}

// eventWriteMutants are stores with a fault in the events of all their methods.
func eventWriteMutants() (all []mutant) {
	for _, w := range eventWrites() {
		afterwards := eventWith // if the store completes the event
		if sameState(w.stored(event(1)), event(1)) {
			afterwards = eventOnce
		}
		all = append(all,
			mutant{
				clause: w.name + eventWith,
				fault:  w.name + ": the event is forgotten",
				inject: func(f *faulty) {
					hidden := f.hide()
					f.eachWrite(func(_ context.Context, e domain.Event, within func(domain.Event) error) error {
						return within(hidden(e))
					})
				},
			},
			w.storingGiven("version", callersVersion),
			w.storingGiven("refresh tokens", callersTokens),
			mutant{
				clause: w.name + eventNone,
				fault:  w.name + ": the event is stored first",
				inject: func(f *faulty) {
					hidden := f.hide()
					f.eachWrite(func(ctx context.Context, e domain.Event, within func(domain.Event) error) error {
						if err := f.within.Record(ctx, e); err != nil {
							return err
						}
						return within(hidden(e))
					})
				},
			},
			mutant{
				clause: w.name + afterwards,
				fault:  w.name + ": the event is recorded by itself afterwards",
				inject: func(f *faulty) {
					hidden := f.hide()
					f.eachWrite(func(ctx context.Context, e domain.Event, within func(domain.Event) error) error {
						if err := within(hidden(e)); err != nil {
							return err
						}
						return f.within.Record(ctx, e)
					})
				},
			},
			mutant{
				clause: w.name + eventOnce,
				fault:  w.name + ": the same event twice is an error",
				inject: func(f *faulty) {
					var mu sync.Mutex
					seen := map[domain.ID]bool{}
					f.eachWrite(func(_ context.Context, e domain.Event, within func(domain.Event) error) error {
						mu.Lock()
						again := seen[e.ID]
						seen[e.ID] = true
						mu.Unlock()
						if again {
							return domain.ErrDuplicate
						}
						return within(e)
					})
				},
			},
			mutant{
				clause: w.name + eventMany,
				fault:  w.name + ": two that overlap both look for the event, and both write",
				inject: func(f *faulty) {
					hidden := f.hide()
					var mu sync.Mutex
					stored := map[domain.ID]bool{}
					f.eachWrite(func(ctx context.Context, e domain.Event, within func(domain.Event) error) error {
						mu.Lock()
						done := stored[e.ID]
						mu.Unlock()
						if done {
							return nil
						}
						time.Sleep(time.Millisecond) // so that another one looks, too
						if err := within(hidden(e)); err != nil {
							return err
						}
						mu.Lock()
						defer mu.Unlock()
						stored[e.ID] = true
						return f.within.Record(ctx, e)
					})
				},
			},
		)
	}
	return all
}

// storingGiven returns a store that stores a field of an event that the caller set.
func (w eventWrite) storingGiven(what string, take func(stored *domain.Event, given domain.Event)) mutant {
	return mutant{
		clause: w.name + eventSets,
		fault:  w.name + ": the event has the caller's " + what,
		inject: func(f *faulty) {
			given := f.asGiven(take)
			f.eachWrite(func(_ context.Context, e domain.Event, within func(domain.Event) error) error {
				given(e)
				return within(e)
			})
		},
	}
}
