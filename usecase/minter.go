package usecase

import (
	"context"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// Minter makes what a client gets: the token string of a refresh token's current generation, and an access token.
type Minter struct {
	Keys   *Keys
	Signer port.Signer
	// PublicURL begins the issuer of every tenant that sets none: PublicURL/t/<tenant>. No trailing slash.
	PublicURL string
}

// Grant is what a client gets.
type Grant struct {
	RefreshToken domain.RefreshToken
	Policy       domain.Policy
	TokenString  domain.Secret
	AccessToken  domain.Secret
	// For how long each of them can still be used: whole seconds, rounded up.
	ExpiresIn             time.Duration // of the access token; at most its lifetime
	RefreshTokenExpiresIn time.Duration
}

// grant depends on its arguments and the keys alone: given the same, it returns the same bytes. life is that of the
// access token, 0 for the policy's; it counts from `from`, moved on as [domain.NewAccessToken] says.
func (m Minter) grant(
	ctx context.Context, t domain.RefreshToken, p domain.Policy, from, now time.Time, life time.Duration,
) (Grant, error) {
	if life == 0 {
		life = p.AccessTokenTTL
	}
	claims := domain.NewAccessToken(t, p, domain.Issuer(m.PublicURL, t.TenantID, p.Issuer), from, now, life)
	key, err := m.Keys.signing(ctx, t.TenantID, p.Algorithm, claims.IssuedAt)
	if err != nil {
		return Grant{}, err
	}
	access, err := m.Signer.Sign(ctx, key, claims)
	if err != nil {
		return Grant{}, wrap("sign the access token", err)
	}
	tokenString, err := m.Keys.mint(t)
	if err != nil {
		return Grant{}, err
	}
	return Grant{
		RefreshToken: t, Policy: p, TokenString: tokenString, AccessToken: domain.NewSecret(access),
		ExpiresIn:             min(life, secondsUntil(claims.ExpiresAt, now)),
		RefreshTokenExpiresIn: secondsUntil(t.ExpiresAt, now),
	}, nil
}

// secondsUntil is the time from now to at, rounded up to whole seconds.
func secondsUntil(at, now time.Time) time.Duration {
	return (at.Sub(now) + time.Second - 1).Truncate(time.Second)
}
