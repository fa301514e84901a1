package usecase

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// Authenticate tells who calls. Nothing it reads is cached: a key that was removed is refused at the next call. Its errors say why,
// for the operator's log and not for the caller, and repeat nothing that was sent.
type Authenticate struct {
	APIKeys port.APIKeys
	Tokens  port.RefreshTokens
	Tenants port.Tenants
	Keys    *Keys
	Clock   Clock
}

// Caller is who calls: an API key, or the owner of one session.
type Caller struct {
	Key   domain.APIKey
	Owner *domain.AccessToken // nil for an API key
}

// APIKey finds the caller behind an API key, if that may do method on one of paths; else ErrUnauthorized. If the key is
// good, and only may not, the caller is there with the error.
func (a *Authenticate) APIKey(ctx context.Context, key domain.Secret, method string, paths ...string) (Caller, error) {
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
	now := a.Clock.now()
	if !slices.ContainsFunc(paths, func(path string) bool { return k.Permits(method, path, now) }) {
		err := fmt.Errorf("API key %q has expired, or has no %s on %s: %w", k.Name, method, strings.Join(paths, " or "),
			domain.ErrUnauthorized)
		if k.Expired(now) {
			return Caller{}, err
		}
		return Caller{Key: k}, err
	}
	return Caller{Key: k}, nil
}

// Owner finds the user behind an access token; ErrUnauthorized unless it verifies, has not expired, may stand for its
// user, and belongs to a session of that user that is active. If it verifies, and only the rest fails, the caller is
// there with the error: it is no guess.
//
// The session is read each time. Otherwise the thief of a session could end its owner's other sessions after it was
// revoked, until the access token expires.
func (a *Authenticate) Owner(ctx context.Context, accessToken domain.Secret) (Caller, error) {
	t, err := a.Keys.verify(ctx, accessToken.Reveal())
	if err != nil {
		return Caller{}, err
	}
	owner, now := Caller{Owner: &t}, a.Clock.now()
	refused := func(why string) (Caller, error) { return owner, fmt.Errorf("%s: %w", why, domain.ErrUnauthorized) }
	if !now.Before(t.ExpiresAt) {
		return refused("the access token has expired")
	}
	if !t.IsItsUsers() {
		return refused("the access token is for another audience, for an actor, or bound to a key")
	}
	id, _ := domain.ParseID(t.SessionID)
	s, err := a.Tokens.Find(ctx, t.TenantID, id)
	switch {
	case errors.Is(err, domain.ErrNotFound):
		return refused("the access token's session is unknown")
	case err != nil:
		return owner, fault("authenticate", err)
	case s.Token.UserID != t.Subject || s.Token.ApplicationID != t.ApplicationID:
		return refused("the access token's session is another owner's")
	case !s.Alive(now):
		return refused("the access token's session has ended")
	}
	return owner, nil
}

// Tenant returns nil if the caller may act on the tenant that a request names; ErrUnauthorized if it may not, or if
// there is no such tenant. That of an owner exists, since its session is active.
func (a *Authenticate) Tenant(ctx context.Context, c Caller, tenantID string) error {
	switch {
	case c.Owner != nil && c.Owner.TenantID != tenantID:
		return fmt.Errorf("the access token is another tenant's: %w", domain.ErrUnauthorized)
	case c.Owner != nil:
		return nil
	case !c.Key.Serves(tenantID):
		return fmt.Errorf("API key %q serves tenant %q only: %w", c.Key.Name, c.Key.TenantID, domain.ErrUnauthorized)
	}
	unknown := fmt.Errorf("there is no such tenant: %w", domain.ErrUnauthorized)
	if !domain.IsTenantID(tenantID) {
		return unknown
	}
	_, err := a.Tenants.Tenant(ctx, tenantID)
	if errors.Is(err, domain.ErrNotFound) {
		return unknown
	}
	if err != nil {
		return fault("authenticate", err)
	}
	return nil
}
