package oauthapi_test

import (
	"strings"
	"testing"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase"
)

const wrongSecret = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefgh"

// R11: revocation is 200 with an empty body and no Content-Type (RFC 7009, section 2.2), also if there is nothing to
// revoke.
func TestR11RevocationHasNoBody(t *testing.T) {
	s := newService(t)
	for _, place := range places {
		for _, hint := range []string{"refresh_token", "access_token", "nonsense", ""} {
			g := s.login(t, acme, "spa")
			a := s.do(t, "POST", place+"/oauth2/revoke",
				form("token", g.TokenString.Reveal(), "token_type_hint", hint, "client_id", "spa")).want(t, 200, "")
			if len(a.body) > 0 || a.header.Get("Content-Type") != "" {
				t.Errorf("got %q of %q", a.body, a.header.Get("Content-Type"))
			}
			s.token(t, refresh(g.TokenString, "client_id", "spa")).want(t, 400, "invalid_grant")
			a = s.do(t, "POST", place+"/oauth2/revoke", form("token", g.TokenString.Reveal(), "client_id", "spa"))
			if a.want(t, 200, ""); len(a.body) > 0 || a.header.Get("Content-Type") != "" { // again
				t.Errorf("got %q of %q", a.body, a.header.Get("Content-Type"))
			}
		}
	}
	for _, token := range []string{"x", "a.b.c", "rt_" + strings.Repeat("A", 64)} {
		s.do(t, "POST", "/oauth2/revoke", form("token", token, "client_id", "spa")).want(t, 200, "")
	}
	s.do(t, "POST", "/oauth2/revoke", form("client_id", "spa")).want(t, 400, "invalid_request")
	s.do(t, "POST", "/oauth2/revoke", form("token", "x")).want(t, 400, "invalid_request")
	s.do(t, "POST", "/oauth2/revoke", form("token", "x", "client_id", "nobody")).want(t, 401, "invalid_client")
}

// isActive reports whether a token string can be exchanged, without a use of it.
func (s *service) isActive(t testing.TB, g usecase.Grant) bool {
	t.Helper()
	found, err := s.store.Store.Find(t.Context(), g.RefreshToken.TenantID, g.RefreshToken.ID)
	if err != nil {
		t.Fatal(err)
	}
	return found.Alive(s.clock())
}

// Only the client of a session ends it, and only if it is what it says (RFC 7009, section 2.1).
func TestAClientRevokesItsOwnSessionsOnly(t *testing.T) {
	s := newService(t)
	secret := s.secrets["acme backend"]
	for name, test := range map[string]struct {
		tenant, app string
		options     []option
		status      int
		revokes     bool
	}{
		"its own":                                    {acme, "spa", []option{basic("spa", "")}, 200, true},
		"another public client's":                    {acme, "strict", []option{basic("spa", "")}, 200, false},
		"another tenant's":                           {globex, "spa", []option{basic("spa", "")}, 200, false},
		"with the secret":                            {acme, "backend", []option{basic("backend", secret)}, 200, true},
		"without the secret":                         {acme, "backend", []option{basic("backend", "")}, 401, false},
		"with a wrong secret":                        {acme, "backend", []option{basic("backend", wrongSecret)}, 401, false},
		"a public one's by a secret":                 {acme, "spa", []option{basic("backend", secret)}, 200, false},
		"a confidential one's":                       {acme, "backend", []option{basic("spa", "")}, 200, false},
		"of a client that must prove, by its policy": {acme, "locked", []option{basic("locked", "")}, 200, true},
	} {
		for kind, token := range map[string]func(usecase.Grant) domain.Secret{
			"token string": func(g usecase.Grant) domain.Secret { return g.TokenString },
			"access token": func(g usecase.Grant) domain.Secret { return g.AccessToken },
		} {
			g := s.login(t, test.tenant, test.app)
			a := s.do(t, "POST", "/t/acme/oauth2/revoke", append(test.options, form("token", token(g).Reveal()))...)
			if a.status != test.status || s.isActive(t, g) == test.revokes {
				t.Errorf("%s, %s: got %d %s, and the session is active: %t", name, kind, a.status, a.body, s.isActive(t, g))
			}
		}
	}
}

// Any token string of a session ends it, as an exchange of an old one would.
func TestAnOldTokenStringEndsItsSession(t *testing.T) {
	s := newService(t)
	g := s.login(t, acme, "spa")
	for range 3 {
		a := s.token(t, refresh(g.TokenString, "client_id", "spa")).want(t, 200, "")
		_ = a
		s.wait(time.Minute)
	}
	s.do(t, "POST", "/oauth2/revoke", form("token", g.TokenString.Reveal(), "client_id", "spa")).want(t, 200, "")
	if s.isActive(t, g) {
		t.Error("the session is active")
	}
}

// An access token for another audience ends no session: the resource server that got it is not the client. An expired
// one ends none either.
func TestAnAccessTokenOfAnotherKindEndsNoSession(t *testing.T) {
	s := newService(t)
	client := basic("backend", s.secrets["acme backend"])
	g := s.login(t, acme, "backend")
	a := s.token(t, refresh(g.TokenString, "resource", "orders"), client).want(t, 200, "")
	foreign := a.text("access_token")
	s.do(t, "POST", "/oauth2/revoke", form("token", foreign), client).want(t, 400, "unsupported_token_type")
	s.do(t, "POST", "/oauth2/revoke", form("token", foreign), basic("backend", "")).want(t, 401, "invalid_client")
	s.wait(time.Hour)
	s.do(t, "POST", "/oauth2/revoke", form("token", g.AccessToken.Reveal()), client).want(t, 200, "")
	if !s.isActive(t, g) {
		t.Error("the session has ended")
	}
}
