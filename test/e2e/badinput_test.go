package e2e_test

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

// refusal is a request that has to be refused.
type refusal struct {
	call
	status int
	codes  []string // of status 400
}

func bad(c call, codes ...string) refusal { return refusal{c, http.StatusBadRequest, codes} }

func status(c call, status int) refusal { return refusal{c, status, nil} }

func badInput(g grant, cursor string) []refusal {
	const (
		unknownID = "0197f5b2-7c3a-7000-8000-00000000dead"
		long      = 256
	)
	post := func(path, body string) call { return acme(call{method: "POST", path: path, body: body}) }
	issue := func(more string) call {
		return post("/jwt/issue", `{"userId": "mallory", "applicationsId": "shop"`+more+`}`)
	}
	refresh := func(body string) call { return call{method: "POST", path: "/jwt/refresh", body: body} }
	remove := func(body string) call { return acme(call{method: "DELETE", path: "/jwt/refresh", body: body}) }
	at := func(method, path string) call { return acme(call{method: method, path: path}) }
	media := func(c call, media string) call {
		c.media = media
		return c
	}
	header := func(c call, name, value string) call {
		c.header = map[string]string{name: value}
		return c
	}
	nested := func(depth int) string {
		return `, "claims": ` + strings.Repeat(`{"a":`, depth) + `1` + strings.Repeat(`}`, depth)
	}
	list := func(n int, of string) string {
		return `["` + strings.Join(slices.Repeat([]string{of}, n), `","`) + `"]`
	}
	distinct := func(n int) string {
		all := make([]string, n)
		for i := range all {
			all[i] = fmt.Sprintf(`"r%d"`, i)
		}
		return "[" + strings.Join(all, ",") + "]"
	}

	return []refusal{
		// Routes and methods.
		status(at("GET", "/"), 404),
		status(at("GET", "/jwt"), 404),
		status(at("POST", "/jwt/issue/more"), 404),
		status(at("GET", "/jwt/refresh/a/b"), 404),
		status(at("GET", "/JWT/refresh?userId=alice"), 404),
		status(at("GET", "/metrics"), 404),
		status(at("GET", "/debug/pprof/"), 404),
		status(at("GET", "/jwt/refresh/../issue"), 404),
		status(at("PUT", "/jwt/refresh"), 405),
		status(at("PUT", "/jwt/refresh/"+g.RefreshTokenID), 405),
		status(at("GET", "/jwt/issue"), 405),
		status(at("DELETE", "/jwt/issue"), 405),
		status(at("POST", "/healthz"), 405),
		status(at("DELETE", "/t/acme/.well-known/jwks.json"), 405),
		status(at("BREW", "/jwt/refresh"), 405),

		// Callers and users.
		status(as(issue(""), "", "acme"), 401),
		status(as(issue(""), "nonsense", "acme"), 401),
		status(as(issue(""), "ak_short", "acme"), 401),
		status(as(issue(""), newAPIKey(), "acme"), 401),
		status(as(issue(""), expiredKey, "acme"), 401),
		status(as(issue(""), readerKey, "acme"), 401),
		status(as(issue(""), "Token "+acmeKey, "acme"), 401),
		status(as(issue(""), "Basic "+acmeKey[:20], "acme"), 401),
		status(as(issue(""), "Basic "+base64.StdEncoding.EncodeToString([]byte(acmeKey+":x")), "acme"), 401),
		status(as(issue(""), "Basic "+base64.StdEncoding.EncodeToString([]byte("acme:"+acmeKey)), "acme"), 401),
		status(as(issue(""), acmeKey+" ", "rival"), 401),
		status(as(issue(""), acmeKey, "no such tenant"), 401),
		status(as(issue(""), acmeKey, strings.Repeat("a", 5000)), 401),
		status(as(issue(""), g.Token, "acme"), 401),
		status(as(refresh(object("refreshToken", g.RefreshToken)), "ak_short", ""), 401),
		status(as(refresh(object("refreshToken", g.RefreshToken)), newAPIKey(), ""), 401),
		bad(as(issue(""), acmeKey, ""), "[blank]X-Stencil-TenantId"),
		bad(as(at("GET", "/jwt/refresh?userId=alice"), acmeKey, ""), "[blank]X-Stencil-TenantId"),
		bad(header(issue(""), "X-Stencil-Tenanid", "rival"), "[conflict]X-Stencil-TenantId"),
		bad(call{method: "POST", path: "/jwt/refresh", tenant: "rival", body: object("refreshToken", g.RefreshToken)},
			"[invalid]refreshToken"),

		// Sizes and media types.
		status(issue(`, "claims": {"a": "`+strings.Repeat("x", 33<<10)+`"}`), 413),
		status(refresh(`{"refreshToken": "`+strings.Repeat("x", 200<<10)+`"}`), 413),
		status(as(refresh(strings.Repeat(" ", 33<<10)), "", ""), 413),
		status(media(issue(""), "text/plain"), 415),
		status(media(issue(""), asForm), 415),
		status(media(issue(""), "application/json; charset=latin1"), 415),
		status(media(issue(""), "application/xml"), 415),
		status(media(issue(""), ";;"), 415),
		status(media(refresh(object("refreshToken", g.RefreshToken)), "text/plain"), 415),
		status(media(refresh(object("refreshToken", g.RefreshToken)), "multipart/form-data; boundary=x"), 415),
		status(header(issue(""), "Content-Encoding", "gzip"), 415),
		status(media(remove(object("tokenId", g.RefreshTokenID)), "text/plain"), 415),

		// JSON.
		bad(post("/jwt/issue", ""), "[blank]"),
		bad(post("/jwt/issue", " \n"), "[blank]"),
		bad(post("/jwt/issue", "{"), "[invalid]"),
		bad(post("/jwt/issue", "null"), "[invalid]"),
		bad(post("/jwt/issue", "[]"), "[invalid]"),
		bad(post("/jwt/issue", `"text"`), "[invalid]"),
		bad(post("/jwt/issue", "17"), "[invalid]"),
		bad(post("/jwt/issue", "{} {}"), "[invalid]"),
		bad(post("/jwt/issue", "{'userId': 'x'}"), "[invalid]"),
		bad(post("/jwt/issue", "{\"userId\": \"\xff\", \"applicationsId\": \"shop\"}"), "[invalid]"),
		bad(post("/jwt/issue", "\xef\xbb\xbf{}"), "[invalid]"),
		bad(post("/jwt/issue", `{"userId": "\ud800", "applicationsId": "shop"}`), "[invalid]userId"),
		bad(post("/jwt/issue", "{}"), "[blank]applicationsId", "[blank]userId"),
		bad(post("/jwt/issue", `{"userId": null, "applicationsId": "shop"}`), "[invalid]userId"),
		bad(post("/jwt/issue", `{"userId": 7, "applicationsId": "shop"}`), "[invalid]userId"),
		bad(post("/jwt/issue", `{"userId": ["alice"], "applicationsId": "shop"}`), "[invalid]userId"),
		bad(post("/jwt/issue", `{"userId": {"$ne": ""}, "applicationsId": "shop"}`), "[invalid]userId"),
		bad(post("/jwt/issue", `{"UserId": "alice", "userid": "alice", "applicationsId": "shop"}`), "[unknown]UserId",
			"[unknown]userid"),
		bad(issue(`, "userId": "alice"`), "[repeated]userId"),
		bad(issue(`, "userID": "mallory"`), "[repeated]userId"),
		bad(issue(`, "applicationId": "shop"`), "[repeated]applicationsId"),
		bad(issue(`, "admin": true`), "[unknown]admin"),
		bad(issue(`, "metaData": {"device": {"nam": "x"}}`), "[unknown]metaData.device.nam"),
		bad(issue(nested(40)), "[invalid]claims"+strings.Repeat(".a", 31)),
		bad(issue(`, "claims": {"a": 1, "a": 2}`), "[repeated]claims.a"),

		// Values of an issue.
		bad(post("/jwt/issue", `{"userId": "", "applicationsId": "shop"}`), "[blank]userId"),
		bad(post("/jwt/issue", `{"userId": " alice", "applicationsId": "shop"}`), "[invalid]userId"),
		bad(post("/jwt/issue", `{"userId": "ali\u0000ce", "applicationsId": "shop"}`), "[invalid]userId"),
		bad(post("/jwt/issue", `{"userId": "ali\nce", "applicationsId": "shop"}`), "[invalid]userId"),
		bad(post("/jwt/issue", `{"userId": "alice\u0085x", "applicationsId": "shop"}`), "[invalid]userId"),
		bad(post("/jwt/issue", `{"userId": "`+strings.Repeat("x", long)+`", "applicationsId": "shop"}`), "[tooLong]userId"),
		bad(post("/jwt/issue", `{"userId": "alice", "applicationsId": "`+strings.Repeat("x", long)+`"}`),
			"[tooLong]applicationsId"),
		status(post("/jwt/issue", `{"userId": "alice", "applicationsId": "nowhere"}`), 404),
		bad(post("/jwt/issue", `{"userId": "alice", "applicationsId": "closed"}`), "[inactive]applicationsId"),
		status(post("/jwt/issue", `{"userId": "alice", "applicationsId": "' OR 1=1 --"}`), 404),
		bad(issue(`, "roles": "admin"`), "[invalid]roles"),
		bad(issue(`, "roles": [1]`), "[invalid]roles"),
		bad(issue(`, "roles": [null]`), "[invalid]roles"),
		bad(issue(`, "roles": `+distinct(101)), "[tooLong]roles"),
		bad(issue(`, "roles": `+list(2, "admin")), "[repeated]roles[1]"),
		bad(issue(`, "scopes": ["two words"]`), "[invalid]scopes[0]"),
		bad(issue(`, "scopes": ["a\"b"]`), "[invalid]scopes[0]"),
		bad(issue(`, "claims": []`), "[invalid]claims"),
		bad(issue(`, "claims": "{}"`), "[invalid]claims"),
		bad(issue(`, "claims": {"sub": "root"}`), "[conflict]claims.sub"),
		bad(issue(`, "claims": {"iss": "x", "tid": "x"}`), "[conflict]claims.iss", "[conflict]claims.tid"),
		bad(issue(`, "claims": {"a": "`+strings.Repeat("x", 5000)+`"}`), "[tooLong]claims"),
		bad(issue(`, "metaData": {"data": {"a": "`+strings.Repeat("x", 5000)+`"}}`), "[tooLong]metaData"),
		bad(issue(`, "metaData": {"device": {"name": "a\tb"}}`), "[invalid]metaData.device.name"),
		bad(issue(`, "refreshTokenId": "1"`), "[invalid]refreshTokenId"),
		bad(issue(`, "refreshTokenId": "`+uuid.NewString()+`"`), "[invalid]refreshTokenId"), // of version 4
		bad(issue(`, "refreshTokenId": "00000000-0000-0000-0000-000000000000"`), "[invalid]refreshTokenId"),
		// of 2025: it may have been used and purged
		bad(issue(`, "refreshTokenId": "`+unknownID+`"`), "[invalid]refreshTokenId"),
		bad(issue(`, "refreshTokenId": "`+g.RefreshTokenID+`"`), "[duplicate]refreshTokenId"),
		bad(acme(call{method: "POST", path: "/jwt/issue?x=1", body: object("userId", "alice", "applicationsId", "shop")}),
			"[unknown]x"),

		// Exchanges.
		bad(refresh(""), "[blank]refreshToken"),
		bad(refresh("{}"), "[blank]refreshToken"),
		bad(refresh(`{"refreshToken": ""}`), "[blank]refreshToken"),
		bad(refresh(`{"refreshToken": null}`), "[invalid]refreshToken"),
		bad(refresh(`{"refreshToken": 1}`), "[invalid]refreshToken"),
		bad(refresh(`{"refreshToken": ["`+g.RefreshToken+`"]}`), "[invalid]refreshToken"),
		bad(refresh(`{"RefreshToken": "`+g.RefreshToken+`"}`), "[unknown]RefreshToken"),
		bad(refresh(`{"refreshToken": "`+g.RefreshToken+`", "refreshToken": "`+g.RefreshToken+`"}`),
			"[repeated]refreshToken"),
		bad(refresh(`{"refreshToken": "`+g.RefreshToken+`", "timeToLiveInSeconds": 0}`), "[invalid]timeToLiveInSeconds"),
		bad(refresh(`{"refreshToken": "`+g.RefreshToken+`", "timeToLiveInSeconds": 901}`), "[invalid]timeToLiveInSeconds"),
		bad(refresh(`{"refreshToken": "`+g.RefreshToken+`", "timeToLiveInSeconds": 1.5}`), "[invalid]timeToLiveInSeconds"),
		bad(refresh(`{"refreshToken": "`+g.RefreshToken+`", "timeToLiveInSeconds": "60"}`), "[invalid]timeToLiveInSeconds"),
		bad(refresh(`{"refreshToken": "`+g.RefreshToken+`", "timeToLiveInSeconds": 1e99}`), "[invalid]timeToLiveInSeconds"),
		bad(media(refresh("refreshToken=a&refreshToken=b"), asForm), "[repeated]refreshToken"),
		bad(media(refresh("refreshToken=%zz"), asForm), "[invalid]refreshToken"),
		bad(media(refresh("refreshToken=%ff"), asForm), "[invalid]refreshToken"),
		bad(media(refresh(g.RefreshToken), asForm), "[unknown]"),
		bad(call{method: "POST", path: "/jwt/refresh?refreshToken=" + g.RefreshToken}, "[unknown]refreshToken"),
		bad(post("/jwt/refresh", object("refreshToken", g.RefreshToken, "tokenId", g.RefreshTokenID)),
			"[conflict]refreshToken"),
		bad(post("/jwt/refresh", object("refreshToken", g.RefreshToken, "userId", "alice")), "[conflict]refreshToken"),
		bad(header(refresh(""), "Cookie", "refresh_token=rt_x"), "[invalid]refreshToken"),
		bad(header(refresh(object("refreshToken", "rt_x")), "Cookie", "refresh_token="+g.RefreshToken),
			"[invalid]refreshToken"),
		bad(call{method: "POST", path: "/jwt/refresh", header: map[string]string{"Cookie": "refresh_token=" + g.RefreshToken,
			"Sec-Fetch-Site": "cross-site"}}, "[invalid]Origin"),
		bad(call{method: "POST", path: "/jwt/refresh", header: map[string]string{"Cookie": "refresh_token=" + g.RefreshToken,
			"Origin": "https://evil.example"}}, "[invalid]Origin"),

		// Reading.
		status(at("GET", "/jwt/refresh/"+unknownID), 404),
		status(at("GET", "/jwt/refresh/no-uuid"), 404),
		status(at("GET", "/jwt/refresh/%00"), 404),
		status(at("GET", "/jwt/refresh/"+strings.Repeat("a", 3000)), 404),
		status(at("GET", "/jwt/refresh/'%20OR%201=1"), 404),
		bad(at("GET", "/jwt/refresh/"+g.RefreshTokenID+"?userId=alice"), "[unknown]userId"),
		status(as(at("GET", "/jwt/refresh"), readerKey, "acme"), 401),
		status(as(at("GET", "/jwt/refresh?applicationsId=shop&state=all"), readerKey, "acme"), 401),
		bad(at("GET", "/jwt/refresh?state=dead"), "[invalid]state"),
		bad(at("GET", "/jwt/refresh?count=yes"), "[invalid]count"),
		bad(at("GET", "/jwt/refresh/"+g.RefreshTokenID+"?state="), "[invalid]state"),
		bad(at("GET", "/jwt/refresh?userId=alice&state=all&limit=1&cursor="+cursor), "[invalid]cursor"),
		bad(at("GET", "/jwt/refresh?userId="), "[blank]userId"),
		bad(at("GET", "/jwt/refresh?userid=alice"), "[unknown]userid"),
		bad(at("GET", "/jwt/refresh?userId=alice&userId=bob"), "[repeated]userId"),
		bad(at("GET", "/jwt/refresh?userId=%00"), "[invalid]userId"),
		bad(at("GET", "/jwt/refresh?userId=%ff"), "[invalid]userId"),
		bad(at("GET", "/jwt/refresh?userId=alice;limit=1"), "[invalid]"),
		bad(at("GET", "/jwt/refresh?userId=alice&limit=0"), "[invalid]limit"),
		bad(at("GET", "/jwt/refresh?userId=alice&limit=1001"), "[invalid]limit"),
		bad(at("GET", "/jwt/refresh?userId=alice&limit=-1"), "[invalid]limit"),
		bad(at("GET", "/jwt/refresh?userId=alice&limit=ten"), "[invalid]limit"),
		bad(at("GET", "/jwt/refresh?userId=alice&limit=99999999999999999999"), "[invalid]limit"),
		bad(at("GET", "/jwt/refresh?userId=alice&cursor=garbage"), "[invalid]cursor"),
		bad(at("GET", "/jwt/refresh?userId=alice&cursor="), "[invalid]cursor"),
		bad(at("GET", "/jwt/refresh?userId=bob&limit=1&cursor="+cursor), "[invalid]cursor"),
		bad(as(at("GET", "/jwt/refresh?userId=alice&limit=1&cursor="+cursor), rivalKey, "rival"), "[invalid]cursor"),
		bad(at("GET", "/jwt/refresh?userId=alice&applicationsId="), "[blank]applicationsId"),
		bad(acme(call{method: "GET", path: "/jwt/refresh?userId=alice", body: "{}"}), "[conflict]"),
		bad(post("/jwt/refresh", object("id", g.RefreshTokenID, "userId", "alice")), "[conflict]id"),
		bad(post("/jwt/refresh", object("id", g.RefreshTokenID, "tokenId", g.RefreshTokenID)), "[conflict]id"),

		// Revoking.
		status(at("DELETE", "/jwt/refresh/"+unknownID), 404),
		status(at("DELETE", "/jwt/refresh/no-uuid"), 404),
		status(remove(object("tokenString", "rt_"+strings.Repeat("A", 64))), 404),
		status(remove(object("applicationsId", "nowhere")), 404),
		bad(at("DELETE", "/jwt/refresh"), "[blank]"),
		bad(at("DELETE", "/jwt/refresh?"), "[blank]"),
		bad(remove("{}"), "[blank]"),
		bad(remove(`{"userId": ""}`), "[blank]userId"),
		bad(remove(`{"userId": null}`), "[invalid]userId"),
		bad(remove(`{"tokenId": ""}`), "[blank]tokenId"),
		bad(remove(`{"applicationsId": ""}`), "[blank]applicationsId"),
		bad(remove(`{"tokenString": ""}`), "[blank]tokenString"),
		bad(remove(`{"allInTenant": false}`), "[invalid]allInTenant"),
		bad(remove(`{"allInTenant": "true"}`), "[invalid]allInTenant"),
		bad(remove(`{"allInTenant": true, "userId": "alice"}`), "[conflict]allInTenant"),
		bad(remove(object("tokenId", g.RefreshTokenID, "userId", "alice")), "[conflict]tokenId"),
		bad(remove(object("tokenString", g.RefreshToken, "tokenId", g.RefreshTokenID)), "[conflict]tokenString"),
		bad(remove(object("exceptTokenId", g.RefreshTokenID)), "[conflict]exceptTokenId"),
		bad(remove(object("exceptTokenId", g.RefreshTokenID, "applicationsId", "shop")), "[conflict]exceptTokenId"),
		status(remove(object("exceptTokenId", unknownID, "userId", "alice")), 404),
		bad(remove(object("tenantId", "acme")), "[unknown]tenantId"),
		bad(acme(call{method: "DELETE", path: "/jwt/refresh?userId=alice", body: object("applicationsId", "shop")}),
			"[conflict]"),
		bad(acme(call{method: "DELETE", path: "/jwt/refresh/" + g.RefreshTokenID, body: object("userId", "alice")}),
			"[conflict]"),
		bad(acme(call{method: "DELETE", path: "/jwt/refresh/" + g.RefreshTokenID + "?userId=alice"}), "[conflict]"),
		bad(post("/jwt/refresh/"+g.RefreshTokenID, object("tokenId", unknownID)), "[conflict]tokenId"),
		bad(post("/jwt/refresh/"+g.RefreshTokenID, object("userId", "alice")), "[conflict]tokenId"),
		bad(post("/jwt/refresh/"+g.RefreshTokenID, "{}"), "[conflict]tokenId"),
	}
}

func TestBadInputIsRefusedAsDocumentedAndChangesNothing(t *testing.T) {
	eachStore(t, func(t *testing.T, d database) {
		s := start(t, d, settings{env: []string{loud}})
		g, other := s.issue(t, "alice", "shop"), s.issue(t, "alice", "shop")
		s.granted(t, rival(call{method: "POST", path: "/jwt/issue",
			body: object("userId", "alice", "applicationsId", "shop")}))
		everything := func() string {
			var all strings.Builder
			all.WriteString(d.dump(t))
			for _, r := range []call{
				acme(call{method: "GET", path: "/jwt/refresh?userId=alice"}),
				acme(call{method: "GET", path: "/jwt/refresh?userId=mallory"}),
				rival(call{method: "GET", path: "/jwt/refresh?userId=alice"}),
			} {
				all.WriteString(pretty(s.want(t, r, http.StatusOK).body))
			}
			return all.String()
		}
		_, cursor, _ := strings.Cut(s.want(t, acme(call{method: "GET", path: "/jwt/refresh?userId=alice&limit=1"}),
			http.StatusOK).header.Get("Link"), "cursor=")
		cursor, _, _ = strings.Cut(cursor, "&")
		before := everything()
		cases := badInput(g, cursor)
		for i, c := range cases {
			a, err := s.do(c.call)
			if err != nil {
				t.Errorf("%d: %s %s: %v", i, c.method, c.path, err)
				continue
			}
			slices.Sort(c.codes)
			if a.status != c.status || c.status == http.StatusBadRequest && !slices.Equal(a.codes(), c.codes) {
				t.Errorf("%d: %s %s %.120s: got %.300s; want %d %s", i, c.method, c.path, c.body, a, c.status, c.codes)
			}
			if a.header.Get("X-Request-Id") == "" {
				t.Errorf("%d: no X-Request-Id", i)
			}
			if (a.status == 401 || a.status == 404) != (a.body == "") {
				t.Errorf("%d: a %d has the body %q", i, a.status, a.body)
			}
			if a.status == 405 && a.header.Get("Allow") == "" {
				t.Errorf("%d: a 405 without Allow", i)
			}
		}
		malformed := malformedHTTP(g)
		for name, text := range malformed {
			if got := raw(t, s, text); got < 400 || got >= 500 && got != http.StatusNotImplemented &&
				got != http.StatusHTTPVersionNotSupported {
				t.Errorf("%s: %d", name, got)
			}
		}
		if diff := cmp.Diff(before, everything()); diff != "" {
			t.Errorf("something changed (-before +after):\n%s", diff)
		}
		s.exchange(t, g.RefreshToken)
		s.exchange(t, other.RefreshToken)
		t.Logf("%d refused calls and %d that are no HTTP", len(cases), len(malformed))
	})
}

// malformedHTTP are requests that no HTTP client sends.
func malformedHTTP(g grant) map[string]string {
	body := object("refreshToken", g.RefreshToken)
	head := "POST /jwt/refresh HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
	return map[string]string{
		"no HTTP at all":    "hello\r\n\r\n",
		"no such version":   "POST /jwt/refresh HTTP/9.9\r\nHost: x\r\n\r\n",
		"no Host":           "GET /healthz HTTP/1.1\r\n\r\n",
		"two Hosts":         "GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
		"two lengths":       head + "Content-Length: 5\r\nContent-Length: 80\r\n\r\n" + body,
		"negative length":   head + "Content-Length: -1\r\n\r\n" + body,
		"no number":         head + "Content-Length: many\r\n\r\n" + body,
		"length and chunks": head + "Content-Length: 0\r\nTransfer-Encoding: xchunked\r\n\r\n" + body,
		"wrong chunk":       head + "Transfer-Encoding: chunked\r\n\r\nzz\r\n" + body + "\r\n0\r\n\r\n",
		"too large chunks": head + "Transfer-Encoding: chunked\r\n\r\n" +
			fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", 40<<10, strings.Repeat(" ", 40<<10)),
		"header without a colon": "GET /healthz HTTP/1.1\r\nHost: x\r\nnonsense\r\n\r\n",
		"blank in a header name": "GET /healthz HTTP/1.1\r\nHost: x\r\nA b: c\r\n\r\n",
		"NUL in a header":        "GET /healthz HTTP/1.1\r\nHost: x\r\nA: \x00\r\n\r\n",
		"huge header":            "GET /healthz HTTP/1.1\r\nHost: x\r\nA: " + strings.Repeat("a", 80<<10) + "\r\n\r\n",
		"bad escape in the path": "GET /jwt/refresh/%zz HTTP/1.1\r\nHost: x\r\n\r\n",
		"NUL in the path":        "GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
	}
}

// raw sends text on a connection of its own, and returns the status of the response.
func raw(t *testing.T, s *service, text string) int {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(rawTimeout)); err != nil {
		t.Fatal(err)
	}
	// The service may respond and close before it has read everything.
	_, _ = io.WriteString(c, text)
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Errorf("%.60q: %v", text, err)
		return 0
	}
	defer res.Body.Close()
	return res.StatusCode
}
