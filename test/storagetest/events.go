package storagetest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// eventID returns an id of an event that no refresh token of the suite has; a higher n has a higher id.
func eventID(n int) domain.ID {
	id := domain.ID{0x01, 0x9a, 0xff, 0x00, 0x7f, 0x80, 0x7e, 0xee, 0x80}
	binary.BigEndian.PutUint32(id[12:], uint32(n))
	return id
}

// event returns a plain event about acme.
func event(n int) domain.Event {
	return domain.Event{
		ID: eventID(n), At: t0.Add(time.Duration(n) * tick), Origin: domain.Service(), Kind: domain.PurgePass,
		TenantID: "acme",
	}
}

// fullEvent returns an event with no zero field except those that the store sets.
func fullEvent(n int) domain.Event {
	return domain.Event{
		ID: eventID(n), At: t0.Add(12*time.Minute + 12*tick),
		Origin: domain.Origin{
			Actor: domain.Actor{
				Kind: domain.ActorAPIKey, ID: tokenID(7).String(), Name: awkward, Address: "2001:db8::2",
			},
			RequestID: "request.1_-",
		},
		Kind: domain.ManyTokensRevoked, TenantID: "acme", ObjectID: awkward + "o", ApplicationID: awkward + "a",
		UserID: awkward + "u", Before: `{"z":1,"a":12345678901234567890.10}`, After: `{"name":"\u0000 é 🗝"}`,
	}
}

// all returns the events from the highest id to the lowest, read page by page, without those of setups.
func (e *env) all() (events []domain.Event) {
	e.Helper()
	q := port.EventQuery{Limit: 1000, MaxBytes: unbounded}
	for {
		page, err := e.store.Events(e.Context(), q)
		e.must(err)
		for _, one := range page.Events {
			if !OfSetup(one) {
				events = append(events, one)
			}
		}
		if q.Below = page.Next; q.Below.IsZero() {
			return events
		}
	}
}

// knownEvents makes wantEvents ignore the events that are stored now, which a clause has prepared.
func (e *env) knownEvents() {
	e.Helper()
	e.known = make(map[domain.ID]bool)
	for _, one := range e.all() {
		e.known[one.ID] = true
	}
}

// wantEvents checks that exactly these events are stored, given in ascending order of their ids.
func (e *env) wantEvents(what string, want ...domain.Event) {
	e.Helper()
	var got []domain.Event
	for _, one := range e.all() {
		if !e.known[one.ID] {
			got = append([]domain.Event{one}, got...)
		}
	}
	e.wantSame(what+": the events", got, want)
}

const (
	recordStores  = "Events/Record/stores every field but those that the store sets"
	recordOnce    = "Events/Record/twice is once"
	eventsTenant  = "Events/Events/of a tenant are its own"
	eventsPages   = "Events/Events/pages show each once, newest first"
	eventsBytes   = "Events/Events/a page ends with its bytes"
	eventsFilter  = "Events/Events/filters select those that have all of them"
	eventsRange   = "Events/Events/from an id and below another one"
	eventsRows    = "Events/Events/a filtered page ends after MaxRows events, and the next one continues there"
	eventsOwners  = "Events/names refresh tokens of awkward owners, by id"
	eventsHandles = "Store/Handles/an event is visible at every one immediately"
)

var recording = []clause{
	{recordStores, func(e *env) {
		want := fullEvent(1)
		e.must(e.store.Record(e.Context(), presumptuous(want)))
		e.wantEvents("stored", want)
		plain := domain.Event{ID: eventID(2), At: t0, Kind: domain.PurgePass}
		e.must(e.store.Record(e.Context(), plain))
		e.wantEvents("stored", want, plain)
		large := event(3)
		large.Before = domain.Object(`{"a":"` + strings.Repeat("b", domain.MaxEventBytes-8) + `"}`)
		large.After = large.Before
		e.must(e.store.Record(e.Context(), large))
		e.wantEvents("a large one", want, plain, large)
	}},

	{recordOnce, func(e *env) {
		e.must(e.store.Record(e.Context(), event(1)))
		again := event(1)
		again.Kind = domain.KeyAdded
		e.must(e.store.Record(e.Context(), again))
		e.wantEvents("afterwards", event(1))
		hs := e.handles(3)
		errs := make([]error, 9)
		together(len(errs), func(i int) { errs[i] = hs[i%3].Record(e.Context(), event(2)) })
		for _, err := range errs {
			e.must(err)
		}
		e.wantEvents("of many at the same time", event(1), event(2))
	}},

	{eventsTenant, func(e *env) {
		for i, tenant := range []string{"acme", "", "Acme", "acm", "acme", "acme2"} {
			one := event(i + 1)
			one.TenantID = tenant
			e.must(e.store.Record(e.Context(), one))
		}
		for _, tenant := range []string{"acme", "Acme", "acm", "none"} {
			page, err := e.store.Events(e.Context(), port.EventQuery{TenantID: tenant, Limit: 10, MaxBytes: unbounded})
			e.must(err)
			var want []domain.Event
			for _, one := range e.all() {
				if one.TenantID == tenant {
					want = append(want, one)
				}
			}
			e.wantSame("of "+tenant, page, port.EventPage{Events: want})
		}
		if got := len(e.all()); got != 6 {
			e.Errorf("of all: got %d events, want 6", got)
		}
	}},

	{eventsPages, func(e *env) {
		const n = 53
		for i := range n { // not in the order of their ids
			e.must(e.store.Record(e.Context(), event(1+i*17%n)))
		}
		for _, tenant := range []string{"", "acme"} {
			for _, limit := range []int{1, 7, n - 1, n, n + 1} {
				q := port.EventQuery{TenantID: tenant, Limit: limit, MaxBytes: unbounded}
				for next := n; ; {
					page, err := e.store.Events(e.Context(), q)
					e.must(err)
					var want port.EventPage
					for range min(limit, next) {
						want.Events = append(want.Events, event(next))
						next--
					}
					if next > 0 {
						want.Next = eventID(next + 1)
					}
					e.wantSame("the page", page, want)
					if q.Below = page.Next; next == 0 || q.Below.IsZero() {
						break
					}
				}
			}
		}
	}},

	{eventsBytes, func(e *env) {
		for i := range 5 {
			one := event(i + 1)
			one.After = domain.Object(`{"a":"` + strings.Repeat("b", 92) + `"}`) // 100 bytes
			e.must(e.store.Record(e.Context(), one))
		}
		for max, want := range map[int]int{1: 1, 100: 1, 101: 2, 300: 3, 301: 4, 500: 5} {
			page, err := e.store.Events(e.Context(), port.EventQuery{Limit: 10, MaxBytes: max})
			e.must(err)
			if len(page.Events) != want || page.Next.IsZero() != (want == 5) {
				e.Errorf("at most %d bytes: got %d events, next %s, want %d", max, len(page.Events), page.Next, want)
			}
		}
	}},

	{eventsFilter, func(e *env) {
		all := e.various(24)
		for _, q := range filters() {
			for _, q.TenantID = range []string{"", "acme"} {
				var want port.EventPage
				for _, one := range slices.Backward(all) {
					if (q.TenantID == "" || one.TenantID == q.TenantID) && q.Selects(one) {
						want.Events = append(want.Events, one)
					}
				}
				q.Limit, q.MaxBytes, q.MaxRows = 99, unbounded, 99
				page, err := e.store.Events(e.Context(), q)
				e.must(err)
				e.wantSame(fmt.Sprintf("%+v", q), page, want)
			}
		}
	}},

	{eventsRange, func(e *env) {
		all := e.various(12)
		for _, tenant := range []string{"", "acme"} {
			for from := range 14 {
				for below := range 14 {
					q := port.EventQuery{TenantID: tenant, From: eventID(from), Below: eventID(below), Limit: 99, MaxBytes: unbounded}
					var want port.EventPage
					for i, one := range slices.Backward(all) {
						if n := i + 1; from <= n && n < below && (tenant == "" || tenant == one.TenantID) {
							want.Events = append(want.Events, one)
						}
					}
					page, err := e.store.Events(e.Context(), q)
					e.must(err)
					e.wantSame(fmt.Sprintf("of %q from %d below %d", tenant, from, below), page, want)
				}
			}
		}
	}},

	{eventsRows, func(e *env) {
		all := e.various(24)
		for _, q := range filters() {
			for _, q.TenantID = range []string{"", "acme"} {
				for _, bounds := range [][2]int{{99, 1}, {99, 5}, {2, 7}, {1, 1}, {3, 24}, {99, 99}} {
					q.Limit, q.MaxBytes, q.MaxRows = bounds[0], unbounded, bounds[1]
					e.wantEventPages(q, all)
				}
			}
		}
	}},

	// A store that encodes JSON itself must escape what JSON escapes.
	{eventsOwners, func(e *env) {
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "acme"}))
		e.application("acme", awkward, domain.Settings{})
		var want []domain.EndedToken
		var changes []domain.Change
		for n := range 3 {
			t := e.insert(tokenOf(3-n, "acme", awkward, awkward))
			changes = append(changes, domain.Change{Before: t, After: changed(t)})
			want = append([]domain.EndedToken{{ID: t.ID, ApplicationID: awkward, UserID: awkward}}, want...)
		}
		e.knownEvents()
		scope := domain.Scope{TenantID: "acme", ApplicationID: awkward, UserID: awkward}
		e.must(e.store.Change(e.Context(), "acme", changes, t0, event(1)))
		e.must(e.store.KeepNewest(e.Context(), scope, 1, byRequest(t0), event(2)))
		e.must(e.store.Revoke(e.Context(), "acme", tokenID(1), byRequest(t0), event(3)))
		change, limit, one := event(1), event(2), event(3)
		change.Tokens, limit.Tokens, one.Tokens = want, want[1:], want[:1]
		e.wantEvents("stored", change, limit, one)
	}},

	{eventsHandles, func(e *env) {
		hs := e.handles(3)
		for i := range 6 {
			e.must(hs[i%3].Record(e.Context(), event(i+1)))
			for j, h := range hs {
				page, err := h.Events(e.Context(), port.EventQuery{Limit: 1, MaxBytes: unbounded})
				e.must(err)
				if len(page.Events) != 1 || page.Events[0].ID != eventID(i+1) {
					e.Errorf("recorded at handle %d: not seen at handle %d", i%3, j)
				}
			}
		}
	}},
}

// various stores n events of two tenants, two actors, three kinds, two objects and two requests. It returns them by
// id.
func (e *env) various(n int) (all []domain.Event) {
	e.Helper()
	for i := range n {
		one := event(i + 1)
		one.TenantID = []string{"acme", "other", "acme"}[i%3]
		one.Kind = []domain.EventKind{domain.TokenRevoked, domain.ManyTokensRevoked, domain.PurgePass}[i/2%3]
		one.Actor = domain.Actor{Kind: domain.ActorAPIKey, ID: []string{"ana", "Ana"}[i/3%2], Name: "object"}
		one.ObjectID = []string{"object", "", "object ", "request"}[i/4%4]
		one.RequestID = []string{"request", "request%"}[i/6%2]
		e.must(e.store.Record(e.Context(), one))
		all = append(all, one)
	}
	return all
}

// filters returns queries with each filter alone, with all of them, and with those that select no event.
func filters() []port.EventQuery {
	return []port.EventQuery{
		{Kinds: []domain.EventKind{domain.TokenRevoked}},
		{Kinds: []domain.EventKind{domain.PurgePass, domain.ManyTokensRevoked}},
		{Kinds: []domain.EventKind{domain.TokenReplayed}},
		{Kinds: []domain.EventKind{"token", "revoked", "purge"}},
		{ActorID: "ana"}, {ActorID: "object"}, {ActorID: "an"},
		{ObjectID: "object"}, {ObjectID: "request"}, {ObjectID: "%"},
		{RequestID: "request"}, {RequestID: "request_"}, {RequestID: "object"},
		{
			Kinds: []domain.EventKind{domain.TokenRevoked}, ActorID: "ana", ObjectID: "object", RequestID: "request",
		},
		{ActorID: "Ana", RequestID: "request"},
	}
}

// wantEventPages checks the pages of a filtered query, out of all events by id.
func (e *env) wantEventPages(q port.EventQuery, all []domain.Event) {
	e.Helper()
	var got, want []domain.Event
	for _, one := range slices.Backward(all) {
		if (q.TenantID == "" || one.TenantID == q.TenantID) && q.Selects(one) {
			want = append(want, one)
		}
	}
	for range len(all) + 1 {
		page, err := e.store.Events(e.Context(), q)
		e.must(err)
		looked := 0
		for _, one := range all {
			if (q.TenantID == "" || one.TenantID == q.TenantID) &&
				(q.Below.IsZero() || bytes.Compare(one.ID[:], q.Below[:]) < 0) &&
				bytes.Compare(one.ID[:], page.Next[:]) >= 0 {
				looked++
			}
		}
		if looked > q.MaxRows || len(page.Events) > q.Limit {
			e.Errorf("%+v: a page of %d, after %d events were looked at", q, len(page.Events), looked)
		}
		got = append(got, page.Events...)
		if q.Below = page.Next; q.Below.IsZero() {
			break
		}
	}
	if !q.Below.IsZero() {
		e.Errorf("%+v: the pages do not end", q)
	}
	e.wantSame(fmt.Sprintf("%+v: all pages", q), got, want)
}

// NewEvent returns an event whose id no other has in this process.
func NewEvent() domain.Event {
	e := event(int(events.Add(1)))
	e.ID[8] |= 1 // above those of event
	return e
}

var events atomic.Uint32
