package port

import (
	"context"
	"time"

	"github.com/refreshd/refreshd/domain"
)

// Tenants keeps tenants. What concerns a tenant together with its applications is said at [Applications].
type Tenants interface {
	// SaveTenant creates or replaces the tenant and, in the same step, these of its applications; its other applications
	// stay. They are stored as t's, whatever their TenantID says; if an id is there twice, the last counts. The tenant's
	// epoch and marks stay as they are, also if it was deleted before. It returns ErrDuplicate, with nothing written, if
	// another tenant has its (non-empty) issuer, and the *Invalid of [domain.CombineAll], with nothing written, if its
	// settings are impossible by themselves or with one of its applications, as they would then be stored.
	SaveTenant(ctx context.Context, t domain.Tenant, with ...domain.Application) error

	// Tenant returns ErrNotFound if it does not exist.
	Tenant(ctx context.Context, id string) (domain.Tenant, error)
	// TenantByIssuer returns the tenant that has set this issuer, which is not empty; ErrNotFound if none has.
	TenantByIssuer(ctx context.Context, issuer string) (domain.Tenant, error)
	// Tenants returns a page of the tenants whose id is above after, by id, byte by byte. limit is at least 1. See
	// [MaxListBytes].
	Tenants(ctx context.Context, after string, limit int) (page []domain.Tenant, next string, err error)

	// DeleteTenant revokes all refresh tokens of the tenant, as RevokeScope does, and removes it with its applications
	// and API keys, in one step. ErrNotFound if it does not exist. Its epoch and marks stay, and a tenant created again
	// under its id goes on from that epoch. Its sealed keys stay too.
	DeleteTenant(ctx context.Context, id string, at time.Time) error
}
