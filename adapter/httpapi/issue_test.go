package httpapi_test

import (
	"bytes"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/domain"
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
		t.Errorf("got %q and a token string of %d characters, want %s and 67", g.RefreshTokenID,
			len(g.RefreshToken), chosenID)
	}
	got := claimsOf(t, g.Token)
	if jti, _ := got["jti"].(string); len(jti) < 16 {
		t.Errorf("got jti %q", jti)
	}
	delete(got, "jti")
	iat := float64(began.Unix())
	want := map[string]any{
		"iss": "https://auth.acme.example", "sub": "ada", "aud": "shop", "client_id": "shop", "applicationId": "shop",
		"iat": iat, "exp": iat + 900, "sid": chosenID, "tid": "acme", "rve": 0.0,
		"roles": []any{"customer", "tester"}, "scope": "orders:read orders:write", "plan": "gold",
		"seats": 12345678901234567.0,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	headerOf := decodeSegment(t, strings.Split(g.Token, ".")[0])
	if kid, _ := headerOf["kid"].(string); headerOf["typ"] != "at+jwt" || headerOf["alg"] != "ES256" || kid == "" {
		t.Errorf("got header %v, want typ at+jwt, alg ES256 and a kid", headerOf)
	}

	// A tenant that sets no issuer has a default one of its own.
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
	if diff := cmp.Diff(first.withoutSeconds(t), again.withoutSeconds(t)); diff != "" {
		t.Error(diff)
	}
	if got, want := again.grant(t), first.grant(t); got.ExpiresIn != want.ExpiresIn-5 ||
		got.RefreshTokenExpiresIn != want.RefreshTokenExpiresIn-5 {
		t.Errorf("got %d and %d seconds left, want 5 less than %d and %d", got.ExpiresIn, got.RefreshTokenExpiresIn,
			want.ExpiresIn, want.RefreshTokenExpiresIn)
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

	// The id of a revoked refresh token cannot be used again.
	s.do(t, "DELETE", "/jwt/refresh/"+chosenID, backend).want(t, 200)
	s.do(t, "POST", "/jwt/issue", backend, body(fullIssue())).want(t, 400, "[duplicate]refreshTokenId")
}

func TestIssueForAnApplicationThatIsNotThere(t *testing.T) {
	s := newService(t)
	s.do(t, "POST", "/jwt/issue", backend, body(object{"applicationsId": "nothing", "userId": "ada"})).want(t, 404)
	s.setActive(t, "shop", false)
	before := s.dump(t)
	s.do(t, "POST", "/jwt/issue", backend, body(object{"applicationsId": "shop", "userId": "ada"})).want(t, 400,
		"[inactive]applicationsId")
	if diff := cmp.Diff(before, s.dump(t)); diff != "" {
		t.Errorf("the store changed: %s", diff)
	}
	// The input is checked before the application is looked up.
	s.do(t, "POST", "/jwt/issue", backend, body(object{"applicationsId": "nothing", "userId": ""})).
		want(t, 400, "[blank]userId")
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
	s.do(t, "POST", "/jwt/issue", backend, text(`{"userId":"ada","userID":"ada","applicationsId":"shop"}`)).
		want(t, 400, "[repeated]userId")
	s.do(t, "POST", "/jwt/issue", backend, text(`{"userId":"ada","applicationsId":"shop","applicationId":"shop"}`)).
		want(t, 400, "[repeated]applicationsId")
}

func TestClaimsThatAreOursAreRefused(t *testing.T) {
	s := newService(t)
	names := "iss sub aud exp nbf iat jti sid tid client_id applicationId roles scope cnf act events rve rsid"
	for _, name := range strings.Fields(names) {
		s.do(t, "POST", "/jwt/issue", backend,
			body(object{"userId": "ada", "applicationsId": "shop", "claims": object{name: "x"}})).
			want(t, 400, "[conflict]claims."+name)
	}
}

func TestAnIssueSaysWhereTheUserIs(t *testing.T) {
	long := strings.Repeat("é", 127) // 254 bytes
	for name, test := range map[string]struct {
		fields                        object
		address, description, sayThat string
	}{
		"an address":                    {object{"clientAddress": "203.0.113.7"}, "203.0.113.7", "", ""},
		"a long spelling":               {object{"clientAddress": "2001:0DB8:0:0:0:0:0:7"}, "2001:db8::7", "", ""},
		"IPv4 in IPv6":                  {object{"clientAddress": "::ffff:203.0.113.7"}, "203.0.113.7", "", ""},
		"a zone":                        {object{"clientAddress": "fe80::1%eth0"}, "fe80::1", "", ""},
		"a user agent":                  {object{"userAgent": "Firefox/147"}, "", "Firefox/147", ""},
		"a user agent with blanks":      {object{"userAgent": " Firefox/147 "}, "", "Firefox/147", ""},
		"none":                          {object{"userAgent": ""}, "", "", ""},
		"255 bytes":                     {object{"userAgent": long + "x"}, "", long + "x", ""},
		"cut before a character":        {object{"userAgent": long + "éx"}, "", long, ""},
		"cut before a blank":            {object{"userAgent": long + " Firefox"}, "", long, ""},
		"1024 bytes":                    {object{"userAgent": strings.Repeat("x", 1024)}, "", strings.Repeat("x", 255), ""},
		"a description of the caller's": {object{"userAgent": "Firefox/147"}, "", "Android 16", "Android 16"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newService(t)
			request := object{"applicationsId": "shop", "userId": "ada", "metaData": object{"device": object{"name": "n",
				"description": test.sayThat}}}
			maps.Copy(request, test.fields)
			g := s.do(t, "POST", "/jwt/issue", backend, body(request)).want(t, 200).grant(t)
			var got struct {
				MetaData struct {
					Device            struct{ Description string }
					LastClientAddress string
				}
			}
			s.do(t, "GET", "/jwt/refresh/"+g.RefreshTokenID, backend).want(t, 200).data(t, &got)
			if got.MetaData.LastClientAddress != test.address || got.MetaData.Device.Description != test.description {
				t.Errorf("got %+v, want address %q, description %q", got.MetaData, test.address, test.description)
			}
		})
	}
}

func TestAnIssueWithAUserAgentCanBeRepeated(t *testing.T) {
	s := newService(t)
	request := object{
		"applicationsId": "shop", "userId": "ada", "refreshTokenId": chosenID, "clientAddress": "203.0.113.7",
		"userAgent": strings.Repeat("é", 300),
	}
	first := s.do(t, "POST", "/jwt/issue", backend, body(request)).want(t, 200)
	request["clientAddress"] = "198.51.100.9" // the user's phone has changed networks meanwhile
	again := s.do(t, "POST", "/jwt/issue", backend, body(request)).want(t, 200)
	if !bytes.Equal(first.body, again.body) {
		t.Errorf("got %s, want %s", again.body, first.body)
	}
	request["userAgent"] = "Firefox/147"
	s.do(t, "POST", "/jwt/issue", backend, body(request)).want(t, 400, "[duplicate]refreshTokenId")
}

// Clocks differ by seconds, and the clock of the client that makes the id may be ahead.
func TestAnIDMayBeAMinuteAhead(t *testing.T) {
	s := newService(t)
	id := idAt(t, s.clock().Add(59*time.Second))
	g := s.do(t, "POST", "/jwt/issue", backend, body(object{"applicationsId": "shop", "userId": "ada",
		"refreshTokenId": id})).want(t, 200).grant(t)
	if g.RefreshTokenID != id {
		t.Errorf("got %s, want %s", g.RefreshTokenID, id)
	}
}

func TestAnImportGoesOnWhereTheSessionWas(t *testing.T) {
	const day = 24 * time.Hour
	s := newService(t)
	s.set(t, "blog", func(settings *domain.Settings) { settings.Expiration = new(domain.Fixed) })
	type instants struct{ InsertInstant, LastUsedInstant, ExpirationInstant int64 }
	for name, test := range map[string]struct {
		app             string
		insert, expires time.Duration // from now; 0 for none
		left, moved     time.Duration // until it expires: after the issue, and after an exchange an hour later
	}{
		"nothing said":                 {"shop", 0, 0, 30 * day, 30 * day},
		"a session of ten days":        {"shop", -10 * day, 0, 30 * day, 30 * day},
		"near its maximum lifetime":    {"shop", -360 * day, 0, 5 * day, 5*day - time.Hour},
		"an expiry of its own":         {"shop", -10 * day, 20 * day, 20 * day, 30 * day},
		"an expiry and no insert":      {"shop", 0, 2 * time.Hour, 2 * time.Hour, 30 * day},
		"fixed":                        {"blog", -10 * day, 0, 20 * day, 20*day - time.Hour},
		"fixed, an expiry of its own":  {"blog", -10 * day, 15 * day, 15 * day, 15*day - time.Hour},
		"an insert of the other clock": {"shop", 30 * time.Second, 0, 30 * day, 30 * day},
	} {
		t.Run(name, func(t *testing.T) {
			now := s.clock()
			request, inserted := object{"applicationsId": test.app, "userId": "ada"}, now
			if test.insert != 0 {
				inserted = now.Add(test.insert)
				request["insertInstant"] = inserted.UnixMilli()
			}
			if test.expires != 0 {
				request["expirationInstant"] = now.Add(test.expires).UnixMilli()
			}
			g := s.do(t, "POST", "/jwt/issue", backend, body(request)).want(t, 200).grant(t)
			if g.ExpiresIn != 900 || g.RefreshTokenExpiresIn != int64(test.left/time.Second) {
				t.Errorf("got %d and %d seconds, want 900 and %d", g.ExpiresIn, g.RefreshTokenExpiresIn, test.left/time.Second)
			}
			var got instants
			s.do(t, "GET", "/jwt/refresh/"+g.RefreshTokenID, backend).want(t, 200).data(t, &got)
			want := instants{inserted.UnixMilli(), now.UnixMilli(), now.Add(test.left).Truncate(time.Second).UnixMilli()}
			if got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
			s.wait(time.Hour)
			exchanged := s.next(t, g.RefreshToken, "rotated")
			if exchanged.RefreshTokenExpiresIn != int64(test.moved/time.Second) {
				t.Errorf("after an exchange: got %d seconds, want %d", exchanged.RefreshTokenExpiresIn, test.moved/time.Second)
			}
		})
	}
}

// Under Fixed the lifetime begins with the insert, so a session that is older than its lifetime has expired.
func TestAnImportThatHasExpiredIsRefused(t *testing.T) {
	s := newService(t)
	s.set(t, "blog", func(settings *domain.Settings) { settings.Expiration = new(domain.Fixed) })
	before := s.dump(t)
	s.do(t, "POST", "/jwt/issue", backend, body(object{
		"applicationsId": "blog", "userId": "ada", "insertInstant": s.clock().Add(-30 * 24 * time.Hour).UnixMilli(),
	})).want(t, 400, "[invalid]insertInstant")
	if diff := cmp.Diff(before, s.dump(t)); diff != "" {
		t.Errorf("the store changed: %s", diff)
	}
}

func TestAnImportCanBeRepeatedUntilItIsUsed(t *testing.T) {
	s := newService(t)
	request := object{
		"applicationsId": "shop", "userId": "ada", "refreshTokenId": chosenID,
		"insertInstant": s.clock().Add(-time.Hour).UnixMilli(), "expirationInstant": s.clock().Add(time.Hour).UnixMilli(),
	}
	first := s.do(t, "POST", "/jwt/issue", backend, body(request)).want(t, 200)
	s.wait(time.Second)
	again := s.do(t, "POST", "/jwt/issue", backend, body(request)).want(t, 200)
	if got, want := again.withoutSeconds(t), first.withoutSeconds(t); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for _, name := range []string{"insertInstant", "expirationInstant"} {
		other := maps.Clone(request)
		other[name] = other[name].(int64) + 1000
		s.do(t, "POST", "/jwt/issue", backend, body(other)).want(t, 400, "[duplicate]refreshTokenId")
	}
	s.next(t, first.grant(t).RefreshToken, "rotated")
	s.do(t, "POST", "/jwt/issue", backend, body(request)).want(t, 400, "[duplicate]refreshTokenId")
}

// Roles, scopes and claims each have their limits. Together they must also fit into the header or cookie that carries
// the access token.
func TestAnAccessTokenThatNothingCarriesIsNotIssued(t *testing.T) {
	s := newService(t)
	roles := make([]string, 100)
	for i := range roles {
		roles[i] = fmt.Sprintf("%03d%s", i, strings.Repeat("r", 97))
	}
	claims := object{"a": strings.Repeat("x", 3000)}
	before := s.dump(t)
	for app, content := range map[string]object{"cookies": {"claims": claims}, "shop": {"roles": roles}} {
		request := object{"applicationsId": app, "userId": "ada"}
		maps.Copy(request, content)
		s.do(t, "POST", "/jwt/issue", backend, body(request)).want(t, 400, "[tooLong]")
	}
	if diff := cmp.Diff(before, s.dump(t)); diff != "" {
		t.Errorf("the store changed: %s", diff)
	}
	// Without cookies a header carries it, which may be larger.
	s.do(t, "POST", "/jwt/issue", backend, body(object{"applicationsId": "shop", "userId": "ada",
		"claims": claims})).want(t, 200)
	s.do(t, "POST", "/jwt/issue", backend, body(object{"applicationsId": "shop", "userId": "ada",
		"roles": roles[:40]})).want(t, 200)
}
