package jwxsigner_test

import (
	"crypto/rand"
	"encoding/json"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/adapter/jwxsigner"
	"github.com/refreshd/refreshd/domain"
)

func jwks(t testing.TB, keys ...domain.SigningKey) string {
	t.Helper()
	set, err := jwxsigner.New(rand.Reader).JWKS(keys)
	if err != nil {
		t.Fatal(err)
	}
	return string(set)
}

func TestJWKSHoldsPublicMembersAndNoOthers(t *testing.T) {
	want := map[domain.Algorithm][]string{
		domain.EdDSA: {"alg", "crv", "kid", "kty", "use", "x"},
		domain.ES256: {"alg", "crv", "kid", "kty", "use", "x", "y"},
		domain.RS256: {"alg", "e", "kid", "kty", "n", "use"},
		domain.PS256: {"alg", "e", "kid", "kty", "n", "use"},
	}
	for _, a := range domain.Algorithms {
		var set struct {
			Keys []map[string]string `json:"keys"`
		}
		if err := json.Unmarshal([]byte(jwks(t, publishedKey(t, a))), &set); err != nil {
			t.Fatal(err)
		}
		if len(set.Keys) != 1 {
			t.Fatalf("got %d keys, want 1", len(set.Keys))
		}
		k := set.Keys[0]
		var names []string
		for name := range k {
			names = append(names, name)
		}
		slices.Sort(names)
		if diff := cmp.Diff(want[a], names); diff != "" {
			t.Errorf("%s: -want +got\n%s", a, diff)
		}
		if k["use"] != "sig" || k["alg"] != string(a) || k["kid"] != "key-"+string(a) {
			t.Errorf("%s: got use %q, alg %q, kid %q", a, k["use"], k["alg"], k["kid"])
		}
	}
}

// RFC 8037, appendix A.2, contains this public key.
func TestJWKSOnTheWire(t *testing.T) {
	want := `{"keys":[{"alg":"EdDSA","crv":"Ed25519","kid":"key-EdDSA","kty":"OKP","use":"sig",` +
		`"x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`
	if got := jwks(t, publishedKey(t, domain.EdDSA)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// The set is served with an ETag: other bytes for the same keys would defeat every cache.
func TestJWKSDoesNotDependOnTheOrderOfTheKeys(t *testing.T) {
	keys := []domain.SigningKey{
		newKey(t, "b", domain.EdDSA), newKey(t, "a", domain.ES256), newKey(t, "B", domain.EdDSA),
		newKey(t, `"é`, domain.EdDSA),
	}
	given := slices.Clone(keys)
	want := jwks(t, keys...)
	if diff := cmp.Diff(given, keys); diff != "" {
		t.Errorf("the caller's keys were reordered:\n%s", diff)
	}
	slices.Reverse(keys)
	if got := jwks(t, keys...); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	var set struct {
		Keys []struct {
			ID string `json:"kid"`
		} `json:"keys"`
	}
	if err := json.Unmarshal([]byte(want), &set); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, k := range set.Keys {
		ids = append(ids, k.ID)
	}
	if diff := cmp.Diff([]string{`"é`, "B", "a", "b"}, ids); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestJWKSOfNoKeysIsAnEmptySet(t *testing.T) {
	if got, want := jwks(t), `{"keys":[]}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// Of 100 000 tenants with several published keys each, only those that sign are kept parsed, and none that has ended.
func TestOnlyKeysThatSignAreKept(t *testing.T) {
	for _, a := range domain.Algorithms {
		s, key := jwxsigner.New(rand.Reader), newKey(t, "kid", a)
		if _, err := s.JWKS([]domain.SigningKey{key}); err != nil || s.Kept() != 0 {
			t.Errorf("%s: after a key set: %v; %d keys are kept, want none", a, err, s.Kept())
		}
		token := domain.AccessToken{Type: domain.AccessTokenTypes[0]}
		if _, err := s.Sign(t.Context(), key, token); err != nil || s.Kept() != 1 {
			t.Errorf("%s: after a signature: %v; %d keys are kept, want 1", a, err, s.Kept())
		}
		if s.Forget(key); s.Kept() != 0 {
			t.Errorf("%s: %d keys are kept after the only one was forgotten", a, s.Kept())
		}
	}
}
