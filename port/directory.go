package port

import (
	"context"
	"time"

	"github.com/refreshd/refreshd/domain"
)

// Directory keeps tenants and applications.
//
// Beside each application it keeps [domain.Combine] of the application and its tenant, combined again in the same step
// as either is saved: this is the policy that Advance, Snapshot and Policy speak of. A save that would make a
// combination impossible writes nothing, also when tenant and application are saved concurrently: what is stored can
// always be combined.
type Directory interface {
	// SaveTenant creates or replaces the tenant and, in the same step, these of its applications; its other applications
	// stay. They are stored as t's, whatever their TenantID says; if an id is there twice, the last counts. The tenant's
	// epoch and marks stay as they are, also if it was deleted before. It returns ErrDuplicate, with nothing written, if
	// another tenant has its (non-empty) issuer, and the *Invalid of [domain.CombineAll], with nothing written, if its
	// settings are impossible by themselves or with one of its applications, as they would then be stored.
	SaveTenant(ctx context.Context, t domain.Tenant, with ...domain.Application) error
	// SaveApplication creates or replaces the application. ErrNotFound if its tenant does not exist; the *Invalid of
	// [domain.Combine], with nothing written, if the two cannot be combined.
	SaveApplication(ctx context.Context, a domain.Application) error

	// Tenant returns ErrNotFound if it does not exist.
	Tenant(ctx context.Context, id string) (domain.Tenant, error)
	// TenantByIssuer returns the tenant that has set this issuer, which is not empty; ErrNotFound if none has.
	TenantByIssuer(ctx context.Context, issuer string) (domain.Tenant, error)
	// Tenants returns at most limit tenants, by id.
	Tenants(ctx context.Context, limit int) ([]domain.Tenant, error)
	// Application returns ErrNotFound if it or its tenant does not exist.
	Application(ctx context.Context, tenantID, id string) (domain.Application, error)
	// Applications returns all applications of the tenant, by id; none if it does not exist.
	Applications(ctx context.Context, tenantID string) ([]domain.Application, error)
	// Policy is the effective policy of the application. ErrNotFound as above.
	Policy(ctx context.Context, tenantID, applicationID string) (domain.Policy, error)

	// DeleteApplication revokes its refresh tokens, as RevokeScope does, and removes it, in one step. ErrNotFound if it does
	// not exist. Created again, it begins without the refresh tokens of before.
	DeleteApplication(ctx context.Context, tenantID, id string, at time.Time) error
	// DeleteTenant does so with a tenant, its applications and its API keys. Its epoch and marks stay, and a tenant created
	// again under its id goes on from that epoch. Its sealed keys stay too.
	DeleteTenant(ctx context.Context, id string, at time.Time) error
}
