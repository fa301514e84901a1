package oauthapi_test

import (
	"maps"
	"testing"
)

// A public client names itself in the body. The exchange costs one call of the store, as in the JSON API.
func TestAPublicClientExchangesItsTokenWithOneCallOfTheStore(t *testing.T) {
	s := newService(t)
	for _, target := range []string{"/t/acme/oauth2/token", "/oauth2/token"} {
		g := s.login(t, acme, "spa", "orders:read")
		a := s.do(t, "POST", target, refresh(g.TokenString, "client_id", "spa")).want(t, 200, "")
		if a.text("refresh_token") == "" || a.text("refresh_token") == g.TokenString.Reveal() {
			t.Errorf("%s: no new refresh token in %s", target, a.body)
		}
		if got := a.claims(t)["aud"]; got != "spa" {
			t.Errorf("aud: got %v", got)
		}
		if calls := s.store.took(); !maps.Equal(calls, map[string]int{"Advance": 1}) {
			t.Errorf("got the calls %v", calls)
		}
	}
}
