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
	// The remaining lifetimes in whole seconds, rounded up.
	ExpiresIn             time.Duration // of the access token; at most its lifetime
	RefreshTokenExpiresIn time.Duration
}

// grant depends on its arguments and the keys alone: the same arguments give the same bytes. lifetime is that of the
// access token, 0 for the policy's; it counts from `from`, moved forward as [domain.NewAccessToken] describes.
func (m Minter) grant(
	ctx context.Context, t domain.RefreshToken, p domain.Policy, from, now time.Time, lifetime time.Duration,
) (Grant, error) {
	if lifetime == 0 {
		lifetime = p.AccessTokenTTL
	}
	claims := domain.NewAccessToken(t, p, domain.Issuer(m.PublicURL, t.TenantID, p.Issuer), from, now, lifetime)
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
		ExpiresIn:             min(lifetime, secondsUntil(claims.ExpiresAt, now)),
		RefreshTokenExpiresIn: secondsUntil(t.ExpiresAt, now),
	}, nil
}

// secondsUntil returns the time from now to at, rounded up to whole seconds.
func secondsUntil(at, now time.Time) time.Duration {
	return (at.Sub(now) + time.Second - 1).Truncate(time.Second)
}
