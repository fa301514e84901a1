// Package jwxsigner signs and verifies access tokens with JWX. It implements [port.Signer]. It does not decide what a
// token contains (domain.NewAccessToken does), whether one has expired, or which key signs. It stores no keys except
// parsed copies of those that it received.
//
// The main property: a retry gets the same access token only because Sign returns the same bytes for the same key and
// claims, in every process and every release that may run beside this one. Ed25519 and PKCS #1 v1.5 are deterministic.
// The two wrappers in key.go make ES256 and PS256 deterministic. A test pins the bytes of all four.
//
// # Decisions
//
// PS256 takes its salt from an HMAC of the digest, with a secret derived from the key. crypto/rsa reads exactly the
// salt from the reader that it is given. (Since Go 1.26 other functions ignore their reader; this one still reads,
// because the salt is part of the signature.) Encoding PSS here was rejected: the private operation that it needs is
// not exported, and the running time of math/big depends on the key. An empty salt is deterministic too, but RFC 7518,
// section 3.5, requires 32 bytes. The price: with GODEBUG=fips140=only, crypto/rsa accepts no reader but its own, and
// PS256 fails.
//
// Verify does not call jws.Verify. That decodes header and payload leniently, encodes them again and verifies the
// result, so one token has several spellings. Verify checks the signature over the received bytes, and every segment
// has one spelling. A header chooses only the id of the key: the algorithm is the key's. A header with other parameters
// than `alg`, `kid` and `typ` (`jku`, `jwk`, `x5u`, `crit`, `b64`) is refused unread. A header is also refused if it
// differs in a byte from the header that Sign writes with that key and `typ`, because JSON readers differ in case and
// in repeated names. From a signature of ES256, (r, s), anyone can compute the other, (r, -s). Signing again shows
// which of the two Sign writes, and takes no longer than the verification before it.
//
// Sign refuses a caller's own claim that has the name of a claim of this service, in any case, although the domain has
// refused it before. Readers differ in which of two equal names counts, so neither order would be safe. That costs a
// walk over the claims, if there are any.
//
// The caller's own claims follow as text, not decoded and encoded again: a number keeps its digits, and the names keep
// their order.
//
// `jti` is computed here, from header and payload, and not in the domain, which does not know the key. So two tokens
// have the same `jti` exactly if their bytes are the same, and a list of refused tokens by `jti` neither misses one nor
// matches another.
package jwxsigner

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

const (
	minRSABits = 2048
	maxRSABits = 4096     // a larger key makes each verification slow
	maxToken   = 32 << 10 // the longest token that Verify parses, in bytes
)

// Signer signs and verifies access tokens. It is safe for concurrent use.
type Signer struct {
	random io.Reader
	parsed sync.Map // keySource -> *key; one entry for each key that has signed or verified, until it is forgotten
}

var _ port.Signer = (*Signer)(nil)

// New returns a Signer that makes EdDSA keys from random: crypto/rand.Reader, outside tests. Keys of other algorithms
// always come from the system's randomness, because since Go 1.26 the standard library ignores a reader.
func New(random io.Reader) *Signer { return &Signer{random: random} }

// rsaSizes are the sizes in bits of the RSA keys that NewKey makes. ParseKey accepts those between too.
var rsaSizes = []int{2048, 3072, 4096}

// NewKey implements [port.Signer].
func (s *Signer) NewKey(a domain.Algorithm, bits int) (domain.Secret, error) {
	var private any
	var err error
	isRSA := a == domain.RS256 || a == domain.PS256
	switch {
	case isRSA && bits == 0:
		private, err = rsa.GenerateKey(s.random, minRSABits)
	case isRSA && slices.Contains(rsaSizes, bits):
		private, err = rsa.GenerateKey(s.random, bits)
	case bits != 0:
		err = errBits
	case a == domain.EdDSA:
		_, private, err = ed25519.GenerateKey(s.random)
	case a == domain.ES256:
		private, err = ecdsa.GenerateKey(elliptic.P256(), s.random)
	default:
		err = errAlgorithm
	}
	if err != nil {
		return domain.Secret{}, fmt.Errorf("jwxsigner: make a key for %q: %w", a, err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return domain.Secret{}, fmt.Errorf("jwxsigner: make a key for %q: %w", a, err)
	}
	return domain.NewSecret(string(der)), nil
}

// Sign implements [port.Signer].
func (s *Signer) Sign(_ context.Context, with domain.SigningKey, t domain.AccessToken) (string, error) {
	k, err := s.key(with)
	if err != nil {
		return "", fmt.Errorf("jwxsigner: sign: %w", err)
	}
	header, ok := k.headers[t.Type]
	if !ok {
		return "", fmt.Errorf("jwxsigner: sign: %q is not a type of access tokens", t.Type)
	}
	payload, err := encodeClaims(t)
	if err != nil {
		return "", fmt.Errorf("jwxsigner: sign: %w", err)
	}
	token, err := k.sign(header, payload)
	if err != nil {
		return "", fmt.Errorf("jwxsigner: sign with key %q: %w", with.ID, err)
	}
	return token, nil
}

// SignProof implements [port.Signer].
func (s *Signer) SignProof(_ context.Context, with domain.SigningKey, p domain.ViewProof) (string, error) {
	k, err := s.key(with)
	if err != nil {
		return "", fmt.Errorf("jwxsigner: sign a proof: %w", err)
	}
	payload, err := encodeProof(p)
	if err != nil {
		return "", fmt.Errorf("jwxsigner: sign a proof: %w", err)
	}
	token, err := k.sign(k.proof, payload)
	if err != nil {
		return "", fmt.Errorf("jwxsigner: sign a proof with key %q: %w", with.ID, err)
	}
	return token, nil
}

// sign adds `jti` to the payload, and returns the compact form (RFC 7515, section 7.1), with a signature by JWX.
// jws.Sign would encode the header each time, which is half of all allocations here.
func (k *key) sign(header string, payload []byte) (string, error) {
	payload = appendID(payload, header)
	token := make([]byte, 0, len(header)+segment.EncodedLen(len(payload))+1+segment.EncodedLen(maxSignature))
	token = segment.AppendEncode(append(token, header...), payload)
	signature, err := k.signer.Sign(token, k.private)
	if err != nil {
		return "", err
	}
	token = segment.AppendEncode(append(token, '.'), signature)
	return string(token), nil
}

// Verify implements [port.Signer]. A named key that cannot be read is an operational error.
func (s *Signer) Verify(ctx context.Context, find port.FindKey, token string) (domain.AccessToken, error) {
	c, why := parseCompact(token)
	if why != "" {
		return refused(why)
	}
	h, ok := decodeHeader(c.header)
	if !ok {
		return refused("its header is not that of an access token")
	}
	with, err := find(ctx, h.KeyID)
	if err != nil {
		return domain.AccessToken{}, fmt.Errorf("jwxsigner: verify: %w", err)
	}
	if h.Algorithm != with.Algorithm {
		return refused("its alg is not that of its key")
	}
	k, err := s.key(with)
	if err != nil {
		return domain.AccessToken{}, fmt.Errorf("jwxsigner: verify: %w", err)
	}
	if c.head != k.headers[h.Type] {
		return refused("its header is not encoded as this service encodes it")
	}
	if err := k.verifier.Verify(c.signed, c.signature, k.private.Public()); err != nil {
		return refused("its signature does not verify with its key")
	}
	if k.algorithm == jwa.ES256 {
		if own, err := k.signer.Sign(c.signed, k.private); err != nil || !bytes.Equal(own, c.signature) {
			return refused("its ES256 signature is not the one that this service makes")
		}
	}
	t, err := decodeClaims(c.payload)
	if err != nil {
		return refused("its claims are not those of an access token")
	}
	t.Type = h.Type
	if with.TenantID != "" && with.TenantID != t.TenantID {
		return refused("its tenant is not that of its key")
	}
	return t, nil
}

// compact is a token in the compact form (RFC 7515, section 7.1).
type compact struct {
	head                       string // the encoded header, with the dot
	signed                     []byte // the signed bytes
	header, payload, signature []byte // decoded
}

// parseCompact returns why the token is not in that form, or "".
func parseCompact(token string) (c compact, why string) {
	if len(token) > maxToken {
		return c, "it is longer than 32 KiB"
	}
	if strings.ContainsAny(token, "\r\n") {
		return c, "it contains line breaks, which base64 would ignore"
	}
	if strings.Count(token, ".") != 2 {
		return c, "it does not have three segments"
	}
	head, rest, _ := strings.Cut(token, ".")
	body, tail, _ := strings.Cut(rest, ".")
	var errs [3]error
	c.header, errs[0] = segment.DecodeString(head)
	c.payload, errs[1] = segment.DecodeString(body)
	c.signature, errs[2] = segment.DecodeString(tail)
	if errs != [3]error{} {
		return c, "its segments are not base64url"
	}
	c.head, c.signed = token[:len(head)+1], []byte(token[:len(head)+1+len(body)])
	return c, ""
}

// header is that of an access token.
type header struct {
	Type      domain.AccessTokenType `json:"typ"`
	Algorithm domain.Algorithm       `json:"alg"`
	KeyID     string                 `json:"kid"`
}

// decodeHeader reports whether the header has only the parameters of an access token.
func decodeHeader(text []byte) (h header, ok bool) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	err := d.Decode(&h)
	return h, err == nil && slices.Contains(domain.AccessTokenTypes, h.Type)
}

// maxSignature is the length in bytes of a signature by the largest RSA key.
const maxSignature = maxRSABits / 8

// segment is the base64url of JWS, with one spelling for each value.
var segment = base64.RawURLEncoding.Strict()

// refused returns the error for a token that is refused. why must not quote the token.
func refused(why string) (domain.AccessToken, error) {
	return domain.AccessToken{}, fmt.Errorf("jwxsigner: verify: %s: %w", why, domain.ErrUnauthorized)
}

// JWKS implements [port.Signer].
func (s *Signer) JWKS(keys []domain.SigningKey) ([]byte, error) {
	keys = slices.SortedFunc(slices.Values(keys), func(a, b domain.SigningKey) int { return cmp.Compare(a.ID, b.ID) })
	set := struct {
		Keys []jwk.Key `json:"keys"`
	}{make([]jwk.Key, 0, len(keys))}
	for _, key := range keys {
		private, err := s.private(key)
		if err != nil {
			return nil, fmt.Errorf("jwxsigner: publish: key %q for %q: %w", key.ID, key.Algorithm, err)
		}
		public, err := publicJWK(key.ID, jwa.SignatureAlgorithm(key.Algorithm), private.Public())
		if err != nil {
			return nil, fmt.Errorf("jwxsigner: publish key %q: %w", key.ID, err)
		}
		set.Keys = append(set.Keys, public)
	}
	text, err := json.Marshal(set)
	if err != nil {
		return nil, fmt.Errorf("jwxsigner: publish: %w", err)
	}
	return text, nil
}

// Forget implements [port.Signer].
func (s *Signer) Forget(key domain.SigningKey) { s.parsed.Delete(sourceOf(key)) }

func publicJWK(id string, a jwa.SignatureAlgorithm, public any) (jwk.Key, error) {
	k, err := jwk.FromRaw(public)
	if err != nil {
		return nil, err
	}
	for name, value := range map[string]any{jwk.KeyIDKey: id, jwk.AlgorithmKey: a, jwk.KeyUsageKey: jwk.ForSignature} {
		if err := k.Set(name, value); err != nil {
			return nil, err
		}
	}
	return k, nil
}
