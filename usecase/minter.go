package usecase

import (
	"context"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// Minter makes the tokens of a response: the token string of a refresh token's current generation, and an access
// token.
type Minter struct {
	Keys   *Keys
	Signer port.Signer
	// PublicURL is the prefix of the issuer of every tenant that sets none: PublicURL/t/<tenant>. No trailing slash.
	PublicURL string
}

// Grant is the content of a response with tokens.
type Grant struct {
	RefreshToken domain.RefreshToken
	Policy       domain.Policy
	TokenString  domain.Secret
	AccessToken  domain.Secret
	// Scopes are those of the access token.
	Scopes []string
	// Confirmation is the key that the access token is bound to; empty for none.
	Confirmation string
	// The remaining lifetimes in whole seconds, rounded up.
	ExpiresIn             time.Duration // of the access token; at most its lifetime
	RefreshTokenExpiresIn time.Duration
}

// accessRequest is what a request determines of its access token. The zero value leaves all to the refresh token and
// its policy.
type accessRequest struct {
	lifetime     time.Duration // 0 for the policy's
	audience     string        // empty for the application
	narrow       bool          // the scopes are those of scopes that were granted
	scopes       []string
	confirmation string // the key that the access token is bound to; empty for none
	actors       []domain.TokenActor
}

// grant depends on its arguments and the keys alone: the same arguments give the same bytes. The lifetime of the access
// token counts from `from`, moved forward as [domain.NewAccessToken] describes.
func (m Minter) grant(
	ctx context.Context, t domain.RefreshToken, p domain.Policy, from, now time.Time, a accessRequest,
) (Grant, error) {
	if a.lifetime == 0 {
		a.lifetime = p.AccessTokenTTL
	}
	claims := domain.NewAccessToken(t, p, domain.Issuer(m.PublicURL, t.TenantID, p.Issuer), from, now, a.lifetime)
	claims.Confirmation, claims.Actors = a.confirmation, a.actors
	if a.audience != "" {
		claims.Audience = a.audience
	}
	if a.narrow {
		claims.Scopes, _ = domain.Narrow(t.Scopes, a.scopes)
	}
	key, err := m.Keys.signing(ctx, t.TenantID, p.Algorithm, claims.IssuedAt)
	if err != nil {
		return Grant{}, err
	}
	access, err := m.Signer.Sign(ctx, key, claims)
	if err != nil {
		return Grant{}, Wrap("sign the access token", err)
	}
	tokenString, err := m.Keys.mint(t)
	if err != nil {
		return Grant{}, err
	}
	return Grant{
		RefreshToken: t, Policy: p, TokenString: tokenString, AccessToken: domain.NewSecret(access),
		Scopes: claims.Scopes, Confirmation: a.confirmation,
		ExpiresIn:             min(a.lifetime, secondsUntil(claims.ExpiresAt, now)),
		RefreshTokenExpiresIn: secondsUntil(t.ExpiresAt, now),
	}, nil
}

// secondsUntil returns the time from now to at, rounded up to whole seconds.
func secondsUntil(at, now time.Time) time.Duration {
	return (at.Sub(now) + time.Second - 1).Truncate(time.Second)
}
