package httpapi_test

import (
	"bufio"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Each request has two faults or more. Which one the response names determines what an unauthenticated client learns.
func TestTheFirstFaultInTheOrderOfChecksIsTold(t *testing.T) {
	s := newService(t)
	g := s.issue(t, "shop", "ada")
	one := "/jwt/refresh/" + g.RefreshTokenID
	huge := text(`{"userId":"` + strings.Repeat("x", 33<<10) + `"}`)
	stranger := func(*service, *request) {}
	noTenant := as("backend")
	foreign := func(s *service, r *request) { as("backend")(s, r); tenant(bTenant)(s, r) }
	xml := raw("application/xml", "<a/>")
	before := s.dump(t)
	tests := []struct {
		name, method, target string
		options              []option
		status               int
		codes                []string
	}{
		{"route before method", "PUT", "/jwt/nothing", []option{stranger}, 404, nil},
		{"route before size", "POST", "/jwt/nothing", []option{huge}, 404, nil},
		{"route before key", "GET", "/jwt", []option{stranger}, 404, nil},
		{"method before size", "PUT", "/jwt/refresh", []option{huge}, 405, nil},
		{"method before key", "PUT", one, []option{stranger}, 405, nil},
		{"method before tenant", "GET", "/jwt/issue", []option{noTenant}, 405, nil},
		{"size before key", "POST", "/jwt/issue", []option{huge}, 413, nil},
		{"size before tenant", "DELETE", "/jwt/refresh", []option{noTenant, huge}, 413, nil},
		{"size before media type", "DELETE", one,
			[]option{backend, raw("text/plain", strings.Repeat("x", 33<<10))}, 413, nil},
		{"key before tenant header", "GET", one, []option{stranger}, 401, nil},
		{"key before two tenants", "GET", one,
			[]option{header("X-Stencil-TenantId", "a"), header("X-Stencil-Tenanid", "b")}, 401, nil},
		{"key before media type", "POST", "/jwt/issue", []option{tenant(aTenant), xml}, 401, nil},
		{"key before body", "POST", "/jwt/issue", []option{tenant(aTenant), text(`{`)}, 401, nil},
		{"key before query", "GET", "/jwt/refresh?x=1", []option{tenant(aTenant)}, 401, nil},
		{"key before query, POST", "POST", one + "?x=1", []option{tenant(aTenant)}, 401, nil},
		{"key before body, POST", "POST", one, []option{tenant(aTenant), text(`{`)}, 401, nil},
		{"key before selector", "POST", "/jwt/refresh?x=1", []option{body(object{"tokenId": ""})}, 401, nil},
		{"key before query, POST list", "POST", "/jwt/refresh?x=1", []option{body(object{"userId": "ada"})}, 401, nil},
		{"key before object", "GET", "/jwt/refresh/" + chosenID, []option{stranger}, 401, nil},
		{"permission before tenant header", "DELETE", one, []option{as("reader")}, 401, nil},
		{"permission before body", "POST", "/jwt/issue", []option{as("reader"), tenant(aTenant), text(`{`)}, 401, nil},
		{"key before body, exchange", "POST", "/jwt/refresh",
			[]option{as("expired"), body(object{"refreshToken": ""})}, 401, nil},
		{"key before tenant, exchange", "POST", "/jwt/refresh",
			[]option{as("expired"), header("X-Stencil-TenantId", "a"), header("X-Stencil-Tenanid", "b"),
				body(object{"refreshToken": g.RefreshToken})}, 401, nil},
		{"tenant header before media type", "POST", "/jwt/issue", []option{noTenant, xml}, 400,
			[]string{"[blank]X-Stencil-TenantId"}},
		{"tenant header before body", "POST", "/jwt/issue", []option{noTenant, text(`{`)}, 400,
			[]string{"[blank]X-Stencil-TenantId"}},
		{"tenant header before query", "GET", "/jwt/refresh?x=1", []option{noTenant}, 400,
			[]string{"[blank]X-Stencil-TenantId"}},
		{"tenant header before object", "GET", "/jwt/refresh/" + chosenID, []option{noTenant}, 400,
			[]string{"[blank]X-Stencil-TenantId"}},
		{"tenant before media type", "DELETE", "/jwt/refresh", []option{foreign, xml}, 401, nil},
		{"tenant before body", "DELETE", "/jwt/refresh", []option{foreign, text(`{}`)}, 401, nil},
		{"tenant before object", "GET", "/jwt/refresh/" + chosenID, []option{foreign}, 401, nil},
		{"media type before body", "POST", "/jwt/issue", []option{backend, raw("text/plain", `{`)}, 415, nil},
		{"media type before query", "POST", "/jwt/issue?x=1", []option{backend, xml}, 415, nil},
		{"media type before query, DELETE", "DELETE", "/jwt/refresh?x=1", []option{backend, xml}, 415, nil},
		{"media type before two places", "DELETE", one + "?userId=ada", []option{backend, xml}, 415, nil},
		{"media type before query, exchange", "POST", "/jwt/refresh?x=1", []option{xml}, 415, nil},
		{"media type before query, POST one", "POST", one + "?x=1", []option{backend, xml}, 415, nil},
		{"key before body, PATCH", "PATCH", one, []option{tenant(aTenant), text(`{`)}, 401, nil},
		{"permission before body, PATCH", "PATCH", one, []option{backend, text(`{`)}, 401, nil},
		{"tenant header before media type, PATCH", "PATCH", one, []option{as("patcher"), xml}, 400,
			[]string{"[blank]X-Stencil-TenantId"}},
		{"media type before body, PATCH", "PATCH", one, []option{patcher, raw("text/plain", `{`)}, 415, nil},
		{"body before object, PATCH", "PATCH", "/jwt/refresh/" + chosenID, []option{patcher, text(`{}`)}, 400,
			[]string{"[blank]"}},
		{"query before object, PATCH", "PATCH", "/jwt/refresh/" + chosenID + "?x=1",
			[]option{patcher, text(`{"roles":[]}`)}, 400,
			[]string{"[unknown]x"}},
		{"object last, PATCH", "PATCH", "/jwt/refresh/" + chosenID, []option{patcher, text(`{"roles":[]}`)}, 404, nil},
		{"body before object", "POST", "/jwt/issue", []option{backend, body(object{"applicationsId": "nothing"})}, 400,
			[]string{"[blank]userId"}},
		{"query before object", "GET", "/jwt/refresh/" + chosenID + "?x=1", []option{backend}, 400, []string{"[unknown]x"}},
		{"body before object, DELETE", "DELETE", "/jwt/refresh/" + chosenID, []option{backend, body(object{"userId": "a"})},
			400, []string{"[conflict]"}},
		{"object last", "DELETE", "/jwt/refresh/" + chosenID, []option{backend}, 404, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s.do(t, test.method, test.target, test.options...).want(t, test.status, test.codes...)
		})
	}
	if diff := cmp.Diff(before, s.dump(t)); diff != "" {
		t.Errorf("the store changed: %s", diff)
	}
}

func TestAWrongMethodNamesTheRightOnes(t *testing.T) {
	s := newService(t)
	for path, allowed := range map[string][]string{
		"/jwt/issue": {"POST"}, "/jwt/refresh": {"DELETE", "GET", "HEAD", "PATCH", "POST"},
		"/jwt/refresh/" + chosenID:      {"DELETE", "GET", "HEAD", "PATCH", "POST"},
		"/t/acme/.well-known/jwks.json": {"GET", "HEAD"},
		"/.well-known/jwks.json":        {"GET", "HEAD"}, "/healthz": {"GET", "HEAD"}, "/readyz": {"GET", "HEAD"},
		"/openapi.yaml": {"GET", "HEAD"}, "/docs": {"GET", "HEAD"}, "/docs/style.css": {"GET", "HEAD"},
		"/docs/script.js": {"GET", "HEAD"},
	} {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "QUERY"} {
			if slices.Contains(allowed, method) {
				continue
			}
			got := s.do(t, method, path, backend).want(t, 405)
			var offered []string
			for m := range strings.SplitSeq(got.header.Get("Allow"), ",") {
				if m = strings.TrimSpace(m); m != "OPTIONS" {
					offered = append(offered, m)
				}
			}
			slices.Sort(offered)
			if !slices.Equal(offered, allowed) {
				t.Errorf("%s %s: got Allow %q, want %v", method, path, got.header.Get("Allow"), allowed)
			}
			if method != "HEAD" && got.Message == "" {
				t.Errorf("%s %s: got %s, want a message", method, path, got.body)
			}
		}
	}
}

func TestATrailingSlashIsTheSamePath(t *testing.T) {
	s := newService(t)
	g := s.do(t, "POST", "/jwt/issue/", backend, body(object{"applicationsId": "shop", "userId": "ada"})).
		want(t, 200).grant(t)
	s.do(t, "POST", "/jwt/refresh/", body(object{"refreshToken": g.RefreshToken})).want(t, 200)
	s.do(t, "GET", "/jwt/refresh/?userId=ada", backend).want(t, 200)
	s.do(t, "GET", "/jwt/refresh/"+g.RefreshTokenID+"/", backend).want(t, 200)
	s.do(t, "GET", "/healthz/").want(t, 200)
	s.do(t, "GET", "/t/acme/.well-known/jwks.json/").want(t, 200)
	// It is neither an empty id nor a wider selector.
	s.do(t, "DELETE", "/jwt/refresh/", backend).want(t, 400, "[blank]")
	s.do(t, "DELETE", "/jwt/refresh//", backend).want(t, 404)
	s.do(t, "GET", "/jwt/refresh//", backend).want(t, 404)
	s.do(t, "GET", "/jwt/refresh/"+g.RefreshTokenID+"//", backend).want(t, 404)
	if !s.alive(t, g.RefreshTokenID) {
		t.Error("the refresh token was revoked")
	}
	s.do(t, "DELETE", "/jwt/refresh/"+g.RefreshTokenID+"/", backend).want(t, 200)
}

func TestAPathIsUnescapedOnce(t *testing.T) {
	s := newService(t)
	g := s.issue(t, "shop", "ada")
	escaped := strings.ReplaceAll(g.RefreshTokenID, "-", "%2D")
	s.do(t, "GET", "/jwt/refresh/"+escaped, backend).want(t, 200)
	s.do(t, "GET", "/jwt/refresh/"+strings.ReplaceAll(g.RefreshTokenID, "-", "%252D"), backend).want(t, 404)
	s.do(t, "GET", "/jwt/refresh/"+g.RefreshTokenID+"%2F", backend).want(t, 404)
	s.do(t, "GET", "/jwt/refresh/"+g.RefreshTokenID+"%00", backend).want(t, 404)
	s.do(t, "GET", "/jwt/refresh/%E2%82%AC", backend).want(t, 404)
	s.do(t, "GET", "/jwt/refresh/%FF", backend).want(t, 404)
	s.do(t, "POST", "/jwt/refresh/"+escaped, backend, body(object{"tokenId": g.RefreshTokenID})).want(t, 200)
	s.do(t, "GET", "/jwt%2Frefresh", backend).want(t, 404)
	s.do(t, "GET", "/JWT/refresh?userId=ada", backend).want(t, 404)
}

func basic(pair string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(pair)) }

func TestAnAPIKeyServesRawAsBearerAndByBasic(t *testing.T) {
	s := newEmptyService(t)
	s.keys["reader"] += "ab" // so that its base64 needs padding
	s.apply(t, standard(s.keys))
	key, other := s.keys["reader"], s.keys["everywhere"]
	unpadded := strings.TrimRight(basic(key+":"), "=")
	if unpadded == basic(key+":") {
		t.Fatal("the base64 of the key needs no padding, and a test of it would show nothing")
	}
	for authorization, status := range map[string]int{
		key: 200, "Bearer " + key: 200, "bearer " + key: 200, "BEARER   " + key + " ": 200,
		"Basic " + key: 200, "basic  " + key + " ": 200, basic(key + ":"): 200, "BASIC" + basic(key + ":")[5:]: 200,
		"": 401, "Bearer": 401, "Bearer ": 401, "Basic": 401, "Basic ": 401, "Token " + key: 401, key + "x": 401,
		key[:len(key)-1]: 401, strings.ToUpper(key): 401, "ak_": 401, key + "," + key: 401, "Bearer Bearer " + key: 401,
		"a.b.c": 401, "Bearer a.b.c": 401, "Basic a.b.c": 401, basic("a.b.c:"): 401,
		// Basic with any other value than the key and an empty password.
		basic(key): 401, basic(key + ":x"): 401, basic(key + "::"): 401,
		basic(key + ":" + key): 401, basic(key + ":" + other): 401,
		basic("x:" + key): 401, basic(":" + key): 401, basic(" " + key + ":"): 401, basic("user:pass"): 401, basic(""): 401,
		"Basic " + key + ":": 401, "Basic " + basic(key+":"): 401,
		"Bearer " + basic(key + ":")[6:]: 401, basic(key + ":")[6:]: 401,
		unpadded: 401, basic(key+":") + "=": 401, unpadded[:len(unpadded)-1] + "B=": 401,
		unpadded[:10] + " " + unpadded[10:] + "=": 401,
	} {
		got := s.do(t, "GET", "/jwt/refresh?userId=ada", header("Authorization", authorization), tenant(aTenant)).
			want(t, status)
		if want := `Bearer realm="refreshd"`; status == 401 &&
			(got.header.Get("WWW-Authenticate") != want || len(got.body) > 0) {
			t.Errorf("%q: got %q and %q, want %s and no body", authorization, got.header.Get("WWW-Authenticate"), got.body, want)
		}
	}
	for _, second := range []string{key, "Bearer " + key, basic(key + ":"), ""} {
		s.do(t, "GET", "/jwt/refresh?userId=ada", header("Authorization", basic(key+":")), header("Authorization", second),
			tenant(aTenant)).
			want(t, 400, "[conflict]Authorization")
	}
	for name, status := range map[string]int{"reader": 200, "backend": 200, "everywhere": 200, "revoker": 401,
		"issuer": 401, "powerless": 401, "expired": 401, "globex backend": 401} {
		s.do(t, "GET", "/jwt/refresh?userId=ada", as(name), tenant(aTenant)).want(t, status)
	}
}

func TestAPermissionIsForItsEndpointAndMethod(t *testing.T) {
	s := newService(t)
	g := s.issue(t, "shop", "ada")
	one := "/jwt/refresh/" + g.RefreshTokenID
	for _, test := range []struct {
		method, target string
		body           option
		may            string
	}{
		{"POST", "/jwt/issue", body(object{"applicationsId": "shop", "userId": "bob"}), "backend everywhere issuer"},
		{"GET", one, nil, "backend everywhere reader"}, // a name covers one further segment
		{"GET", "/jwt/refresh?userId=ada", nil, "backend everywhere reader"},
		{"DELETE", "/jwt/refresh", body(object{"userId": "nobody"}), "backend everywhere revoker"},
	} {
		for _, key := range []string{"backend", "everywhere", "reader", "revoker", "issuer", "exchanger",
			"powerless", "expired"} {
			options := []option{as(key), tenant(aTenant)}
			if test.body != nil {
				options = append(options, test.body)
			}
			want := 401
			if slices.Contains(strings.Fields(test.may), key) {
				want = 200
			}
			if got := s.do(t, test.method, test.target, options...); got.status != want {
				t.Errorf("%s %s as %s: got %d, want %d", test.method, test.target, key, got.status, want)
			}
		}
	}
	for _, key := range []string{"reader", "issuer", "exchanger", "powerless"} {
		s.do(t, "DELETE", one, as(key), tenant(aTenant)).want(t, 401)
	}
	s.do(t, "DELETE", one, as("revoker"), tenant(aTenant)).want(t, 200)
}

func TestTheTenantHeader(t *testing.T) {
	s := newService(t)
	// The request is raw, because net/http changes the case of names when it reads a request.
	wire := func(headers string) int {
		req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(
			"GET /jwt/refresh?userId=ada HTTP/1.1\r\nHost: x\r\nAuthorization: " + s.keys["backend"] + "\r\n" +
				headers + "\r\n")))
		if err != nil {
			t.Fatal(err)
		}
		rec := httptest.NewRecorder()
		s.handler.ServeHTTP(rec, req)
		return rec.Code
	}
	for headers, want := range map[string]int{
		"X-Stencil-TenantId: acme\r\n": 200, "x-stencil-tenantid: acme\r\n": 200, "X-STENCIL-TENANTID: acme\r\n": 200,
		"X-Stencil-Tenanid: acme\r\n": 200, "x-stencil-tenanid:acme  \r\n": 200, "X-Stencil-TenantID: acme\r\n": 200,
		"X-Stencil-TenantId: acme\r\nX-Stencil-Tenanid: acme\r\n":  200,
		"X-Stencil-TenantId: acme\r\nX-Stencil-TenantId: acme\r\n": 200,
		"": 400, "X-Stencil-TenantId:\r\n": 400, "X-Stencil-TenantId:   \r\n": 400, "X-Tenant-Id: acme\r\n": 200,
		"x-tenant-id: acme\r\nX-Stencil-TenantId: acme\r\n": 200, "X-TENANT-ID: \r\nX-Stencil-TenantId: acme\r\n": 200,
		"X-Tenant-Id: globex\r\n": 401, "X-Tenant-Id: acme\r\nX-Tenant-Id: globex\r\n": 400, "X-Tenant: acme\r\n": 400,
		"X-Tenant-Id: globex\r\nX-Stencil-TenantId: acme\r\n": 400, "X-Tenant-Id: acme\r\nX-Stencil-Tenanid: globex\r\n": 400,
		"X-Stencil-TenantId: acme\r\nX-Stencil-Tenanid: globex\r\n":  400,
		"X-Stencil-TenantId: acme\r\nX-Stencil-TenantId: globex\r\n": 400,
		"X-Stencil-TenantId: globex\r\n":                             401, "X-Stencil-TenantId: nobody\r\n": 401,
		"X-Stencil-TenantId: ACME\r\n":        401,
		"X-Stencil-TenantId: acme,globex\r\n": 401,
	} {
		if got := wire(headers); got != want {
			t.Errorf("%q: got %d, want %d", headers, got, want)
		}
	}
	s.do(t, "GET", "/jwt/refresh?userId=ada", as("backend"), tenant(aTenant), header("X-Stencil-Tenanid", bTenant)).
		want(t, 400, "[conflict]X-Stencil-TenantId")
	s.do(t, "GET", "/jwt/refresh?userId=ada", as("everywhere"), tenant("nobody")).want(t, 401)
	s.do(t, "GET", "/jwt/refresh?userId=ada", as("everywhere"), tenant(bTenant)).want(t, 200)
	// This holds for an exchange too, which needs none.
	g := s.issue(t, "shop", "ada")
	s.exchange(t, g.RefreshToken, tenant(aTenant), header("X-Stencil-Tenanid", bTenant)).
		want(t, 400, "[conflict]X-Stencil-TenantId").keepsCookies(t)
	s.exchange(t, g.RefreshToken, header("X-Stencil-Tenanid", aTenant)).want(t, 200)
}

func TestEveryAnswerHasItsRequestID(t *testing.T) {
	s := newService(t)
	for sent, taken := range map[string]bool{
		"abc-1.2_3": true, strings.Repeat("x", 128): true, strings.Repeat("x", 129): false, "": false, "a b": false,
		"a/b": false, "ä": false,
	} {
		for _, target := range []string{"/healthz", "/nothing", "/jwt/refresh"} {
			got := s.do(t, "GET", target, header("X-Request-Id", sent)).header.Get("X-Request-Id")
			if taken != (got == sent) || len(got) == 0 {
				t.Errorf("GET %s with %q: got request id %q, want it taken: %t", target, sent, got, taken)
			}
			if !strings.Contains(checks.Log.String(), `"id":"`+got+`"`) {
				t.Errorf("the request id %q is not in the log", got)
			}
		}
	}
}
