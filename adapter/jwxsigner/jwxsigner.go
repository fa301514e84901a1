// Package jwxsigner makes and checks access tokens with JWX. It implements [port.Signer]. It does not decide what a token says
// (domain.NewAccessToken does), when one has expired, or which key signs; and it keeps no keys but parsed copies of those it
// was handed.
//
// The one thing to know: a retry is answered with the same access token only because Sign gives the same bytes for the same
// key and claims, in every process and every release that runs beside this one. Ed25519 and PKCS #1 v1.5 are deterministic by
// themselves. ES256 and PS256 are made so by the two wrappers in key.go. A test pins the bytes of all four.
//
// # Decisions
//
// PS256 takes its salt from an HMAC over the digest, under a secret derived from the key. crypto/rsa reads the salt from the
// reader that it is given, and exactly that (Go 1.26 made other functions ignore theirs; this one still reads, since the salt
// is part of the signature). Encoding PSS ourselves lost: the private operation that it needs is not exported, and math/big
// takes a time that depends on the key. A salt of no bytes is deterministic too, but RFC 7518, section 3.5, asks for 32. What
// this costs: with GODEBUG=fips140=only, crypto/rsa takes no reader but its own, and PS256 fails.
//
// Verify does not call jws.Verify. That decodes header and payload leniently, encodes them again and checks the result,
// so one token has several spellings. Here the signature is checked over the bytes that came, and every segment has one
// spelling. Nor does a header choose anything but the name of the key: the algorithm is the key's, a header that says
// more than `alg`, `kid` and `typ` (`jku`, `jwk`, `x5u`, `crit`, `b64`) is refused without looking at it, and one that
// is not, to the byte, what Sign writes with that key and `typ` is refused as well, since readers of JSON differ in
// other cases and repeated names. Whoever sees a signature of ES256, (r, s), can make the other, (r, -s), of it; which
// of the two is ours is found by signing again, which takes no longer than the verification before it.
//
// A caller's own claim that has the name of one of ours, in any case, is refused when signing, although the domain has refused
// it before: readers differ in which of two equal names counts, so neither order would be safe. That costs a walk over the
// claims, and only where there are some.
//
// The caller's own claims are put behind ours as text, not decoded and encoded again: a number keeps its digits, and the
// order of names stays the caller's.
//
// `jti` is made here, of header and payload, and not in the domain, which does not know the key: so it is the same
// exactly when the bytes of the token are, and a list of refused tokens by `jti` neither misses one nor hits another.
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
	rsaBits  = 2048
	maxToken = 32 << 10 // bytes of a token that Verify looks at
)

// Signer makes and checks access tokens. It is safe for concurrent use.
type Signer struct {
	random io.Reader
	parsed sync.Map // keySource -> *key; grows with the number of keys that there ever were, and by nothing else
}

var _ port.Signer = (*Signer)(nil)

// New returns a Signer that makes EdDSA keys from random: crypto/rand.Reader, outside tests. Keys of other algorithms come
// from the system's randomness whatever random is, because since Go 1.26 the standard library passes a reader over.
func New(random io.Reader) *Signer { return &Signer{random: random} }

// NewKey implements [port.Signer].
func (s *Signer) NewKey(a domain.Algorithm) (domain.Secret, error) {
	var private any
	var err error
	switch a {
	case domain.EdDSA:
		_, private, err = ed25519.GenerateKey(s.random)
	case domain.ES256:
		private, err = ecdsa.GenerateKey(elliptic.P256(), s.random)
	case domain.RS256, domain.PS256:
		private, err = rsa.GenerateKey(s.random, rsaBits)
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
	payload = appendID(payload, header)
	// The compact form (RFC 7515, section 7.1), of which JWX makes the signature. jws.Sign would make the header anew each time,
	// and with it half of all that is allocated here.
	token := make([]byte, 0, len(header)+segment.EncodedLen(len(payload))+1+segment.EncodedLen(maxSignature))
	token = segment.AppendEncode(append(token, header...), payload)
	signature, err := k.signer.Sign(token, k.private)
	if err != nil {
		return "", fmt.Errorf("jwxsigner: sign with key %q: %w", with.ID, err)
	}
	token = segment.AppendEncode(append(token, '.'), signature)
	return string(token), nil
}

// Verify implements [port.Signer]. That the key which the token names cannot be read is an operational error.
func (s *Signer) Verify(ctx context.Context, find port.FindKey, token string) (domain.AccessToken, error) {
	c, why := parseCompact(token)
	if why != "" {
		return refused(why)
	}
	h, ok := decodeHeader(c.header)
	if !ok {
		return refused("its header is not an access token's")
	}
	with, err := find(ctx, h.KeyID)
	if err != nil {
		return domain.AccessToken{}, fmt.Errorf("jwxsigner: verify: %w", err)
	}
	if h.Algorithm != with.Algorithm {
		return refused("its alg is not that of the key")
	}
	k, err := s.key(with)
	if err != nil {
		return domain.AccessToken{}, fmt.Errorf("jwxsigner: verify: %w", err)
	}
	if c.head != k.headers[h.Type] {
		return refused("its header is not spelled as ours")
	}
	if err := k.verifier.Verify(c.signed, c.signature, k.private.Public()); err != nil {
		return refused("its signature is not the key's")
	}
	if k.algorithm == jwa.ES256 {
		if ours, err := k.signer.Sign(c.signed, k.private); err != nil || !bytes.Equal(ours, c.signature) {
			return refused("its signature is the other one of the same")
		}
	}
	t, err := decodeClaims(c.payload)
	if err != nil {
		return refused("its claims are not an access token's")
	}
	t.Type = h.Type
	if with.TenantID != "" && with.TenantID != t.TenantID {
		return refused("its tenant is not the key's")
	}
	return t, nil
}

// compact is a token in the compact form (RFC 7515, section 7.1).
type compact struct {
	head                       string // the header as it came, with the dot behind
	signed                     []byte // what the signature is over
	header, payload, signature []byte // decoded
}

// parseCompact returns why the token is not in that form, or an empty string if it is.
func parseCompact(token string) (c compact, why string) {
	if len(token) > maxToken {
		return c, "it is longer than 32 KiB"
	}
	if strings.ContainsAny(token, "\r\n") {
		return c, "it has line breaks, which base64 would pass over"
	}
	if strings.Count(token, ".") != 2 {
		return c, "it is not three segments"
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

// decodeHeader reports whether the header says what that of an access token does, and no more.
func decodeHeader(text []byte) (h header, ok bool) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	err := d.Decode(&h)
	return h, err == nil && slices.Contains(domain.AccessTokenTypes, h.Type)
}

// maxSignature is the length of one by an RSA key of 2048 bits, the longest that NewKey makes, in bytes.
const maxSignature = rsaBits / 8

// segment is the base64 of JWS, with one spelling for each value.
var segment = base64.RawURLEncoding.Strict()

// refused says why, in words that hold nothing of the token.
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
		k, err := s.key(key)
		if err != nil {
			return nil, fmt.Errorf("jwxsigner: publish: %w", err)
		}
		public, err := publicJWK(key.ID, k.algorithm, k.private.Public())
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
