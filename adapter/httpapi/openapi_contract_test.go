package httpapi_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/refreshd/refreshd/test/support/contract"
)

// A check that accepts everything would make each test that relies on it useless. So it must find every violation
// below.
func TestTheContractCheckSeesEachBreach(t *testing.T) {
	const (
		id     = "019b2f6e-3c5a-7d41-9e0c-5b7a8d2f1c34"
		v4     = "019b2f6e-3c5a-4d41-9e0c-5b7a8d2f1c34"
		issued = `{"success":true,"message":"","data":{` +
			`"refreshToken":"rt_AQAAAQGbL248Wn1Bngxbeo0vHDQAAAAB3hAZjVCWmlimJBYjKllee6EoYl10QQVJ",` +
			`"refreshTokenId":"` + id + `","token":"a.b.c","expiresIn":900,"refreshTokenExpiresIn":2592000}}`
		revoked = `{"success":true,"message":"","data":{"tokenId":"` + id + `"}}`
		found   = `{"success":true,"message":"","data":{"id":"` + id +
			`","tenantId":"acme","applicationsId":"a","userId":"u",` +
			`"generation":1,"insertInstant":1,"lastUsedInstant":1,"expirationInstant":1,"state":"active",` +
			`"roles":[],"scopes":[],"claims":{},"metaData":{}}}`
	)
	type call struct {
		method, path, body string
		status             int
		answer             string
		drop               string // a header that is left out
		form               bool
	}
	issue := call{method: "POST", path: "/jwt/issue", body: `{"userId":"u","applicationsId":"a"}`, status: 200,
		answer: issued}
	revoke := call{method: "DELETE", path: "/jwt/refresh", body: `{"userId":"u"}`, status: 200, answer: revoked}
	with := func(c call, change func(*call)) call { change(&c); return c }
	tests := map[string]struct {
		call  call
		fails bool
	}{
		"issue":                 {issue, false},
		"issue, alias":          {with(issue, func(c *call) { c.body = `{"usersId":"u","applicationId":"a"}` }), false},
		"issue, trailing slash": {with(issue, func(c *call) { c.path += "/" }), false},
		"issue without a user":  {with(issue, func(c *call) { c.body = `{"applicationsId":"a"}` }), true},
		"issue, user spelled twice": {with(issue,
			func(c *call) { c.body = `{"userId":"u","userID":"u","applicationsId":"a"}` }), true},
		"issue, unknown name": {with(issue, func(c *call) { c.body = `{"userId":"u","applicationsId":"a","x":1}` }),
			true},
		"issue, reserved claim": {with(issue,
			func(c *call) { c.body = `{"userId":"u","applicationsId":"a","claims":{"sid":"x"}}` }), true},
		"issue, address in the input": {with(issue,
			func(c *call) { c.body = `{"userId":"u","applicationsId":"a","metaData":{"lastClientAddress":"x"}}` }), true},
		"issue, import": {with(issue, func(c *call) {
			c.body = `{"userId":"u","applicationsId":"a","insertInstant":0,"expirationInstant":1798016400000,` +
				`"clientAddress":"::1","userAgent":""}`
		}), false},
		"issue, an instant before 1970": {with(issue,
			func(c *call) { c.body = `{"userId":"u","applicationsId":"a","insertInstant":-1}` }), true},
		"issue, an id of version 4": {with(issue,
			func(c *call) { c.body = `{"userId":"u","applicationsId":"a","refreshTokenId":"` + v4 + `"}` }), true},
		"issue without tenant":      {with(issue, func(c *call) { c.drop = "X-Stencil-TenantId" }), true},
		"issue without API key":     {with(issue, func(c *call) { c.drop = "Authorization" }), true},
		"answer that a cache keeps": {with(issue, func(c *call) { c.drop = "Cache-Control" }), true},
		"answer without request id": {with(issue, func(c *call) { c.drop = "X-Request-Id" }), true},
		"answer with an unknown name": {with(issue, func(c *call) {
			c.answer = strings.Replace(issued, `"message"`,
				`"x":1,"message"`, 1)
		}), true},
		"answer without the seconds left": {with(issue, func(c *call) {
			c.answer = strings.Replace(issued,
				`"expiresIn":900,`, ``, 1)
		}), true},
		"answer with no second left": {with(issue, func(c *call) {
			c.answer = strings.Replace(issued,
				`"expiresIn":900,`, `"expiresIn":0,`, 1)
		}), true},
		"exchange, no seconds of a session": {call{method: "POST", path: "/jwt/refresh", body: `{}`, status: 200,
			answer: strings.Replace(issued, `,"refreshTokenExpiresIn":2592000`, ``, 1)}, true},
		"answer without a token string": {with(issue, func(c *call) { c.answer = revoked }), true},
		"status that is not documented": {with(issue, func(c *call) { c.status = 201 }), true},
		"401 with a body":               {with(issue, func(c *call) { c.status = 401 }), true},
		"401":                           {with(issue, func(c *call) { c.status, c.answer = 401, "" }), false},
		"401 without WWW-Authenticate": {with(issue,
			func(c *call) { c.status, c.answer, c.drop = 401, "", "WWW-Authenticate" }), true},
		"400 that names no error": {with(issue,
			func(c *call) { c.status, c.answer = 400, `{"success":false,"message":""}` }), true},
		"400 that says success": {with(issue,
			func(c *call) { c.status, c.answer = 400, `{"success":true,"message":"","errors":{"generalErrors":[]}}` }), true},
		"exchange without proof": {call{method: "POST", path: "/jwt/refresh", body: `{}`, status: 200,
			answer: issued, drop: "Authorization"}, false},
		"exchange without outcome": {call{method: "POST", path: "/jwt/refresh", body: `{}`, status: 200,
			answer: issued, drop: "Refreshd-Outcome"}, true},
		"exchange, form": {call{method: "POST", path: "/jwt/refresh", body: `timeToLiveInSeconds=60`,
			status: 200, answer: issued, form: true}, false},
		"exchange mixed with a selector": {call{method: "POST", path: "/jwt/refresh",
			body: `{"refreshToken":"x","userId":"u"}`, status: 200, answer: issued}, true},
		"revoke": {revoke, false},
		"revoke, form": {with(revoke, func(c *call) { c.body, c.form = `allInTenant=true`, true }),
			false},
		"revoke, query": {with(revoke,
			func(c *call) { c.body, c.path = "", "/jwt/refresh?userId=u&exceptTokenId="+id }), false},
		"revoke, unknown query":         {with(revoke, func(c *call) { c.path = "/jwt/refresh?x=1" }), true},
		"revoke with an empty selector": {with(revoke, func(c *call) { c.body = `{}` }), true},
		"revoke, a user's but one": {with(revoke, func(c *call) { c.body = `{"usersId":"u","exceptTokenId":"x"}` }),
			false},
		"revoke, but one of nobody's": {with(revoke, func(c *call) { c.body = `{"exceptTokenId":"x"}` }), true},
		"revoke, two that do not go":  {with(revoke, func(c *call) { c.body = `{"userId":"u","tokenId":"x"}` }), true},
		"revoke, user spelled twice":  {with(revoke, func(c *call) { c.body = `{"userId":"u","userID":"u"}` }), true},
		"revoke, two places":          {with(revoke, func(c *call) { c.path += "?userId=u" }), true},
		"revoke, of one and of more": {with(revoke,
			func(c *call) { c.answer = strings.Replace(revoked, `{"tokenId"`, `{"revokedBefore":1,"tokenId"`, 1) }), true},
		"revoke, of nothing": {with(revoke,
			func(c *call) { c.answer = `{"success":true,"message":"","data":{"revokedBefore":1}}` }), true},
		"retrieve by POST": {call{method: "POST", path: "/jwt/refresh", body: `{"id":"` + id + `"}`,
			status: 200, answer: found}, false},
		"retrieve by POST, one": {call{method: "POST", path: "/jwt/refresh/" + id, status: 200,
			answer: found}, false},
		"retrieve by POST, a query": {call{method: "POST", path: "/jwt/refresh?x=1", body: `{"id":"` + id + `"}`,
			status: 200, answer: found}, true},
		"retrieve by POST, no key": {call{method: "POST", path: "/jwt/refresh", body: `{"id":"` + id + `"}`,
			status: 200, answer: found, drop: "Authorization"}, true},
		"retrieve by POST, two ids": {call{method: "POST", path: "/jwt/refresh",
			body: `{"id":"` + id + `","tokenId":"x"}`, status: 200, answer: found}, true},
		"retrieve by POST, answers more": {call{method: "POST", path: "/jwt/refresh", body: `{"id":"` + id + `"}`,
			status: 200, answer: revoked}, true},
		"list by POST, alias, form": {call{method: "POST", path: "/jwt/refresh", body: `userID=u`, form: true,
			status: 200, answer: `{"success":true,"message":"","data":[]}`}, false},
		"list by POST, user spelled twice": {call{method: "POST", path: "/jwt/refresh",
			body: `{"userID":"u","usersId":"u"}`, status: 200, answer: `{"success":true,"message":"","data":[]}`}, true},
		"list by POST, unknown name": {call{method: "POST", path: "/jwt/refresh", body: `{"userID":"u","limit":"1"}`,
			status: 200, answer: `{"success":true,"message":"","data":[]}`}, true},
		"revoke by POST": {call{method: "POST", path: "/jwt/refresh", body: `{"TokenString":"x"}`,
			status: 200, answer: revoked}, false},
		"revoke by POST, token": {call{method: "POST", path: "/jwt/refresh", body: `{"token":"x"}`, status: 200,
			answer: revoked}, true},
		"revoke by POST, all in tenant": {call{method: "POST", path: "/jwt/refresh", body: `{"allInTenant":true}`,
			status: 200, answer: revoked}, true},
		"revoke by POST, one": {call{method: "POST", path: "/jwt/refresh/" + id,
			body: `{"tokenId":"` + id + `"}`, status: 200, answer: revoked}, false},
		"revoke by POST, one, another": {call{method: "POST", path: "/jwt/refresh/" + id, body: `{"tokenId":"x"}`,
			status: 200, answer: revoked}, true},
		"revoke by POST, one, no id": {call{method: "POST", path: "/jwt/refresh/" + id, body: `{}`, status: 200,
			answer: revoked}, true},
		"exchange that is not found": {call{method: "POST", path: "/jwt/refresh", body: `{}`, status: 404}, true},
		"revoke, allInTenant and a user": {with(revoke, func(c *call) { c.body = `{"userId":"u","allInTenant":true}` }),
			true},
		"revoke, allInTenant false":        {with(revoke, func(c *call) { c.body = `{"allInTenant":false}` }), true},
		"path that is unknown":             {call{method: "GET", path: "/jwt/nothing", status: 404}, false},
		"path that is unknown, and served": {call{method: "GET", path: "/jwt/nothing", status: 200, answer: revoked}, true},
		"method that is unknown": {call{method: "PUT", path: "/jwt/refresh/" + id, status: 405,
			answer: `{"success":false,"message":""}`}, false},
		"method that is unknown, no Allow": {call{method: "PUT", path: "/jwt/refresh/" + id, status: 405,
			answer: `{"success":false,"message":""}`, drop: "Allow"}, true},
	}
	doc := contract.Document(t)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			req := httptest.NewRequest(test.call.method, test.call.path, nil)
			req.Header.Set("Authorization", "Bearer ak_test")
			req.Header.Set("X-Stencil-TenantId", "acme")
			req.Header.Set("Content-Type", "application/json")
			if test.call.form {
				req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			}
			res := &http.Response{StatusCode: test.call.status, Header: http.Header{
				"Content-Type": {"application/json"}, "X-Request-Id": {"test"}, "Cache-Control": {"no-store"},
				"Pragma":           {"no-cache"},
				"Www-Authenticate": {`Bearer realm="refreshd"`}, "Allow": {"GET"}, "Refreshd-Outcome": {"rotated"},
			}}
			req.Header.Del(test.call.drop)
			res.Header.Del(test.call.drop)
			found := contract.Breaches(doc, req, []byte(test.call.body), res, []byte(test.call.answer))
			if test.fails != (len(found) > 0) {
				t.Errorf("got breaches %v, want some: %t", found, test.fails)
			}
		})
	}
}
