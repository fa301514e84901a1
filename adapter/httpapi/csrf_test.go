package httpapi_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fromEvil makes a request one that a page of another site triggers: the browser adds the user's cookies, as far as
// their SameSite allows it.
func fromEvil(_ *service, r *request) {
	r.Header.Set("Origin", "https://evil.example")
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	r.Header.Set("Sec-Fetch-Mode", "no-cors")
}

// A page of another site can send a form, or text, without a preflight (a "simple" request of CORS). Such a request
// with a user's cookies must not change anything, sign a user in, or have a readable response.
func TestAFormOfAnotherSiteDoesNothing(t *testing.T) {
	s := newService(t)
	victim, attacker := s.issue(t, "shop", "ada"), s.issue(t, "shop", "eve")
	simple := map[string]option{
		"nothing":          func(*service, *request) {},
		"an empty form":    raw("application/x-www-form-urlencoded", ""),
		"a form":           form("timeToLiveInSeconds", "60"),
		"JSON as text":     raw("text/plain", `{"timeToLiveInSeconds":60}`),
		"JSON, as no type": raw("", `{}`),
		"JSON in a form":   raw("application/x-www-form-urlencoded", `{"x":"=","userId":"ada"}`),
		"multipart": raw("multipart/form-data; boundary=x",
			"--x\r\nContent-Disposition: form-data; name=\"userId\"\r\n\r\nada\r\n--x--"),
		"a form's selector": form("userId", "ada"),
		"a form's id":       form("tokenId", victim.RefreshTokenID),
		"two types":         raw("text/plain, application/json", `{}`),
	}
	before := s.dump(t)
	for name, send := range simple {
		for _, target := range []string{"/jwt/refresh", "/jwt/refresh/" + victim.RefreshTokenID, "/jwt/issue"} {
			got := s.do(t, "POST", target, fromEvil, byCookie(victim), tenant(aTenant), send).keepsCookies(t)
			if got.status/100 != 4 || got.header.Get("Access-Control-Allow-Origin") != "" || got.outcome() != "" {
				t.Errorf("%s to %s: got %d, outcome %q, %v", name, target, got.status, got.outcome(), got.header)
			}
		}
	}
	for _, target := range []string{"/jwt/refresh?userId=ada", "/jwt/refresh/" + victim.RefreshTokenID} {
		s.do(t, "GET", target, fromEvil, byCookie(victim), tenant(aTenant)).want(t, 401).keepsCookies(t)
		s.do(t, "DELETE", target, fromEvil, byCookie(victim), tenant(aTenant)).want(t, 401).keepsCookies(t)
	}
	if diff := cmp.Diff(before, s.dump(t)); diff != "" {
		t.Errorf("the store changed: %s", diff)
	}

	// It also cannot sign the user in as another user. The response to a token string in a body has the new one in its
	// body, which the page cannot read.
	for _, options := range [][]option{{fromEvil}, {fromEvil, byCookie(victim)}, {fromEvil, byCookie(attacker)}} {
		got := s.do(t, "POST", "/jwt/refresh", append(options, form("refreshToken", attacker.RefreshToken))...).
			want(t, 200).keepsCookies(t)
		if got.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("the page could read it: %v", got.header)
		}
	}
}

// A neighbouring domain can set a cookie of the same name for the whole domain ("tossing"). It can only keep the user
// out while the cookie exists: neither of two sessions is used, and the user's own is not ended.
func TestATossedCookieSignsNobodyIn(t *testing.T) {
	s := newService(t)
	victim, attacker := s.issue(t, "shop", "ada"), s.issue(t, "shop", "eve")
	before := s.dump(t)
	for _, order := range [][]option{{byCookie(victim), byCookie(attacker)}, {byCookie(attacker), byCookie(victim)}} {
		got := s.do(t, "POST", "/jwt/refresh", append(order, header("Sec-Fetch-Site", "same-origin"))...)
		got.want(t, 400, "[conflict]refreshToken").dropsCookies(t, "refreshd.example")
	}
	if diff := cmp.Diff(before, s.dump(t)); diff != "" {
		t.Errorf("the store changed: %s", diff)
	}
	// Token strings that are not genuine are skipped, in any number and order.
	options := []option{header("Sec-Fetch-Site", "same-origin")}
	for range 50 {
		options = append(options, cookie("refresh_token", "rt_"+strings.Repeat("A", 64)))
	}
	s.do(t, "POST", "/jwt/refresh", append(options, byCookie(victim))...).want(t, 200)
}

// The token string is read only from the cookie of the exact name: no other name, case or prefix, no header and no
// query.
func TestATokenStringCountsInItsPlaceOnly(t *testing.T) {
	s := newService(t)
	g := s.issue(t, "shop", "ada")
	before := s.dump(t)
	for name, o := range map[string]option{
		"another case":           cookie("Refresh_Token", g.RefreshToken),
		"a prefix":               cookie("__Host-refresh_token", g.RefreshToken),
		"another name":           cookie("refreshToken", g.RefreshToken),
		"the other cookie":       cookie("access_token", g.RefreshToken),
		"Authorization":          bearer(g.RefreshToken),
		"a header":               header("X-Refresh-Token", g.RefreshToken),
		"the header of the name": header("refresh_token", g.RefreshToken),
		"a name that ends so":    header("Cookie", "x=1; xrefresh_token="+g.RefreshToken),
		"a value of another":     header("Cookie", `x="; refresh_token=`+g.RefreshToken[:10]+`"`),
	} {
		got := s.do(t, "POST", "/jwt/refresh", o, header("Sec-Fetch-Site", "same-origin"))
		if got.status != 400 || got.outcome() == "rotated" {
			t.Errorf("%s: got %d, outcome %q", name, got.status, got.outcome())
		}
	}
	s.do(t, "POST", "/jwt/refresh?refreshToken="+g.RefreshToken).want(t, 400, "[unknown]refreshToken")
	if diff := cmp.Diff(before, s.dump(t)); diff != "" {
		t.Errorf("the store changed: %s", diff)
	}
}

// Only the exact configured origin may read a response to a request with a user's cookies.
func TestNoOtherOriginMayReadAnAnswer(t *testing.T) {
	s := newService(t)
	g := s.issue(t, "shop", "ada")
	for _, origin := range []string{
		"https://evil.example", "null", "", "*", ourOrigin + ".evil.example",
		"https://evil" + strings.TrimPrefix(ourOrigin, "https://"), strings.Replace(ourOrigin, "https", "http", 1),
		strings.ToUpper(ourOrigin), ourOrigin + ":443", ourOrigin + "/", " " + ourOrigin + "x",
		"https://app.acme.example@evil.example", ourOrigin + "\x00", "file://",
	} {
		for _, method := range []string{"OPTIONS", "POST", "GET", "DELETE"} {
			got := s.do(t, method, "/jwt/refresh", header("Origin", origin), header("Access-Control-Request-Method", "POST"),
				byCookie(g)).header
			if got.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%s by %q: got %v", method, origin, got)
			}
		}
	}
}
