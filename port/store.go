package port

import (
	"context"

	"github.com/refreshd/refreshd/domain"
)

// A list of tenants, applications or API keys comes in pages. A page ends with the first of these: its limit; the
// object that brings the lengths of their texts to [MaxListBytes] or above, which is still on the page, so that each
// page makes progress; the [MaxListRows]-th that the store looked at. If there may be more, next is what after is for
// the page that follows, else it is empty or zero. A page with a next may be empty, and may be the last one all the
// same.
//
// Pages that follow each other show each object once that was there from before the first page was read until after
// the last one was.
const (
	MaxListBytes = 1 << 20
	MaxListRows  = 5_000
)

// TenantBytes is how much t counts in a list. A store may count more, as it keeps the object, but never less; so it is
// with applications and API keys.
func TenantBytes(t domain.Tenant) int {
	return len(t.ID) + len(t.Name) + len(t.Issuer) + settingsBytes(t.Settings)
}

// ApplicationBytes is how much a counts in a list.
func ApplicationBytes(a domain.Application) int {
	return len(a.TenantID) + len(a.ID) + len(a.Name) + settingsBytes(a.Settings)
}

// APIKeyBytes is how much k counts in a list.
func APIKeyBytes(k domain.APIKey) int {
	n := len(k.Name) + len(k.Hash) + len(k.TenantID)
	for endpoint, methods := range k.Permissions {
		n += len(endpoint)
		for _, m := range methods {
			n += len(m)
		}
	}
	return n
}

func settingsBytes(s domain.Settings) (n int) {
	for _, setting := range s.List() {
		n += len(setting.Value)
	}
	return n
}

// Store is everything that refreshd keeps, in one place, so that one handle can be opened and closed. Use cases ask for
// the part that they need.
//
// A context that is done ends a call that waits for its turn: for a connection, or behind another call. What has begun
// in the database runs to its end, or to a deadline of the store's own, some seconds; so a caller that leaves costs
// those that stay nothing, and learns no sooner how its call ended. Every wait has such a bound, also with a context
// that is never done. A call that returned an operational error may or may not have happened.
//
// Many calls that wait for one record, because somebody holds it, do not keep those for other records waiting.
type Store interface {
	RefreshTokens
	Revocations
	Tenants
	Applications
	APIKeys
	Keys
	Events
	Janitor
	Jobs

	// Ready returns nil if the store answers, lets this process write, and has a schema that this program can work on;
	// else an error that says which of these fails and what to do about it, fit for an operator. It writes nothing.
	Ready(ctx context.Context) error
	// HasData reports whether the store holds anything at all besides sealed keys: a tenant, an API key, a refresh
	// token. A store with data and without the check value of its master key has lost something, and must not be
	// written to.
	HasData(ctx context.Context) (bool, error)
	// Close frees the handle. Calls under way may fail; nothing that was answered is lost.
	Close() error
}
