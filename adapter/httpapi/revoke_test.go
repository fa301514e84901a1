package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A household has refresh tokens of two users in two applications of acme, and one of globex.
type household struct {
	*service
	adaShop, adaShop2, adaBlog, bobShop, bobBlog, foreign grant
}

func newHousehold(t *testing.T) *household {
	t.Helper()
	h := &household{service: newService(t)}
	for _, one := range []struct {
		to        *grant
		app, user string
	}{
		{&h.adaShop, "shop", "ada"}, {&h.adaShop2, "shop", "ada"}, {&h.adaBlog, "blog", "ada"}, {&h.bobShop, "shop", "bob"},
		{&h.bobBlog, "blog", "bob"},
	} {
		*one.to = h.issue(t, one.app, one.user)
		h.wait(time.Millisecond)
	}
	h.foreign = h.issueAt(t, globex, "shop", "ada")
	return h
}

// living returns the names of the active refresh tokens of acme and globex.
func (h *household) living(t *testing.T) string {
	t.Helper()
	var names []string
	for _, one := range []struct {
		name string
		grant
	}{{"as", h.adaShop}, {"as2", h.adaShop2}, {"ab", h.adaBlog}, {"bs", h.bobShop}, {"bb", h.bobBlog}} {
		if h.alive(t, one.RefreshTokenID) {
			names = append(names, one.name)
		}
	}
	if h.do(t, "GET", "/jwt/refresh/"+h.foreign.RefreshTokenID, globex).status == 200 {
		names = append(names, "foreign")
	}
	return strings.Join(names, " ")
}

const everyone = "as as2 ab bs bb foreign"

func TestASelectorRevokesWhatItSaysAndNoMore(t *testing.T) {
	type pairs = map[string]string
	tests := map[string]struct {
		selector func(*household) pairs
		living   string
		data     func(h *household, before int64) string
	}{
		"tokenId": {
			func(h *household) pairs { return pairs{"tokenId": h.adaShop.RefreshTokenID} }, "as2 ab bs bb foreign",
			func(h *household, _ int64) string { return `{"tokenId":"` + h.adaShop.RefreshTokenID + `"}` },
		},
		"tokenString": {
			func(h *household) pairs { return pairs{"tokenString": h.adaShop.RefreshToken} }, "as2 ab bs bb foreign",
			func(h *household, _ int64) string { return `{"tokenId":"` + h.adaShop.RefreshTokenID + `"}` },
		},
		"userId": {
			func(*household) pairs { return pairs{"userId": "ada"} }, "bs bb foreign",
			func(_ *household, at int64) string { return fmt.Sprintf(`{"userId":"ada","revokedBefore":%d}`, at) },
		},
		"applicationsId": {
			func(*household) pairs { return pairs{"applicationsId": "shop"} }, "ab bb foreign",
			func(_ *household, at int64) string {
				return fmt.Sprintf(`{"applicationsId":"shop","revokedBefore":%d}`, at)
			},
		},
		"userId and applicationsId": {
			func(*household) pairs { return pairs{"userId": "ada", "applicationsId": "shop"} }, "ab bs bb foreign",
			func(_ *household, at int64) string {
				return fmt.Sprintf(`{"userId":"ada","applicationsId":"shop","revokedBefore":%d}`, at)
			},
		},
		"allInTenant": {
			func(*household) pairs { return pairs{"allInTenant": "true"} }, "foreign",
			func(_ *household, at int64) string { return fmt.Sprintf(`{"allInTenant":true,"revokedBefore":%d}`, at) },
		},
		"userId and exceptTokenId": {
			func(h *household) pairs { return pairs{"userId": "ada", "exceptTokenId": h.adaBlog.RefreshTokenID} },
			"ab bs bb foreign",
			func(h *household, at int64) string {
				return fmt.Sprintf(`{"userId":"ada","exceptTokenId":%q,"revokedBefore":%d}`, h.adaBlog.RefreshTokenID, at)
			},
		},
		"a user without tokens": {
			func(*household) pairs { return pairs{"userId": "nobody"} }, everyone,
			func(_ *household, at int64) string { return fmt.Sprintf(`{"userId":"nobody","revokedBefore":%d}`, at) },
		},
	}
	places := map[string]func(*testing.T, *household, pairs) *answer{
		"query": func(t *testing.T, h *household, p pairs) *answer {
			q := url.Values{}
			for name, value := range p {
				q.Set(name, value)
			}
			return h.do(t, "DELETE", "/jwt/refresh?"+q.Encode(), backend)
		},
		"JSON": func(t *testing.T, h *household, p pairs) *answer {
			o := object{}
			for name, value := range p {
				o[name] = value
				if name == "allInTenant" {
					o[name] = true
				}
			}
			return h.do(t, "DELETE", "/jwt/refresh", backend, body(o))
		},
		"form": func(t *testing.T, h *household, p pairs) *answer {
			var list []string
			for name, value := range p {
				list = append(list, name, value)
			}
			return h.do(t, "DELETE", "/jwt/refresh", backend, form(list...))
		},
	}
	for name, test := range tests {
		for place, send := range places {
			t.Run(name+", "+place, func(t *testing.T) {
				h := newHousehold(t)
				got := send(t, h, test.selector(h)).want(t, 200)
				if want := test.data(h, h.clock().UnixMilli()); string(got.Data) != want {
					t.Errorf("got data %s, want %s", got.Data, want)
				}
				if living := h.living(t); living != test.living {
					t.Errorf("got active %q, want %q", living, test.living)
				}
				for _, g := range []grant{h.adaShop, h.adaShop2, h.adaBlog, h.bobShop, h.bobBlog} {
					want := 400
					if h.alive(t, g.RefreshTokenID) {
						want = 200
					}
					if status := h.exchange(t, g.RefreshToken).status; status != want {
						t.Errorf("an exchange afterwards: got %d, want %d", status, want)
					}
				}
				h.next(t, h.issue(t, "shop", "ada").RefreshToken, "rotated") // what is issued later is not hit
			})
		}
	}
}

func TestRevokingOneByItsPath(t *testing.T) {
	h := newHousehold(t)
	path := "/jwt/refresh/" + h.adaShop.RefreshTokenID
	if got := h.do(t, "DELETE", path, backend).
		want(t, 200); string(got.Data) != `{"tokenId":"`+h.adaShop.RefreshTokenID+`"}` {
		t.Errorf("got data %s", got.Data)
	}
	if got := h.living(t); got != "as2 ab bs bb foreign" {
		t.Errorf("got active %q", got)
	}
	h.do(t, "DELETE", path, backend).want(t, 404) // already revoked
}

func TestAnyGenuineTokenStringNamesItsRefreshToken(t *testing.T) {
	h := newHousehold(t)
	second := h.next(t, h.adaShop.RefreshToken, "rotated")
	h.wait(time.Minute)
	h.next(t, second.RefreshToken, "rotated")
	h.wait(time.Hour)
	h.do(t, "DELETE", "/jwt/refresh", backend, body(object{"tokenString": h.adaShop.RefreshToken})).want(t, 200)
	if h.alive(t, h.adaShop.RefreshTokenID) {
		t.Error("the refresh token is active")
	}
}

func TestRevokeTakesTheOtherNames(t *testing.T) {
	for name, selector := range map[string]func(*household) object{
		"token":                    func(h *household) object { return object{"token": h.adaShop.RefreshToken} },
		"TokenString":              func(h *household) object { return object{"TokenString": h.adaShop.RefreshToken} },
		"userID and applicationId": func(*household) object { return object{"userID": "ada", "applicationId": "shop"} },
		"usersId":                  func(*household) object { return object{"usersId": "ada"} },
		"applicationId":            func(*household) object { return object{"applicationId": "shop"} },
	} {
		t.Run(name, func(t *testing.T) {
			h, other := newHousehold(t), newHousehold(t)
			h.do(t, "DELETE", "/jwt/refresh", backend, body(selector(h))).want(t, 200)
			if h.alive(t, h.adaShop.RefreshTokenID) {
				t.Error("the refresh token is active")
			}
			q := url.Values{}
			for name, value := range selector(other) {
				q.Set(name, value.(string))
			}
			other.do(t, "DELETE", "/jwt/refresh?"+q.Encode(), backend).want(t, 200)
			if other.alive(t, other.adaShop.RefreshTokenID) {
				t.Error("by query: the refresh token is active")
			}
		})
	}
}

func TestWhatIsNotThereCannotBeRevoked(t *testing.T) {
	h := newHousehold(t)
	gone := h.issue(t, "shop", "cy")
	h.do(t, "DELETE", "/jwt/refresh/"+gone.RefreshTokenID, backend).want(t, 200)
	before := h.dump(t)
	for name, selector := range map[string]object{
		"unknown id":                     {"tokenId": chosenID},
		"an id that can be none":         {"tokenId": "7"},
		"revoked already":                {"tokenId": gone.RefreshTokenID},
		"a string of what was revoked":   {"tokenString": gone.RefreshToken},
		"a forged string":                {"tokenString": "rt_" + strings.Repeat("A", 64)},
		"an access token":                {"token": gone.Token},
		"unknown application":            {"applicationsId": "nothing"},
		"user in an unknown application": {"userId": "ada", "applicationsId": "nothing"},
		"spare one that is unknown":      {"userId": "ada", "exceptTokenId": chosenID},
		"spare one of another user":      {"userId": "ada", "exceptTokenId": h.bobBlog.RefreshTokenID},
		"spare one that is revoked":      {"userId": "cy", "exceptTokenId": gone.RefreshTokenID},
		"spare one that can be none":     {"userId": "ada", "exceptTokenId": "7"},
	} {
		if got := h.do(t, "DELETE", "/jwt/refresh", backend, body(selector)); got.status != 404 {
			t.Errorf("%s: got %d %s, want 404", name, got.status, got.body)
		}
	}
	if diff := cmp.Diff(before, h.dump(t)); diff != "" {
		t.Errorf("the store changed: %s", diff)
	}
}

// A request has one selector. A client that sends two may mean either, and a wrong revocation cannot be undone.
func TestASelectorIsInOnePlaceOnly(t *testing.T) {
	h := newHousehold(t)
	path, id := "/jwt/refresh/"+h.adaShop.RefreshTokenID, h.adaShop.RefreshTokenID
	before := h.dump(t)
	for _, test := range []struct {
		target string
		body   option
	}{
		{path, body(object{"tokenId": id})},
		{path, body(object{"userId": "ada"})},
		{path, body(object{"tokenString": h.adaShop.RefreshToken})},
		{path, text(`{}`)},
		{path, form("tokenId", id)},
		{path + "?tokenId=" + id, nil},
		{path + "?userId=ada", nil},
		{"/jwt/refresh?tokenId=" + id, body(object{"tokenId": id})},
		{"/jwt/refresh?userId=ada", body(object{"applicationsId": "shop"})},
		{"/jwt/refresh?userId=ada", text(`{}`)},
		{"/jwt/refresh?allInTenant=true", body(object{"userId": "ada"})},
	} {
		options := []option{backend}
		if test.body != nil {
			options = append(options, test.body)
		}
		h.do(t, "DELETE", test.target, options...).want(t, 400, "[conflict]")
	}
	if diff := cmp.Diff(before, h.dump(t)); diff != "" {
		t.Errorf("the store changed: %s", diff)
	}
}

func TestAnOwnersAccessTokenServesForItsOwn(t *testing.T) {
	own := func(h *household) []option { return []option{bearer(h.adaShop.Token), tenant(aTenant)} }
	for name, revoke := range map[string]func(*testing.T, *household) *answer{
		"path": func(t *testing.T, h *household) *answer {
			return h.do(t, "DELETE", "/jwt/refresh/"+h.adaShop.RefreshTokenID, own(h)...)
		},
		"query": func(t *testing.T, h *household) *answer {
			return h.do(t, "DELETE", "/jwt/refresh?tokenId="+h.adaShop.RefreshTokenID, own(h)...)
		},
		"body": func(t *testing.T, h *household) *answer {
			return h.do(t, "DELETE", "/jwt/refresh", append(own(h), body(object{"tokenId": h.adaShop.RefreshTokenID}))...)
		},
		"token string": func(t *testing.T, h *household) *answer {
			return h.do(t, "DELETE", "/jwt/refresh", append(own(h), body(object{"tokenString": h.adaShop.RefreshToken}))...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHousehold(t)
			revoke(t, h).want(t, 200)
			if got := h.living(t); got != "as2 ab bs bb foreign" {
				t.Errorf("got active %q", got)
			}
			revoke(t, h).want(t, 401) // its session has ended
		})
	}
}

func TestAnOwnersAccessTokenServesForNothingElse(t *testing.T) {
	h := newHousehold(t)
	token := h.adaShop.Token
	forged := token[:len(token)-8] + "AAAAAAAA"
	before := h.dump(t)
	for name, test := range map[string]struct {
		method, target string
		options        []option
		status         int
	}{
		"another of the same user": {"DELETE", "/jwt/refresh/" + h.adaShop2.RefreshTokenID,
			[]option{bearer(token), tenant(aTenant)}, 401},
		"another user's": {"DELETE", "/jwt/refresh/" + h.bobShop.RefreshTokenID,
			[]option{bearer(token), tenant(aTenant)}, 401},
		"an unknown one": {"DELETE", "/jwt/refresh/" + chosenID, []option{bearer(token), tenant(aTenant)}, 401},
		"another's token string": {"DELETE", "/jwt/refresh",
			[]option{bearer(token), tenant(aTenant), body(object{"tokenString": h.bobShop.RefreshToken})}, 401},
		"all of another user": {"DELETE", "/jwt/refresh",
			[]option{bearer(token), tenant(aTenant), body(object{"userId": "bob"})}, 401},
		"all but another": {"DELETE", "/jwt/refresh",
			[]option{bearer(token), tenant(aTenant),
				body(object{"userId": "ada", "exceptTokenId": h.adaShop2.RefreshTokenID})}, 401},
		"another user's but itself": {"DELETE", "/jwt/refresh",
			[]option{bearer(token), tenant(aTenant),
				body(object{"userId": "bob", "exceptTokenId": h.adaShop.RefreshTokenID})}, 401},
		"its user in an application": {"DELETE", "/jwt/refresh?userId=ada&applicationsId=shop",
			[]option{bearer(token), tenant(aTenant)}, 401},
		"its application": {"DELETE", "/jwt/refresh?applicationsId=shop",
			[]option{bearer(token), tenant(aTenant)}, 401},
		"nothing": {"DELETE", "/jwt/refresh", []option{bearer(token), tenant(aTenant)}, 400},
		"all of itself, by Basic": {"DELETE", "/jwt/refresh?userId=ada",
			[]option{header("Authorization", basic(token+":")), tenant(aTenant)}, 401},
		"a list, by Basic": {"GET", "/jwt/refresh?userId=ada",
			[]option{header("Authorization", "Basic "+token), tenant(aTenant)}, 401},
		"everything": {"DELETE", "/jwt/refresh",
			[]option{bearer(token), tenant(aTenant), body(object{"allInTenant": true})}, 401},
		"itself, another tenant": {"DELETE", "/jwt/refresh/" + h.adaShop.RefreshTokenID,
			[]option{bearer(token), tenant(bTenant)}, 401},
		"itself, no tenant": {"DELETE", "/jwt/refresh/" + h.adaShop.RefreshTokenID, []option{bearer(token)}, 400},
		"a forged one": {"DELETE", "/jwt/refresh/" + h.adaShop.RefreshTokenID,
			[]option{bearer(forged), tenant(aTenant)}, 401},
		"the other tenant's": {"DELETE", "/jwt/refresh/" + h.foreign.RefreshTokenID,
			[]option{bearer(token), tenant(bTenant)}, 401},
		"the token string as proof": {"DELETE", "/jwt/refresh/" + h.adaShop.RefreshTokenID,
			[]option{bearer(h.adaShop.RefreshToken), tenant(aTenant)}, 401},
		"retrieve another user's": {"GET", "/jwt/refresh/" + h.bobShop.RefreshTokenID,
			[]option{bearer(token), tenant(aTenant)}, 401},
		"retrieve an unknown one": {"GET", "/jwt/refresh/" + chosenID, []option{bearer(token), tenant(aTenant)}, 401},
		"retrieve another tenant's": {"GET", "/jwt/refresh/" + h.foreign.RefreshTokenID,
			[]option{bearer(token), tenant(aTenant)}, 401},
		"retrieve in any state": {"GET", "/jwt/refresh/" + h.adaShop.RefreshTokenID + "?state=all",
			[]option{bearer(token), tenant(aTenant)}, 400},
		"list another user": {"GET", "/jwt/refresh?userId=bob", []option{bearer(token), tenant(aTenant)}, 401},
		"list an application": {"GET", "/jwt/refresh?applicationsId=shop",
			[]option{bearer(token), tenant(aTenant)}, 401},
		"list the tenant": {"GET", "/jwt/refresh", []option{bearer(token), tenant(aTenant)}, 401},
		"list ended ones": {"GET", "/jwt/refresh?userId=ada&state=ended",
			[]option{bearer(token), tenant(aTenant)}, 400},
		"list, another tenant": {"GET", "/jwt/refresh?userId=ada", []option{bearer(token), tenant(bTenant)}, 401},
		"list by POST": {"POST", "/jwt/refresh",
			[]option{bearer(token), tenant(aTenant), body(object{"userId": "ada"})}, 401},
		"issue": {"POST", "/jwt/issue",
			[]option{bearer(token), tenant(aTenant), body(object{"userId": "ada", "applicationsId": "shop"})}, 401},
		"revoke by POST": {"POST", "/jwt/refresh/" + h.adaShop.RefreshTokenID,
			[]option{bearer(token), tenant(aTenant), body(object{"tokenId": h.adaShop.RefreshTokenID})}, 401},
		"revoke by POST, in a body": {"POST", "/jwt/refresh",
			[]option{bearer(token), tenant(aTenant), body(object{"tokenId": h.adaShop.RefreshTokenID})}, 401},
		"retrieve by POST": {"POST", "/jwt/refresh/" + h.adaShop.RefreshTokenID,
			[]option{bearer(token), tenant(aTenant)}, 401},
	} {
		got := h.do(t, test.method, test.target, test.options...)
		if got.status != test.status {
			t.Errorf("%s: got %d %s, want %d", name, got.status, got.body, test.status)
		}
	}
	h.wait(15 * time.Minute) // it has expired
	h.do(t, "DELETE", "/jwt/refresh/"+h.adaShop.RefreshTokenID, bearer(token), tenant(aTenant)).want(t, 401)
	if diff := cmp.Diff(before, h.dump(t)); diff != "" {
		t.Errorf("the store changed: %s", diff)
	}
}

func TestPOSTFormsRevokeWhatTheySay(t *testing.T) {
	for name, test := range map[string]struct {
		target func(*household) string
		body   func(*household) object
		living string
	}{
		"tokenId": {nil, func(h *household) object { return object{"tokenId": h.adaShop.RefreshTokenID} },
			"as2 ab bs bb foreign"},
		"TokenString": {nil, func(h *household) object { return object{"TokenString": h.adaShop.RefreshToken} },
			"as2 ab bs bb foreign"},
		"tokenString": {nil, func(h *household) object { return object{"tokenString": h.adaShop.RefreshToken} },
			"as2 ab bs bb foreign"},
		"applicationsId": {nil, func(*household) object { return object{"applicationsId": "shop"} },
			"ab bb foreign"},
		"userId and applicationsId": {nil, func(*household) object {
			return object{"userId": "ada", "applicationsId": "shop"}
		}, "ab bs bb foreign"},
		"usersId and applicationId": {nil, func(*household) object {
			return object{"usersId": "ada", "applicationId": "shop"}
		}, "ab bs bb foreign"},
		"path and tokenId": {
			func(h *household) string { return "/" + h.adaShop.RefreshTokenID },
			func(h *household) object { return object{"tokenId": h.adaShop.RefreshTokenID} }, "as2 ab bs bb foreign",
		},
	} {
		for _, mediaType := range []string{"JSON", "form"} {
			t.Run(name+", "+mediaType, func(t *testing.T) {
				h := newHousehold(t)
				target := "/jwt/refresh"
				if test.target != nil {
					target += test.target(h)
				}
				content := body(test.body(h))
				if mediaType == "form" {
					var pairs []string
					for name, value := range test.body(h) {
						pairs = append(pairs, name, value.(string))
					}
					content = form(pairs...)
				}
				// Each needs the permission for the method that it replaces.
				for _, key := range []string{"reader", "exchanger", "issuer", "powerless", "expired"} {
					h.do(t, "POST", target, as(key), tenant(aTenant), content).want(t, 401)
				}
				if got := h.living(t); got != everyone {
					t.Fatalf("without the permission: got active %q", got)
				}
				h.do(t, "POST", target, as("revoker"), tenant(aTenant), content).want(t, 200)
				if got := h.living(t); got != test.living {
					t.Errorf("got active %q, want %q", got, test.living)
				}
			})
		}
	}
}

func TestPOSTFormsThatRetrieveNeedThatPermission(t *testing.T) {
	h := newHousehold(t)
	before := h.dump(t)
	for _, test := range []struct {
		target string
		body   option
	}{
		{"/jwt/refresh/" + h.adaShop.RefreshTokenID, nil},
		{"/jwt/refresh", body(object{"id": h.adaShop.RefreshTokenID})},
		{"/jwt/refresh", body(object{"userId": "ada"})},
		{"/jwt/refresh", form("userID", "ada")},
	} {
		for key, status := range map[string]int{"reader": 200, "backend": 200, "everywhere": 200, "revoker": 401,
			"exchanger": 401, "issuer": 401} {
			options := []option{as(key), tenant(aTenant)}
			if test.body != nil {
				options = append(options, test.body)
			}
			if got := h.do(t, "POST", test.target, options...); got.status != status {
				t.Errorf("POST %s as %s: got %d, want %d", test.target, key, got.status, status)
			}
		}
	}
	if diff := cmp.Diff(before, h.dump(t)); diff != "" {
		t.Errorf("the store changed: %s", diff)
	}
}

// An ambiguous request never revokes, whatever the caller's permissions.
func TestWhatCouldBeReadInTwoWaysNeverRevokes(t *testing.T) {
	h := newHousehold(t)
	id, str := h.adaShop.RefreshTokenID, h.adaShop.RefreshToken
	path := "/jwt/refresh/" + id
	before := h.dump(t)
	for _, test := range []struct {
		target string
		body   object
		codes  []string
	}{
		{"/jwt/refresh", object{"refreshToken": str, "userId": "ada"}, []string{"[conflict]refreshToken"}},
		{"/jwt/refresh", object{"refreshToken": str, "tokenId": id}, []string{"[conflict]refreshToken"}},
		{"/jwt/refresh", object{"refreshToken": str, "tokenString": str}, []string{"[conflict]refreshToken"}},
		{"/jwt/refresh", object{"refreshToken": str, "applicationsId": "shop"}, []string{"[conflict]refreshToken"}},
		{"/jwt/refresh", object{"refreshToken": "", "id": id}, []string{"[conflict]refreshToken"}},
		{"/jwt/refresh", object{"token": str, "userId": "ada"}, []string{"[conflict]refreshToken"}},
		{"/jwt/refresh", object{"timeToLiveInSeconds": 60, "tokenId": id}, []string{"[conflict]refreshToken"}},
		{"/jwt/refresh", object{"id": id, "tokenId": id}, []string{"[conflict]id"}},
		{"/jwt/refresh", object{"id": id, "userId": "ada"}, []string{"[conflict]id"}},
		{"/jwt/refresh", object{"id": id, "applicationsId": "shop"}, []string{"[conflict]id"}},
		{"/jwt/refresh", object{"tokenId": id, "userId": "ada"}, []string{"[conflict]tokenId"}},
		{"/jwt/refresh", object{"tokenId": id, "applicationsId": "shop"}, []string{"[conflict]tokenId"}},
		{"/jwt/refresh", object{"tokenId": id, "tokenString": str}, []string{"[conflict]tokenString"}},
		{"/jwt/refresh", object{"tokenString": str, "userId": "ada"}, []string{"[conflict]tokenString"}},
		{"/jwt/refresh", object{"allInTenant": true}, []string{"[unknown]allInTenant"}},
		{"/jwt/refresh", object{"userId": "ada", "exceptTokenId": id}, []string{"[unknown]exceptTokenId"}},
		{"/jwt/refresh", object{"applicationsId": ""}, []string{"[blank]applicationsId"}},
		{"/jwt/refresh", object{"tokenId": ""}, []string{"[blank]tokenId"}},
		{"/jwt/refresh", object{"tokenString": ""}, []string{"[blank]tokenString"}},
		{"/jwt/refresh", object{"userId": "", "applicationsId": "shop"}, []string{"[blank]userId"}},
		{"/jwt/refresh?tokenId=" + id, object{"tokenId": id}, []string{"[unknown]tokenId"}},
		{path, object{}, []string{"[conflict]tokenId"}},
		{path, object{"id": id}, []string{"[conflict]tokenId"}},
		{path, object{"tokenId": h.bobShop.RefreshTokenID}, []string{"[conflict]tokenId"}},
		{path, object{"tokenId": strings.ToUpper(id)}, []string{"[conflict]tokenId"}},
		{path, object{"tokenId": ""}, []string{"[conflict]tokenId"}},
		{path, object{"userId": "ada"}, []string{"[conflict]tokenId"}},
		{path, object{"tokenId": id, "userId": "ada"}, []string{"[conflict]tokenId"}},
		{path, object{"tokenId": id, "refreshToken": str}, []string{"[conflict]tokenId"}},
		{path, object{"refreshToken": str}, []string{"[conflict]tokenId"}},
		{path, object{"tokenString": str}, []string{"[conflict]tokenId"}},
		{path + "?tokenId=" + id, object{"tokenId": id}, []string{"[unknown]tokenId"}},
	} {
		got := h.do(t, "POST", test.target, as("everywhere"), tenant(aTenant), body(test.body)).want(t, 400, test.codes...)
		if strings.HasPrefix(test.codes[0], "[conflict]") && !names(got, "exchange", "revoke", "retrieve", "selector") {
			t.Errorf("%v: got %s, want the right form named", test.body, got.body)
		}
	}
	if diff := cmp.Diff(before, h.dump(t)); diff != "" {
		t.Errorf("the store changed: %s", diff)
	}
}

func names(a *answer, words ...string) bool {
	text, err := json.Marshal(a.Errors)
	for _, word := range words {
		if err == nil && strings.Contains(string(text), word) {
			return true
		}
	}
	return false
}
