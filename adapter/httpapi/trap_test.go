package httpapi_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// A browser may have two cookies of one name, without a domain and with one: the login service set one and an exchange
// the other, the domain was changed, or a neighbour left one. Whatever their values, no user is kept out for longer
// than one login, useless cookies are deleted, and those of other hosts are kept.
func TestNoPairOfCookiesTrapsAUserForLongerThanOneLogin(t *testing.T) {
	const host = "auth.acme.example"
	states := []string{
		"", "live", "newer", "revoked", "expired", "purged", "inactive", "another tenant's", "another application's",
		"not genuine", "another product's",
	}
	// look returns the session that a cookie counts for, and whether the cookie has to be kept. It does not use the
	// service's own rule.
	look := func(state string, named bool) (session string, stays bool) {
		switch state {
		case "live", "newer":
			return "live", false
		case "inactive", "another application's":
			return state, false
		case "another tenant's":
			if named {
				return "", true
			}
			return state, false
		default:
			return "", state == "another product's"
		}
	}
	for _, form := range []struct{ name, domain string }{{"host only", ""}, {"domain", "acme.example"}} {
		for _, named := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, tenant named %t", form.name, named), func(t *testing.T) {
				s := newService(t)
				s.set(t, "cookies", func(settings *domain.Settings) {
					settings.CookieDomain, settings.CookieHostOnly = &form.domain, new(form.domain == "")
				})
				var options []option
				if named {
					options = append(options, tenant(aTenant))
				}
				values := s.cookieValues(t)
				for _, first := range states {
					for _, second := range states {
						if first == "" && second == "" {
							continue
						}
						t.Run(first+" beside "+second, func(t *testing.T) {
							b := s.browser(host)
							fresh := s.freshValues(t, values)
							sessions, others := map[string]bool{}, []string{}
							for _, one := range []struct{ state, domain string }{{first, ""}, {second, "acme.example"}} {
								if one.state == "" {
									continue
								}
								b.jar.put(host, "refresh_token", fresh[one.state], one.domain)
								session, stays := look(one.state, named)
								if session != "" {
									sessions[session] = true
								}
								if stays {
									others = append(others, one.domain+" "+fresh[one.state])
								}
							}
							if len(sessions) > 1 && sessions["inactive"] { // it counts alone only, and is kept
								delete(sessions, "inactive")
								if first == "inactive" {
									others = append(others, " "+fresh["inactive"])
								}
								if second == "inactive" {
									others = append(others, "acme.example "+fresh["inactive"])
								}
							}
							set := form.domain // by the policy of the session that counts
							switch {
							case sessions["another application's"]:
								set = ""
							case sessions["another tenant's"]:
								set = "acme.example"
							}
							before := b.jar.values("refresh_token")
							got := b.send(t, "POST", "/jwt/refresh", options...)
							after := b.jar.values("refresh_token")
							inactive := len(sessions) == 1 && sessions["inactive"]
							switch {
							case len(sessions) > 1:
								got.want(t, 400, "[conflict]refreshToken")
								if len(after) > 0 {
									t.Errorf("of a conflict the browser keeps %d cookies", len(after))
								}
							case inactive:
								if got.want(t, 400, "[inactive]refreshToken"); !slices.Equal(before, after) {
									t.Error("of an inactive application a cookie was touched")
								}
							case len(sessions) == 1:
								got.want(t, 200)
								if len(before) == 2 && len(others) == 0 && len(after) != 1 {
									t.Errorf("the browser keeps %d of two cookies, want one", len(after))
								}
								for _, other := range others {
									domain, value, _ := strings.Cut(other, " ")
									if domain != set && !slices.Contains(after, value) {
										t.Error("a cookie of another host was deleted")
									}
								}
							case got.status != 400:
								t.Errorf("got %d, want 400", got.status)
							case len(others) > 0 && !slices.Equal(before, after):
								t.Error("a cookie was touched beside one that stays")
							case len(others) == 0 && len(after) > 0:
								t.Errorf("the browser keeps %d cookies that are of no use", len(after))
							}
							logins := 0
							for ; got.status != 200 && logins < 3; logins++ {
								b.login(t, "cookies")
								got = b.send(t, "POST", "/jwt/refresh", options...)
							}
							if got.status != 200 || logins > 1 {
								t.Errorf("after %d logins: got %d %v", logins, got.status, got.codes())
							}
						})
					}
				}
			})
		}
	}
}

// A neighbour chooses domain, path and partition of the cookie that it sets. Each costs the user one login at most.
func TestNoFormOfANeighboursCookieTrapsAUserForLongerThanOneLogin(t *testing.T) {
	for _, test := range []struct {
		prefix, target string
		paths          []string
	}{
		{"", "/jwt/refresh", []string{"/", "/jwt", "/jwt/", "/jwt/refresh"}},
		{"", "/jwt/refresh/", []string{"/", "/jwt", "/jwt/", "/jwt/refresh", "/jwt/refresh/"}},
		{"/id", "/jwt/refresh", []string{"/", "/id", "/id/", "/id/jwt", "/id/jwt/", "/id/jwt/refresh"}},
		{"/id", "/jwt/refresh/", []string{"/id", "/id/jwt/refresh", "/id/jwt/refresh/"}},
	} {
		s := newService(t)
		s.setPublicURL(t, "https://"+acmeHost+test.prefix)
		s.set(t, "cookies", func(settings *domain.Settings) { settings.CookieDomain = new(acmeHost) })
		for _, path := range test.paths {
			for _, partitioned := range []bool{false, true} {
				t.Run(fmt.Sprint(test.prefix+test.target, " ", path, " ", partitioned), func(t *testing.T) {
					b := s.browser(acmeHost)
					b.prefix = test.prefix
					b.jar.cookies = append(b.jar.cookies, kept{
						name: "refresh_token", value: s.issue(t, "cookies", "mallory").RefreshToken,
						domain: "acme.example", path: path, partitioned: partitioned,
					})
					b.login(t, "cookies")
					b.send(t, "POST", test.target).want(t, 400, "[conflict]refreshToken")
					b.wantNoCookies(t)
					b.login(t, "cookies")
					b.send(t, "POST", test.target).want(t, 200)

					// Those of ended sessions keep no user out, and do not accumulate.
					b.jar.cookies = append(b.jar.cookies, kept{
						name: "refresh_token", value: forgedString, domain: "acme.example", path: path, partitioned: partitioned,
					})
					for i := 0; i < 60 && len(b.jar.values("refresh_token")) > 1; i++ {
						b.send(t, "POST", test.target).want(t, 200)
						s.wait(time.Minute)
					}
					if n := len(b.jar.values("refresh_token")); n != 1 || len(b.jar.values("access_token")) != 1 {
						t.Errorf("the browser keeps %d cookies of that name, want one, and one of the access token", n)
					}
				})
			}
		}
	}
}

// cookieValues returns token strings whose state does not depend on the use of others.
func (s *service) cookieValues(t *testing.T) map[string]string {
	t.Helper()
	values := map[string]string{"not genuine": forgedString, "another product's": "s%3Aabcdef.0123456789"}
	end := func(app string) string {
		g := s.issue(t, app, "ada")
		s.do(t, "DELETE", "/jwt/refresh/"+g.RefreshTokenID, backend).want(t, 200)
		return g.RefreshToken
	}
	values["purged"] = end("cookies")
	if _, err := s.store.Store.Stamp(t.Context(), s.clock(), 1000); err != nil {
		t.Fatal(err)
	}
	_, err := s.store.Store.Purge(t.Context(), port.PurgeStep{
		LeaseHolder: "test", Now: s.clock(), LeaseUntil: s.clock().Add(time.Second), EndedBefore: s.clock(),
		Before:       s.clock().Add(2 * time.Hour), // no resource server needs the fact any more
		MaxClockSkew: time.Hour, Limit: 1000,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.exchange(t, values["purged"]).want(t, 400, "[invalid]refreshToken")
	values["expired"] = s.issue(t, "short", "ada").RefreshToken
	values["inactive"] = s.issue(t, "kiosk", "ada").RefreshToken
	s.setActive(t, "kiosk", false)
	s.wait(time.Hour)
	values["revoked"] = end("cookies")
	return values
}

// freshValues returns these and those of sessions that an exchange rotates.
func (s *service) freshValues(t *testing.T, values map[string]string) map[string]string {
	t.Helper()
	fresh := map[string]string{}
	for state, value := range values {
		fresh[state] = value
	}
	fresh["live"] = s.issue(t, "cookies", "ada").RefreshToken
	fresh["newer"] = s.next(t, fresh["live"], "rotated").RefreshToken
	fresh["another application's"] = s.issue(t, "shop", "ada").RefreshToken
	fresh["another tenant's"] = s.issueAt(t, globex, "cookies", "ada").RefreshToken
	return fresh
}
