package port

import (
	"context"

	"github.com/refreshd/refreshd/domain"
)

// Events is the audit trail. A method that takes an event stores it in the same step as the change that it reports:
// both, or neither. It is stored with the event as it was given, but for Version and Tokens, which the store fills in.
//
// Such a method is idempotent by the event's id: if an event of that id is stored, the method writes nothing and
// returns what it returned when it stored it. A caller that got an operational error may so repeat it.
//
// It is for people who ask later, and no feed: events that are written concurrently may become visible in another
// order than that of their ids, which are made by the clocks of their writers.
type Events interface {
	// Record stores e by itself, with no change beside it.
	Record(ctx context.Context, e domain.Event) error

	// Events returns a page of the events that q selects, by id from high to low. The page ends with the q.Limit-th
	// event, or with the one that brings their [EventBytes] to q.MaxBytes or above. Next is the id of its last event
	// if there are more, which is Below for the page that follows.
	Events(ctx context.Context, q EventQuery) (EventPage, error)
}

// EventQuery selects events, and bounds a page of them.
type EventQuery struct {
	TenantID string    // empty for all, those of no tenant included
	Below    domain.ID // only ids below this one; zero for from the top
	Limit    int       // at least 1
	MaxBytes int       // at least 1
}

// EventPage is a part of a list of events.
type EventPage struct {
	Events []domain.Event
	Next   domain.ID // zero if nothing is left
}

// EventBytes is how much e counts on a page: the lengths of its texts that have no bound of their own.
func EventBytes(e domain.Event) int {
	const token = len(domain.ID{})
	n := len(e.Before) + len(e.After)
	for _, t := range e.Tokens {
		n += token + len(t.ApplicationID) + len(t.UserID)
	}
	return n
}
