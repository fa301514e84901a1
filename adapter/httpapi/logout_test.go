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

// A page without an access token can log out only with its cookies, and no script can delete those.
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

// The cookies are deleted even if the session has already ended; 404 says that there was none to revoke.
func TestALogoutOfASessionThatHasEndedDeletesTheCookies(t *testing.T) {
	s := newService(t)
	values := s.cookieValues(t)
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
}

// Without its cookie the user could not end the session before it expires.
func TestALogoutThatNamesAnotherTenantKeepsTheCookiesOfAnActiveSession(t *testing.T) {
	s := newService(t)
	values := s.cookieValues(t)
	for _, name := range []string{bTenant, "nobody's", "no tenant"} {
		b := s.browser(acmeHost)
		b.jar.put(acmeHost, "refresh_token", values["revoked"], acmeHost)
		b.send(t, "DELETE", "/jwt/refresh", tenant(name)).want(t, 404)
		b.wantNoCookies(t)

		g := b.login(t, "cookies")
		b.jar.put(acmeHost, "refresh_token", values["revoked"], acmeHost)
		before := s.dump(t)
		b.send(t, "DELETE", "/jwt/refresh", tenant(name)).want(t, 404).keepsCookies(t)
		if diff := cmp.Diff(before, s.dump(t)); diff != "" {
			t.Errorf("%s: the store changed: %s", name, diff)
		}
		s.store.fail = func(method string) error {
			if method == "Snapshot" {
				return errStoreDown
			}
			return nil
		}
		b.send(t, "DELETE", "/jwt/refresh", tenant(name)).want(t, 503).keepsCookies(t)
		s.store.fail = nil
		b.send(t, "DELETE", "/jwt/refresh", tenant(aTenant)).want(t, 200)
		b.wantNoCookies(t)
		if s.alive(t, g.RefreshTokenID) {
			t.Errorf("%s: the session is active after a logout", name)
		}
	}
}

// The cookies of all sessions are deleted, so all sessions have to end. The user could not see one that stayed active.
func TestALogoutRevokesEverySessionOfItsCookies(t *testing.T) {
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

	b := s.browser(acmeHost)
	foreign, other := s.issueAt(t, globex, "cookies", "ada"), s.issue(t, "cookies", "ada")
	want := []string{b.login(t, "cookies").RefreshTokenID}
	for _, app := range []string{"cookies", "shop"} {
		g := s.issue(t, app, "ada")
		b.jar.put(acmeHost, "refresh_token", g.RefreshToken, "")
		want = append(want, g.RefreshTokenID)
	}
	b.jar.put(acmeHost, "refresh_token", foreign.RefreshToken, acmeHost)
	// An inactive application may become active again. Then the token string of its session could be exchanged.
	s.setActive(t, "shop", false)
	var done struct {
		TokenID  string
		TokenIDs []string
	}
	b.send(t, "DELETE", "/jwt/refresh", tenant(aTenant)).want(t, 200).data(t, &done)
	b.wantNoCookies(t)
	if diff := cmp.Diff(want, done.TokenIDs); diff != "" || done.TokenID != want[0] {
		t.Errorf("tokenId %s, tokenIds (-want +got):\n%s", done.TokenID, diff)
	}
	for _, id := range want {
		if s.alive(t, id) {
			t.Errorf("%s is active", id)
		}
	}
	s.exchange(t, foreign.RefreshToken).want(t, 200)
	s.exchange(t, other.RefreshToken).want(t, 200)
}

// After a failure in the middle the cookies are kept, so that the same request again ends the remaining sessions.
func TestALogoutThatFailedIsRepeated(t *testing.T) {
	s := newService(t)
	b := s.browser(acmeHost)
	one, two := b.login(t, "cookies"), s.issue(t, "cookies", "ada")
	b.jar.put(acmeHost, "refresh_token", two.RefreshToken, "")
	revoked := 0
	s.store.fail = func(method string) error {
		if method == "Revoke" {
			if revoked++; revoked == 2 {
				return errStoreDown
			}
		}
		return nil
	}
	b.send(t, "DELETE", "/jwt/refresh", tenant(aTenant)).want(t, 503).keepsCookies(t)
	b.send(t, "DELETE", "/jwt/refresh", tenant(aTenant)).want(t, 200)
	b.wantNoCookies(t)
	if s.alive(t, one.RefreshTokenID) || s.alive(t, two.RefreshTokenID) {
		t.Error("a session is active after the logout was repeated")
	}
}

// An attacker fills the browser with sessions. Its cookies are deleted, and none of the sessions is looked up.
func TestALogoutOfMoreThanFourSessionsDeletesTheCookies(t *testing.T) {
	s := newService(t)
	b := s.browser(acmeHost)
	for range 5 {
		b.jar.cookies = append(b.jar.cookies, kept{
			name: "refresh_token", value: s.issue(t, "cookies", "ada").RefreshToken, domain: "acme.example", path: "/",
		})
	}
	before := s.dump(t)
	b.send(t, "DELETE", "/jwt/refresh", tenant(aTenant)).want(t, 400, "[conflict]refreshToken")
	b.wantNoCookies(t)
	if diff := cmp.Diff(before, s.dump(t)); diff != "" {
		t.Errorf("the store changed: %s", diff)
	}
}

// The response to a page without a session that counts says so, and deletes its remaining cookies: most often the
// access token.
func TestALogoutWithoutASessionDeletesBothCookies(t *testing.T) {
	acme := tenant(aTenant)
	for name, test := range map[string]struct {
		query   string
		options []option
	}{
		"same origin":                   {"", []option{header("Sec-Fetch-Site", "same-origin")}},
		"typed":                         {"", []option{header("Sec-Fetch-Site", "none")}},
		"a configured origin":           {"", []option{header("Sec-Fetch-Site", "cross-site"), header("Origin", ourOrigin)}},
		"an old browser, own origin":    {"", []option{header("Origin", "https://"+acmeHost)}},
		"another product's cookie":      {"", []option{header("Sec-Fetch-Site", "same-origin"), cookie("x", "y")}},
		"an empty cookie":               {"", []option{cookie("refresh_token", "")}},
		"the access token's cookie":     {"", []option{cookie("access_token", "x")}},
		"a name":                        {"shop", []option{header("Sec-Fetch-Site", "same-origin")}},
		"the access token's, by a name": {"shop", []option{cookie("shop_access", "x")}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newService(t)
			target, refresh, access := "/jwt/refresh", "refresh_token", "access_token"
			if test.query != "" {
				target, refresh, access = target+"?cookieName="+test.query, test.query, test.query+"_access"
			}
			b, calls := s.browser(acmeHost), s.store.callCount()
			for _, domain := range []string{"", acmeHost, "acme.example"} {
				b.jar.put(acmeHost, refresh, "", domain)
				b.jar.put(acmeHost, access, "x", domain)
			}
			got := s.do(t, "DELETE", target, append(test.options, host(acmeHost), acme)...).want(t, 404)
			b.jar.receive(acmeHost, got.header)
			b.wantNoCookies(t)
			if n := s.store.callCount() - calls; n != 0 {
				t.Errorf("the store was called %d times for no session", n)
			}
		})
	}
	s := newService(t)
	for name, options := range map[string][]option{
		"no browser":               {acme},
		"no browser, other cookie": {acme, cookie("x", "y")},
		"another site":             {acme, header("Sec-Fetch-Site", "cross-site"), cookie("access_token", "x")},
		"another origin":           {acme, header("Origin", "https://evil.example"), cookie("refresh_token", "")},
	} {
		t.Run(name, func(t *testing.T) { s.do(t, "DELETE", "/jwt/refresh", options...).want(t, 401).keepsCookies(t) })
	}
}

// A request that is not exactly a logout by cookie needs an API key or an owner's access token.
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
		"no tenant": {"DELETE", "/jwt/refresh",
			[]option{own, byCookie(g)}, 400, []string{"[blank]X-Stencil-TenantId"},
		},
		"no cookie, no browser": {"DELETE", "/jwt/refresh", []option{acme}, 401, nil},
		"no cookie of the name, no browser": {"DELETE", "/jwt/refresh?cookieName=other",
			[]option{acme, byCookie(g)}, 401, nil,
		},
		"no cookie, no tenant": {"DELETE", "/jwt/refresh",
			[]option{own}, 400, []string{"[blank]X-Stencil-TenantId"},
		},
		"a wrong name": {"DELETE", "/jwt/refresh?cookieName=access_token",
			[]option{own, acme, byCookie(g)}, 400, []string{"[invalid]cookieName"},
		},
		"an empty name": {"DELETE", "/jwt/refresh?cookieName=",
			[]option{own, acme, byCookie(g)}, 400, []string{"[blank]cookieName"},
		},
		"two names": {"DELETE", "/jwt/refresh?cookieName=a&cookieName=b",
			[]option{own, acme, byCookie(g)}, 400, []string{"[repeated]cookieName"},
		},
		"a selector": {"DELETE", "/jwt/refresh?userId=ada",
			[]option{own, acme, byCookie(g)}, 401, nil,
		},
		"a path": {"DELETE", "/jwt/refresh/" + g.RefreshTokenID,
			[]option{own, acme, byCookie(g)}, 401, nil,
		},
		"a body": {"DELETE", "/jwt/refresh",
			[]option{own, acme, byCookie(g), body(object{})}, 401, nil,
		},
		"a body with a name": {"DELETE", "/jwt/refresh",
			[]option{own, acme, byCookie(g), body(object{"cookieName": "refresh_token"})}, 401, nil,
		},
		"an API key": {"DELETE", "/jwt/refresh",
			[]option{own, backend, byCookie(g)}, 400, []string{"[blank]"},
		},
		"another credential": {"DELETE", "/jwt/refresh",
			[]option{own, acme, byCookie(g), bearer("x")}, 401, nil,
		},
		"another site": {"DELETE", "/jwt/refresh",
			[]option{header("Sec-Fetch-Site", "cross-site"), acme, byCookie(g)}, 400,
			[]string{"[invalid]Origin"}},
		"a neighbour": {"DELETE", "/jwt/refresh",
			[]option{header("Sec-Fetch-Site", "same-site"), acme, byCookie(g)}, 400,
			[]string{"[invalid]Origin"}},
		"an old browser, another origin": {"DELETE", "/jwt/refresh",
			[]option{header("Origin", "https://evil.example"), acme, byCookie(g)}, 400,
			[]string{"[invalid]Origin"}},
		"GET":  {"GET", "/jwt/refresh", []option{own, acme, byCookie(g)}, 401, nil},
		"HEAD": {"HEAD", "/jwt/refresh", []option{own, acme, byCookie(g)}, 401, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s.do(t, test.method, test.target, test.options...).want(t, test.status, test.codes...).keepsCookies(t)
		})
	}
	for name, posted := range map[string]option{
		"_method": body(object{"_method": "DELETE"}), "a form": form("_method", "DELETE"),
		"a name": form("cookieName", "other"),
	} {
		s.do(t, "POST", "/jwt/refresh", own, acme, byCookie(g), posted, header("X-HTTP-Method-Override", "DELETE")).
			keepsCookies(t)
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

// A page of a configured origin may log out across origins: a browser sends a preflight before a DELETE.
func TestAConfiguredOriginMayLogOut(t *testing.T) {
	s := newService(t)
	g := s.issue(t, "cookies", "ada")
	asked := s.do(t, "OPTIONS", "/jwt/refresh", header("Origin", ourOrigin),
		header("Access-Control-Request-Method", "DELETE"),
		header("Access-Control-Request-Headers", "x-stencil-tenantid")).want(t, 204)
	if got := asked.header; got.Get("Access-Control-Allow-Credentials") != "true" ||
		!containsWord(got.Get("Access-Control-Allow-Methods"), "DELETE") {
		t.Errorf("got %v, want DELETE with credentials allowed", got)
	}
	s.do(t, "DELETE", "/jwt/refresh", header("Origin", ourOrigin), header("Sec-Fetch-Site", "same-site"),
		tenant(aTenant), byCookie(g)).want(t, 200).dropsCookies(t, "refreshd.example")
}

// A page that ends its own session with its access token is logged out completely, because it cannot delete the
// cookies.
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
	// The revocation of all sessions of the user, its own included, does the same. That of all but its own does not.
	s.do(t, "DELETE", "/jwt/refresh?userId=ada&exceptTokenId="+g.RefreshTokenID, own...).want(t, 200).keepsCookies(t)
	all := s.issue(t, "blog", "bob")
	s.do(t, "DELETE", "/jwt/refresh?userId=bob", header("Sec-Fetch-Site", "same-origin"), bearer(all.Token),
		tenant(aTenant)).
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
