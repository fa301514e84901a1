package port

import (
	"context"

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
	// event, or with the one with which the sum of their [EventBytes] reaches q.MaxBytes. Next is the id of its last
	// event if there are more, and is Below of the next page.
	Events(ctx context.Context, q EventQuery) (EventPage, error)
}

// EventQuery selects events, and bounds a page of them.
type EventQuery struct {
	TenantID string    // empty for all events, those of no tenant included
	Below    domain.ID // only ids below this one; zero for all
	Limit    int       // at least 1
	MaxBytes int       // at least 1
}

// EventPage is one page of a list of events.
type EventPage struct {
	Events []domain.Event
	Next   domain.ID // zero on the last page
}

// EventBytes is the size of e on a page: the lengths of its texts that have no other bound.
func EventBytes(e domain.Event) int {
	const token = len(domain.ID{})
	n := len(e.Before) + len(e.After)
	for _, t := range e.Tokens {
		n += token + len(t.ApplicationID) + len(t.UserID)
	}
	return n
}
