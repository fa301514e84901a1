package httpapi_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/adapter/web"
)

func (h *household) owner(g grant) []option { return []option{bearer(g.Token), tenant(aTenant)} }

// A page of the user shows the sessions of the user, and which one is its own.
func TestAnOwnerSeesWhereItIsLoggedIn(t *testing.T) {
	h := newHousehold(t)
	h.do(t, "DELETE", "/jwt/refresh/"+h.adaShop2.RefreshTokenID, backend).want(t, 200)
	mine := h.owner(h.adaShop)
	type entry struct {
		ID, UserID, State string
		Current           bool
	}
	current := entry{h.adaShop.RefreshTokenID, "ada", "active", true}
	other := entry{h.adaBlog.RefreshTokenID, "ada", "active", false}
	for query, want := range map[string][]entry{
		"userId=ada": {other, current}, "usersId=ada&count=true": {other, current},
		"userId=ada&applicationsId=shop": {current}, "userId=ada&applicationsId=blog": {other},
	} {
		var got []entry
		h.do(t, "GET", "/jwt/refresh?"+query, mine...).want(t, 200).data(t, &got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", query, diff)
		}
		h.do(t, "HEAD", "/jwt/refresh?"+query, mine...).want(t, 200)
	}
	first := h.do(t, "GET", "/jwt/refresh?userId=ada&limit=1", mine...).want(t, 200)
	h.do(t, "GET", first.next(t, "/jwt/refresh"), mine...).want(t, 200)
	h.do(t, "GET", first.next(t, "/jwt/refresh"), h.owner(h.bobShop)...).want(t, 401)
	for id, want := range map[string]entry{h.adaShop.RefreshTokenID: current, h.adaBlog.RefreshTokenID: other} {
		var got entry
		if h.do(t, "GET", "/jwt/refresh/"+id, mine...).want(t, 200).data(t, &got); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	h.do(t, "GET", "/jwt/refresh/"+h.adaShop2.RefreshTokenID, mine...).want(t, 404)
}

func TestAnOwnerLogsOutEverywhere(t *testing.T) {
	for name, test := range map[string]struct {
		selector func(*household) object
		living   string
	}{
		"all": {func(*household) object { return object{"userId": "ada"} }, "bs bb foreign"},
		"all but": {func(h *household) object { return object{"userId": "ada", "exceptTokenId": h.adaShop.RefreshTokenID} },
			"as bs bb foreign"},
	} {
		for place, send := range map[string]func(*testing.T, *household, object) *answer{
			"JSON": func(t *testing.T, h *household, o object) *answer {
				return h.do(t, "DELETE", "/jwt/refresh", append(h.owner(h.adaShop), body(o))...)
			},
			"query": func(t *testing.T, h *household, o object) *answer {
				query := "?"
				for name, value := range o {
					query += name + "=" + value.(string) + "&"
				}
				return h.do(t, "DELETE", "/jwt/refresh"+query[:len(query)-1], h.owner(h.adaShop)...)
			},
		} {
			t.Run(name+", "+place, func(t *testing.T) {
				h := newHousehold(t)
				send(t, h, test.selector(h)).want(t, 200)
				if got := h.living(t); got != test.living {
					t.Errorf("got active %q, want %q", got, test.living)
				}
				again := 200
				if name == "all" {
					again = 401
				}
				send(t, h, test.selector(h)).want(t, again)
			})
		}
	}
}

// The end of a session ends its access token here, though resource servers accept it until it expires. Otherwise the
// thief of a session that was ended because of the theft could still log its owner out.
func TestAnAccessTokenOfAnEndedSessionServesNothing(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *household){
		"revoked": func(t *testing.T, h *household) {
			h.do(t, "DELETE", "/jwt/refresh/"+h.adaShop.RefreshTokenID, backend).want(t, 200)
		},
		"revoked with all but another": func(t *testing.T, h *household) {
			h.do(t, "DELETE", "/jwt/refresh?userId=ada&exceptTokenId="+h.adaBlog.RefreshTokenID, backend).want(t, 200)
		},
		"revoked with its application": func(t *testing.T, h *household) {
			h.do(t, "DELETE", "/jwt/refresh?applicationsId=shop", backend).want(t, 200)
		},
		"replayed": func(t *testing.T, h *household) {
			second := h.next(t, h.adaShop.RefreshToken, "rotated")
			h.wait(time.Minute)
			h.next(t, second.RefreshToken, "rotated")
			h.wait(time.Minute)
			h.exchange(t, h.adaShop.RefreshToken).want(t, 400, "[reused]refreshToken")
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHousehold(t)
			mine := h.owner(h.adaShop)
			h.do(t, "GET", "/jwt/refresh?userId=ada", mine...).want(t, 200)
			end(t, h)
			before := h.dump(t)
			h.do(t, "GET", "/jwt/refresh?userId=ada", mine...).want(t, 401)
			h.do(t, "GET", "/jwt/refresh/"+h.adaShop.RefreshTokenID, mine...).want(t, 401)
			h.do(t, "DELETE", "/jwt/refresh/"+h.adaShop.RefreshTokenID, mine...).want(t, 401)
			h.do(t, "DELETE", "/jwt/refresh?userId=ada", mine...).want(t, 401)
			if diff := cmp.Diff(before, h.dump(t)); diff != "" {
				t.Errorf("the store changed: %s", diff)
			}
		})
	}
}

// A credential that anybody can make up costs ten requests of its address, and one that was once genuine costs one. So
// both have a limit, and a page whose session has ended does not count as an attacker.
func TestWhatAnOwnersRequestCosts(t *testing.T) {
	const limit = 10 // so 100 in a burst
	for name, test := range map[string]struct {
		token  func(*household) string
		status int
		times  int
	}{
		"an active one": {func(h *household) string { return h.bobShop.Token }, 401, 100},
		"an ended one":  {func(h *household) string { return h.adaShop.Token }, 401, 100},
		"a made-up one": {func(h *household) string {
			token := h.bobShop.Token
			return token[:len(token)-8] + "AAAAAAAA"
		}, 401, 10},
		"garbage": {func(*household) string { return "a.b.c" }, 401, 10},
	} {
		for _, target := range []string{"GET /jwt/refresh?userId=ada", "GET /jwt/refresh/" + chosenID,
			"DELETE /jwt/refresh?userId=ada"} {
			t.Run(name+", "+target, func(t *testing.T) {
				h := newHousehold(t)
				h.do(t, "DELETE", "/jwt/refresh/"+h.adaShop.RefreshTokenID, backend).want(t, 200)
				h.limit(t, web.RateLimits{Address: limit})
				method, path, _ := strings.Cut(target, " ")
				for range test.times {
					h.do(t, method, path, bearer(test.token(h)), tenant(aTenant)).want(t, test.status)
				}
				h.do(t, method, path, bearer(test.token(h)), tenant(aTenant)).refusedFor(t, "clientAddress")
			})
		}
	}
}
