package httpapi_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/domain"
)

const acmeHost = "auth.acme.example"

func (b *browser) wantNoCookies(t *testing.T) {
	t.Helper()
	if len(b.jar.cookies) > 0 {
		t.Errorf("the browser keeps %d cookies, want none", len(b.jar.cookies))
	}
}

// A page that holds no access token has nothing but its cookies to log out with, and no script can delete those.
func TestALogoutByCookieRevokesTheSessionAndDeletesItsCookies(t *testing.T) {
	for _, test := range []struct{ app, name, query string }{
		{"cookies", "", ""},
		{"cookies", "refresh_token", "?cookieName=refresh_token"},
		{"shop", "__Host-shop", "?cookieName=__Host-shop"},
	} {
		t.Run(test.app+" "+test.name, func(t *testing.T) {
			s := newService(t)
			s.set(t, test.app, func(settings *domain.Settings) {
				settings.CookieName, settings.CookieHostOnly = new(test.name), new(test.app == "shop")
			})
			b, other := s.browser(acmeHost), s.issue(t, test.app, "ada")
			g := b.login(t, test.app)
			if len(b.jar.cookies) != 2 {
				t.Fatalf("a login left %d cookies, want two", len(b.jar.cookies))
			}
			got := b.send(t, "DELETE", "/jwt/refresh"+test.query, tenant(aTenant)).want(t, 200)
			var done struct{ TokenID string }
			if got.data(t, &done); done.TokenID != g.RefreshTokenID {
				t.Errorf("got %s, want %s revoked", done.TokenID, g.RefreshTokenID)
			}
			b.wantNoCookies(t)
			if s.alive(t, g.RefreshTokenID) || !s.alive(t, other.RefreshTokenID) {
				t.Error("want the cookie's session revoked, and no other")
			}
			s.exchange(t, g.RefreshToken).want(t, 400, "[revoked]refreshToken")
		})
	}
}

// Who is logged out already gets rid of the cookies all the same; 404 says that there was no session to revoke.
func TestALogoutOfASessionThatHasEndedDeletesTheCookies(t *testing.T) {
	s := newService(t)
	values := s.cookieValues(t)
	values["another tenant's"] = s.issueAt(t, globex, "cookies", "ada").RefreshToken
	for state, value := range values {
		if state == "inactive" {
			continue
		}
		for _, domain := range []string{"", acmeHost, "acme.example"} {
			b := s.browser(acmeHost)
			b.jar.put(acmeHost, "refresh_token", value, domain)
			b.jar.put(acmeHost, "access_token", "x", domain)
			before := s.dump(t)
			b.send(t, "DELETE", "/jwt/refresh", tenant(aTenant)).want(t, 404)
			b.wantNoCookies(t)
			if diff := cmp.Diff(before, s.dump(t)); diff != "" {
				t.Errorf("%s: the store changed: %s", state, diff)
			}
		}
	}
	b := s.browser(acmeHost)
	b.jar.put(acmeHost, "refresh_token", s.issue(t, "cookies", "ada").RefreshToken, "")
	b.send(t, "DELETE", "/jwt/refresh", tenant("nobody's")).want(t, 404)
	b.wantNoCookies(t)
	b.jar.put(acmeHost, "refresh_token", s.issue(t, "cookies", "ada").RefreshToken, "")
	b.send(t, "DELETE", "/jwt/refresh", tenant("no tenant")).want(t, 404)
	b.wantNoCookies(t)
}

func TestALogoutWithSeveralCookiesMeansTheOneThatCounts(t *testing.T) {
	s := newService(t)
	values := s.cookieValues(t)
	for _, state := range []string{"revoked", "expired", "purged", "not genuine", "another product's"} {
		b := s.browser(acmeHost)
		g := b.login(t, "cookies")
		b.jar.put(acmeHost, "refresh_token", values[state], "")
		b.send(t, "DELETE", "/jwt/refresh", tenant(aTenant)).want(t, 200)
		b.wantNoCookies(t)
		if s.alive(t, g.RefreshTokenID) {
			t.Errorf("beside %s: the session is active", state)
		}
	}
	// An inactive application's session can be left.
	b := s.browser(acmeHost)
	b.jar.put(acmeHost, "refresh_token", values["inactive"], "")
	b.send(t, "DELETE", "/jwt/refresh", tenant(aTenant)).want(t, 200)

	b = s.browser(acmeHost)
	one, two := b.login(t, "cookies"), s.issue(t, "cookies", "ada")
	b.jar.put(acmeHost, "refresh_token", two.RefreshToken, "")
	b.send(t, "DELETE", "/jwt/refresh", tenant(aTenant)).want(t, 400, "[conflict]refreshToken")
	b.wantNoCookies(t)
	if !s.alive(t, one.RefreshTokenID) || !s.alive(t, two.RefreshTokenID) {
		t.Error("of two active sessions one was revoked")
	}
}

// What is not exactly a logout by cookie needs an API key, or an owner's access token, as before.
func TestOnlyADeleteWithNothingButItsCookieIsALogout(t *testing.T) {
	s := newService(t)
	g := s.issue(t, "cookies", "ada")
	before := s.dump(t)
	own := header("Sec-Fetch-Site", "same-origin")
	acme := tenant(aTenant)
	for name, test := range map[string]struct {
		method, target string
		options        []option
		status         int
		codes          []string
	}{
		"no tenant":             {"DELETE", "/jwt/refresh", []option{own, byCookie(g)}, 400, []string{"[blank]X-Stencil-TenantId"}},
		"no cookie":             {"DELETE", "/jwt/refresh", []option{own, acme}, 401, nil},
		"no cookie of the name": {"DELETE", "/jwt/refresh?cookieName=other", []option{own, acme, byCookie(g)}, 401, nil},
		"a wrong name":          {"DELETE", "/jwt/refresh?cookieName=access_token", []option{own, acme, byCookie(g)}, 400, []string{"[invalid]cookieName"}},
		"an empty name":         {"DELETE", "/jwt/refresh?cookieName=", []option{own, acme, byCookie(g)}, 400, []string{"[blank]cookieName"}},
		"two names":             {"DELETE", "/jwt/refresh?cookieName=a&cookieName=b", []option{own, acme, byCookie(g)}, 400, []string{"[repeated]cookieName"}},
		"a selector":            {"DELETE", "/jwt/refresh?userId=ada", []option{own, acme, byCookie(g)}, 401, nil},
		"a path":                {"DELETE", "/jwt/refresh/" + g.RefreshTokenID, []option{own, acme, byCookie(g)}, 401, nil},
		"a body":                {"DELETE", "/jwt/refresh", []option{own, acme, byCookie(g), body(object{})}, 401, nil},
		"a body with a name":    {"DELETE", "/jwt/refresh", []option{own, acme, byCookie(g), body(object{"cookieName": "refresh_token"})}, 401, nil},
		"an API key":            {"DELETE", "/jwt/refresh", []option{own, backend, byCookie(g)}, 400, []string{"[blank]"}},
		"another credential":    {"DELETE", "/jwt/refresh", []option{own, acme, byCookie(g), bearer("x")}, 401, nil},
		"the other cookie":      {"DELETE", "/jwt/refresh", []option{own, acme, cookie("access_token", g.RefreshToken)}, 401, nil},
		"another site": {"DELETE", "/jwt/refresh", []option{header("Sec-Fetch-Site", "cross-site"), acme, byCookie(g)}, 400,
			[]string{"[invalid]refreshToken"}},
		"a neighbour": {"DELETE", "/jwt/refresh", []option{header("Sec-Fetch-Site", "same-site"), acme, byCookie(g)}, 400,
			[]string{"[invalid]refreshToken"}},
		"an old browser, another origin": {"DELETE", "/jwt/refresh", []option{header("Origin", "https://evil.example"), acme, byCookie(g)}, 400,
			[]string{"[invalid]refreshToken"}},
		"GET":  {"GET", "/jwt/refresh", []option{own, acme, byCookie(g)}, 401, nil},
		"HEAD": {"HEAD", "/jwt/refresh", []option{own, acme, byCookie(g)}, 401, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s.do(t, test.method, test.target, test.options...).want(t, test.status, test.codes...).keepsCookies(t)
		})
	}
	for name, posted := range map[string]option{
		"_method": body(object{"_method": "DELETE"}), "a form": form("_method", "DELETE"), "a name": form("cookieName", "other"),
	} {
		s.do(t, "POST", "/jwt/refresh", own, acme, byCookie(g), posted, header("X-HTTP-Method-Override", "DELETE")).keepsCookies(t)
		if !s.alive(t, g.RefreshTokenID) {
			t.Errorf("%s: a POST logged the user out", name)
		}
	}
	if diff := cmp.Diff(before, s.dump(t)); diff != "" {
		t.Errorf("the store changed: %s", diff)
	}
	s.store.fail = func(string) error { return errStoreDown }
	s.do(t, "DELETE", "/jwt/refresh", own, acme, byCookie(g)).want(t, 503).keepsCookies(t)
}

// A configured origin's page may log out across origins: a browser asks before it sends a DELETE.
func TestAConfiguredOriginMayLogOut(t *testing.T) {
	s := newService(t)
	g := s.issue(t, "cookies", "ada")
	asked := s.do(t, "OPTIONS", "/jwt/refresh", header("Origin", ourOrigin), header("Access-Control-Request-Method", "DELETE"),
		header("Access-Control-Request-Headers", "x-stencil-tenantid")).want(t, 204)
	if got := asked.header; got.Get("Access-Control-Allow-Credentials") != "true" ||
		!containsWord(got.Get("Access-Control-Allow-Methods"), "DELETE") {
		t.Errorf("got %v, want DELETE with credentials allowed", got)
	}
	s.do(t, "DELETE", "/jwt/refresh", header("Origin", ourOrigin), header("Sec-Fetch-Site", "same-site"), tenant(aTenant), byCookie(g)).
		want(t, 200).dropsCookies(t, "refreshd.example")
}

// A page that ends its own session by its access token is logged out as well: the cookies are none that it can delete.
func TestAnOwnersRevocationOfItsSessionDeletesTheCookies(t *testing.T) {
	for name, test := range map[string]struct {
		host    string
		options []option
		deletes bool
	}{
		"own page":       {acmeHost, []option{header("Sec-Fetch-Site", "same-origin")}, true},
		"an old browser": {acmeHost, []option{cookie("shop", "x")}, true},
		"no browser":     {acmeHost, nil, false},
		"another site":   {acmeHost, []option{header("Sec-Fetch-Site", "cross-site"), cookie("shop", "x")}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newService(t)
			s.set(t, "shop", func(settings *domain.Settings) { settings.CookieName = new("shop") })
			g := s.issue(t, "shop", "ada")
			got := s.do(t, "DELETE", "/jwt/refresh/"+g.RefreshTokenID,
				append(test.options, host(test.host), bearer(g.Token), tenant(aTenant))...).want(t, 200)
			if !test.deletes {
				got.keepsCookies(t)
				return
			}
			b := s.browser(acmeHost)
			for _, domain := range []string{"", acmeHost, "acme.example"} {
				b.jar.put(acmeHost, "shop", g.RefreshToken, domain)
				b.jar.put(acmeHost, "shop_access", g.Token, domain)
			}
			b.jar.receive(acmeHost, got.header)
			b.wantNoCookies(t)
		})
	}
	s := newService(t)
	g := s.issue(t, "shop", "ada")
	own := []option{header("Sec-Fetch-Site", "same-origin"), bearer(g.Token), tenant(aTenant)}
	s.do(t, "DELETE", "/jwt/refresh/"+s.issue(t, "shop", "ada").RefreshTokenID, own...).want(t, 401).keepsCookies(t)
	// All of the user's, its own included, is the same; all but its own is not.
	s.do(t, "DELETE", "/jwt/refresh?userId=ada&exceptTokenId="+g.RefreshTokenID, own...).want(t, 200).keepsCookies(t)
	all := s.issue(t, "blog", "bob")
	s.do(t, "DELETE", "/jwt/refresh?userId=bob", header("Sec-Fetch-Site", "same-origin"), bearer(all.Token), tenant(aTenant)).
		want(t, 200).dropsCookies(t, "refreshd.example")
	s.store.fail = func(method string) error {
		if method == "Policy" {
			return errStoreDown
		}
		return nil
	}
	s.do(t, "DELETE", "/jwt/refresh/"+g.RefreshTokenID, own...).want(t, 503).keepsCookies(t)
	s.store.fail = nil
	if !s.alive(t, g.RefreshTokenID) {
		t.Error("the session was revoked, and its cookies could not be deleted")
	}
	s.wait(time.Minute)
	s.do(t, "DELETE", "/jwt/refresh/"+g.RefreshTokenID, backend, header("Sec-Fetch-Site", "same-origin")).
		want(t, 200).keepsCookies(t)
}
