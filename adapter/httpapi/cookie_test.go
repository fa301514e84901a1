package httpapi_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func (a *answer) keepsCookies(t *testing.T) *answer {
	t.Helper()
	if len(a.cookie) > 0 {
		t.Errorf("got %d and cookies %v, want none touched", a.status, a.header["Set-Cookie"])
	}
	return a
}

// dropsCookies checks that the response deletes both cookies at Path=/, without a domain and with each of these.
func (a *answer) dropsCookies(t *testing.T, domains ...string) *answer {
	t.Helper()
	var got, want []string
	for _, c := range (&http.Response{Header: a.header}).Cookies() {
		if c.MaxAge != -1 || c.Value != "" {
			t.Errorf("got %s, want a cookie deleted", c.Raw)
		}
		if c.Path != "/" || c.Partitioned { // TestACookieIsDeletedInEachPathAndPartition
			continue
		}
		got = append(got, c.Name+" "+c.Domain)
	}
	for _, name := range []string{"refresh_token", "access_token"} {
		for _, domain := range append([]string{""}, domains...) {
			want = append(want, name+" "+domain)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got %q deleted, want %q", got, want)
	}
	return a
}

func byCookie(g grant) option {
	return func(s *service, r *request) {
		cookie("refresh_token", g.RefreshToken)(s, r)
		if g.Token != "" {
			cookie("access_token", g.Token)(s, r)
		}
	}
}

func TestAnExchangeByCookieSetsBothAgain(t *testing.T) {
	for _, test := range []struct {
		app, host, domain string
		secure            bool
	}{
		{"shop", "refreshd.example", "", true},
		{"shop", "localhost:3000", "", false},
		{"shop", "LOCALHOST", "", false},
		{"shop", "127.0.0.1:3000", "", false},
		{"shop", "127.8.9.10", "", false},
		{"shop", "[::1]:3000", "", false},
		{"shop", "[::1]", "", false},
		{"shop", "10.0.0.1:3000", "", true},
		{"shop", "localhost.example", "", true},
		{"shop", "127.0.0.1.example:80", "", true},
		{"cookies", "auth.acme.example", "acme.example", true},
	} {
		t.Run(test.app+" "+test.host, func(t *testing.T) {
			s := newService(t)
			g := s.issue(t, test.app, "ada")
			s.wait(time.Minute)
			got := s.do(t, "POST", "/jwt/refresh", byCookie(g), host(test.host)).want(t, 200)
			refresh, access := got.cookie["refresh_token"], got.cookie["access_token"]
			if refresh == nil || access == nil {
				t.Fatalf("got cookies %v, want both", got.header["Set-Cookie"])
			}
			for _, c := range []*http.Cookie{refresh, access} {
				if !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Secure != test.secure ||
					c.Domain != test.domain {
					t.Errorf("got %s, want HttpOnly, SameSite=Lax, Path=/, Secure %t, Domain %q", c.Raw, test.secure, test.domain)
				}
			}
			// Each expires with its token: 30 days from this exchange, and 15 minutes.
			if refresh.MaxAge != 30*24*3600 || access.MaxAge != 900 || !refresh.Expires.IsZero() || !access.Expires.IsZero() {
				t.Errorf("got %s and %s, want Max-Age 2592000 and 900", refresh.Raw, access.Raw)
			}
			if access.Value != got.grant(t).Token {
				t.Errorf("the access cookie is not the access token")
			}
			inBody := got.grant(t).RefreshToken
			if test.app == "cookies" && inBody != "" || test.app != "cookies" && inBody != refresh.Value {
				t.Errorf("got %q in the body, with cookieOnly %t", inBody, test.app == "cookies")
			}
			s.wait(time.Minute)
			s.next(t, refresh.Value, "rotated")
		})
	}
}

// The policy cookieOnly applies to token strings that were sent in a cookie. A device that sends a body can read only
// the body of the response.
func TestCookieOnlyLeavesTheBodyToWhoeverSendsOne(t *testing.T) {
	s := newService(t)
	g := s.issue(t, "cookies", "ada")
	got := s.exchange(t, g.RefreshToken).want(t, 200).keepsCookies(t)
	if got.grant(t).RefreshToken == "" {
		t.Error("got no token string in the body, nor in a cookie")
	}
	// A cookie that another host left does not make it a browser either.
	s.wait(time.Minute)
	got = s.exchange(t, got.grant(t).RefreshToken, cookie("refresh_token", "rt_garbage")).want(t, 200)
	if got.grant(t).RefreshToken == "" {
		t.Error("beside another host's cookie: got no token string in the body")
	}
}

func TestARefusalDeletesTheCookies(t *testing.T) {
	tests := map[string]struct {
		app     string
		prepare func(*testing.T, *service, grant)
		code    string
		keeps   bool
	}{
		"revoked": {"cookies", func(t *testing.T, s *service, g grant) {
			s.do(t, "DELETE", "/jwt/refresh/"+g.RefreshTokenID, backend).want(t, 200)
		}, "[revoked]refreshToken", false},
		"expired": {"short", func(_ *testing.T, s *service, _ grant) { s.wait(time.Hour) }, "[expired]refreshToken", false},
		"replayed": {"blog", func(t *testing.T, s *service, g grant) { s.next(t, g.RefreshToken, "rotated") },
			"[reused]refreshToken", false},
		"inactive": {"cookies", func(t *testing.T, s *service, _ grant) { s.setActive(t, "cookies", false) },
			"[inactive]refreshToken", true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := newService(t)
			g := s.issue(t, test.app, "ada")
			test.prepare(t, s, g)
			got := s.do(t, "POST", "/jwt/refresh", host("auth.acme.example"), byCookie(g)).want(t, 400, test.code)
			if test.keeps {
				got.keepsCookies(t)
				return
			}
			got.dropsCookies(t, "auth.acme.example", "acme.example")
		})
	}
	t.Run("not genuine", func(t *testing.T) {
		newService(t).do(t, "POST", "/jwt/refresh", cookie("refresh_token", forgedString)).
			want(t, 400, "[invalid]refreshToken").dropsCookies(t, "refreshd.example")
	})
	t.Run("another product's", func(t *testing.T) {
		newService(t).do(t, "POST", "/jwt/refresh", cookie("refresh_token", "rt_garbage")).
			want(t, 400, "[invalid]refreshToken").keepsCookies(t)
	})
	t.Run("another tenant's", func(t *testing.T) {
		s := newService(t)
		g := s.issue(t, "shop", "ada")
		s.do(t, "POST", "/jwt/refresh", tenant(bTenant), byCookie(g)).
			want(t, 400, "[invalid]refreshToken").keepsCookies(t)
		s.do(t, "POST", "/jwt/refresh", tenant("no tenant"), byCookie(g)).
			want(t, 400, "[invalid]refreshToken").keepsCookies(t)
	})
	t.Run("a proof is missing", func(t *testing.T) {
		s := newService(t)
		g := s.issue(t, "locked", "ada")
		s.do(t, "POST", "/jwt/refresh", byCookie(g)).want(t, 401).keepsCookies(t)
	})
	t.Run("another session's access token", func(t *testing.T) {
		s := newService(t)
		g := s.issue(t, "shop", "ada")
		s.do(t, "POST", "/jwt/refresh", byCookie(g), body(object{"token": s.issue(t, "shop", "ada").Token})).
			want(t, 400, "[invalid]refreshToken").keepsCookies(t)
	})
	t.Run("a lifetime above the policy's", func(t *testing.T) {
		s := newService(t)
		g := s.issue(t, "shop", "ada")
		s.do(t, "POST", "/jwt/refresh", byCookie(g), body(object{"timeToLiveInSeconds": 86_400})).
			want(t, 400, "[invalid]timeToLiveInSeconds").keepsCookies(t)
	})
	t.Run("the store is down", func(t *testing.T) {
		s := newService(t)
		g := s.issue(t, "shop", "ada")
		s.store.fail = func(string) error { return errStoreDown }
		s.do(t, "POST", "/jwt/refresh", byCookie(g)).want(t, 503).keepsCookies(t)
	})
}

// forgedString has the form of a token string and is not genuine.
var forgedString = "rt_" + strings.Repeat("A", 64)

// Browsers add cookies to requests that other sites trigger. Cookies count only on requests from the service's own
// origin or a configured one.
func TestACookieCountsOnlyFromOurOwnPages(t *testing.T) {
	tests := map[string]struct {
		options []option
		counts  bool
	}{
		"no browser":                 {nil, true},
		"same origin":                {[]option{header("Sec-Fetch-Site", "same-origin")}, true},
		"typed":                      {[]option{header("Sec-Fetch-Site", "none")}, true},
		"same site":                  {[]option{header("Sec-Fetch-Site", "same-site")}, false},
		"cross site":                 {[]option{header("Sec-Fetch-Site", "cross-site")}, false},
		"a word that is yet to come": {[]option{header("Sec-Fetch-Site", "SAME-ORIGIN")}, false},
		"cross site, configured origin": {
			[]option{header("Sec-Fetch-Site", "cross-site"), header("Origin", ourOrigin)}, true},
		"same site, configured origin": {
			[]option{header("Sec-Fetch-Site", "same-site"), header("Origin", ourOrigin)}, true},
		"cross site, other origin": {
			[]option{header("Sec-Fetch-Site", "cross-site"), header("Origin", "https://evil.example")}, false},
		"cross site, a longer origin": {
			[]option{header("Sec-Fetch-Site", "cross-site"), header("Origin", ourOrigin+".evil")}, false},
		"cross site, null origin": {
			[]option{header("Sec-Fetch-Site", "cross-site"), header("Origin", "null")}, false},
		"an old browser, configured origin":         {[]option{header("Origin", ourOrigin)}, true},
		"an old browser, our own origin":            {[]option{header("Origin", "https://refreshd.example")}, true},
		"an old browser, other origin":              {[]option{header("Origin", "https://evil.example")}, false},
		"an old browser, null origin":               {[]option{header("Origin", "null")}, false},
		"an old browser, our own host in the clear": {[]option{header("Origin", "http://refreshd.example")}, false},
		"an old browser, no origin but a host":      {[]option{header("Origin", "refreshd.example")}, false},
		"no host, null origin":                      {[]option{host(""), header("Origin", "null")}, false},
		"no host, an empty origin":                  {[]option{host(""), header("Origin", "")}, false},
		"no host, an origin without one":            {[]option{host(""), header("Origin", "https://")}, false},
		// A page whose policy is to send no referrer sends no origin either.
		"same origin, null origin": {
			[]option{header("Sec-Fetch-Site", "same-origin"), header("Origin", "null")}, true},
		"two origins": {
			[]option{header("Origin", ourOrigin), header("Origin", "https://evil.example")}, false},
		"two sites": {
			[]option{header("Sec-Fetch-Site", "none"), header("Sec-Fetch-Site", "cross-site")}, false},
		"this machine, an old browser": {
			[]option{host("localhost:8080"), header("Origin", "http://localhost:8080")}, true},
		"this machine, another port": {
			[]option{host("localhost:8080"), header("Origin", "http://localhost:8081")}, false},
		"same origin with another port's Origin is moot": {[]option{header("Sec-Fetch-Site", "same-origin"),
			header("Origin", "https://refreshd.example:1")}, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := newService(t)
			g := s.issue(t, "shop", "ada")
			before := s.dump(t)
			got := s.do(t, "POST", "/jwt/refresh", append(test.options, byCookie(g))...)
			if test.counts {
				got.want(t, 200)
				return
			}
			got.want(t, 400, "[invalid]Origin").keepsCookies(t)
			if got.outcome() != "" || !cmp.Equal(before, s.dump(t)) {
				t.Errorf("got outcome %q and perhaps a change of what another site may not touch", got.outcome())
			}
			// The same page with the token string in the body is a client like any other.
			got = s.exchange(t, g.RefreshToken, append(test.options, byCookie(g))...).want(t, 200).keepsCookies(t)
			if got.grant(t).RefreshToken == "" {
				t.Error("got no token string")
			}
		})
	}
}

func TestStringsOfOneRefreshTokenAreOne(t *testing.T) {
	s := newService(t)
	first := s.issue(t, "shop", "ada")
	second := s.next(t, first.RefreshToken, "rotated")
	s.wait(time.Hour) // the first alone would now be a recovery
	for _, pair := range [][]option{
		{cookie("refresh_token", first.RefreshToken), cookie("refresh_token", second.RefreshToken)},
		{cookie("refresh_token", second.RefreshToken), cookie("refresh_token", first.RefreshToken)},
	} {
		got := s.do(t, "POST", "/jwt/refresh", pair...).want(t, 200)
		if got.outcome() != "rotated" && got.outcome() != "retried" {
			t.Errorf("got outcome %q, want the newest of two cookies to count", got.outcome())
		}
	}
}

// A page of a neighbouring domain can set a cookie of the same name. It must not be able to lock a user out.
func TestACookieThatIsNotGenuineIsPassedOverBesideOneThatIs(t *testing.T) {
	s := newService(t)
	g := s.issue(t, "shop", "ada")
	for _, other := range []string{"rt_garbage", forgedString, "garbage"} {
		g = s.do(t, "POST", "/jwt/refresh", cookie("refresh_token", other), byCookie(g)).want(t, 200).grant(t)
		s.wait(time.Minute)
		g = s.do(t, "POST", "/jwt/refresh", byCookie(g), cookie("refresh_token", other)).want(t, 200).grant(t)
		s.wait(time.Minute)
	}
}

// The client chose the token string in the body. Beside it cookies are neither read nor set nor deleted: a page could
// otherwise sign a browser in as somebody else.
func TestAStringInTheBodyCountsAlone(t *testing.T) {
	s := newService(t)
	g := s.issue(t, "cookies", "ada")
	ended := s.issue(t, "cookies", "ada")
	s.do(t, "DELETE", "/jwt/refresh/"+ended.RefreshTokenID, backend).want(t, 200)
	for name, beside := range map[string]option{
		"garbage":       cookie("refresh_token", "garbage"),
		"forgedString":  cookie("refresh_token", forgedString),
		"the same":      byCookie(g),
		"an ended one":  byCookie(ended),
		"another":       byCookie(s.issue(t, "cookies", "eve")),
		"a cookie name": header("Cookie", "refresh_token=x"),
	} {
		s.wait(time.Minute)
		got := s.exchange(t, g.RefreshToken, beside, header("Sec-Fetch-Site", "same-origin")).
			want(t, 200).keepsCookies(t)
		if g = got.grant(t); got.outcome() != "rotated" || g.RefreshToken == "" {
			t.Errorf("beside %s: got %s and %q in the body", name, got.outcome(), g.RefreshToken)
		}
	}
	before := s.dump(t)
	s.exchange(t, "rt_garbage", byCookie(g)).want(t, 400, "[invalid]refreshToken").keepsCookies(t)
	s.exchange(t, forgedString, byCookie(ended)).want(t, 400, "[invalid]refreshToken").keepsCookies(t)
	s.exchange(t, ended.RefreshToken, byCookie(ended)).want(t, 400, "[revoked]refreshToken").keepsCookies(t)
	if diff := cmp.Diff(before, s.dump(t)); diff != "" {
		t.Errorf("the store changed: %s", diff)
	}
}

// Neither of two sessions can be preferred. Both cookies are deleted, so the next login succeeds.
func TestTwoActiveSessionsAreRefusedAndTheirCookiesDeleted(t *testing.T) {
	s := newService(t)
	mine, other := s.issue(t, "shop", "ada"), s.issue(t, "shop", "ada")
	before := s.dump(t)
	s.do(t, "POST", "/jwt/refresh", cookie("refresh_token", mine.RefreshToken),
		cookie("refresh_token", other.RefreshToken)).
		want(t, 400, "[conflict]refreshToken").dropsCookies(t, "refreshd.example")
	if diff := cmp.Diff(before, s.dump(t)); diff != "" {
		t.Errorf("the store changed: %s", diff)
	}
}

// A login that sets only the refresh cookie, or a neighbouring domain, leaves the access cookie of another session
// behind. If it were used as the old access token, it would log the user out.
func TestTheAccessCookieIsNotRead(t *testing.T) {
	s := newService(t)
	mine, other := s.issue(t, "shop", "ada"), s.issue(t, "shop", "ada")
	s.do(t, "POST", "/jwt/refresh", cookie("refresh_token", mine.RefreshToken), cookie("access_token", other.Token)).
		want(t, 200)
}

// nginx sends its own upstream address as the host unless it is configured otherwise.
func TestCookiesAreSecureWhereThePublicURLIs(t *testing.T) {
	s := newService(t)
	s.setPublicURL(t, publicURL)
	g := s.issue(t, "shop", "ada")
	got := s.do(t, "POST", "/jwt/refresh", host("127.0.0.1:3000"), byCookie(g)).want(t, 200)
	if c := got.cookie["refresh_token"]; c == nil || !c.Secure {
		t.Errorf("got %v, want it secure", got.header["Set-Cookie"])
	}
}

// The public URL has the scheme of its host. A page of the same host without TLS, which any attacker on the network can
// forge, is of another origin.
func TestThePublicURLSaysWhatTheOwnOriginIs(t *testing.T) {
	for _, test := range []struct {
		publicURL, host, origin string
		own                     bool
	}{
		{"https://refreshd.example/auth", "refreshd.example", "https://refreshd.example", true},
		{"https://refreshd.example/auth", "refreshd.example", "http://refreshd.example", false},
		{"https://Refreshd.example", "refreshd.example", "https://refreshd.example", true},
		{"http://10.0.0.7:8080", "10.0.0.7:8080", "http://10.0.0.7:8080", true},
		{"http://10.0.0.7:8080", "10.0.0.7:8080", "https://10.0.0.7:8080", false},
		{"http://10.0.0.7:8080", "10.0.0.8:8080", "http://10.0.0.8:8080", false},
		{"https://refreshd.example", "other.example", "https://other.example", true},
		{"https://localhost:8443", "localhost:8443", "http://localhost:8443", false},
		{"", "127.0.0.1:8080", "http://127.0.0.1:8080", true},
	} {
		s := newService(t)
		s.setPublicURL(t, test.publicURL)
		g := s.issue(t, "shop", "ada")
		want := 400
		if test.own {
			want = 200
		}
		got := s.do(t, "POST", "/jwt/refresh", host(test.host), header("Origin", test.origin), byCookie(g))
		if got.status != want {
			t.Errorf("a page of %s, sent to %s, where the public URL is %s: got %d, want %d",
				test.origin, test.host, test.publicURL, got.status, want)
		}
	}
}

// A page of another site must not be able to use a selector, or an exchange beside one, with the user's cookies.
func TestACookieDoesNotCountBesideASelector(t *testing.T) {
	s := newService(t)
	g := s.issue(t, "shop", "ada")
	before := s.dump(t)
	for _, selector := range []object{{"tokenId": g.RefreshTokenID}, {"userId": "ada"}, {"id": g.RefreshTokenID},
		{"applicationsId": "shop"}} {
		s.do(t, "POST", "/jwt/refresh", byCookie(g), body(selector)).want(t, 401).keepsCookies(t)
	}
	s.do(t, "POST", "/jwt/refresh", byCookie(g), backend, body(object{"id": g.RefreshTokenID})).
		want(t, 200).keepsCookies(t)
	if diff := cmp.Diff(before, s.dump(t)); diff != "" {
		t.Errorf("the store changed: %s", diff)
	}
}

// A client that reads the table knows for each code whether to keep the token string.
func TestEachRefusalOfAnExchangeIsInTheTable(t *testing.T) {
	s := newService(t)
	_, table, _ := strings.Cut(string(s.do(t, "GET", "/openapi.yaml").want(t, 200).body), "## When an exchange is refused")
	table, _, _ = strings.Cut(table, "## Retries")
	codes := []string{"[inactive]refreshToken", "[unproved]refreshToken", "[conflict]refreshToken", "[invalid]Origin"}
	for _, reason := range []string{"blank", "invalid", "expired", "revoked", "reused"} {
		codes = append(codes, "["+reason+"]refreshToken")
	}
	for _, code := range codes {
		if !strings.Contains(table, "| `"+code+"` |") {
			t.Errorf("the table has no row for %s", code)
		}
	}
}

func TestPreflightsAreForConfiguredOrigins(t *testing.T) {
	s := newService(t)
	ask := func(origin, headers string) *answer {
		return s.do(t, "OPTIONS", "/jwt/refresh", header("Origin", origin), header("Access-Control-Request-Method", "POST"),
			header("Access-Control-Request-Headers", headers)).want(t, 204)
	}
	// Libraries for tracing add headers to each request of a page. If CORS does not allow them, a browser sends nothing.
	const asked = "baggage, content-type,sentry-trace, traceparent,x-stencil-tenantid"
	got := ask(ourOrigin, asked).header
	if got.Get("Access-Control-Allow-Origin") != ourOrigin || got.Get("Access-Control-Allow-Credentials") != "true" {
		t.Errorf("got %v, want the origin allowed, with credentials", got)
	}
	for name, words := range map[string][]string{
		"Access-Control-Allow-Methods": {"GET", "POST", "DELETE"},
		"Access-Control-Allow-Headers": {asked},
		"Vary":                         {"Origin", "Access-Control-Request-Headers"},
	} {
		all := strings.ToLower(strings.Join(got.Values(name), ","))
		for _, word := range words {
			if !strings.Contains(all, strings.ToLower(word)) {
				t.Errorf("got %s %q, want %s in it", name, all, word)
			}
		}
	}
	if got := ask("https://evil.example", asked).header; got.Get("Access-Control-Allow-Origin") != "" ||
		got.Get("Access-Control-Allow-Headers") != "" {
		t.Errorf("got %v for an origin that is not configured", got)
	}
	// A value that is not a list of names is not sent back.
	const usual = "Authorization,Content-Type,X-Stencil-TenantId,X-Stencil-Tenanid,X-Tenant-Id,X-Request-Id,DPoP,DPoP-Next"
	for _, odd := range []string{"", ",", "a,,b", "a b", "a\x00", "a:b", "a/b", "ü", strings.Repeat("a", 1_025)} {
		if got := ask(ourOrigin, odd).header.Get("Access-Control-Allow-Headers"); got != usual {
			t.Errorf("asked for %.20q: got %q, want the usual ones", odd, got)
		}
	}

	g := s.issue(t, "shop", "ada")
	read := s.exchange(t, g.RefreshToken, header("Origin", ourOrigin)).want(t, 200).header
	if read.Get("Access-Control-Allow-Origin") != ourOrigin ||
		!strings.Contains(read.Get("Access-Control-Expose-Headers"), "Refreshd-Outcome") {
		t.Errorf("got %v, want the page to read the response and its outcome", read)
	}
}

// The response to a retry has the remaining lifetimes. A cookie that outlives its token is sent until a resource server
// refuses it.
func TestCookiesLastAsLongAsTheirTokens(t *testing.T) {
	s := newService(t)
	g := s.issue(t, "shop", "ada")
	ask := func() *answer {
		return s.do(t, "POST", "/jwt/refresh", cookie("refresh_token", g.RefreshToken)).want(t, 200)
	}
	rotated := ask()
	s.wait(20 * time.Second)
	retried := ask()
	for _, a := range []*answer{rotated, retried} {
		g := a.grant(t)
		refresh, access := a.cookie["refresh_token"], a.cookie["access_token"]
		if int64(refresh.MaxAge) != g.RefreshTokenExpiresIn || int64(access.MaxAge) != g.ExpiresIn {
			t.Errorf("%s: got %s and %s, want Max-Age %d and %d", a.outcome(), refresh.Raw, access.Raw, g.RefreshTokenExpiresIn,
				g.ExpiresIn)
		}
	}
	if retried.outcome() != "retried" || retried.cookie["refresh_token"].MaxAge != 30*24*3600-20 ||
		retried.cookie["access_token"].MaxAge != 880 {
		t.Errorf("got %s %v, want 20 seconds less", retried.outcome(), retried.header["Set-Cookie"])
	}
}

// A browser drops a cookie above 4 096 bytes and continues with the old one. An access token of that size is only in
// the body.
func TestAnAccessTokenTooLargeForACookieIsInTheBodyOnly(t *testing.T) {
	s := newService(t)
	issue := func(size int) grant {
		return s.do(t, "POST", "/jwt/issue", backend, body(object{
			"applicationsId": "shop", "userId": "ada", "claims": object{"a": strings.Repeat("x", size)},
		})).want(t, 200).grant(t)
	}
	ask := func(g grant) *answer { return s.do(t, "POST", "/jwt/refresh", byCookie(g)).want(t, 200) }
	// Four bytes of an access token hold three of its claims.
	base := len(ask(issue(0)).cookie["access_token"].String())
	most := (4096 - base) / 4 * 3
	for size, fits := range map[int]bool{0: true, most - 8: true, most + 8: false, 4000: false} {
		got := ask(issue(size))
		refresh, access := got.cookie["refresh_token"], got.cookie["access_token"]
		switch {
		case refresh == nil || refresh.MaxAge <= 0:
			t.Errorf("%d bytes: got %v, want the refresh token's cookie", size, got.header["Set-Cookie"])
		case access == nil:
			t.Errorf("%d bytes: got no cookie for the access token, not even one that deletes an old one", size)
		case fits && (access.Value != got.grant(t).Token || access.MaxAge != 900 || len(access.Raw) > 4096):
			t.Errorf("%d bytes: got Max-Age %d and a cookie of %d bytes, want the access token in it", size, access.MaxAge,
				len(access.Raw))
		case !fits && (access.Value != "" || access.MaxAge != -1 || access.Path != "/"):
			t.Errorf("%d bytes: got %s, want it deleted", size, access.Raw)
		}
	}
}
