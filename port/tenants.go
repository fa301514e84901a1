package port

import (
	"context"

	"github.com/refreshd/refreshd/domain"
)

// Tenants keeps tenants. What concerns a tenant together with its applications is said at [Applications].
//
// A tenant and its applications draw their versions from one counter, so a version of one of them is never given again,
// not even to what is created under its id after it was deleted. It begins at 1, and begins again only when the last
// trace of a deleted tenant was purged. Nothing but a save gives an object a new version.
type Tenants interface {
	// SaveTenant creates the tenant, where expect is 0, or replaces it, where expect is its version; and does the same,
	// in the same step, with these of its applications, each with its own event. Its other applications stay. They are
	// stored as t's, whatever their TenantID says. The tenant's epoch and marks stay as they are, also if it was
	// deleted before. It returns the version that the tenant then has; the applications that it stored have the same.
	//
	// It returns ErrStale, with nothing written, if the tenant or one of the applications has another version than is
	// expected, exists though 0 is, or does not exist; or if an application is there twice. It returns ErrDuplicate,
	// with nothing written, if another tenant has its (non-empty) issuer, and the *Invalid of [domain.CombineAll], with
	// nothing written, if its settings are impossible by themselves or with one of its applications, as they would then
	// be stored. Where several are so, it may return any.
	SaveTenant(
		ctx context.Context, t domain.Tenant, expect domain.Version, e domain.Event, with ...ApplicationWrite,
	) (domain.Version, error)

	// Tenant returns ErrNotFound if it does not exist.
	Tenant(ctx context.Context, id string) (domain.Tenant, error)
	// TenantByIssuer returns the tenant that has set this issuer, which is not empty; ErrNotFound if none has.
	TenantByIssuer(ctx context.Context, issuer string) (domain.Tenant, error)
	// Tenants returns a page of the tenants whose id is above after, by id, byte by byte. limit is at least 1. See
	// [MaxListBytes].
	Tenants(ctx context.Context, after string, limit int) (page []domain.Tenant, next string, err error)

	// DeleteTenant revokes all refresh tokens of the tenant, as RevokeScope does at e.At, and removes it with its
	// applications and API keys, in one step. ErrNotFound if it does not exist; ErrStale, with nothing written, if its
	// version is not expect. Its epoch, marks and versions stay, and a tenant created again under its id goes on from
	// them. Its sealed keys stay too.
	DeleteTenant(ctx context.Context, id string, expect domain.Version, e domain.Event) error
}

// ApplicationWrite is an application that is stored together with its tenant, under the conditions of SaveApplication.
type ApplicationWrite struct {
	Application domain.Application
	Expect      domain.Version
	Event       domain.Event
}
