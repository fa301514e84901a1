package memstore

import (
	"context"
	"slices"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// events is the audit trail, by id.
type events struct {
	byID map[domain.ID]domain.Event
	ids  []domain.ID // ascending
}

// stored returns the stored event of e's id, if there is one: the write with that event was done before.
func (l *events) stored(e domain.Event) (domain.Event, bool) {
	before, ok := l.byID[e.ID]
	return before, ok
}

// add stores e with that version and those refresh tokens.
func (l *events) add(e domain.Event, v domain.Version, tokens ...domain.RefreshToken) {
	e.At, e.Version, e.Tokens = instant(e.At), v, nil
	for _, t := range tokens {
		e.Tokens = append(e.Tokens, domain.EndedToken{ID: t.ID, ApplicationID: t.ApplicationID, UserID: t.UserID})
	}
	slices.SortFunc(e.Tokens, func(a, b domain.EndedToken) int { return compareIDs(a.ID, b.ID) })
	if l.byID == nil {
		l.byID = make(map[domain.ID]domain.Event)
	}
	l.byID[e.ID] = e
	at, _ := slices.BinarySearchFunc(l.ids, e.ID, compareIDs)
	l.ids = slices.Insert(l.ids, at, e.ID)
}

// Record implements port.Events.
func (s *Store) Record(ctx context.Context, e domain.Event) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if _, ok := s.events.stored(e); !ok {
		s.events.add(e, 0)
	}
	return nil
}

// Events implements port.Events.
func (s *Store) Events(ctx context.Context, q port.EventQuery) (page port.EventPage, err error) {
	if err := s.lock(ctx); err != nil {
		return port.EventPage{}, err
	}
	defer s.mu.Unlock()
	first, _ := slices.BinarySearchFunc(s.events.ids, q.From, compareIDs)
	end := len(s.events.ids)
	if !q.Below.IsZero() {
		end, _ = slices.BinarySearchFunc(s.events.ids, q.Below, compareIDs)
	}
	size, looked, last := 0, 0, domain.ID{}
	for _, id := range slices.Backward(s.events.ids[min(first, end):end]) {
		e := s.events.byID[id]
		if q.TenantID != "" && q.TenantID != e.TenantID {
			continue
		}
		if len(page.Events) == q.Limit || size >= q.MaxBytes || looked == q.MaxRows && q.IsFiltered() {
			page.Next = last
			break
		}
		looked, last = looked+1, id
		if !q.Selects(e) {
			continue
		}
		e.Tokens = slices.Clone(e.Tokens)
		page.Events, size = append(page.Events, e), size+port.EventBytes(e)
	}
	return page, nil
}
