package port

import (
	"context"

	"github.com/refreshd/refreshd/domain"
)

// Signer signs and verifies access tokens: JWTs in compact form (RFC 7519), with `typ`, `alg` and `kid` in the header.
// It also signs proofs of views, which no method here verifies, and verifies what clients sign. It is safe for
// concurrent use. Errors other than the named sentinels are operational.
type Signer interface {
	// NewKey makes a private key for the algorithm, in PKCS #8, DER. bits is the size of an RSA key: 2048, 3072 or 4096;
	// 0 for 2048. Keys of other algorithms have one size, and bits must be 0.
	NewKey(a domain.Algorithm, bits int) (domain.Secret, error)

	// ParseKey parses a private key in PEM (PKCS #8, PKCS #1 or SEC 1) or as a JWK: RSA of 2048 to 4096 bits, P-256 or
	// Ed25519. Its error is a *domain.Invalid of no field that says what is wrong with the text and what to do about it,
	// and never quotes it.
	ParseKey(text domain.Secret) (domain.PrivateKey, error)

	// Sign is deterministic: the same key and claims give the same bytes, in every process, with every algorithm, so
	// that a retry gets the same access token. It ignores t.ID and derives `jti` from header and payload, so that two
	// tokens have the same `jti` exactly if they are the same bytes. A t.Type that is not in domain.AccessTokenTypes is
	// an error.
	Sign(ctx context.Context, key domain.SigningKey, t domain.AccessToken) (string, error)

	// Verify verifies a token of one of domain.AccessTokenTypes, and returns its claims with `jti` in ID. It calls find
	// once for the key that the token names, and only if token has the form of a token that Sign makes. It returns an
	// error of find unchanged. It checks the signature, `alg` against the key's, that a key of one tenant signed a
	// token of no other tenant, and the form. It does not check times; the caller does. The error for a token that does
	// not verify, for any reason, is ErrUnauthorized.
	Verify(ctx context.Context, find FindKey, token string) (domain.AccessToken, error)

	// SignProof signs a proof of the `typ` [domain.ViewProofType]. Its claims are `iss`, `nonce`, `cursor` (a decimal
	// string, because a position may exceed the integers of JSON readers), `e` (milliseconds) and `iat`, and `jti` as in
	// an access token. Verify refuses it, as an access token of no type.
	SignProof(ctx context.Context, key domain.SigningKey, p domain.ViewProof) (string, error)

	// JWKS returns the public keys as a JWK Set (RFC 7517, section 5), ordered by `kid`. The same keys give the same
	// bytes.
	JWKS(keys []domain.SigningKey) ([]byte, error)

	// ParseProof parses a DPoP proof (RFC 9449, section 4.2) and verifies its signature with the public key in its own
	// header, by ES256, EdDSA, RS256 or PS256. Any other proof is an ErrProof: among others one of more than
	// [domain.MaxProof] bytes, one of another `typ`, one with a private key, and one with a key that ParseClientKeys would
	// refuse. The caller checks what the proof says.
	ParseProof(text string) (domain.Proof, error)

	// ParseClientKeys returns a *domain.Invalid of the field clientKeys unless text is a JWK Set (RFC 7517, section 5) of
	// 1 to 10 public keys to verify with: RSA of 2048 to 4096 bits, P-256 or Ed25519. It never quotes the text, which may
	// hold a private key by mistake.
	ParseClientKeys(text string) error

	// VerifyAssertion parses a JWT and verifies its signature with one of the keys, which ParseClientKeys accepts: one
	// of the `kid` in the header, if that has one, or without a `kid`. An assertion that does not verify, for any reason,
	// is an ErrUnauthorized, as is one of more than [domain.MaxAssertion] bytes. The caller checks what the assertion
	// says.
	VerifyAssertion(keys string, text domain.Secret) (domain.Assertion, error)

	// Forget drops what the signer keeps of the key. It may be used again.
	Forget(key domain.SigningKey)
}

// FindKey returns the signing key of that id. If there is none, its error is both ErrUnknownKey and ErrUnauthorized.
type FindKey func(ctx context.Context, id string) (domain.SigningKey, error)
