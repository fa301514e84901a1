package usecase

import (
	"context"
	"errors"
	"fmt"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// Authenticate tells who calls. Nothing it reads is cached: a key that was removed is refused at the next call. Its errors say why,
// for the operator's log and not for the caller, and repeat nothing that was sent.
type Authenticate struct {
	APIKeys   port.APIKeys
	Directory port.Directory
	Keys      *Keys
	Clock     Clock
}

// Caller is who calls: an API key, or the owner of one session.
type Caller struct {
	Key   domain.APIKey
	Owner *domain.AccessToken // nil for an API key
}

// APIKey finds the caller behind an API key, if that may do method on path; else ErrUnauthorized. If the key is good, and only may not,
// the caller is there with the error.
func (a *Authenticate) APIKey(ctx context.Context, key domain.Secret, method, path string) (Caller, error) {
	if !domain.IsAPIKey(key.Reveal()) {
		return Caller{}, fmt.Errorf("no API key was sent: %w", domain.ErrUnauthorized)
	}
	k, err := a.APIKeys.APIKeyByHash(ctx, a.Keys.hashAPIKey(key))
	if errors.Is(err, domain.ErrNotFound) {
		return Caller{}, fmt.Errorf("the API key is unknown: %w", domain.ErrUnauthorized)
	}
	if err != nil {
		return Caller{}, fault("authenticate", err)
	}
	if now := a.Clock.now(); !k.Permits(method, path, now) {
		err := fmt.Errorf("API key %q has expired, or has no %s on %s: %w", k.Name, method, path, domain.ErrUnauthorized)
		if k.Expired(now) {
			return Caller{}, err
		}
		return Caller{Key: k}, err
	}
	return Caller{Key: k}, nil
}

// Owner finds the user behind an access token, who may act on the session it belongs to; ErrUnauthorized unless it verifies and
// has not expired. If it verifies, and only has expired, the caller is there with the error.
func (a *Authenticate) Owner(ctx context.Context, accessToken domain.Secret) (Caller, error) {
	t, err := a.Keys.verify(ctx, accessToken.Reveal())
	if err != nil {
		return Caller{}, err
	}
	if !a.Clock.now().Before(t.ExpiresAt) {
		return Caller{Owner: &t}, fmt.Errorf("the access token has expired: %w", domain.ErrUnauthorized)
	}
	return Caller{Owner: &t}, nil
}

// Tenant tells whether the caller may act on the tenant that a call names: nil, or ErrUnauthorized if it may not, or if there is
// no such tenant.
func (a *Authenticate) Tenant(ctx context.Context, c Caller, tenantID string) error {
	switch {
	case c.Owner != nil && c.Owner.TenantID != tenantID:
		return fmt.Errorf("the access token is another tenant's: %w", domain.ErrUnauthorized)
	case c.Owner == nil && !c.Key.Serves(tenantID):
		return fmt.Errorf("API key %q serves tenant %q only: %w", c.Key.Name, c.Key.TenantID, domain.ErrUnauthorized)
	}
	unknown := fmt.Errorf("there is no such tenant: %w", domain.ErrUnauthorized)
	if !domain.IsTenantID(tenantID) {
		return unknown
	}
	_, err := a.Directory.Tenant(ctx, tenantID)
	if errors.Is(err, domain.ErrNotFound) {
		return unknown
	}
	if err != nil {
		return fault("authenticate", err)
	}
	return nil
}
