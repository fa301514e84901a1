package jwxsigner_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jws"

	"github.com/refreshd/refreshd/adapter/jwxsigner"
	"github.com/refreshd/refreshd/domain"
)

func viewProof() domain.ViewProof {
	return domain.ViewProof{
		Issuer: "https://auth.acme.example", Nonce: "n-0S6_WzA2Mj-n-0S6_WzA2Mj", Cursor: 1_764_440_000_123_456,
		CompleteAfter: -1013 * time.Millisecond, IssuedAt: time.Unix(1_700_000_000, 0).UTC(),
	}
}

func signProof(t *testing.T, key domain.SigningKey, p domain.ViewProof) string {
	t.Helper()
	text, err := jwxsigner.New(rand.Reader).SignProof(context.Background(), key, p)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// A resource server keeps proofs with its audit log, and anyone verifies them by the tenant's JWK Set.
func TestProofVerifiesAndSaysWhatWasSigned(t *testing.T) {
	for _, a := range domain.Algorithms {
		t.Run(string(a), func(t *testing.T) {
			text := signProof(t, publishedKey(t, a), viewProof())
			payload, err := jws.Verify([]byte(text), jws.WithKey(jwa.SignatureAlgorithm(a), privateKey(t, a).Public()))
			if err != nil {
				t.Fatal(err)
			}
			header, got := parts(t, text)
			wantHeader := map[string]any{"typ": "rvp+jwt", "alg": string(a), "kid": "key-" + string(a)}
			if diff := cmp.Diff(wantHeader, header); diff != "" {
				t.Errorf("header (-want +got):\n%s", diff)
			}
			if err := json.Unmarshal(payload, &got); err != nil {
				t.Fatal(err)
			}
			id, _ := got["jti"].(string)
			want := map[string]any{
				"iss": "https://auth.acme.example", "nonce": "n-0S6_WzA2Mj-n-0S6_WzA2Mj", "cursor": "1764440000123456",
				"e": -1013., "iat": 1_700_000_000., "jti": id,
			}
			if diff := cmp.Diff(want, got); diff != "" || len(id) != 22 {
				t.Errorf("claims, with a jti of 22 characters (-want +got):\n%s", diff)
			}
		})
	}
}

// A proof has the signature of a key that signs access tokens. No verifier of access tokens may take it for one.
func TestProofIsNoAccessToken(t *testing.T) {
	key := publishedKey(t, domain.EdDSA)
	find := func(context.Context, string) (domain.SigningKey, error) { return key, nil }
	_, err := jwxsigner.New(rand.Reader).Verify(context.Background(), find, signProof(t, key, viewProof()))
	if !errors.Is(err, domain.ErrUnauthorized) {
		t.Errorf("Verify of a proof: %v, want ErrUnauthorized", err)
	}
}

func TestProofsHaveTheSameIDOnlyIfTheyAreTheSame(t *testing.T) {
	id := func(p domain.ViewProof) any {
		_, claims := parts(t, signProof(t, publishedKey(t, domain.EdDSA), p))
		return claims["jti"]
	}
	first, other := viewProof(), viewProof()
	other.CompleteAfter += time.Millisecond
	if got, want := id(first), id(viewProof()); got != want {
		t.Errorf("jti %v, and of the same proof %v", got, want)
	}
	if id(first) == id(other) {
		t.Errorf("two proofs have the jti %v", id(first))
	}
}
