package oauthapi_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase"
)

func (s *service) introspect(t testing.TB, token domain.Secret, options ...option) *answer {
	t.Helper()
	return s.do(t, "POST", "/t/acme/oauth2/introspect",
		append([]option{form("token", token.Reveal(), "token_type_hint", "refresh_token")}, options...)...)
}

func (a *answer) wantActive(t testing.TB, what string, active bool) {
	t.Helper()
	if a.status != 200 || a.members["active"] != active || !active && len(a.members) != 1 {
		t.Errorf("%s: got %d %s, want active %t", what, a.status, a.body, active)
	}
	if a.header.Get("Content-Type") != "application/json" || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s: got the header %v", what, a.header)
	}
}

// R11: `active` is a boolean, in application/json, and the members are those of RFC 7662, section 2.2.
func TestR11IntrospectionSaysWhatATokenIs(t *testing.T) {
	s := newService(t)
	g := s.login(t, acme, "backend", "orders:read")
	for _, place := range places {
		for name, o := range map[string]option{
			"the client": basic("backend", s.secrets["acme backend"]), "an API key": as("inspector"),
			"an API key for all": as("everywhere"),
		} {
			a := s.do(t, "POST", place+"/oauth2/introspect", form("token", g.AccessToken.Reveal()), o)
			a.wantActive(t, name, true)
			claims := claimsOf(t, g.AccessToken.Reveal())
			want := map[string]any{"active": true, "token_type": "Bearer"}
			for _, same := range []string{"scope", "client_id", "exp", "iat", "sub", "aud", "iss", "jti", "sid", "tid"} {
				want[same] = claims[same]
			}
			if !maps.Equal(a.members, want) {
				t.Errorf("%s: got %v, want %v", name, a.members, want)
			}
			a = s.do(t, "POST", place+"/oauth2/introspect", form("token", g.TokenString.Reveal()), o)
			a.wantActive(t, name, true)
			delete(want, "jti")
			delete(want, "aud")
			delete(want, "token_type")
			want["iat"], want["exp"] = float64(g.RefreshToken.IssuedAt.Unix()), float64(g.RefreshToken.ExpiresAt.Unix())
			if !maps.Equal(a.members, want) {
				t.Errorf("%s: got %v, want %v", name, a.members, want)
			}
		}
	}
	s.do(t, "POST", "/oauth2/introspect", form("token", g.AccessToken.Reveal(), "client_id", "backend",
		"client_secret", s.secrets["acme backend"])).wantActive(t, "secret in the body", true)
}

// To ask is no use of a token, and writes nothing: an exchange says of each token string what introspection said.
func TestARefreshTokenIsActiveIfAnExchangeWouldBeAnswered(t *testing.T) {
	client := func(s *service) option { return as("inspector") }
	for name, test := range map[string]struct {
		app    string
		before func(s *service, t *testing.T, g usecase.Grant)
	}{
		"new":      {"spa", func(*service, *testing.T, usecase.Grant) {}},
		"previous": {"spa", func(s *service, t *testing.T, g usecase.Grant) { s.rotate(t, "spa", g) }},
		"previous, after the grace period": {"spa", func(s *service, t *testing.T, g usecase.Grant) {
			s.rotate(t, "spa", g)
			s.wait(time.Hour)
		}},
		"old": {"spa", func(s *service, t *testing.T, g usecase.Grant) {
			next := s.rotate(t, "spa", g)
			s.wait(time.Hour)
			s.token(t, refresh(next, "client_id", "spa")).want(t, 200, "")
		}},
		"previous, without grace": {"strict", func(s *service, t *testing.T, g usecase.Grant) {
			s.rotate(t, "strict", g)
			s.wait(time.Second)
		}},
		"expired": {"spa", func(s *service, _ *testing.T, _ usecase.Grant) { s.wait(365 * 24 * time.Hour) }},
		"revoked": {"spa", func(s *service, t *testing.T, g usecase.Grant) {
			s.do(t, "POST", "/oauth2/revoke", form("token", g.TokenString.Reveal(), "client_id", "spa")).want(t, 200, "")
		}},
		"of an application that is switched off": {"spa", func(s *service, t *testing.T, _ usecase.Grant) {
			s.set(t, "spa", func(x *domain.Settings) { x.Active = new(false) })
		}},
	} {
		s := newService(t)
		g := s.login(t, acme, test.app)
		test.before(s, t, g)
		s.store.took()
		asked := s.introspect(t, g.TokenString, client(s))
		active, _ := asked.members["active"].(bool)
		asked.wantActive(t, name, active)
		if calls := s.store.took(); !maps.Equal(calls, map[string]int{"Snapshot": 1}) {
			t.Errorf("%s: got the calls %v", name, calls)
		}
		if a := s.token(t, refresh(g.TokenString, "client_id", test.app)); (a.status == 200) != active {
			t.Errorf("%s: active %t, and an exchange is %d %s", name, active, a.status, a.body)
		}
	}
}

// rotate exchanges the first token string of a session, and returns the next one.
func (s *service) rotate(t testing.TB, app string, g usecase.Grant) domain.Secret {
	t.Helper()
	return domain.NewSecret(s.token(t, refresh(g.TokenString, "client_id", app)).want(t, 200, "").text("refresh_token"))
}

// An access token is active until it expires, its session ends, or its key is revoked.
func TestAnAccessTokenEndsWithItsSessionAndItsKey(t *testing.T) {
	for name, end := range map[string]func(s *service, t *testing.T, g usecase.Grant){
		"it expires": func(s *service, _ *testing.T, g usecase.Grant) { s.wait(g.ExpiresIn) },
		"its session is revoked": func(s *service, t *testing.T, g usecase.Grant) {
			s.do(t, "POST", "/oauth2/revoke", form("token", g.TokenString.Reveal(), "client_id", "spa")).want(t, 200, "")
		},
		"its key is revoked": func(s *service, t *testing.T, _ usecase.Grant) {
			keys, err := s.opened.SigningKeysOf(t.Context(), acme)
			if err != nil {
				t.Fatal(err)
			}
			for _, k := range keys.Published() {
				if _, err := s.opened.Revoke(t.Context(), domain.Service(), k.ID, usecase.RevokeKey{}); err != nil {
					t.Fatal(err)
				}
			}
		},
	} {
		s := newService(t)
		g := s.login(t, acme, "spa")
		s.introspect(t, g.AccessToken, as("inspector")).wantActive(t, "before "+name, true)
		end(s, t, g)
		s.introspect(t, g.AccessToken, as("inspector")).wantActive(t, name, false)
	}
}

// forged returns a token with another character.
func forged(token domain.Secret) domain.Secret {
	text := []byte(token.Reveal())
	if at := len(text) - 9; text[at] == 'A' {
		text[at] = 'B'
	} else {
		text[at] = 'A'
	}
	return domain.NewSecret(string(text))
}

// A client sees its own tokens and those that are for it; an API key sees those of its tenant; no other caller sees any
// (RFC 7662, sections 2.1 and 4).
func TestWhoSeesAToken(t *testing.T) {
	s := newService(t)
	s.client(t, acme, "strict", func(c *domain.Client) { c.Audiences = []string{"backend"} })
	own, other, foreign := s.login(t, acme, "backend"), s.login(t, acme, "spa"), s.login(t, globex, "backend")
	strict := s.login(t, acme, "strict")
	meant := domain.NewSecret(s.token(t, refresh(strict.TokenString, "client_id", "strict", "resource", "backend")).
		want(t, 200, "").text("access_token"))
	client := basic("backend", s.secrets["acme backend"])
	for name, test := range map[string]struct {
		by    option
		token domain.Secret
		sees  bool
	}{
		"its own":                                {client, own.TokenString, true},
		"its own access token":                   {client, own.AccessToken, true},
		"another client's":                       {client, other.TokenString, false},
		"another client's access":                {client, other.AccessToken, false},
		"an access token for it":                 {client, meant, true},
		"its user's token string":                {client, strict.TokenString, false},
		"another tenant's":                       {client, foreign.TokenString, false},
		"another tenant's access":                {client, foreign.AccessToken, false},
		"by an API key":                          {as("inspector"), other.TokenString, true},
		"by an API key, access token":            {as("inspector"), other.AccessToken, true},
		"by an API key, another tenant's":        {as("inspector"), foreign.TokenString, false},
		"by an API key, another tenant's access": {as("everywhere"), foreign.AccessToken, false},
		"a forgery":                              {as("inspector"), forged(own.TokenString), false},
		"nothing":                                {as("inspector"), domain.NewSecret("x"), false},
		"a forged access token":                  {client, forged(own.AccessToken), false},
	} {
		s.introspect(t, test.token, test.by).wantActive(t, name, test.sees)
	}
	for name, options := range map[string][]option{
		"nobody":                        nil,
		"a public client":               {basic("spa", "")},
		"a confidential one, unproved":  {basic("backend", "")},
		"a wrong secret":                {basic("backend", strings.Repeat("wrong", 8))},
		"an access token":               {header("Authorization", "Bearer "+own.AccessToken.Reveal())},
		"an API key without permission": {as("backend")},
		"an API key of another tenant":  {as("globex inspector")},
		"an unknown API key":            {header("Authorization", "Bearer ak_"+strings.Repeat("A", 26))},
	} {
		for _, place := range places {
			a := s.do(t, "POST", place+"/oauth2/introspect", append(options, form("token", own.TokenString.Reveal()))...)
			if a.status != 401 || a.text("error") != "invalid_client" {
				t.Errorf("%s: got %d %s", name, a.status, a.body)
			}
		}
	}
	s.do(t, "POST", "/oauth2/introspect", as("inspector"), form("x", "y")).want(t, 400, "invalid_request")
}

// What a session is bound to, and for whom an access token is, are members (RFC 7662, section 3.1; RFC 9449, section
// 6.2).
func TestIntrospectionHasTheConfirmation(t *testing.T) {
	s := newService(t)
	g, err := s.issue.Do(t.Context(), usecase.IssueInput{
		TenantID: acme, ApplicationID: "spa", UserID: "ada", Binding: "thumbprint",
	})
	if err != nil {
		t.Fatal(err)
	}
	checks.Secrets.Add(g.TokenString.Reveal())
	checks.Secrets.Add(g.AccessToken.Reveal())
	for _, token := range []domain.Secret{g.TokenString, g.AccessToken} {
		a := s.introspect(t, token, as("inspector"))
		a.wantActive(t, "bound", true)
		if cnf, _ := a.members["cnf"].(map[string]any); cnf["jkt"] != "thumbprint" {
			t.Errorf("got %s", a.body)
		}
	}
	if a := s.introspect(t, g.AccessToken, as("inspector")); a.text("token_type") != "DPoP" {
		t.Errorf("got %s", a.body)
	}
	if names := slices.Collect(maps.Keys(claimsOf(t, g.AccessToken.Reveal()))); !slices.Contains(names, "cnf") {
		t.Errorf("got the claims %v", names)
	}
}
