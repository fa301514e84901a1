package admin

import (
	"cmp"
	"io"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase"
)

// newEvent returns an event that is about no object yet. A change that is tried several times has one event: its writes
// are idempotent by the event's id.
func newEvent(by domain.Origin, clock usecase.Clock, random io.Reader) (domain.Event, error) {
	return domain.NewEvent("", by, clock.Now(), random)
}

// aboutTenant returns e as the event of a write of a tenant. Before is nil if it is created, after if it is deleted.
func aboutTenant(e domain.Event, before, after *domain.Tenant) domain.Event {
	e.Kind = kindOf(before, after, domain.TenantCreated, domain.TenantUpdated, domain.TenantDeleted)
	e.ObjectID = cmp.Or(after, before).ID
	e.TenantID = e.ObjectID
	e.Before, e.After = domain.EventObjects(fields(before), fields(after))
	return e
}

// aboutApplication is as aboutTenant.
func aboutApplication(e domain.Event, before, after *domain.Application) domain.Event {
	e.Kind = kindOf(before, after, domain.ApplicationCreated, domain.ApplicationUpdated, domain.ApplicationDeleted)
	a := cmp.Or(after, before)
	e.TenantID, e.ObjectID = a.TenantID, a.ID
	e.Before, e.After = domain.EventObjects(fields(before), fields(after))
	return e
}

// aboutAPIKey is as aboutTenant. The event is of the tenant that the key is valid for. For a key that is changed to all
// tenants it is the former tenant: a reader of that tenant's events would not find an event of no tenant.
func aboutAPIKey(e domain.Event, before, after *domain.APIKey) domain.Event {
	e.Kind = kindOf(before, after, domain.APIKeyCreated, domain.APIKeyUpdated, domain.APIKeyDeleted)
	k, was := cmp.Or(after, before), fields(before)
	e.TenantID, e.ObjectID = k.TenantID, k.ID.String()
	if e.Kind == domain.APIKeyUpdated {
		e.TenantID = cmp.Or(k.TenantID, before.TenantID)
		if before.Hash != k.Hash {
			was = append(was, domain.Setting{Field: "key", Value: "another"}) // a secret has no values
		}
	}
	e.Before, e.After = domain.EventObjects(was, fields(after))
	return e
}

func kindOf[T any](before, after *T, created, updated, deleted domain.EventKind) domain.EventKind {
	switch {
	case before == nil:
		return created
	case after == nil:
		return deleted
	default:
		return updated
	}
}

// fields returns the fields of an object; nil if there is none.
func fields[T interface{ Fields() []domain.Setting }](object *T) []domain.Setting {
	if object == nil {
		return nil
	}
	return (*object).Fields()
}
