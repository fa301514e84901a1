package e2e_test

import (
	"net/http"
	"strings"
	"testing"
)

// cookieOf returns the last cookie of that name. A browser applies all of them in their order: other forms are deleted
// first.
func cookieOf(a answer, name string) (last *http.Cookie) {
	for _, c := range (&http.Response{Header: a.header}).Cookies() {
		if c.Name == name {
			last = c
		}
	}
	return last
}

func TestABrowserKeepsItsTokensInCookies(t *testing.T) {
	const origin = "https://shop.example"
	eachStore(t, func(t *testing.T, d database) {
		s := start(t, d, settings{env: []string{
			"REFRESHD_CORS_ORIGINS=" + origin, loud, "REFRESHD_PUBLIC_URL=http://127.0.0.1:3000",
		}})
		by := func(cookies string, header ...string) call {
			c := call{method: "POST", path: "/jwt/refresh", header: map[string]string{"Cookie": cookies}}
			for i := 0; i < len(header); i += 2 {
				c.header[header[i]] = header[i+1]
			}
			return c
		}
		g := s.issue(t, "alice", "browser")
		a := s.want(t, by("refresh_token="+g.RefreshToken+"; access_token="+g.Token, "Sec-Fetch-Site", "same-origin"),
			http.StatusOK)
		refresh, access := cookieOf(a, "refresh_token"), cookieOf(a, "access_token")
		if refresh == nil || access == nil {
			t.Fatalf("cookies: %q", a.header["Set-Cookie"])
		}
		for _, c := range []*http.Cookie{refresh, access} {
			if !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Secure || c.Domain != "" {
				t.Errorf("cookie %s: HttpOnly %t, SameSite %d, Path %q, Secure %t (on loopback), Domain %q", c.Name, c.HttpOnly,
					c.SameSite, c.Path, c.Secure, c.Domain)
			}
		}
		const aMonth = 30 * 24 * 60 * 60
		if refresh.MaxAge > aMonth || refresh.MaxAge < aMonth-60 || access.MaxAge > 900 || access.MaxAge < 900-60 {
			t.Errorf("Max-Age %d and %d, want the rest of a month and of 15 minutes", refresh.MaxAge, access.MaxAge)
		}
		if strings.Contains(a.body, `"refreshToken":`) {
			t.Errorf("the body of an application with cookieOnly: %s", a.body)
		}
		if generation(refresh.Value) != 2 {
			t.Errorf("generation %d in the cookie, want 2", generation(refresh.Value))
		}
		// For a host name that is not this machine's, cookies are Secure.
		if a := s.want(t, by("refresh_token="+g.RefreshToken, "Host", "auth.example.com"), http.StatusOK); !cookieOf(a,
			"refresh_token").Secure {
			t.Errorf("cookies for auth.example.com: %q", a.header["Set-Cookie"])
		}

		// Another site's page cannot make the browser exchange; a configured one can.
		for _, header := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"},
			{"Origin", "https://evil.example"}, {"Origin", "null"}} {
			if a := s.want(t, by("refresh_token="+refresh.Value, header...), http.StatusBadRequest,
				"[invalid]Origin"); len(a.header["Set-Cookie"]) != 0 {
				t.Errorf("%v: cookies %q", header, a.header["Set-Cookie"])
			}
		}
		a = s.want(t, by("refresh_token="+refresh.Value, "Sec-Fetch-Site", "cross-site", "Origin", origin), http.StatusOK)
		if a.header.Get("Access-Control-Allow-Origin") != origin ||
			a.header.Get("Access-Control-Allow-Credentials") != "true" {
			t.Errorf("CORS: %q, %q", a.header.Get("Access-Control-Allow-Origin"),
				a.header.Get("Access-Control-Allow-Credentials"))
		}
		newest := cookieOf(a, "refresh_token").Value

		// Two cookies of one refresh token: the highest generation counts. Of two: refused.
		if a := s.want(t, by("refresh_token="+g.RefreshToken+"; refresh_token="+newest),
			http.StatusOK); generation(cookieOf(a, "refresh_token").Value) != 4 {
			t.Errorf("two cookies lead to generation %d, want 4", generation(cookieOf(a, "refresh_token").Value))
		}
		other := s.issue(t, "alice", "browser")
		s.want(t, by("refresh_token="+newest+"; refresh_token="+other.RefreshToken), http.StatusBadRequest,
			"[conflict]refreshToken")
		both := by("refresh_token=" + newest)
		both.body = object("refreshToken", other.RefreshToken)
		if a := s.want(t, both, http.StatusOK); len(a.header["Set-Cookie"]) != 0 { // the client's choice alone counts
			t.Errorf("a token string in the body: cookies %q", a.header["Set-Cookie"])
		}

		// A final refusal deletes the cookies.
		s.want(t, acme(call{method: "DELETE", path: "/jwt/refresh/" + g.RefreshTokenID}), http.StatusOK)
		a = s.want(t, by("refresh_token="+newest), http.StatusBadRequest, "[revoked]refreshToken")
		for _, name := range []string{"refresh_token", "access_token"} {
			if c := cookieOf(a, name); c == nil || c.MaxAge >= 0 || c.Value != "" {
				t.Errorf("%s after a refusal: %q", name, a.header["Set-Cookie"])
			}
		}

		preflight := call{method: "OPTIONS", path: "/jwt/refresh",
			header: map[string]string{"Origin": origin, "Access-Control-Request-Method": "POST"}}
		if a := s.want(t, preflight, http.StatusNoContent); a.header.Get("Access-Control-Allow-Origin") != origin {
			t.Errorf("preflight: %v", a.header)
		}
		preflight.header["Origin"] = "https://evil.example"
		if a := s.mustDo(t, preflight); a.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("preflight of another origin: %v", a.header)
		}
	})
}

func TestAForwardedAddressCountsFromATrustedProxyOnly(t *testing.T) {
	eachStore(t, func(t *testing.T, d database) {
		for _, tt := range []struct{ trusted, want, strangers string }{{"127.0.0.0/8,10.0.0.0/8", "198.51.100.7", "1"},
			{"", "127.0.0.1", "0"}} {
			s := start(t, d, settings{env: []string{"REFRESHD_TRUSTED_PROXIES=" + tt.trusted}})
			g := s.issue(t, "alice", "shop")
			exchange := exchangeCall(g.RefreshToken)
			exchange.header = map[string]string{"X-Forwarded-For": "203.0.113.9, 198.51.100.7, 10.1.2.3"}
			s.want(t, exchange, http.StatusOK)
			a := s.want(t, acme(call{method: "GET", path: "/jwt/refresh/" + g.RefreshTokenID}), http.StatusOK)
			if !strings.Contains(a.body, `"lastClientAddress":"`+tt.want+`"`) {
				t.Errorf("trusted %q: %s, want %s", tt.trusted, a.body, tt.want)
			}
			// A copy that is used elsewhere within the grace period gets a response, and is logged.
			exchange.header["X-Forwarded-For"] = "192.0.2.66"
			s.want(t, exchange, http.StatusOK)
			if got := s.metrics()["refreshd_retries_from_other_address_total"]; got != tt.strangers {
				t.Errorf("trusted %q: %s retries from another address, want %s", tt.trusted, got, tt.strangers)
			}
			s.Stop()
		}
	})
}
