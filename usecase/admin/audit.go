package admin

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// Audit reads the audit trail.
type Audit struct {
	Events port.Events
}

// AuditQuery selects events that have all of its fields that are not empty, and bounds a page of them.
type AuditQuery struct {
	From, Until time.Time // From inclusive, Until exclusive, to the millisecond

	Kinds                        []domain.EventKind // one of them
	ActorID, ObjectID, RequestID string

	Below domain.ID // Next of the previous page
	Limit int       // at least 1
}

// kindNames are the kinds of events, with commas between them.
var kindNames = func() string {
	names := make([]string, len(domain.EventKinds))
	for i, k := range domain.EventKinds {
		names[i] = string(k)
	}
	return strings.Join(names, ", ")
}()

// List returns a page of the events of the tenant of the request, the latest first; see [port.Events]. A page with a
// Next may be empty: it ends after [port.MaxListRows] events were looked at. A kind that does not exist is an *Invalid.
func (u *Audit) List(ctx context.Context, by By, q AuditQuery) (port.EventPage, error) {
	for _, k := range q.Kinds {
		if !slices.Contains(domain.EventKinds, k) {
			return port.EventPage{}, domain.NewInvalid("kind", domain.Malformed, "name one of "+kindNames)
		}
	}
	query := port.EventQuery{
		TenantID: by.TenantID, Below: q.Below, Kinds: q.Kinds, ActorID: q.ActorID, ObjectID: q.ObjectID,
		RequestID: q.RequestID, Limit: min(q.Limit, port.MaxListRows), MaxBytes: port.MaxListBytes,
		MaxRows: port.MaxListRows,
	}
	if !q.From.IsZero() {
		query.From = domain.FirstID(q.From)
	}
	none := !by.sees(by.TenantID)
	if !q.Until.IsZero() {
		end := domain.FirstID(q.Until)
		if query.Below.IsZero() || bytes.Compare(end[:], query.Below[:]) < 0 {
			query.Below = end
		}
		none = none || bytes.Compare(end[:], query.From[:]) <= 0 // also for 1970, whose id would select all
	}
	if none {
		return port.EventPage{}, nil
	}
	page, err := u.Events.Events(ctx, query)
	return page, result("list the events", err)
}
