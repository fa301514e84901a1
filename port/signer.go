package port

import (
	"context"

	"github.com/refreshd/refreshd/domain"
)

// Signer makes and checks access tokens: JWTs in compact form (RFC 7519), with `typ`, `alg` and `kid` in the header. It
// is safe for concurrent use. Any error but the sentinels named is operational.
type Signer interface {
	// NewKey makes a private key for the algorithm, in PKCS #8, DER. RSA keys have 2048 bits.
	NewKey(a domain.Algorithm) (domain.Secret, error)

	// Sign is deterministic: the same key and claims give the same bytes, in every process, with every algorithm. That
	// is what lets a retry be answered with the same access token. It ignores t.ID: it makes `jti` from header and
	// payload, so that two tokens have the same `jti` exactly when they are the same bytes. A t.Type that is not in
	// domain.AccessTokenTypes is an error.
	Sign(ctx context.Context, key domain.SigningKey, t domain.AccessToken) (string, error)

	// Verify reads a token of any of domain.AccessTokenTypes that one of our keys has signed, `jti` into ID. It asks
	// find for the key that the token names, once, and only if token has the form of ours; an error of find it returns
	// as it is. It checks signature, `alg` against the key's, that a key of one tenant speaks of no other, and form;
	// not times, which are for the caller to judge. A token that does not verify, for whatever reason, is
	// ErrUnauthorized.
	Verify(ctx context.Context, find FindKey, token string) (domain.AccessToken, error)

	// JWKS is the public halves as a JWK Set (RFC 7517, section 5), ordered by `kid`. The same keys give the same
	// bytes.
	JWKS(keys []domain.SigningKey) ([]byte, error)
}

// FindKey returns the signing key of that id. Where there is none its error is ErrUnknownKey and ErrUnauthorized.
type FindKey func(ctx context.Context, id string) (domain.SigningKey, error)
