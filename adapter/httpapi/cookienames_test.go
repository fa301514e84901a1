package httpapi_test

import (
	"log"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/domain"
)

// Two applications in one domain have cookies with different names: neither reads, sets or deletes the other's.
func TestApplicationsBelowOneDomainKeepTheirCookiesApart(t *testing.T) {
	s := newService(t)
	for app, name := range map[string]string{"shop": "shop", "blog": "blog"} {
		s.set(t, app, func(settings *domain.Settings) {
			settings.CookieName, settings.CookieDomain = &name, new("acme.example")
		})
	}
	b := s.browser(acmeHost)
	shop, blog := b.login(t, "shop"), b.login(t, "blog")
	for range 3 {
		s.wait(time.Minute)
		for app, g := range map[string]grant{"shop": shop, "blog": blog} {
			got := b.send(t, "POST", "/jwt/refresh", body(object{"cookieName": app})).want(t, 200)
			if got.outcome() != "rotated" || got.grant(t).RefreshTokenID != g.RefreshTokenID || len(b.jar.cookies) != 4 {
				t.Errorf("%s: got %s of %s, and %d cookies", app, got.outcome(), got.grant(t).RefreshTokenID, len(b.jar.cookies))
			}
		}
	}
	s.do(t, "DELETE", "/jwt/refresh/"+blog.RefreshTokenID, backend).want(t, 200)
	b.send(t, "POST", "/jwt/refresh?cookieName=blog").want(t, 400, "[revoked]refreshToken")
	if len(b.jar.values("shop")) != 1 || len(b.jar.values("shop_access")) != 1 || len(b.jar.cookies) != 2 {
		t.Errorf("the browser keeps %d cookies, want the two of the shop", len(b.jar.cookies))
	}
	b.send(t, "POST", "/jwt/refresh").want(t, 400, "[blank]refreshToken")
}

func TestARequestNamesItsCookieOnce(t *testing.T) {
	s := newService(t)
	g := s.issue(t, "shop", "ada")
	before := s.dump(t)
	sent := cookie("shop", g.RefreshToken)
	for name, test := range map[string]struct {
		target string
		option option
		codes  []string
	}{
		"two that differ":        {"?cookieName=a", body(object{"cookieName": "shop"}), []string{"[conflict]cookieName"}},
		"an access token's":      {"?cookieName=access_token", sent, []string{"[invalid]cookieName"}},
		"another access token's": {"", body(object{"cookieName": "shop_access"}), []string{"[invalid]cookieName"}},
		"no token":               {"", body(object{"cookieName": "sh op"}), []string{"[invalid]cookieName"}},
		"a line break":           {"?cookieName=a%0d%0aSet-Cookie:x", sent, []string{"[invalid]cookieName"}},
		"empty":                  {"", body(object{"cookieName": ""}), []string{"[blank]cookieName"}},
		"too long":               {"?cookieName=" + strings.Repeat("a", 65), sent, []string{"[tooLong]cookieName"}},
		"twice":                  {"?cookieName=a&cookieName=a", sent, []string{"[repeated]cookieName"}},
		"beside a selector": {
			"", body(object{"cookieName": "shop", "tokenId": g.RefreshTokenID}), []string{"[conflict]refreshToken"},
		},
		"none of that name": {"?cookieName=Shop", sent, []string{"[blank]refreshToken"}},
	} {
		t.Run(name, func(t *testing.T) {
			s.do(t, "POST", "/jwt/refresh"+test.target, sent, test.option).want(t, 400, test.codes...).keepsCookies(t)
		})
	}
	if diff := cmp.Diff(before, s.dump(t)); diff != "" {
		t.Errorf("the store changed: %s", diff)
	}
	s.do(t, "POST", "/jwt/refresh?cookieName=shop", sent, form("cookieName", "shop")).want(t, 200)
	// If the body has the string, no cookie is read: a client may name one in every request.
	s.exchange(t, g.RefreshToken, sent).want(t, 200).keepsCookies(t)
	s.do(t, "POST", "/jwt/refresh", body(object{"refreshToken": g.RefreshToken, "cookieName": "shop"})).
		want(t, 200).keepsCookies(t)
}

// If the cookies of an application get a name, the next exchange moves its users' cookies. The access token's cookie
// under the old name may belong to a neighbour below the same domain, so it is not deleted, and expires.
func TestTheCookiesAreThoseOfThePolicy(t *testing.T) {
	s := newService(t)
	b := s.browser(acmeHost)
	b.login(t, "cookies")
	s.set(t, "cookies", func(settings *domain.Settings) {
		settings.CookieName, settings.CookieDomain, settings.CookieHostOnly = new("__Host-acme"), new(""), new(true)
	})
	b.send(t, "POST", "/jwt/refresh").want(t, 200)
	var names []string
	for _, k := range b.jar.cookies {
		names = append(names, k.name)
	}
	slices.Sort(names)
	if want := []string{"__Host-acme", "__Host-acme_access", "access_token"}; !slices.Equal(names, want) {
		t.Errorf("the browser keeps %q, want %q", names, want)
	}
	s.wait(time.Minute)
	if got := b.send(t, "POST", "/jwt/refresh?cookieName=__Host-acme").want(t, 200); got.outcome() != "rotated" {
		t.Errorf("got outcome %q", got.outcome())
	}
	b.send(t, "DELETE", "/jwt/refresh?cookieName=__Host-acme", tenant(aTenant)).want(t, 200)
	if len(b.jar.cookies) != 1 || len(b.jar.values("access_token")) != 1 {
		t.Errorf("the browser keeps %d cookies, want only the access token's under the old name", len(b.jar.cookies))
	}
}

// If a request names another cookie than the policy does, the access token's cookie is not deleted.
func TestAnExchangeDeletesTheNameThatWasReadAndNoOther(t *testing.T) {
	s := newService(t)
	s.set(t, "shop", func(settings *domain.Settings) {
		settings.CookieName, settings.CookieDomain = new("shop"), new("acme.example")
	})
	b := s.browser(acmeHost)
	g := s.issue(t, "shop", "ada")
	for _, domain := range []string{"", acmeHost, "acme.example"} {
		b.jar.put(acmeHost, "refresh_token", g.RefreshToken, domain)
	}
	b.jar.put(acmeHost, "access_token", "a neighbour's", "acme.example")
	b.send(t, "POST", "/jwt/refresh").want(t, 200)
	if len(b.jar.values("refresh_token")) != 0 || !b.jar.has("a neighbour's") || len(b.jar.values("shop")) != 1 {
		t.Errorf("the browser keeps %v, want shop, shop_access and the neighbour's", b.jar.cookies)
	}
}

// Browsers accept such a name only with Secure. Chromium and Firefox accept Secure without TLS from localhost.
func TestACookieWithAPrefixIsSecureOnThisMachineToo(t *testing.T) {
	for _, name := range []string{"__Host-shop", "__Secure-shop", "__host-shop"} {
		s := newService(t)
		s.set(t, "shop", func(settings *domain.Settings) { settings.CookieName = &name })
		g := s.issue(t, "shop", "ada")
		got := s.do(t, "POST", "/jwt/refresh", host("localhost:3000"), cookie("refresh_token", g.RefreshToken)).
			want(t, 200)
		for _, c := range []string{name, name + "_access"} {
			if got.cookie[c] == nil || !got.cookie[c].Secure || got.cookie[c].MaxAge < 0 {
				t.Errorf("got %v, want %s set, and Secure", got.header["Set-Cookie"], c)
			}
		}
	}
}

// A browser does not get this many sessions by accident: an attacker fills it. Reading them all would be wasted work.
func TestCookiesOfMoreThanFourSessionsAreDeletedUnread(t *testing.T) {
	s := newService(t)
	b := s.browser("a.b.c." + acmeHost)
	var last grant
	for range 5 {
		last = s.issue(t, "shop", "ada")
		s.do(t, "DELETE", "/jwt/refresh/"+last.RefreshTokenID, backend).want(t, 200)
		b.jar.cookies = append(b.jar.cookies, kept{
			name: "refresh_token", value: last.RefreshToken, domain: "acme.example", path: "/",
		})
	}
	calls := s.store.callCount()
	b.send(t, "POST", "/jwt/refresh").want(t, 400, "[conflict]refreshToken")
	if n := s.store.callCount() - calls; n != 0 {
		t.Errorf("the store was called %d times", n)
	}
	b.wantNoCookies(t)

	// Four are read. The token strings of one session count as one.
	live := s.issue(t, "shop", "ada")
	next := s.next(t, live.RefreshToken, "rotated")
	options := []option{cookie("refresh_token", live.RefreshToken), cookie("refresh_token", next.RefreshToken)}
	for range 3 {
		g := s.issue(t, "shop", "ada")
		s.do(t, "DELETE", "/jwt/refresh/"+g.RefreshTokenID, backend).want(t, 200)
		options = append(options, cookie("refresh_token", g.RefreshToken), cookie("refresh_token", g.RefreshToken))
	}
	calls = s.store.callCount()
	s.do(t, "POST", "/jwt/refresh", options...).want(t, 200)
	if n := s.store.callCount() - calls; n > 4+2 { // and Advance, which the retry makes a Snapshot
		t.Errorf("the store was called %d times, want each session read once", n)
	}
}

// Nearly every exchange by cookie has one cookie, and executes one statement.
func TestAnExchangeByOneSessionsCookiesIsOneStatement(t *testing.T) {
	s := newService(t)
	g := s.issue(t, "shop", "ada")
	s.do(t, "POST", "/jwt/refresh", byCookie(g)).want(t, 200) // the signing key is loaded now
	for name, options := range map[string][]option{
		"one":                     nil,
		"a forged one beside it":  {cookie("refresh_token", forgedString)},
		"another product's":       {cookie("refresh_token", "x")},
		"an older one beside it":  {cookie("refresh_token", g.RefreshToken)},
		"the tenant's header too": {tenant(aTenant)},
	} {
		s.wait(time.Minute)
		newest := s.next(t, s.issue(t, "shop", "ada").RefreshToken, "rotated")
		s.wait(time.Minute)
		s.store.mu.Lock()
		s.store.calls = nil
		s.store.mu.Unlock()
		if name == "an older one beside it" {
			options = []option{cookie("refresh_token", newest.RefreshToken)}
		}
		s.do(t, "POST", "/jwt/refresh", append(options, byCookie(newest))...).want(t, 200)
		s.store.mu.Lock()
		calls := slices.DeleteFunc(slices.Clone(s.store.calls), func(c string) bool { return c == "KeysSince" })
		s.store.mu.Unlock()
		if !slices.Equal(calls, []string{"Advance"}) {
			t.Errorf("%s: got %q, want Advance alone", name, calls)
		}
	}
}

// A cookie that reached the service has one of these forms, whichever host it was set for.
func TestACookieIsDeletedInEveryFormInWhichItCanHaveCome(t *testing.T) {
	// net/http logs to the standard logger, for each cookie, a domain that it does not accept.
	var logged strings.Builder
	log.SetOutput(&logged)
	defer log.SetOutput(os.Stderr)
	defer func() {
		if logged.Len() > 0 {
			t.Errorf("the standard logger has %q", logged.String())
		}
	}()
	for _, test := range []struct {
		host, publicURL string
		domains         []string
	}{
		{"localhost:3000", "", nil},
		{"refreshd", "", nil},
		{"127.0.0.1:3000", "", nil},
		{"192.0.2.1", "", nil},
		{"[2001:db8::1]:3000", "", nil},
		{"acme.example", "", []string{"acme.example"}},
		{"AUTH.Acme.example:8443", "", []string{"auth.acme.example", "acme.example"}},
		{"auth.acme.co.uk", "", []string{"auth.acme.co.uk", "acme.co.uk", "co.uk"}},
		{"my_auth.acme.example", "", []string{"my_auth.acme.example", "acme.example"}},
		{"auth-.-acme.example", "", []string{"auth-.-acme.example", "-acme.example"}},
		{"127.1", "", nil},
		{"1.2.3.4.5", "", nil},
		{"acme.0x10", "", nil},
		{"acme;x.example", "", nil},
		{"refreshd:3000", "https://auth.acme.example/x", []string{"auth.acme.example", "acme.example"}},
		{"auth.acme.example", "https://auth.acme.example", []string{"auth.acme.example", "acme.example"}},
		{"eu.acme.example", "https://auth.acme.example", []string{"eu.acme.example", "acme.example", "auth.acme.example"}},
		{"x..acme.example", "", []string{"acme.example"}},
		{strings.Repeat("a.", 4000) + "acme.example", "", nil},
		{"", "", nil},
	} {
		s := newService(t)
		s.setPublicURL(t, test.publicURL)
		got := s.do(t, "POST", "/jwt/refresh", host(test.host), cookie("refresh_token", forgedString)).
			want(t, 400, "[invalid]refreshToken")
		t.Run(test.host[:min(len(test.host), 40)], func(t *testing.T) { got.dropsCookies(t, test.domains...) })
		for _, line := range got.header["Set-Cookie"] {
			if len(line) > 100 {
				t.Errorf("a line of %d bytes: %s", len(line), line)
			}
		}
	}
}

// A proxy with a buffer of 4 096 bytes responds with 502 if a response has longer headers. The browser would then keep
// all cookies, and send the same request forever.
func TestWhatDeletesCookiesFitsIntoTheHeadersThatProxiesTake(t *testing.T) {
	s := newService(t)
	const many = "a.b.c.d.acme.example"
	ended := s.issue(t, "cookies", "ada")
	s.do(t, "DELETE", "/jwt/refresh/"+ended.RefreshTokenID, backend).want(t, 200)
	for size, want := range map[int]struct{ kept bool }{0: {true}, 1200: {true}, 1900: {false}, 2400: {false}} {
		g := s.do(t, "POST", "/jwt/issue", backend, body(object{
			"applicationsId": "cookies", "userId": "ada", "claims": object{"a": strings.Repeat("x", size)},
		})).want(t, 200).grant(t)
		b := s.browser(many)
		b.jar.put(many, "refresh_token", g.RefreshToken, "")
		b.jar.put(many, "refresh_token", ended.RefreshToken, "acme.example")
		b.jar.put(many, "access_token", "stale", "")
		got := b.send(t, "POST", "/jwt/refresh").want(t, 200)
		length := 0
		for _, line := range got.header["Set-Cookie"] {
			length += len(line) + len("Set-Cookie: \r\n")
		}
		access := b.jar.values("access_token")
		if length > 3500 || len(b.jar.values("refresh_token")) != 1 || (len(access) == 1) != want.kept || b.jar.has("stale") {
			t.Errorf("claims of %d bytes, an access token of %d: %d bytes of cookies, and the browser keeps %d access tokens",
				size, len(got.grant(t).Token), length, len(access))
		}
		if got.grant(t).Token == "" {
			t.Error("the access token is not in the body")
		}
		// If there is nothing to delete, it is set.
		s.wait(time.Minute)
		if b.send(t, "POST", "/jwt/refresh").want(t, 200); len(b.jar.values("access_token")) != 1 {
			t.Errorf("claims of %d bytes: the next exchange leaves no access token's cookie", size)
		}
	}
}

// The login service forwards the Set-Cookie headers, and need not know names, attributes and lifetimes.
func TestAnIssueSetsTheCookies(t *testing.T) {
	issue := func(s *service, t *testing.T, app string) *answer {
		return s.do(t, "POST", "/jwt/issue", backend, body(object{
			"applicationsId": app, "userId": "ada", "cookies": true, "refreshTokenId": idAt(t, s.clock()),
		}))
	}
	for _, test := range []struct {
		publicURL string
		secure    bool
	}{
		{"https://refreshd.example", true}, {"http://refreshd.example", true}, {"http://127.0.0.1:3000", false},
		{"http://localhost:3000", false}, {"https://localhost", true}, {"", true},
	} {
		s := newService(t)
		s.setPublicURL(t, test.publicURL)
		got := issue(s, t, "cookies").want(t, 200)
		g := got.grant(t)
		for name, want := range map[string]string{"refresh_token": g.RefreshToken, "access_token": g.Token} {
			c := got.cookie[name]
			if c == nil || c.Value != want || want == "" || c.Domain != "acme.example" || !c.HttpOnly || c.Path != "/" ||
				c.SameSite != http.SameSiteLaxMode || c.Secure != test.secure {
				t.Errorf("public URL %s: got %v", test.publicURL, got.header["Set-Cookie"])
			}
		}
		if r, a := got.cookie["refresh_token"], got.cookie["access_token"]; int64(r.MaxAge) != g.RefreshTokenExpiresIn ||
			int64(a.MaxAge) != g.ExpiresIn {
			t.Errorf("got %v, want the remaining lifetimes", got.header["Set-Cookie"])
		}
	}

	s := newService(t)
	before := s.dump(t)
	for _, name := range []string{"", "shop"} {
		s.set(t, "shop", func(settings *domain.Settings) { settings.CookieName = &name })
		before = s.dump(t)
		issue(s, t, "shop").want(t, 400, "[blank]cookieDomain").keepsCookies(t)
	}
	if diff := cmp.Diff(before, s.dump(t)); diff != "" {
		t.Errorf("a session was stored: %s", diff)
	}
	s.set(t, "shop", func(settings *domain.Settings) { settings.CookieHostOnly = new(true) })
	got := issue(s, t, "shop").want(t, 200)
	if c := got.cookie["shop"]; c == nil || c.Domain != "" || got.cookie["shop_access"] == nil {
		t.Errorf("got %v, want cookies without a domain", got.header["Set-Cookie"])
	}
	s.do(t, "POST", "/jwt/issue", backend, body(object{"applicationsId": "cookies", "userId": "ada"})).
		want(t, 200).keepsCookies(t)
	s.do(t, "POST", "/jwt/issue", backend, body(object{"applicationsId": "cookies", "userId": "ada", "cookies": false})).
		want(t, 200).keepsCookies(t)

	// The request is sent again, because its response was lost.
	again := body(object{
		"applicationsId": "cookies", "userId": "ada", "cookies": true, "refreshTokenId": idAt(t, s.clock()),
	})
	first := s.do(t, "POST", "/jwt/issue", backend, again).want(t, 200).header["Set-Cookie"]
	second := s.do(t, "POST", "/jwt/issue", backend, again).want(t, 200).header["Set-Cookie"]
	if !slices.Equal(first, second) {
		t.Errorf("got %v and then %v", first, second)
	}
}

// A request that changes nothing sets and deletes no cookie.
func TestGetAndHeadTouchNoCookie(t *testing.T) {
	s := newService(t)
	g := s.issue(t, "shop", "ada")
	s.do(t, "DELETE", "/jwt/refresh/"+g.RefreshTokenID, backend).want(t, 200)
	own := []option{byCookie(g), cookie("refresh_token", forgedString), header("Sec-Fetch-Site", "same-origin")}
	for _, method := range []string{"GET", "HEAD", "OPTIONS"} {
		for _, target := range []string{
			"/jwt/refresh", "/jwt/refresh?userId=ada", "/jwt/refresh/" + g.RefreshTokenID, "/healthz", "/docs",
		} {
			s.do(t, method, target, own...).keepsCookies(t)
			s.do(t, method, target, append(own, backend)...).keepsCookies(t)
		}
	}
}
