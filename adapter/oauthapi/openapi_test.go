package oauthapi_test

import (
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/test/support/contract"
)

func TestTheDocumentIsValid(t *testing.T) { contract.CheckDocument(t) }

func TestTheDocumentHasEveryRoute(t *testing.T) {
	dialect, err := newService(t).api.Dialect()
	if err != nil {
		t.Fatal(err)
	}
	var routes []string
	for _, r := range dialect.Routes {
		routes = append(routes, r.Method+" "+r.Path)
	}
	contract.CheckRoutes(t, "/oauth2", routes)
}

// The document and its page are served as the document says, with the address and the tenant of this service.
func TestTheDocumentIsServed(t *testing.T) {
	s := newService(t)
	s.api.URL, s.api.TenantID = "https://auth.acme.example/tokens", "1.0"
	s.mount(t)
	files := map[string]string{
		"/oauth2/openapi.yaml": "application/yaml", "/oauth2/docs": "text/html; charset=utf-8",
		"/oauth2/docs/style.css": "text/css; charset=utf-8", "/oauth2/docs/script.js": "text/javascript; charset=utf-8",
	}
	for path, want := range files {
		a := s.do(t, "GET", path).want(t, 200, "")
		if a.header.Get("Content-Type") != want || len(a.body) == 0 {
			t.Errorf("GET %s: got %q", path, a.header.Get("Content-Type"))
		}
		s.do(t, "GET", path, header("If-None-Match", a.header.Get("ETag"))).want(t, 304, "")
		s.do(t, "GET", path, raw("text/plain", strings.Repeat("x", 40_000))).want(t, 413, "invalid_request")
	}
	doc, err := openapi3.NewLoader().LoadFromData(s.do(t, "GET", "/oauth2/openapi.yaml").body)
	if err != nil {
		t.Fatal(err)
	}
	tenant := doc.Paths.Value("/t/{tenantId}/oauth2/token").Post.Parameters.GetByInAndName("path", "tenantId").Example
	if doc.Servers[0].URL != s.api.URL || tenant != "1.0" {
		t.Errorf("got the server %v and the tenant %v", doc.Servers[0].URL, tenant)
	}
	page := string(s.do(t, "GET", "/oauth2/docs").body)
	for _, want := range []string{
		"https://auth.acme.example/tokens/t/1.0/oauth2/token", `href="/oauth2/openapi.yaml"`, "invalid_grant",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not have %q", want)
		}
	}
	s.options.Guard = web.NewGuard(web.RateLimits{Address: 1}, nil, s.clock, nil)
	s.mount(t)
	for path := range files {
		for range 11 { // a burst of ten
			s.do(t, "GET", path)
		}
	}
}
