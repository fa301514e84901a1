package jwxsigner_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/domain"
)

// The key that an access token is bound to, its actor and another audience come back from verification (RFC 9449,
// section 6.1; RFC 8693, section 4.1). Such a token does not authenticate its user by itself.
func TestConfirmationActorAndAudienceAreClaims(t *testing.T) {
	key := publishedKey(t, domain.ES256)
	keys := []domain.SigningKey{key}
	for name, change := range map[string]func(*domain.AccessToken){
		"bound to a key": func(a *domain.AccessToken) { a.Confirmation = strings.Repeat("k", 43) },
		"for an actor":   func(a *domain.AccessToken) { a.Actors = []domain.TokenActor{{Subject: "support <&>"}} },
		"for a chain of actors": func(a *domain.AccessToken) {
			a.Actors = []domain.TokenActor{
				{Subject: "support", ApplicationID: "console"}, {Subject: "robot"}, {Subject: "operator", ApplicationID: "desk"},
			}
		},
		"for another audience": func(a *domain.AccessToken) { a.Audience = "https://api.example.com" },
	} {
		want := accessToken()
		change(&want)
		got, err := verify(keys, sign(t, key, want))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want.ID = got.ID
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if got.AuthenticatesUser() {
			t.Errorf("%s: it authenticates its user", name)
		}
	}
}

// A confirmation or an actor that is not understood is not taken for none, with which the token would be its bearer's.
func TestAConfirmationThatIsNotUnderstoodIsRefused(t *testing.T) {
	keys := []domain.SigningKey{publishedKey(t, domain.EdDSA)}
	whole := func(member string) string { return strings.Replace(wholeClaims, "{", "{"+member+",", 1) }
	if _, err := verify(keys, signAnything(t, wholeHeader, whole(`"cnf":{"jkt":"x"},"act":{"sub":"x"}`))); err != nil {
		t.Fatal(err)
	}
	for _, member := range []string{
		`"cnf":{}`, `"cnf":null`, `"cnf":{"jkt":""}`, `"cnf":{"x5t#S256":"x"}`, `"cnf":"x"`, `"cnf":{"jkt":1}`,
		`"act":{}`, `"act":null`, `"act":{"sub":""}`, `"act":"x"`, `"act":{"sub":"x","act":{}}`,
		`"act":{"sub":"x","act":{"client_id":"x"}}`, `"act":{"sub":"x","client_id":1}`,
		`"act":{"sub":"x","act":{"sub":"x","act":{"sub":"x","act":{"sub":"x"}}}}`, `"cnf":{"jkt":"x"},"cnf":{"jkt":"x"}`,
	} {
		if _, err := verify(keys, signAnything(t, wholeHeader, whole(member))); !errors.Is(err, domain.ErrUnauthorized) {
			t.Errorf("%s: got %v", member, err)
		}
	}
}
