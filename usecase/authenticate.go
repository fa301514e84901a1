package usecase

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// Authenticate identifies the sender of a request. Nothing is cached: a key that was deleted is refused at the next
// request. Its errors give the reason for the operator's log, not for the caller, and never contain the credential.
type Authenticate struct {
	APIKeys port.APIKeys
	Tokens  port.RefreshTokens
	Tenants port.Tenants
	Keys    *Keys
	Clock   Clock
	// Refusals records refused API keys; nil for none.
	Refusals *Refusals
	// Operator, if set, is the name of the operator whose process opened the store and sends all requests itself. Each
	// request is then the operator's, whatever its credential, and may do every action. A service leaves it empty.
	Operator string
}

// A Credential authenticates the sender of a request by one of its fields. The zero value authenticates no caller.
type Credential struct {
	APIKey      domain.Secret // or any other text that was sent in its place
	AccessToken domain.Secret // of an owner

	// Address and RequestID describe the request in the event of a refused API key.
	Address, RequestID string
}

// Caller is the authenticated sender of a request: an API key, the owner of one session, or the operator of the store.
type Caller struct {
	TenantID string // of the request; empty if it named none and the caller may act for all tenants
	Key      domain.APIKey
	Owner    *domain.AccessToken // nil for others
	Operator string              // the operator's name; empty for others
}

// Do returns the caller of the credential if it may do the action for that tenant; otherwise ErrUnauthorized. For an
// unknown credential the caller is empty. For a valid credential that only may not do this, the caller is returned with
// the error, because the credential was not guessed; its TenantID is empty.
//
// An empty tenantID is for a request that names no tenant. The caller's tenant is then that of the API key or of the
// access token.
func (a *Authenticate) Do(ctx context.Context, cred Credential, action domain.Action, tenantID string) (Caller, error) {
	var caller Caller
	var err error
	switch {
	case a.Operator != "":
		caller.Operator = a.Operator
	case !cred.AccessToken.IsZero() && action.AllowsOwner():
		caller, err = a.owner(ctx, cred.AccessToken)
	default:
		caller, err = a.apiKey(ctx, cred.APIKey, action)
	}
	if err != nil {
		a.refused(err, caller, domain.RefusedPermission, cred, action, tenantID)
		return caller, err
	}
	if tenantID != "" {
		if err := a.serves(ctx, caller, tenantID); err != nil {
			a.refused(err, caller, domain.RefusedTenant, cred, action, tenantID)
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

// refused records that the API key of the caller was refused. An expired or unknown key has no caller.
func (a *Authenticate) refused(
	err error, c Caller, why domain.Refusal, cred Credential, action domain.Action, tenantID string,
) {
	if c.Key.ID.IsZero() || !errors.Is(err, domain.ErrUnauthorized) {
		return
	}
	e := domain.RefusalEvent(c.Key, why, action, tenantID, cred.Address, cred.RequestID, a.Clock.Now())
	a.Refusals.Add(e, c.Key.ID)
}

// apiKey returns the API key if it may do the action. If the key is known and has not expired, the caller is returned
// also with an error.
func (a *Authenticate) apiKey(ctx context.Context, key domain.Secret, action domain.Action) (Caller, error) {
	if !domain.IsAPIKey(key.Reveal()) {
		return Caller{}, fmt.Errorf("no API key was sent: %w", domain.ErrUnauthorized)
	}
	hashes, err := a.Keys.HashesOfAPIKey(ctx, key)
	if err != nil {
		return Caller{}, Wrap("authenticate", err)
	}
	k, err := a.APIKeys.APIKeyByHash(ctx, hashes...)
	if errors.Is(err, domain.ErrNotFound) {
		return Caller{}, fmt.Errorf("the API key is unknown: %w", domain.ErrUnauthorized)
	}
	if err != nil {
		return Caller{}, Wrap("authenticate", err)
	}
	if len(hashes) > 1 {
		a.rehash(ctx, k, key)
	}
	now := a.Clock.Now()
	if k.Permits(action, now) {
		return Caller{Key: k}, nil
	}
	if k.Expired(now) {
		return Caller{}, fmt.Errorf("API key %q has expired: %w", k.Name, domain.ErrUnauthorized)
	}
	method, endpoints := action.Permissions()
	return Caller{Key: k}, fmt.Errorf("API key %q has no %s on %s: %w", k.Name, method,
		strings.Join(endpoints, " or "), domain.ErrUnauthorized)
}

// rehash stores the API key under the newest key that hashes API keys, if it is stored under another one. If that
// fails, the next request with the key does it.
func (a *Authenticate) rehash(ctx context.Context, before domain.APIKey, key domain.Secret) {
	if after, changed := a.Keys.Rehashed(before, key); changed {
		_ = a.APIKeys.RehashAPIKey(ctx, before, after)
	}
}

// owner returns the owner of an access token. It returns ErrUnauthorized unless the token verifies, has not expired,
// authenticates its user, and belongs to an active session of that user. If it verifies and only another condition
// fails, the caller is returned with the error, because the token was not guessed.
//
// The session is read each time. Otherwise the thief of a session could end its owner's other sessions after it was
// revoked, until the access token expires.
func (a *Authenticate) owner(ctx context.Context, accessToken domain.Secret) (Caller, error) {
	t, err := a.Keys.verify(ctx, accessToken.Reveal())
	if err != nil {
		return Caller{}, err
	}
	owner, now := Caller{Owner: &t}, a.Clock.Now()
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
		return owner, Wrap("authenticate", err)
	case !isSessionOf(s, t):
		return refused("the access token's session belongs to another user or application")
	case !s.Alive(now):
		return refused("the access token's session has ended")
	}
	return owner, nil
}

// isSessionOf reports whether the session that an access token names is of its user and application.
func isSessionOf(s domain.Session, t domain.AccessToken) bool {
	return s.Token.UserID == t.Subject && s.Token.ApplicationID == t.ApplicationID
}

// serves returns nil if the caller may act on the tenant that a request names. It returns ErrUnauthorized if it may
// not, or if the tenant does not exist. An owner's tenant exists, because its session is active.
func (a *Authenticate) serves(ctx context.Context, c Caller, tenantID string) error {
	switch {
	case c.Owner != nil && c.Owner.TenantID != tenantID:
		return fmt.Errorf("the access token belongs to another tenant: %w", domain.ErrUnauthorized)
	case c.Owner != nil:
		return nil
	case c.Operator == "" && !c.Key.Serves(tenantID):
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
		return Wrap("authenticate", err)
	}
	return nil
}
