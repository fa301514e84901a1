package e2e_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Both tenants have an application shop and a user alice, so that code that forgets the tenant uses the wrong one.
func TestATenantCannotReachAnother(t *testing.T) {
	eachStore(t, func(t *testing.T, d database) {
		s := start(t, d, settings{env: []string{loud}})
		issue := func(user, application string) grant {
			return s.granted(t, rival(call{method: "POST", path: "/jwt/issue",
				body: object("userId", user, "applicationsId", application)}))
		}
		const onlyTheirs = "private"
		theirs := []grant{issue("alice", "shop"), issue("alice", onlyTheirs), issue("zoe", onlyTheirs)}
		b := theirs[0]
		view := func() (all string) {
			for _, path := range []string{"/jwt/refresh?userId=alice", "/jwt/refresh?userId=zoe"} {
				all += pretty(s.want(t, rival(call{method: "GET", path: path}), http.StatusOK).body)
			}
			for _, g := range theirs {
				all += pretty(s.want(t, rival(call{method: "GET", path: "/jwt/refresh/" + g.RefreshTokenID}), http.StatusOK).body)
			}
			return all
		}
		page := s.want(t, rival(call{method: "GET", path: "/jwt/refresh?userId=alice&limit=1"}),
			http.StatusOK).header.Get("Link")
		_, cursor, found := strings.Cut(page, "cursor=")
		cursor, _, _ = strings.Cut(cursor, "&")
		cursor, _, _ = strings.Cut(cursor, ">")
		if !found {
			t.Fatalf("no next page in %q", page)
		}
		before := view()

		const (
			refused = http.StatusUnauthorized
			missing = http.StatusNotFound
			nothing = http.StatusOK
			invalid = http.StatusBadRequest
		)
		byID := "/jwt/refresh/" + b.RefreshTokenID
		calls := []struct {
			call
			want int
			code string
		}{
			{call{method: "GET", path: byID}, missing, ""},
			{call{method: "POST", path: byID}, missing, ""},
			{call{method: "POST", path: "/jwt/refresh", body: object("id", b.RefreshTokenID)}, missing, ""},
			{call{method: "GET", path: "/jwt/refresh?userId=zoe"}, nothing, ""},
			{call{method: "GET", path: "/jwt/refresh?userId=zoe&applicationsId=" + onlyTheirs}, nothing, ""},
			{call{method: "GET", path: "/jwt/refresh?userId=zoe&state=all&count=true"}, nothing, ""},
			{call{method: "GET", path: "/jwt/refresh?state=all&applicationsId=" + onlyTheirs}, nothing, ""},
			{call{method: "GET", path: byID + "?state=all"}, missing, ""},
			{call{method: "GET", path: "/jwt/refresh?userId=alice&limit=1&cursor=" + cursor}, invalid, "[invalid]cursor"},
			{call{method: "POST", path: "/jwt/refresh", body: object("userId", "zoe")}, nothing, ""},
			{call{method: "DELETE", path: byID}, missing, ""},
			{call{method: "DELETE", path: "/jwt/refresh?tokenId=" + b.RefreshTokenID}, missing, ""},
			{call{method: "DELETE", path: "/jwt/refresh", body: object("tokenId", b.RefreshTokenID)}, missing, ""},
			{call{method: "DELETE", path: "/jwt/refresh", body: object("tokenString", b.RefreshToken)}, missing, ""},
			{call{method: "DELETE", path: "/jwt/refresh?tokenString=" + url.QueryEscape(b.RefreshToken)}, missing, ""},
			{call{method: "POST", path: byID, body: object("tokenId", b.RefreshTokenID)}, missing, ""},
			{call{method: "POST", path: "/jwt/refresh", body: object("tokenId", b.RefreshTokenID)}, missing, ""},
			{call{method: "POST", path: "/jwt/refresh", body: object("TokenString", b.RefreshToken)}, missing, ""},
			{call{method: "DELETE", path: "/jwt/refresh?userId=zoe"}, nothing, ""},
			{call{method: "DELETE", path: "/jwt/refresh?userId=alice"}, nothing, ""},
			{call{method: "DELETE", path: "/jwt/refresh", body: object("userId", "zoe", "exceptTokenId", b.RefreshTokenID)},
				missing, ""},
			{call{method: "DELETE", path: "/jwt/refresh?applicationsId=" + onlyTheirs}, missing, ""},
			{call{method: "DELETE", path: "/jwt/refresh?applicationsId=shop"}, nothing, ""},
			{call{method: "DELETE", path: "/jwt/refresh?userId=alice&applicationsId=" + onlyTheirs}, missing, ""},
			{call{method: "POST", path: "/jwt/refresh", body: object("applicationsId", onlyTheirs)}, missing, ""},
			{call{method: "POST", path: "/jwt/refresh", body: object("applicationsId", "shop", "userId", "alice")}, nothing, ""},
			{call{method: "DELETE", path: "/jwt/refresh", body: `{"allInTenant": true}`}, nothing, ""},
			{call{method: "POST", path: "/jwt/issue", body: object("userId", "zoe", "applicationsId", onlyTheirs)}, missing, ""},
			{call{method: "POST", path: "/jwt/issue", body: object("userId", "zoe", "applicationsId", "shop", "refreshTokenId",
				b.RefreshTokenID)}, invalid, "[duplicate]refreshTokenId"},
			{exchangeCall(b.RefreshToken), invalid, "[invalid]refreshToken"},
			{call{method: "POST", path: "/jwt/refresh", body: form("refreshToken", b.RefreshToken), media: asForm}, invalid,
				"[invalid]refreshToken"},
			{call{method: "POST", path: "/jwt/refresh", header: map[string]string{"Cookie": "refresh_token=" + b.RefreshToken}},
				invalid, "[invalid]refreshToken"},
		}
		for _, tt := range calls {
			codes := []string{}
			if tt.code != "" {
				codes = []string{tt.code}
			}
			a := s.want(t, acme(tt.call), tt.want, codes...)
			if strings.Contains(a.body, b.RefreshTokenID) || strings.Contains(a.body, "zoe") && tt.method != "DELETE" {
				t.Errorf("%s %s %s tells: %s", tt.method, tt.path, tt.body, a)
			}
			if tt.method == "GET" && tt.want == nothing && len(a.records(t)) != 0 {
				t.Errorf("%s %s: %s, want nothing", tt.method, tt.path, a)
			}
			s.want(t, as(tt.call, acmeKey, "rival"), refused)
			s.want(t, as(tt.call, acmeKey, "nobody"), refused)
			if tt.path != "/jwt/refresh" || !strings.Contains(tt.body+tt.header["Cookie"], b.RefreshToken) ||
				tt.method == "DELETE" {
				s.want(t, as(tt.call, "", "rival"), refused)
			}
			owner := s.issue(t, "mallory", "quick")
			if tt.method == "DELETE" {
				s.want(t, as(tt.call, "Bearer "+owner.Token, "rival"), refused)
			}
		}
		for _, path := range []string{"/jwt/refresh?userId=zoe", byID} {
			s.want(t, as(call{method: "GET", path: path}, readerKey, "rival"), refused)
			s.want(t, as(call{method: "DELETE", path: path}, readerKey, "acme"), refused)
			s.want(t, as(call{method: "GET", path: path}, expiredKey, "acme"), refused)
		}
		if diff := cmp.Diff(before, view()); diff != "" {
			t.Errorf("tenant rival changed (-before +after):\n%s", diff)
		}
		for _, g := range theirs {
			if next := s.exchange(t, g.RefreshToken); generation(next.RefreshToken) != 2 {
				t.Errorf("generation %d, want 2", generation(next.RefreshToken))
			}
		}
		// A tenant's keys reveal nothing of another tenant's, and sign for no other tenant.
		ours := s.want(t, call{method: "GET", path: "/t/acme/.well-known/jwks.json"}, http.StatusOK).body
		if other := s.want(t, call{method: "GET", path: "/t/rival/.well-known/jwks.json"},
			http.StatusOK).body; other == ours {
			t.Error("two tenants publish the same keys")
		}
		s.want(t, call{method: "GET", path: "/.well-known/jwks.json"}, http.StatusNotFound) // none is the root tenant
		s.want(t, call{method: "GET", path: "/t/nobody/.well-known/jwks.json"}, http.StatusNotFound)
	})
}
