package port

import (
	"context"
	"slices"

	"github.com/refreshd/refreshd/domain"
)

// Events is the audit trail. A method that takes an event stores it in the same step as the change that it reports:
// both, or neither. The store keeps the event as it was given, except for Version and Tokens, which it sets.
//
// Such a method is idempotent by the event's id: if an event of that id is stored, the method writes nothing and
// returns what it returned when it stored the event. So a caller may repeat it after an operational error.
//
// The audit trail is for people, and is not a feed: events that are written concurrently may become visible in another
// order than that of their ids, which the clocks of their writers make.
type Events interface {
	// Record stores e alone, without a change.
	Record(ctx context.Context, e domain.Event) error

	// Events returns a page of the events that q selects, by id from high to low. The page ends with the q.Limit-th
	// event; with the one with which the sum of their [EventBytes] reaches q.MaxBytes; or, if q is filtered, after
	// q.MaxRows events were looked at. If there may be more, Next is the id of the last event that was looked at, and is
	// Below of the next page. A filtered page with a Next may be empty, and may be the last one.
	//
	// There is one order: a poller reads from some time before its last read, and skips the ids that it has seen.
	Events(ctx context.Context, q EventQuery) (EventPage, error)
}

// EventQuery selects events, and bounds a page of them. The store looks at the events of the tenant with an id from
// From to Below. An event is selected if it has all other fields that are not empty. Texts are compared byte by byte.
type EventQuery struct {
	TenantID string    // empty for all events, those of no tenant included
	From     domain.ID // only this id and those above; zero for all
	Below    domain.ID // only ids below this one; zero for all

	Kinds     []domain.EventKind // one of them; empty for all
	ActorID   string
	ObjectID  string
	RequestID string

	Limit    int // of events on a page; at least 1
	MaxBytes int // at least 1
	MaxRows  int // of events that a filtered query looks at; at least 1 for one
}

// Selects reports whether an event that the store looks at is selected.
func (q EventQuery) Selects(e domain.Event) bool {
	return (len(q.Kinds) == 0 || slices.Contains(q.Kinds, e.Kind)) && (q.ActorID == "" || q.ActorID == e.Actor.ID) &&
		(q.ObjectID == "" || q.ObjectID == e.ObjectID) && (q.RequestID == "" || q.RequestID == e.RequestID)
}

// IsFiltered reports whether the store may look at events that are not selected.
func (q EventQuery) IsFiltered() bool {
	return len(q.Kinds) > 0 || q.ActorID != "" || q.ObjectID != "" || q.RequestID != ""
}

// EventPage is one page of a list of events.
type EventPage struct {
	Events []domain.Event
	Next   domain.ID // zero on the last page
}

// EventBytes is the size of e on a page: the lengths of its texts that have no other bound. A store may count more
// bytes, as it stores the event, but never fewer.
func EventBytes(e domain.Event) int {
	const token = len(domain.ID{})
	n := len(e.Before) + len(e.After)
	for _, t := range e.Tokens {
		n += token + len(t.ApplicationID) + len(t.UserID)
	}
	return n
}
