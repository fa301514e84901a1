package usecase

import (
	"context"
	"errors"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// Authenticate tells who calls. Nothing it reads is cached: a key that was removed is refused at the next call.
type Authenticate struct {
	APIKeys   port.APIKeys
	Directory port.Directory
	Keys      *Keys
	Clock     Clock
}

// APIKey finds the key that a call brought, if it may do method on path; else ErrUnauthorized.
func (a *Authenticate) APIKey(ctx context.Context, key domain.Secret, method, path string) (domain.APIKey, error) {
	if !domain.IsAPIKey(key.Reveal()) {
		return domain.APIKey{}, domain.ErrUnauthorized
	}
	k, err := a.APIKeys.APIKeyByHash(ctx, a.Keys.hashAPIKey(key))
	if errors.Is(err, domain.ErrNotFound) {
		return domain.APIKey{}, domain.ErrUnauthorized
	}
	if err != nil {
		return domain.APIKey{}, fault("authenticate", err)
	}
	if !k.Permits(method, path, a.Clock.now()) {
		return domain.APIKey{}, domain.ErrUnauthorized
	}
	return k, nil
}

// Tenant tells whether the key serves the tenant that a call names: nil, or ErrUnauthorized if it does not, or if there is no
// such tenant.
func (a *Authenticate) Tenant(ctx context.Context, k domain.APIKey, tenantID string) error {
	if !k.Serves(tenantID) {
		return domain.ErrUnauthorized
	}
	return a.tenant(ctx, tenantID)
}

func (a *Authenticate) tenant(ctx context.Context, tenantID string) error {
	_, err := a.Directory.Tenant(ctx, tenantID)
	if errors.Is(err, domain.ErrNotFound) {
		return domain.ErrUnauthorized
	}
	if err != nil {
		return fault("authenticate", err)
	}
	return nil
}

// Owner reads the access token of a user who acts on the session it belongs to. ErrUnauthorized unless it verifies, lives, and
// is of the tenant that the call names.
func (a *Authenticate) Owner(ctx context.Context, accessToken domain.Secret, tenantID string) (domain.AccessToken, error) {
	t, err := a.Keys.verify(ctx, accessToken.Reveal())
	if err != nil {
		return domain.AccessToken{}, err
	}
	if !a.Clock.now().Before(t.ExpiresAt) || t.TenantID != tenantID {
		return domain.AccessToken{}, domain.ErrUnauthorized
	}
	return t, a.tenant(ctx, tenantID)
}
