package usecase

import (
	"context"
	"fmt"
	"strings"
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
}

// grant is a function of its arguments and the keys: asked again with the same, it gives the same bytes. The life of the access
// token counts from `from`, unless it would be over at now.
func (m Minter) grant(ctx context.Context, t domain.RefreshToken, p domain.Policy, from, now time.Time, life time.Duration) (Grant, error) {
	if life == 0 {
		life = p.AccessTokenTTL
	}
	issuer := Issuer(m.PublicURL, t.TenantID, p.Issuer)
	claims := domain.NewAccessToken(t, issuer, from, life)
	if !now.Before(claims.ExpiresAt) {
		from = now
		claims = domain.NewAccessToken(t, issuer, from, life)
	}
	key, err := m.Keys.signing(ctx, t.TenantID, p.Algorithm, from)
	if err != nil {
		return Grant{}, err
	}
	access, err := m.Signer.Sign(ctx, key, claims)
	if err != nil {
		return Grant{}, fault("sign the access token", err)
	}
	tokenString, err := m.Keys.mint(t)
	if err != nil {
		return Grant{}, err
	}
	return Grant{RefreshToken: t, Policy: p, TokenString: tokenString, AccessToken: domain.NewSecret(access)}, nil
}

// Issuer is `iss` of a tenant's access tokens: what the tenant set, or else one derived from the public URL.
func Issuer(publicURL, tenantID, set string) string {
	if set != "" {
		return set
	}
	return fmt.Sprintf("%s/t/%s", strings.TrimSuffix(publicURL, "/"), tenantID)
}
