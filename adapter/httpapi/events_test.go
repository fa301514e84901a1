package httpapi_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// An event names its actor, the address, and the request. The actor is an API key with id and name, a user with an
// access token, or a client that presents only a token string.
func TestAnEventSaysWhoDidIt(t *testing.T) {
	h := newHousehold(t)
	const client = "198.51.100.9"
	ofKey := func(name string) domain.Actor {
		k, err := h.store.Store.APIKeyByName(t.Context(), name)
		if err != nil || k.ID.IsZero() {
			t.Fatalf("API key %q: id %s, %v", name, k.ID, err)
		}
		return domain.Actor{Kind: domain.ActorAPIKey, ID: k.ID.String(), Name: name, Address: client}
	}
	apiKey, patching := ofKey("backend"), ofKey("patcher")
	owner := func(g grant) domain.Actor {
		return domain.Actor{Kind: domain.ActorOwner, ID: "ada", Name: g.RefreshTokenID, Address: client}
	}
	nobody := domain.Actor{Kind: domain.ActorClient, Address: client}
	options := func(all ...option) []option { return append(all, from(client+":1")) }
	roles := raw("application/merge-patch+json", `{"roles":["clerk"]}`)
	replay := func(t *testing.T) *answer {
		g := h.issue(t, "shop", "eve")
		current := g.RefreshToken
		for range 2 { // past what a recovery covers
			var next grant
			h.exchange(t, current).want(t, 200).data(t, &next)
			current = next.RefreshToken
			h.wait(time.Hour)
		}
		return h.exchange(t, g.RefreshToken, from(client+":1"))
	}
	one := "/jwt/refresh/"
	for _, tt := range []struct {
		what  string
		send  func(t *testing.T) *answer
		kind  domain.EventKind
		actor domain.Actor
	}{
		{"PATCH of one", func(t *testing.T) *answer {
			return h.do(t, "PATCH", one+h.bobShop.RefreshTokenID, options(patcher, roles)...)
		}, domain.TokenChanged, patching},
		{"PATCH of a user's", func(t *testing.T) *answer {
			return h.do(t, "PATCH", "/jwt/refresh?userId=ada", options(patcher, roles)...)
		}, domain.TokenChanged, patching},
		{"DELETE of one", func(t *testing.T) *answer {
			return h.do(t, "DELETE", one+h.bobShop.RefreshTokenID, options(backend)...)
		}, domain.TokenRevoked, apiKey},
		{"DELETE by POST", func(t *testing.T) *answer {
			return h.do(t, "POST", one+h.bobBlog.RefreshTokenID,
				options(backend, body(object{"tokenId": h.bobBlog.RefreshTokenID}))...)
		}, domain.TokenRevoked, apiKey},
		{"DELETE of all of a user by the user", func(t *testing.T) *answer {
			return h.do(t, "DELETE", "/jwt/refresh?userId=ada&exceptTokenId="+h.adaShop.RefreshTokenID,
				options(h.owner(h.adaShop)...)...)
		}, domain.ManyTokensRevoked, owner(h.adaShop)},
		{"logout by a cookie", func(t *testing.T) *answer {
			g := h.issue(t, "shop", "eve")
			return h.do(t, "DELETE", "/jwt/refresh", options(tenant(aTenant), header("Origin", ourOrigin),
				cookie("refresh_token", g.RefreshToken))...)
		}, domain.TokenRevoked, nobody},
		{"replay", replay, domain.TokenReplayed, nobody},
	} {
		t.Run(tt.what, func(t *testing.T) {
			h.wait(time.Second)
			got := tt.send(t)
			page, err := h.store.Store.Events(t.Context(), port.EventQuery{TenantID: aTenant, Limit: 1, MaxBytes: 1})
			if err != nil || len(page.Events) != 1 {
				t.Fatalf("got %d events, %v, after status %d", len(page.Events), err, got.status)
			}
			e := page.Events[0]
			want := domain.Origin{Actor: tt.actor, RequestID: got.header.Get("X-Request-Id")}
			if d := cmp.Diff(want, e.Origin); d != "" || e.Kind != tt.kind || e.TenantID != aTenant {
				t.Errorf("status %d, the last event is %s of %s (-want +got):\n%s", got.status, e.Kind, e.TenantID, d)
			}
		})
	}
}
