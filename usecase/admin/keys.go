package admin

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// Keys reads the list of the deployment's keys.
type Keys struct {
	Keys port.Keys
}

// Key is a [domain.SealedKey] without its content.
type Key struct {
	Kind      domain.KeyKind
	TenantID  string           // of a signing key of one tenant
	Algorithm domain.Algorithm // of a signing key
	Number    uint32
	ID        string // of a signing key
	CreatedAt time.Time
	StartsAt  time.Time // zero for always
	RetiredAt time.Time // zero if it is not retired
	Revision  uint64
}

func keyOf(k domain.SealedKey) Key {
	return Key{k.Kind, k.TenantID, k.Algorithm, k.Number, k.ID, k.CreatedAt, k.StartsAt, k.RetiredAt, k.Revision}
}

// List returns a page of the keys whose revision is above after, by revision. limit is at least 1. next is the
// parameter after of the next page; 0 on the last. A key that is sealed again meanwhile may be listed twice.
func (u *Keys) List(ctx context.Context, by By, after uint64, limit int) (page []Key, next uint64, err error) {
	if !by.sees(by.tenant()) {
		return nil, 0, nil
	}
	limit = min(limit, port.MaxListRows)
	sealed, err := u.read(ctx, by.tenant(), after, limit+1)
	if err != nil {
		return nil, 0, result("list the keys", err)
	}
	for _, k := range sealed[:min(limit, len(sealed))] {
		page = append(page, keyOf(k))
	}
	if len(sealed) > limit {
		next = page[limit-1].Revision
	}
	return page, next, nil
}

// read returns at most limit keys whose revision is above after: those of the tenant, or for an empty id all.
func (u *Keys) read(ctx context.Context, tenantID string, after uint64, limit int) ([]domain.SealedKey, error) {
	if tenantID == "" {
		return u.Keys.KeysSince(ctx, after, limit)
	}
	all, err := u.Keys.KeysOfTenant(ctx, tenantID)
	all = slices.DeleteFunc(all, func(k domain.SealedKey) bool { return k.Revision <= after })
	slices.SortFunc(all, func(a, b domain.SealedKey) int { return cmp.Compare(a.Revision, b.Revision) })
	return all[:min(limit, len(all))], err
}

// Get returns ErrNotFound if there is no signing key of that id. Other keys have no id.
func (u *Keys) Get(ctx context.Context, by By, id string) (Key, error) {
	if !domain.IsApplicationID(id) { // not of a form that a store accepts
		return Key{}, result("read the key", domain.ErrNotFound)
	}
	k, err := u.Keys.KeyByID(ctx, id)
	if err == nil && !by.sees(k.TenantID) {
		err = domain.ErrNotFound
	}
	if err != nil {
		return Key{}, result("read the key", err)
	}
	return keyOf(k), nil
}
