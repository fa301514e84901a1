// Package dpop makes DPoP proofs (RFC 9449) and assertions (RFC 7523) for tests, as a client does. It uses the standard
// library alone, so that no code of the service tests itself.
package dpop

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"testing"
	"time"
)

// Key is the P-256 key of a client.
type Key struct{ private *ecdsa.PrivateKey }

// NewKey makes a key.
func NewKey(t testing.TB) Key {
	t.Helper()
	k, err := Generate()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// Generate makes a key outside a test.
func Generate() (Key, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return Key{private}, err
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func (k Key) point() (x, y string, err error) {
	b, err := k.private.PublicKey.Bytes()
	if err != nil {
		return "", "", err
	}
	return encode(b[1:33]), encode(b[33:]), nil
}

// Thumbprint returns the thumbprint of the key (RFC 7638), by which a refresh token is bound to it.
func (k Key) Thumbprint(t testing.TB) string {
	t.Helper()
	s, err := k.JKT()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// JKT is Thumbprint outside a test.
func (k Key) JKT() (string, error) {
	x, y, err := k.point()
	if err != nil {
		return "", err
	}
	hash := sha256.Sum256([]byte(`{"crv":"P-256","kty":"EC","x":"` + x + `","y":"` + y + `"}`))
	return encode(hash[:]), nil
}

// Proof makes a proof for a request at now. Each change alters its header and claims before it is signed.
func (k Key) Proof(
	t testing.TB, method, url string, now time.Time, change ...func(header, claims map[string]any),
) string {
	t.Helper()
	proof, err := k.Prove(method, url, now, change...)
	if err != nil {
		t.Fatal(err)
	}
	return proof
}

// Prove is Proof outside a test.
func (k Key) Prove(method, url string, now time.Time, change ...func(header, claims map[string]any)) (string, error) {
	x, y, err := k.point()
	if err != nil {
		return "", err
	}
	header := map[string]any{
		"typ": "dpop+jwt", "alg": "ES256", "jwk": map[string]any{"kty": "EC", "crv": "P-256", "x": x, "y": y},
	}
	claims := map[string]any{"jti": rand.Text(), "htm": method, "htu": url, "iat": now.Unix()}
	return k.sign(header, claims, change)
}

// KeyID is the kid of the key in its Set.
const KeyID = "client-key"

// Set returns the JWK Set (RFC 7517, section 5) with the public key.
func (k Key) Set(t testing.TB) string {
	t.Helper()
	s, err := k.JWKS()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// JWKS is Set outside a test.
func (k Key) JWKS() (string, error) {
	x, y, err := k.point()
	return `{"keys":[{"kty":"EC","crv":"P-256","kid":"` + KeyID + `","x":"` + x + `","y":"` + y + `"}]}`, err
}

// Assertion makes an assertion of a client for an audience, valid from now for a minute (RFC 7523, section 3). Each
// change alters its header and claims before it is signed.
func (k Key) Assertion(
	t testing.TB, clientID, audience string, now time.Time, change ...func(header, claims map[string]any),
) string {
	t.Helper()
	assertion, err := k.Assert(clientID, audience, now, change...)
	if err != nil {
		t.Fatal(err)
	}
	return assertion
}

// Assert is Assertion outside a test.
func (k Key) Assert(
	clientID, audience string, now time.Time, change ...func(header, claims map[string]any),
) (string, error) {
	header := map[string]any{"typ": "JWT", "alg": "ES256", "kid": KeyID}
	claims := map[string]any{
		"iss": clientID, "sub": clientID, "aud": audience, "jti": rand.Text(), "iat": now.Unix(),
		"exp": now.Add(time.Minute).Unix(),
	}
	return k.sign(header, claims, change)
}

func (k Key) sign(header, claims map[string]any, change []func(header, claims map[string]any)) (string, error) {
	for _, f := range change {
		f(header, claims)
	}
	var segments [2]string
	for i, part := range []any{header, claims} {
		text, err := json.Marshal(part)
		if err != nil {
			return "", err
		}
		segments[i] = encode(text)
	}
	signed := segments[0] + "." + segments[1]
	hash := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, k.private, hash[:])
	if err != nil {
		return "", err
	}
	signature := append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	return signed + "." + encode(signature), nil
}
