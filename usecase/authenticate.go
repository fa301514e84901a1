package usecase

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// Authenticate finds out who sent a request. Nothing it reads is cached: a key that was removed is refused at the next
// request. Its errors say why, for the operator's log and not for the caller, and repeat nothing that was sent.
type Authenticate struct {
	APIKeys port.APIKeys
	Tokens  port.RefreshTokens
	Tenants port.Tenants
	Keys    *Keys
	Clock   Clock
}

// A Credential is what a request proves its sender by: one of these. The zero value proves nothing.
type Credential struct {
	APIKey      domain.Secret // or what was sent in its place
	AccessToken domain.Secret // of an owner
}

// Caller is who sent a request: an API key, or the owner of one session.
type Caller struct {
	TenantID string // that the request is for; empty where it named none and the API key is one for every tenant
	Key      domain.APIKey
	Owner    *domain.AccessToken // nil for an API key
}

// Do returns the caller that the credential proves, if it may do the action, for that tenant; else ErrUnauthorized. Of
// an unknown credential's caller nothing is returned. Where the credential is good, and only may not do this, its
// caller is returned with the error: it is no guess. Then its tenant is empty.
//
// An empty tenantID is for a request that names no tenant. Its caller's is that of the API key or of the access token.
func (a *Authenticate) Do(ctx context.Context, cred Credential, action domain.Action, tenantID string) (Caller, error) {
	var caller Caller
	var err error
	if !cred.AccessToken.IsZero() && action.AllowsOwner() {
		caller, err = a.owner(ctx, cred.AccessToken)
	} else {
		caller, err = a.apiKey(ctx, cred.APIKey, action)
	}
	if err != nil {
		return caller, err
	}
	if tenantID != "" {
		if err := a.serves(ctx, caller, tenantID); err != nil {
			return caller, err
		}
	}
	switch {
	case tenantID != "":
		caller.TenantID = tenantID
	case caller.Owner != nil:
		caller.TenantID = caller.Owner.TenantID
	default:
		caller.TenantID = caller.Key.TenantID
	}
	return caller, nil
}

// apiKey finds the API key, if it may do the action. If the key is known and has not expired, the caller is returned
// with an error.
func (a *Authenticate) apiKey(ctx context.Context, key domain.Secret, action domain.Action) (Caller, error) {
	if !domain.IsAPIKey(key.Reveal()) {
		return Caller{}, fmt.Errorf("no API key was sent: %w", domain.ErrUnauthorized)
	}
	k, err := a.APIKeys.APIKeyByHash(ctx, a.Keys.hashAPIKey(key))
	if errors.Is(err, domain.ErrNotFound) {
		return Caller{}, fmt.Errorf("the API key is unknown: %w", domain.ErrUnauthorized)
	}
	if err != nil {
		return Caller{}, wrap("authenticate", err)
	}
	now := a.Clock.now()
	if k.Permits(action, now) {
		return Caller{Key: k}, nil
	}
	method, endpoints := action.Permissions()
	err = fmt.Errorf("API key %q has expired, or has no %s on %s: %w", k.Name, method, strings.Join(endpoints, " or "),
		domain.ErrUnauthorized)
	if k.Expired(now) {
		return Caller{}, err
	}
	return Caller{Key: k}, err
}

// owner finds the user behind an access token; ErrUnauthorized unless it verifies, has not expired, may stand for its
// user, and belongs to a session of that user that is active. If it verifies, and only the rest fails, the caller is
// there with the error: it is no guess.
//
// The session is read each time. Otherwise the thief of a session could end its owner's other sessions after it was
// revoked, until the access token expires.
func (a *Authenticate) owner(ctx context.Context, accessToken domain.Secret) (Caller, error) {
	t, err := a.Keys.verify(ctx, accessToken.Reveal())
	if err != nil {
		return Caller{}, err
	}
	owner, now := Caller{Owner: &t}, a.Clock.now()
	refused := func(why string) (Caller, error) { return owner, fmt.Errorf("%s: %w", why, domain.ErrUnauthorized) }
	if !now.Before(t.ExpiresAt) {
		return refused("the access token has expired")
	}
	if !t.AuthenticatesUser() {
		return refused("the access token is for another audience, for an actor, or bound to a key")
	}
	id, _ := domain.ParseID(t.SessionID)
	s, err := a.Tokens.Find(ctx, t.TenantID, id)
	switch {
	case errors.Is(err, domain.ErrNotFound):
		return refused("the access token's session is unknown")
	case err != nil:
		return owner, wrap("authenticate", err)
	case s.Token.UserID != t.Subject || s.Token.ApplicationID != t.ApplicationID:
		return refused("the access token's session belongs to another user or application")
	case !s.Alive(now):
		return refused("the access token's session has ended")
	}
	return owner, nil
}

// serves returns nil if the caller may act on the tenant that a request names; ErrUnauthorized if it may not, or if
// there is no such tenant. That of an owner exists, since its session is active.
func (a *Authenticate) serves(ctx context.Context, c Caller, tenantID string) error {
	switch {
	case c.Owner != nil && c.Owner.TenantID != tenantID:
		return fmt.Errorf("the access token belongs to another tenant: %w", domain.ErrUnauthorized)
	case c.Owner != nil:
		return nil
	case !c.Key.Serves(tenantID):
		return fmt.Errorf("API key %q is for tenant %q only: %w", c.Key.Name, c.Key.TenantID, domain.ErrUnauthorized)
	}
	unknown := fmt.Errorf("the tenant is unknown: %w", domain.ErrUnauthorized)
	if !domain.IsTenantID(tenantID) {
		return unknown
	}
	_, err := a.Tenants.Tenant(ctx, tenantID)
	if errors.Is(err, domain.ErrNotFound) {
		return unknown
	}
	if err != nil {
		return wrap("authenticate", err)
	}
	return nil
}
