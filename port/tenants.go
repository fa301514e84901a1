package port

import (
	"context"

	"github.com/refreshd/refreshd/domain"
)

// Tenants stores tenants. [Applications] describes what concerns a tenant together with its applications.
//
// A tenant and its applications draw their versions from one counter, so none of these versions is used twice, not even
// for an object that is created under the id of a deleted one. The counter begins at 1, and begins again only after the
// last trace of a deleted tenant was purged. Only a save, and RehashClientSecrets, change the version of an object.
type Tenants interface {
	// SaveTenant creates the tenant if expect is 0, or replaces it if expect is its version. In the same step it does
	// the same with these of its applications, each with its own event. Its other applications stay. The applications
	// are stored under t, whatever their TenantID is. The tenant's epoch and marks stay, also if it was deleted before.
	// It returns the new version of the tenant, which the stored applications have too.
	//
	// It returns ErrStale, with nothing written, if the tenant or one of the applications has another version than
	// expected, exists though 0 is expected, or does not exist; or if an application is named twice. It returns
	// ErrDuplicate, with nothing written, if another tenant has its (non-empty) issuer. It returns the *Invalid of
	// [domain.CombineAll], with nothing written, if its settings are impossible by themselves or with one of its
	// applications, as they would then be stored. If several of these apply, it may return any.
	SaveTenant(
		ctx context.Context, t domain.Tenant, expect domain.Version, e domain.Event, with ...ApplicationWrite,
	) (domain.Version, error)

	// Tenant returns ErrNotFound if it does not exist.
	Tenant(ctx context.Context, id string) (domain.Tenant, error)
	// TenantByIssuer returns the tenant that has set this issuer, which is not empty; ErrNotFound if none has.
	TenantByIssuer(ctx context.Context, issuer string) (domain.Tenant, error)
	// Tenants returns a page of the tenants whose id is above after, by id in byte order. limit is at least 1. See
	// [MaxListBytes].
	Tenants(ctx context.Context, after string, limit int) (page []domain.Tenant, next string, err error)

	// DeleteTenant revokes all refresh tokens of the tenant, as RevokeScope does at e.At, and removes it with its
	// applications and API keys, in one step. It returns ErrNotFound if it does not exist, and ErrStale, with nothing
	// written, if its version is not expect. Its epoch, marks and versions stay, and a tenant that is created again
	// under its id continues from them. Its sealed keys stay too.
	DeleteTenant(ctx context.Context, id string, expect domain.Version, e domain.Event) error
}

// ApplicationWrite is an application that is stored together with its tenant, under the conditions of SaveApplication.
type ApplicationWrite struct {
	Application domain.Application
	Expect      domain.Version
	Event       domain.Event
}
