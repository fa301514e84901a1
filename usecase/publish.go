package usecase

import (
	"context"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// Publish hands out public keys.
type Publish struct {
	Directory port.Directory
	Keys      *Keys
	Clock     Clock
}

// Tenant is the JWK Set of a tenant; ErrNotFound if there is none such. A tenant that has not signed yet gets its key here, so
// that nobody caches an empty set while the first access token is under way.
func (p *Publish) Tenant(ctx context.Context, tenantID string) ([]byte, error) {
	if !domain.IsTenantID(tenantID) {
		return nil, domain.ErrNotFound
	}
	t, err := p.Directory.Tenant(ctx, tenantID)
	if err != nil {
		return nil, fault("publish", err)
	}
	policy, err := domain.Combine(t, domain.Application{})
	if err != nil {
		return nil, fault("publish", err)
	}
	if _, err := p.Keys.signing(ctx, tenantID, policy.Algorithm, p.Clock.now()); err != nil {
		return nil, err
	}
	return p.Keys.jwks(ctx, tenantID)
}

// Shared is the JWK Set of the keys that all tenants share; and, while there is a single tenant, of its own as well.
func (p *Publish) Shared(ctx context.Context) ([]byte, error) {
	tenants, err := p.Directory.Tenants(ctx, 2)
	if err != nil {
		return nil, fault("publish", err)
	}
	if len(tenants) == 1 {
		return p.Tenant(ctx, tenants[0].ID)
	}
	return p.Keys.jwks(ctx, "")
}
