package httpapi_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/refreshd/refreshd/domain"
)

// A browser distinguishes cookies of one name by domain, path and partition. A login service or a neighbour may have
// set the service's cookie with any of them. One that is not deleted conflicts with the cookie of each later login.
func TestACookieIsDeletedInEachPathAndPartition(t *testing.T) {
	for _, test := range []struct {
		publicURL, target string
		paths             []string
		neighboursOnly    bool // there is no room for the forms without a domain
	}{
		{"", "/jwt/refresh", []string{"/", "/jwt", "/jwt/", "/jwt/refresh"}, false},
		{"", "/jwt/refresh/", []string{"/", "/jwt", "/jwt/", "/jwt/refresh", "/jwt/refresh/"}, false},
		{"https://auth.acme.example/id", "/jwt/refresh",
			[]string{"/", "/id", "/id/", "/id/jwt", "/id/jwt/", "/id/jwt/refresh"}, true},
	} {
		t.Run(test.publicURL+test.target, func(t *testing.T) {
			s := newService(t)
			s.setPublicURL(t, test.publicURL)
			got := s.do(t, "POST", test.target, host("auth.acme.example"),
				cookie("refresh_token", s.issue(t, "shop", "ada").RefreshToken),
				cookie("refresh_token", s.issue(t, "shop", "bob").RefreshToken)).want(t, 400, "[conflict]refreshToken")
			deleted, bytes := map[deletedForm]bool{}, 0
			for _, c := range (&http.Response{Header: got.header}).Cookies() {
				bytes += len("Set-Cookie: \r\n") + len(c.Raw)
				if c.Name == "refresh_token" {
					deleted[deletedForm{c.Domain, c.Path, c.Partitioned}] = true
				}
				if c.MaxAge != -1 || c.Value != "" || c.Partitioned && !c.Secure {
					t.Errorf("got %s, want a cookie deleted", c.Raw)
				}
			}
			domains := []string{"auth.acme.example", "acme.example"}
			if !test.neighboursOnly {
				domains = append(domains, "")
			}
			want := 0
			for _, domain := range domains {
				for _, path := range test.paths {
					for _, partitioned := range []bool{false, true} {
						want++
						if f := (deletedForm{domain, path, partitioned}); !deleted[f] {
							t.Errorf("%+v is not deleted", f)
						}
					}
				}
			}
			if !test.neighboursOnly && len(deleted) != want {
				t.Errorf("%d forms are deleted, want %d", len(deleted), want)
			}
			if bytes > 3500 {
				t.Errorf("%d bytes of Set-Cookie, more than common proxies take", bytes)
			}
		})
	}
}

type deletedForm struct {
	Domain, Path string
	Partitioned  bool
}

// A response has no room for all forms of a host with many parents, or below a path. Each has a random part of them, so
// that each form is deleted by some response. Those that pages use are in each response.
func TestAFewResponsesDeleteEveryFormOfACookie(t *testing.T) {
	const long = "auth.internal.customer-portal.production.eu-central-1.acme.example"
	name := strings.Repeat("n", 64)
	for _, test := range []struct {
		publicURL, host, name string
		responses             int // of which the last leaves out a given form once in a million runs
		domains, paths        []string
	}{
		{"", long, "refresh_token", 60, []string{
			"", long, "internal.customer-portal.production.eu-central-1.acme.example",
			"customer-portal.production.eu-central-1.acme.example", "production.eu-central-1.acme.example",
			"eu-central-1.acme.example", "acme.example",
		}, []string{"/", "/jwt", "/jwt/", "/jwt/refresh"}},
		{"https://auth.acme.example/a/b", "auth.acme.example", "refresh_token", 60,
			[]string{"", "auth.acme.example", "acme.example"}, []string{
				"/", "/a", "/a/", "/a/b", "/a/b/", "/a/b/jwt", "/a/b/jwt/", "/a/b/jwt/refresh",
				"/jwt", "/jwt/", "/jwt/refresh",
			}},
		{"https://b." + long + "/a", "a." + long, name, 600, []string{"", "a." + long, "b." + long, long, "acme.example"},
			[]string{"/", "/a", "/a/", "/a/jwt", "/a/jwt/", "/a/jwt/refresh", "/jwt", "/jwt/", "/jwt/refresh"}},
	} {
		s := newService(t)
		s.setPublicURL(t, test.publicURL)
		deleted := map[deletedForm]int{}
		for range test.responses {
			got := s.do(t, "POST", "/jwt/refresh?cookieName="+test.name, host(test.host), cookie(test.name, forgedString))
			bytes := 0
			for _, c := range (&http.Response{Header: got.header}).Cookies() {
				bytes += len("Set-Cookie: \r\n") + len(c.Raw)
				if c.Name == test.name {
					deleted[deletedForm{c.Domain, c.Path, c.Partitioned}]++
				}
			}
			if bytes > 3500 {
				t.Fatalf("%d bytes of Set-Cookie, more than common proxies take", bytes)
			}
			s.wait(time.Minute) // or the guesses of one address are too many
		}
		for _, domain := range test.domains {
			for _, path := range test.paths {
				for _, partitioned := range []bool{false, true} {
					if f := (deletedForm{domain, path, partitioned}); deleted[f] == 0 {
						t.Errorf("%d responses of %s left %+v", test.responses, test.host, f)
					}
				}
			}
		}
		for _, domain := range []string{"", test.host, "acme.example"} {
			if n := deleted[deletedForm{domain, "/", false}]; n != test.responses {
				t.Errorf("%d of %d responses deleted the cookie of %q at /, want all", n, test.responses, domain)
			}
		}
	}
}

// A client that obeys only the last deletion, as the cookie file of curl 7.88 does, still loses the refresh token. The
// deletion of its cookie, in the form in which the service sets it, comes last.
func TestTheLikeliestFormOfARefreshTokensCookieIsDeletedLast(t *testing.T) {
	s := newService(t)
	for _, method := range []string{"DELETE", "POST"} {
		g := s.issue(t, "shop", "ada")
		s.do(t, "DELETE", "/jwt/refresh?userId=ada", backend).want(t, 200)
		got := s.do(t, method, "/jwt/refresh", host("localhost:3000"), tenant(aTenant),
			header("Sec-Fetch-Site", "same-origin"), cookie("refresh_token", g.RefreshToken))
		lines := got.header["Set-Cookie"]
		if len(lines) < 2 || lines[len(lines)-1] != "refresh_token=; Path=/; Max-Age=0" {
			t.Errorf("%s: got %d and %q, want the refresh token's cookie deleted last", method, got.status, lines)
		}
	}
}

// A long host has more forms than the headers of a response have room for. Those that are omitted are the ones that
// only a neighbour sets.
func TestDeletedCookiesLeaveRoomInTheHeaders(t *testing.T) {
	s := newService(t)
	long := strings.Repeat("a", 60)
	got := s.do(t, "POST", "/jwt/refresh", host(strings.Join([]string{long, long, long, "acme.example"}, ".")),
		cookie("refresh_token", "rt_"+strings.Repeat("A", 64))).want(t, 400, "[invalid]refreshToken")
	bytes, first := 0, map[string]int{}
	for _, line := range got.header["Set-Cookie"] {
		bytes += len("Set-Cookie: \r\n") + len(line)
		if strings.Contains(line, "; Path=/; ") && !strings.Contains(line, "Partitioned") {
			first[strings.SplitN(line, "=", 2)[0]]++
		}
	}
	if bytes > 3500 || first["refresh_token"] < 5 || first["access_token"] < 5 {
		t.Errorf("got %d bytes and %v deleted at Path=/, want at most 3500 bytes and all of those", bytes, first)
	}
}

// Behind a proxy there are two hosts, the request's and that of the public URL. If there is no room, the access token's
// forms of the second host are omitted. Such a cookie expires soon, and conflicts with no other.
func TestTheMostImportantFormsOfTwoLongHostsAreDeleted(t *testing.T) {
	s := newService(t)
	parts := func(letter string) string { return strings.Repeat(strings.Repeat(letter, 60)+".", 3) + "acme.example" }
	s.setPublicURL(t, "https://"+parts("b"))
	ended := s.issue(t, "cookies", "ada")
	s.do(t, "DELETE", "/jwt/refresh/"+ended.RefreshTokenID, backend).want(t, 200)
	name := strings.Repeat("n", 64)
	refused := s.do(t, "POST", "/jwt/refresh?cookieName="+name, host(parts("a")), cookie(name, ended.RefreshToken))
	refused.want(t, 400, "[revoked]refreshToken")
	s.set(t, "cookies", func(settings *domain.Settings) { settings.CookieName = &name })
	live := s.issue(t, "cookies", "ada")
	renewed := s.do(t, "POST", "/jwt/refresh?cookieName="+name, host(parts("a")), cookie(name, ended.RefreshToken),
		cookie(name, live.RefreshToken))
	renewed.want(t, 200)
	for what, got := range map[string]*answer{"refused": refused, "renewed": renewed} {
		bytes, deleted, set := 0, map[string]bool{}, 0
		for _, line := range got.header["Set-Cookie"] {
			bytes += len("Set-Cookie: \r\n") + len(line)
		}
		for _, c := range (&http.Response{Header: got.header}).Cookies() {
			if c.Name == name && c.Path == "/" && !c.Partitioned && c.MaxAge < 0 {
				deleted[c.Domain] = true
			} else if c.Name == name && c.MaxAge > 0 {
				set++
			}
		}
		want := []string{"", parts("a"), parts("b"), strings.Repeat("a", 60) + ".acme.example"}
		for _, d := range want {
			if !deleted[d] {
				t.Errorf("%s: the form with domain %q is not deleted", what, d)
			}
		}
		if bytes > 3500 || (set == 1) != (what == "renewed") {
			t.Errorf("%s: got %d bytes of Set-Cookie, and the cookie set %d times", what, bytes, set)
		}
	}
}

// A name that only the host itself can set has one form, and one partition.
func TestACookieOfAHostOnlyNameHasOnePath(t *testing.T) {
	s := newService(t)
	got := s.do(t, "POST", "/jwt/refresh?cookieName=__Host-refresh", host("auth.acme.example"),
		cookie("__Host-refresh", "rt_"+strings.Repeat("A", 64))).want(t, 400, "[invalid]refreshToken")
	for _, c := range (&http.Response{Header: got.header}).Cookies() {
		if c.Domain != "" || c.Path != "/" || !c.Secure {
			t.Errorf("got %s, which a browser refuses", c.Raw)
		}
	}
}
