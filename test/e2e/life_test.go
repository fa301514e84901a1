package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
)

func TestALifeFromIssueToRevoked(t *testing.T) {
	eachStore(t, func(t *testing.T, d database) {
		s := start(t, d, settings{env: []string{loud}})
		issued := s.granted(t, acme(call{method: "POST", path: "/jwt/issue", body: `{
			"userId": "alice", "applicationsId": "shop",
			"roles": ["admin", "buyer"], "scopes": ["cart:read", "cart:write"],
			"claims": {"plan": "gold", "n": 12345678901234567890},
			"metaData": {"device": {"name": "phone", "type": "MOBILE"}, "data": {"k": 1}}}`}))
		checkAccessToken(t, s, issued, map[string]any{"plan": "gold"})

		first := s.want(t, exchangeCall(issued.RefreshToken), http.StatusOK)
		if got := first.header.Get("Refreshd-Outcome"); got != "rotated" {
			t.Errorf("outcome = %q, want rotated", got)
		}
		if first.header.Get("Cache-Control") != "no-store" {
			t.Errorf("Cache-Control = %q, want no-store", first.header.Get("Cache-Control"))
		}
		again := s.want(t, exchangeCall(issued.RefreshToken), http.StatusOK)
		if again.header.Get("Refreshd-Outcome") != "retried" || again.steady() != first.steady() {
			t.Errorf("retry: %q\n%s\nwant retried\n%s", again.header.Get("Refreshd-Outcome"), again, first)
		}
		exchanged, _ := first.grant()
		if exchanged.RefreshToken == issued.RefreshToken || exchanged.RefreshTokenID != issued.RefreshTokenID {
			t.Errorf("exchanged: id %s, was %s; the same string: %t", exchanged.RefreshTokenID, issued.RefreshTokenID,
				exchanged.RefreshToken == issued.RefreshToken)
		}
		checkAccessToken(t, s, exchanged, map[string]any{"plan": "gold"})

		one := acme(call{method: "GET", path: "/jwt/refresh/" + issued.RefreshTokenID})
		list := acme(call{method: "GET", path: "/jwt/refresh?userId=alice"})
		want := record{ID: issued.RefreshTokenID, TenantID: "acme", ApplicationID: "shop", UserID: "alice", Generation: 2}
		if diff := cmp.Diff(want, s.want(t, one, http.StatusOK).record(t)); diff != "" {
			t.Errorf("retrieved (-want +got):\n%s", diff)
		}
		listed := s.want(t, list, http.StatusOK)
		if diff := cmp.Diff([]record{want}, listed.records(t)); diff != "" {
			t.Errorf("listed (-want +got):\n%s", diff)
		}
		if strings.Contains(listed.body, "rt_") {
			t.Error("the list shows a token string")
		}

		s.want(t, acme(call{method: "DELETE", path: "/jwt/refresh/" + issued.RefreshTokenID}), http.StatusOK)
		s.refused(t, exchanged.RefreshToken, "[revoked]refreshToken")
		s.refused(t, issued.RefreshToken, "[revoked]refreshToken")
		s.want(t, one, http.StatusNotFound)
		if got := s.want(t, list, http.StatusOK).records(t); len(got) != 0 {
			t.Errorf("listed after the revocation: %v", got)
		}
		s.want(t, acme(call{method: "DELETE", path: "/jwt/refresh/" + issued.RefreshTokenID}), http.StatusNotFound)
	})
}

// checkAccessToken verifies g's access token as a resource server does, with only the key set and the issuer.
func checkAccessToken(t *testing.T, s *service, g grant, wantClaims map[string]any) {
	t.Helper()
	set := s.want(t, call{method: "GET", path: "/t/acme/.well-known/jwks.json"}, http.StatusOK)
	keys, err := keyfunc.NewJWKSetJSON(json.RawMessage(set.body))
	if err != nil {
		t.Fatal(err)
	}
	claims := jwt.MapClaims{}
	token, err := jwt.ParseWithClaims(g.Token, claims, keys.Keyfunc, jwt.WithIssuer("https://auth.acme.example"),
		jwt.WithAudience("shop"),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(2*time.Second),
		jwt.WithValidMethods([]string{"ES256"}))
	if err != nil {
		t.Fatalf("the access token does not verify: %v", err)
	}
	if token.Header["typ"] != "at+jwt" {
		t.Errorf("typ = %v, want at+jwt (RFC 9068 section 2.1)", token.Header["typ"])
	}
	for name, want := range map[string]any{
		"sub": "alice", "client_id": "shop", "applicationId": "shop", "sid": g.RefreshTokenID, "tid": "acme",
		"scope": "cart:read cart:write",
	} {
		if claims[name] != want {
			t.Errorf("claim %s = %v, want %v", name, claims[name], want)
		}
	}
	if diff := cmp.Diff([]any{"admin", "buyer"}, claims["roles"]); diff != "" {
		t.Errorf("claim roles (-want +got):\n%s", diff)
	}
	for name, want := range wantClaims {
		if claims[name] != want {
			t.Errorf("claim %s = %v, want %v", name, claims[name], want)
		}
	}
}

// All of these are in one test, because a process for each would take longer than all checks.
func TestEveryWayToRevoke(t *testing.T) {
	eachStore(t, func(t *testing.T, d database) {
		s := start(t, d, settings{env: []string{loud}})
		revoke := func(r call) call {
			if r.method == "" {
				r.method = "DELETE"
			}
			if r.path == "" {
				r.path = "/jwt/refresh"
			}
			return acme(r)
		}
		for name, tt := range map[string]struct {
			revoke func(g grant) call
			// whether alice's first and second in shop, alice's in quick and bob's in shop end
			ends [4]bool
		}{
			"by id in the path": {
				func(g grant) call { return revoke(call{path: "/jwt/refresh/" + g.RefreshTokenID}) },
				[4]bool{true},
			},
			"by id in the query": {
				func(g grant) call { return revoke(call{path: "/jwt/refresh?tokenId=" + g.RefreshTokenID}) },
				[4]bool{true},
			},
			"by id in the body": {
				func(g grant) call { return revoke(call{body: object("tokenId", g.RefreshTokenID)}) },
				[4]bool{true},
			},
			"by id in a form": {
				func(g grant) call { return revoke(call{body: form("tokenId", g.RefreshTokenID), media: asForm}) },
				[4]bool{true},
			},
			"by token string": {
				func(g grant) call { return revoke(call{body: object("tokenString", g.RefreshToken)}) },
				[4]bool{true},
			},
			"by token string, query": {
				func(g grant) call { return revoke(call{path: "/jwt/refresh?tokenString=" + g.RefreshToken}) },
				[4]bool{true},
			},
			"by token string, alias": {
				func(g grant) call { return revoke(call{body: object("TokenString", g.RefreshToken)}) },
				[4]bool{true},
			},
			"by token string, token": {
				func(g grant) call { return revoke(call{body: object("token", g.RefreshToken)}) },
				[4]bool{true},
			},
			"by user": {
				func(grant) call { return revoke(call{path: "/jwt/refresh?userId=alice"}) },
				[4]bool{true, true, true, false},
			},
			"by user, alias": {
				func(grant) call { return revoke(call{body: object("userID", "alice")}) },
				[4]bool{true, true, true, false},
			},
			"by application": {
				func(grant) call { return revoke(call{body: object("applicationsId", "shop")}) },
				[4]bool{true, true, false, true},
			},
			"by application, alias": {
				func(grant) call { return revoke(call{body: object("applicationId", "shop")}) },
				[4]bool{true, true, false, true},
			},
			"by user and application": {
				func(grant) call { return revoke(call{path: "/jwt/refresh?userId=alice&applicationsId=shop"}) },
				[4]bool{true, true, false, false},
			},
			"by user but one": {
				func(g grant) call {
					return revoke(call{body: object("userId", "alice", "exceptTokenId", g.RefreshTokenID)})
				}, [4]bool{false, true, true, false},
			},
			"tenant": {func(grant) call { return revoke(call{body: `{"allInTenant": true}`}) }, [4]bool{true, true, true, true}},
			"POST, id in the path": {
				func(g grant) call {
					return revoke(call{
						method: "POST", path: "/jwt/refresh/" + g.RefreshTokenID, body: object("tokenId", g.RefreshTokenID),
					})
				},
				[4]bool{true},
			},
			"POST, id": {
				func(g grant) call { return revoke(call{method: "POST", body: object("tokenId", g.RefreshTokenID)}) },
				[4]bool{true},
			},
			"POST, token string": {
				func(g grant) call { return revoke(call{method: "POST", body: object("TokenString", g.RefreshToken)}) },
				[4]bool{true},
			},
			"POST, application": {
				func(grant) call { return revoke(call{method: "POST", body: object("applicationsId", "shop")}) },
				[4]bool{true, true, false, true},
			},
			"POST, user and application": {
				func(grant) call {
					return revoke(call{method: "POST", body: object("userId", "alice", "applicationsId", "shop")})
				}, [4]bool{true, true, false, false},
			},
			"POST, user: lists": {
				func(grant) call { return revoke(call{method: "POST", body: object("userId", "alice")}) },
				[4]bool{},
			},
			"POST, id: retrieves": {
				func(g grant) call { return revoke(call{method: "POST", body: object("id", g.RefreshTokenID)}) },
				[4]bool{},
			},
			"POST to id: retrieves": {
				func(g grant) call { return revoke(call{method: "POST", path: "/jwt/refresh/" + g.RefreshTokenID}) },
				[4]bool{},
			},
			"the owner's own": {func(g grant) call {
				return as(revoke(call{path: "/jwt/refresh/" + g.RefreshTokenID}), "Bearer "+g.Token, "acme")
			}, [4]bool{true}},
			"a trailing slash": {
				func(g grant) call { return revoke(call{path: "/jwt/refresh/" + g.RefreshTokenID + "/"}) },
				[4]bool{true},
			},
			"the key as bearer": {func(g grant) call {
				return as(revoke(call{path: "/jwt/refresh/" + g.RefreshTokenID}), "Bearer "+acmeKey, "acme")
			}, [4]bool{true}},
			"the header's other name": {func(g grant) call {
				return call{method: "DELETE", path: "/jwt/refresh/" + g.RefreshTokenID, key: acmeKey,
					header: map[string]string{"x-stencil-tenanid": "acme"}}
			}, [4]bool{true}},
		} {
			t.Run(name, func(t *testing.T) {
				tokens := []grant{s.issue(t, "alice", "shop"), s.issue(t, "alice", "shop"), s.issue(t, "alice", "quick"),
					s.issue(t, "bob", "shop")}
				s.want(t, tt.revoke(tokens[0]), http.StatusOK)
				for i, g := range tokens {
					outcome, _ := s.outcome(t, g.RefreshToken)
					if want := map[bool]string{true: "revoked", false: "rotated"}[tt.ends[i]]; outcome != want {
						t.Errorf("token %d: %s, want %s", i, outcome, want)
					}
				}
				s.want(t, acme(call{method: "DELETE", path: "/jwt/refresh", body: `{"allInTenant": true}`}), http.StatusOK)
			})
		}
		// A user's access token is not a backend's credential.
		mine, other := s.issue(t, "alice", "shop"), s.issue(t, "alice", "shop")
		for _, r := range []call{
			{method: "DELETE", path: "/jwt/refresh/" + other.RefreshTokenID},
			{method: "DELETE", path: "/jwt/refresh?userId=bob"},
			{method: "DELETE", path: "/jwt/refresh?userId=alice&exceptTokenId=" + other.RefreshTokenID},
			{method: "DELETE", path: "/jwt/refresh", body: `{"allInTenant": true}`},
			{method: "GET", path: "/jwt/refresh?userId=bob"},
			{method: "GET", path: "/jwt/refresh?applicationsId=shop"},
			{method: "GET", path: "/jwt/refresh"},
			{method: "POST", path: "/jwt/refresh/" + mine.RefreshTokenID},
		} {
			s.want(t, as(r, "Bearer "+mine.Token, "acme"), http.StatusUnauthorized)
			s.want(t, as(r, "Bearer "+mine.Token, "rival"), http.StatusUnauthorized)
		}
		s.exchange(t, mine.RefreshToken)
		s.exchange(t, other.RefreshToken)
	})
}

func TestPagesOfAListAreTheWholeList(t *testing.T) {
	eachStore(t, func(t *testing.T, d database) {
		s := start(t, d, settings{})
		var want []string
		for i := range 25 {
			want = append(want, s.issue(t, "alice", []string{"shop", "quick"}[i%2]).RefreshTokenID)
		}
		s.issue(t, "bob", "shop")
		for _, limit := range []int{1, 7, 24, 25, 26} {
			var got []string
			for path := fmt.Sprintf("/jwt/refresh?userId=alice&limit=%d", limit); path != ""; {
				a := s.want(t, acme(call{method: "GET", path: path}), http.StatusOK)
				page := a.records(t)
				for _, r := range page {
					got = append(got, r.ID)
				}
				next := a.header.Get("Link")
				if len(page) > limit || len(page) == 0 || next != "" && len(page) != limit {
					t.Fatalf("limit %d: a page of %d, Link %q", limit, len(page), next)
				}
				if path, _ = strings.CutSuffix(strings.TrimPrefix(next, "<"), `>; rel="next"`); path != "" {
					path = "/jwt/refresh" + path // relative to the request's URL
				}
			}
			// Newest first: an id is a UUIDv7, whose text sorts by the time of issue, to the millisecond.
			if !slices.IsSortedFunc(got, func(a, b string) int { return strings.Compare(b, a) }) {
				t.Errorf("limit %d: not newest first: %q", limit, got)
			}
			slices.Sort(got)
			if diff := cmp.Diff(slices.Sorted(slices.Values(want)), got); diff != "" {
				t.Errorf("limit %d (-want +got):\n%s", limit, diff)
			}
		}
	})
}
