package httpapi_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const chosenID = "01942f6e-3c5a-7d41-9e0c-5b7a8d2f1c34"

func fullIssue() object {
	return object{
		"applicationsId": "shop", "userId": "ada", "refreshTokenId": chosenID,
		"roles": []string{"customer", "tester"}, "scopes": []string{"orders:read", "orders:write"},
		"claims": object{"plan": "gold", "seats": 12345678901234567},
		"metaData": object{
			"device": object{"name": "Phone of Ada", "type": "MOBILE", "description": "Android 16"},
			"data":   object{"appVersion": "4.2.0"},
		},
	}
}

func TestAnAccessTokenSaysWhatTheDocumentSays(t *testing.T) {
	s := newService(t)
	g := s.do(t, "POST", "/jwt/issue", backend, body(fullIssue())).want(t, 200).grant(t)
	if g.RefreshTokenID != chosenID || !strings.HasPrefix(g.RefreshToken, "rt_") || len(g.RefreshToken) != 67 {
		t.Errorf("got %q and a token string of %d characters, want %s and 67", g.RefreshTokenID, len(g.RefreshToken), chosenID)
	}
	got := claimsOf(t, g.Token)
	if jti, _ := got["jti"].(string); len(jti) < 16 {
		t.Errorf("got jti %q", jti)
	}
	delete(got, "jti")
	iat := float64(began.Unix())
	want := map[string]any{
		"iss": "https://auth.acme.example", "sub": "ada", "aud": "shop", "client_id": "shop", "applicationId": "shop",
		"iat": iat, "exp": iat + 900, "sid": chosenID, "tid": "acme",
		"roles": []any{"customer", "tester"}, "scope": "orders:read orders:write", "plan": "gold", "seats": 12345678901234567.0,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	headerOf := decodeSegment(t, strings.Split(g.Token, ".")[0])
	if kid, _ := headerOf["kid"].(string); headerOf["typ"] != "at+jwt" || headerOf["alg"] != "EdDSA" || kid == "" {
		t.Errorf("got header %v, want typ at+jwt, alg EdDSA and a kid", headerOf)
	}

	// A tenant that sets no issuer has one of its own all the same.
	other := s.issueAt(t, globex, "shop", "ada")
	if got := claimsOf(t, other.Token)["iss"]; got != publicURL+"/t/globex" {
		t.Errorf("got iss %v, want %s/t/globex", got, publicURL)
	}
}

func TestAnswersWithTokensAreNotForCaches(t *testing.T) {
	s := newService(t)
	issued := s.do(t, "POST", "/jwt/issue", backend, body(object{"applicationsId": "shop", "userId": "ada"})).want(t, 200)
	exchanged := s.exchange(t, issued.grant(t).RefreshToken).want(t, 200)
	for _, a := range []*answer{issued, exchanged} {
		if a.header.Get("Cache-Control") != "no-store" || a.header.Get("Pragma") != "no-cache" {
			t.Errorf("got %q and %q, want no-store and no-cache", a.header.Get("Cache-Control"), a.header.Get("Pragma"))
		}
	}
}

func TestTheSameIssueAgainGivesTheSameAnswer(t *testing.T) {
	s := newService(t)
	first := s.do(t, "POST", "/jwt/issue", backend, body(fullIssue())).want(t, 200)
	s.wait(5 * time.Second)
	again := s.do(t, "POST", "/jwt/issue", backend, body(fullIssue())).want(t, 200)
	if diff := cmp.Diff(string(first.body), string(again.body)); diff != "" {
		t.Error(diff)
	}
	for name, change := range map[string]func(object){
		"another user":        func(o object) { o["userId"] = "bob" },
		"another application": func(o object) { o["applicationsId"] = "blog" },
		"other roles":         func(o object) { o["roles"] = []string{"admin"} },
		"other claims":        func(o object) { delete(o, "claims") },
		"other metadata":      func(o object) { delete(o, "metaData") },
	} {
		o := fullIssue()
		change(o)
		before := s.dump(t)
		s.do(t, "POST", "/jwt/issue", backend, body(o)).want(t, 400, "[duplicate]refreshTokenId")
		if diff := cmp.Diff(before, s.dump(t)); diff != "" {
			t.Errorf("%s: the store changed: %s", name, diff)
		}
	}
	s.do(t, "POST", "/jwt/issue", globex, body(fullIssue())).want(t, 400, "[duplicate]refreshTokenId")

	// Once it is revoked the id is used up.
	s.do(t, "DELETE", "/jwt/refresh/"+chosenID, backend).want(t, 200)
	s.do(t, "POST", "/jwt/issue", backend, body(fullIssue())).want(t, 400, "[duplicate]refreshTokenId")
}

func TestIssueForAnApplicationThatIsNotThere(t *testing.T) {
	s := newService(t)
	s.do(t, "POST", "/jwt/issue", backend, body(object{"applicationsId": "nothing", "userId": "ada"})).want(t, 404)
	s.setActive(t, "shop", false)
	s.do(t, "POST", "/jwt/issue", backend, body(object{"applicationsId": "shop", "userId": "ada"})).want(t, 404)
	// The input is judged before the application is looked for.
	s.do(t, "POST", "/jwt/issue", backend, body(object{"applicationsId": "nothing", "userId": ""})).want(t, 400, "[blank]userId")
}

func TestIssueTakesTheOtherNames(t *testing.T) {
	s := newService(t)
	for _, user := range []string{"userId", "userID", "usersId"} {
		for _, app := range []string{"applicationsId", "applicationId"} {
			g := s.do(t, "POST", "/jwt/issue", backend, body(object{user: "ada", app: "shop"})).want(t, 200).grant(t)
			if claims := claimsOf(t, g.Token); claims["sub"] != "ada" || claims["aud"] != "shop" {
				t.Errorf("%s, %s: got %v", user, app, claims)
			}
		}
	}
	s.do(t, "POST", "/jwt/issue", backend, text(`{"userId":"ada","userID":"ada","applicationsId":"shop"}`)).want(t, 400, "[repeated]userId")
	s.do(t, "POST", "/jwt/issue", backend, text(`{"userId":"ada","applicationsId":"shop","applicationId":"shop"}`)).
		want(t, 400, "[repeated]applicationsId")
}

func TestClaimsThatAreOursAreRefused(t *testing.T) {
	s := newService(t)
	for _, name := range strings.Fields("iss sub aud exp nbf iat jti sid tid client_id applicationId roles scope cnf act events") {
		s.do(t, "POST", "/jwt/issue", backend, body(object{"userId": "ada", "applicationsId": "shop", "claims": object{name: "x"}})).
			want(t, 400, "[conflict]claims."+name)
	}
}
