package port

import (
	"context"

	"github.com/refreshd/refreshd/domain"
)

// A list of tenants, applications or API keys has pages. A page ends with the first of these: its limit; the object
// with which the sum of their sizes reaches [MaxListBytes], which is still on the page, so that each page makes
// progress; the [MaxListRows]-th object that the store reads. If there may be more, next is the parameter after of the
// next page; otherwise it is empty or zero. A page with a next may be empty, and may be the last one.
//
// Consecutive pages list each object once that existed from before the first page was read until after the last one
// was.
const (
	MaxListBytes = 1 << 20
	MaxListRows  = 5_000
)

// TenantBytes is the size of t in a list. A store may count more bytes, as it stores the object, but never fewer. The
// same holds for applications and API keys.
func TenantBytes(t domain.Tenant) int {
	return len(t.ID) + len(t.Name) + len(t.Issuer) + len(t.Login.Authorization) + len(t.Login.EndSession) +
		len(t.Login.Userinfo) + settingsBytes(t.Settings)
}

// ApplicationBytes is the size of a in a list.
func ApplicationBytes(a domain.Application) int {
	n := len(a.TenantID) + len(a.ID) + len(a.Name) + len(a.Client.Keys) + settingsBytes(a.Settings)
	for _, list := range [][]string{a.Client.Audiences, a.Client.Origins} {
		for _, s := range list {
			n += len(s)
		}
	}
	for _, s := range a.Client.Secrets {
		n += len(s.Hash)
	}
	return n
}

// APIKeyBytes is the size of k in a list.
func APIKeyBytes(k domain.APIKey) int {
	n := len(k.Name) + len(k.Hash) + len(k.PreviousHash) + len(k.TenantID)
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

// Store is the whole store, so that one handle can be opened and closed. Each use case takes only the interfaces that
// it needs.
//
// A context that is done ends a call that waits for a connection or for another call. A statement that the database has
// begun runs to its end, or to a deadline of some seconds that the store sets. So a caller that cancels does not delay
// the others, and does not learn any earlier whether its call happened. Every wait has such a bound, also with a
// context that is never done. A call that returned an operational error may or may not have happened.
//
// Many calls that wait for one locked record do not delay calls for other records.
type Store interface {
	RefreshTokens
	Revocations
	Reach
	Tenants
	Applications
	APIKeys
	Keys
	KeyChanges
	Events
	Janitor
	Jobs
	Once

	// Ready returns nil if the store responds, lets this process write, and has a schema that this program can use.
	// Otherwise its error tells an operator which of these fails and what to do about it. It writes nothing.
	Ready(ctx context.Context) error
	// HasData reports whether the store holds anything besides sealed keys: a tenant, an API key, a refresh token. A
	// store with data and without the check value of its master key has lost its keys, and must not be written to.
	HasData(ctx context.Context) (bool, error)
	// Close releases the handle. Calls in progress may fail; no completed write is lost.
	Close() error
}
