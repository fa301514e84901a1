package httpapi_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/refreshd/refreshd/domain"
)

// A browser tells cookies of one name apart by domain, path and partition, and a login service, or a neighbour, may
// have set ours with any: what stays behind is in conflict with the cookie of each later login.
func TestACookieIsDeletedInEachPathAndPartition(t *testing.T) {
	s := newService(t)
	got := s.do(t, "POST", "/jwt/refresh", host("auth.acme.example"),
		cookie("refresh_token", s.issue(t, "shop", "ada").RefreshToken),
		cookie("refresh_token", s.issue(t, "shop", "bob").RefreshToken)).want(t, 400, "[conflict]refreshToken")
	type form struct {
		Domain, Path string
		Partitioned  bool
	}
	var deleted, want []form
	bytes := 0
	for _, c := range (&http.Response{Header: got.header}).Cookies() {
		bytes += len("Set-Cookie: \r\n") + len(c.Raw)
		if c.Name == "refresh_token" {
			deleted = append(deleted, form{c.Domain, c.Path, c.Partitioned})
		}
		if c.MaxAge != -1 || c.Value != "" || c.Partitioned && !c.Secure {
			t.Errorf("got %s, want a cookie deleted", c.Raw)
		}
	}
	for _, domain := range []string{"", "auth.acme.example", "acme.example"} {
		for _, path := range []string{"/", "/jwt", "/jwt/", "/jwt/refresh"} {
			want = append(want, form{domain, path, false}, form{domain, path, true})
		}
	}
	less := func(a, b form) bool {
		return a.Domain+a.Path < b.Domain+b.Path || a.Domain+a.Path == b.Domain+b.Path && !a.Partitioned && b.Partitioned
	}
	if diff := cmp.Diff(want, deleted, cmpopts.SortSlices(less)); diff != "" {
		t.Errorf("deleted (-want +got):\n%s", diff)
	}
	if bytes > 3500 {
		t.Errorf("%d bytes of Set-Cookie, more than common proxies take", bytes)
	}
}

// The forms of a long host are more than a response's headers have room for. Those that are left out are the ones
// that only a neighbour sets.
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

// Behind a proxy there are two hosts, the request's and that of the public URL. What there is no room for is the access
// token's, and of it the forms of the second host: what is left of it expires soon, and is in conflict with nothing.
func TestTheMostImportantFormsOfTwoLongHostsAreDeleted(t *testing.T) {
	s := newService(t)
	parts := func(letter string) string { return strings.Repeat(strings.Repeat(letter, 60)+".", 3) + "acme.example" }
	s.api.PublicURL = "https://" + parts("b")
	dead := s.issue(t, "cookies", "ada")
	s.do(t, "DELETE", "/jwt/refresh/"+dead.RefreshTokenID, backend).want(t, 200)
	name := strings.Repeat("n", 64)
	refused := s.do(t, "POST", "/jwt/refresh?cookieName="+name, host(parts("a")), cookie(name, dead.RefreshToken))
	refused.want(t, 400, "[revoked]refreshToken")
	s.set(t, "cookies", func(settings *domain.Settings) { settings.CookieName = &name })
	live := s.issue(t, "cookies", "ada")
	renewed := s.do(t, "POST", "/jwt/refresh?cookieName="+name, host(parts("a")), cookie(name, dead.RefreshToken),
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
