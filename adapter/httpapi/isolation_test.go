package httpapi_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A key of one tenant finds and changes nothing of another tenant, whichever tenant the request names. The users and
// applications of the two have the same names here.
func TestATenantsKeyReachesNothingOfAnotherTenant(t *testing.T) {
	h := newHousehold(t)
	foreign := h.foreign
	h.issueAt(t, globex, "shop", "only globex'")
	one := "/jwt/refresh/" + foreign.RefreshTokenID
	_, next := h.page(t, "/jwt/refresh?userId=ada&limit=1")
	seesNothing := func(t *testing.T, got *answer) {
		t.Helper()
		var list []struct {
			ID       string
			TenantID string
		}
		got.data(t, &list)
		for _, entry := range list {
			if entry.ID == foreign.RefreshTokenID || entry.TenantID != aTenant {
				t.Errorf("got %+v of another tenant", entry)
			}
		}
	}
	revokes := []object{
		{"tokenId": foreign.RefreshTokenID}, {"tokenString": foreign.RefreshToken},
		{"userId": "ada", "exceptTokenId": foreign.RefreshTokenID},
	}
	wide := []object{
		{"userId": "only globex'"}, {"userId": "only globex'", "applicationsId": "shop"},
	}
	for _, tenantID := range []string{aTenant, bTenant} {
		named := func(s *service, r *request) { as("everything of acme")(s, r); tenant(tenantID)(s, r) }
		missing, nothing := 404, 200
		if tenantID == bTenant {
			missing, nothing = 401, 401
		}
		before := h.foreigners(t)
		h.do(t, "GET", one, named).want(t, missing)
		h.do(t, "POST", one, named).want(t, missing)
		h.do(t, "DELETE", one, named).want(t, missing)
		h.do(t, "POST", one, named, body(object{"tokenId": foreign.RefreshTokenID})).want(t, missing)
		h.do(t, "POST", "/jwt/refresh", named, body(object{"id": foreign.RefreshTokenID})).want(t, missing)
		for _, selector := range revokes {
			h.do(t, "DELETE", "/jwt/refresh", named, body(selector)).want(t, missing)
			if _, hasExcept := selector["exceptTokenId"]; !hasExcept {
				h.do(t, "POST", "/jwt/refresh", named, body(selector)).want(t, missing)
			}
		}
		for _, selector := range wide {
			h.do(t, "DELETE", "/jwt/refresh", named, body(selector)).want(t, nothing)
		}
		h.do(t, "DELETE", "/jwt/refresh", named, body(object{"applicationsId": "globex only"})).want(t, missing)
		h.do(t, "POST", "/jwt/issue", named, body(object{"applicationsId": "globex only", "userId": "ada"})).want(t, missing)
		if got := h.do(t, "GET", "/jwt/refresh?userId=ada", named).want(t, nothing); nothing == 200 {
			seesNothing(t, got)
		}
		if got := h.do(t, "GET", "/jwt/refresh?userId=only+globex%27", named).want(t, nothing); nothing == 200 &&
			string(got.Data) != "[]" {
			t.Errorf("got %s, want []", got.Data)
		}
		if got := h.do(t, "POST", "/jwt/refresh", named, body(object{"userId": "ada"})).want(t, nothing); nothing == 200 {
			seesNothing(t, got)
		}
		got := h.exchange(t, foreign.RefreshToken, named)
		if tenantID == aTenant {
			got.want(t, 400, "[invalid]refreshToken")
		} else {
			got.want(t, 401)
		}
		if diff := cmp.Diff(before, h.foreigners(t)); diff != "" {
			t.Errorf("naming %s: a token of another tenant changed: %s", tenantID, diff)
		}
	}

	// The widest revocation in one tenant does not change the other tenant. The cursor of a page does not either.
	before := h.foreigners(t)
	h.do(t, "GET", next, globex).want(t, 400, "[invalid]cursor")
	for _, selector := range []object{{"userId": "ada"}, {"applicationsId": "shop"},
		{"userId": "ada", "applicationsId": "shop"}, {"allInTenant": true}} {
		h.do(t, "DELETE", "/jwt/refresh", backend, body(selector)).want(t, 200)
	}
	if diff := cmp.Diff(before, h.foreigners(t)); diff != "" {
		t.Errorf("a token of another tenant changed: %s", diff)
	}
	h.next(t, foreign.RefreshToken, "rotated")
}

// An access token of one tenant verifies under a key of the service, but its owner has no rights in another tenant.
func TestAnAccessTokenOfAnotherTenantServesNothing(t *testing.T) {
	h := newHousehold(t)
	before := h.dump(t)
	for _, id := range []string{h.adaShop.RefreshTokenID, h.foreign.RefreshTokenID} {
		h.do(t, "DELETE", "/jwt/refresh/"+id, bearer(h.foreign.Token), tenant(aTenant)).want(t, 401)
	}
	h.do(t, "POST", "/jwt/refresh", body(object{"refreshToken": h.adaShop.RefreshToken, "token": h.foreign.Token})).
		want(t, 400, "[invalid]refreshToken")
	if diff := cmp.Diff(before, h.dump(t)); diff != "" {
		t.Errorf("the store changed: %s", diff)
	}
}

// foreigners returns the refresh tokens of globex in the store.
func (h *household) foreigners(t *testing.T) dump {
	t.Helper()
	d := h.dump(t)
	var kept dump
	for _, snapshot := range d.Tokens {
		if snapshot.Token.TenantID == bTenant {
			kept.Tokens = append(kept.Tokens, snapshot)
		}
	}
	if len(kept.Tokens) == 0 {
		t.Fatal("got no token of the other tenant")
	}
	return kept
}
