package jwxsigner_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwk"

	"github.com/refreshd/refreshd/adapter/jwxsigner"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// privateKey returns a published private key, so that tokens can be pinned: RFC 8037, appendix A.1; RFC 6979, appendix
// A.2.5; RFC 7515, appendix A.2.
func privateKey(t testing.TB, a domain.Algorithm) crypto.Signer {
	t.Helper()
	switch a {
	case domain.EdDSA:
		seed, err := base64.RawURLEncoding.DecodeString("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")
		if err != nil {
			t.Fatal(err)
		}
		return ed25519.NewKeyFromSeed(seed)
	case domain.ES256:
		d, err := hex.DecodeString("C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721")
		if err != nil {
			t.Fatal(err)
		}
		k, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), d)
		if err != nil {
			t.Fatal(err)
		}
		return k
	default:
		text, err := os.ReadFile("testdata/rfc7515-a2.jwk.json")
		if err != nil {
			t.Fatal(err)
		}
		key, err := jwk.ParseKey(text)
		if err != nil {
			t.Fatal(err)
		}
		k := new(rsa.PrivateKey)
		if err := key.Raw(k); err != nil {
			t.Fatal(err)
		}
		return k
	}
}

func pkcs8(t testing.TB, private any) domain.Secret {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return domain.NewSecret(string(der))
}

// publishedKey returns the private key of the RFCs as a signing key.
func publishedKey(t testing.TB, a domain.Algorithm) domain.SigningKey {
	t.Helper()
	return domain.SigningKey{ID: "key-" + string(a), TenantID: "acme", Algorithm: a, Private: pkcs8(t, privateKey(t, a))}
}

// newKey returns a random key.
func newKey(t testing.TB, id string, a domain.Algorithm) domain.SigningKey {
	t.Helper()
	private, err := jwxsigner.New(rand.Reader).NewKey(a, 0)
	if err != nil {
		t.Fatal(err)
	}
	return domain.SigningKey{ID: id, TenantID: "acme", Algorithm: a, Private: private}
}

func accessToken() domain.AccessToken {
	return domain.AccessToken{
		Type: domain.TypeATJWT, Issuer: "https://auth.acme.example", Subject: "user-7", Audience: "shop",
		IssuedAt: time.Unix(1_700_000_000, 0).UTC(), ExpiresAt: time.Unix(1_700_000_900, 0).UTC(),
		SessionID: "018c0000-0000-7000-8000-00000000002a", TenantID: "acme", ApplicationID: "shop-id", IssuedEpoch: 9,
		Roles: []string{"buyer", "reviewer"}, Scopes: []string{"cart:read", "cart:write"},
		Claims: `{"plan":"gold","seats":3}`,
	}
}

func sign(t testing.TB, k domain.SigningKey, a domain.AccessToken) string {
	t.Helper()
	token, err := jwxsigner.New(rand.Reader).Sign(context.Background(), k, a)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// parts returns a token's header and payload, decoded.
func parts(t testing.TB, token string) (header, payload map[string]any) {
	t.Helper()
	segments := strings.Split(token, ".")
	if len(segments) != 3 {
		t.Fatalf("got %d segments, want 3", len(segments))
	}
	for i, to := range []*map[string]any{&header, &payload} {
		text, err := base64.RawURLEncoding.DecodeString(segments[i])
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, to); err != nil {
			t.Fatal(err)
		}
	}
	return header, payload
}

// among returns a function that finds a key among these.
func among(keys []domain.SigningKey) port.FindKey {
	return func(_ context.Context, id string) (domain.SigningKey, error) {
		for _, k := range keys {
			if k.ID == id {
				return k, nil
			}
		}
		return domain.SigningKey{}, fmt.Errorf("%w: %w", domain.ErrUnknownKey, domain.ErrUnauthorized)
	}
}
