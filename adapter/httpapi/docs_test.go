package httpapi_test

import (
	"cmp"
	"html"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"go.yaml.in/yaml/v3"

	"github.com/refreshd/refreshd/adapter/httpapi"
)

// firstStart lists the examples of a first start.
var firstStart = httpapi.Examples{URL: "http://127.0.0.1:3000", TenantID: "default", ApplicationID: "demo"}

func documentServer(t *testing.T, x httpapi.Examples) http.Handler {
	t.Helper()
	s := newEmptyService(t)
	s.api.Examples = x
	s.mount(t)
	return s.handler
}

func TestTheDocumentIsServedAsItSaysItself(t *testing.T) {
	e := documentServer(t, firstStart)
	for path, wantType := range map[string]string{
		"/openapi.yaml":   "application/yaml",
		"/docs":           "text/html; charset=utf-8",
		"/docs/style.css": "text/css; charset=utf-8",
		"/docs/script.js": "text/javascript; charset=utf-8",
	} {
		req := httptest.NewRequest(http.MethodGet, path, nil)
		rec := httptest.NewRecorder()
		e.ServeHTTP(rec, req)
		checks.Check(t, req, nil, rec.Result(), rec.Body.Bytes())
		if rec.Code != http.StatusOK || rec.Header().Get("Content-Type") != wantType || rec.Body.Len() == 0 {
			t.Errorf("GET %s: got %d, %q, %d bytes; want 200, %q and a body", path, rec.Code, rec.Header().Get("Content-Type"),
				rec.Body.Len(), wantType)
		}

		again := httptest.NewRequest(http.MethodGet, path, nil)
		again.Header.Set("If-None-Match", `W/"other", `+rec.Header().Get("ETag"))
		recAgain := httptest.NewRecorder()
		e.ServeHTTP(recAgain, again)
		checks.Check(t, again, nil, recAgain.Result(), recAgain.Body.Bytes())
		if recAgain.Code != http.StatusNotModified {
			t.Errorf("GET %s with its ETag: got %d, want 304", path, recAgain.Code)
		}
	}
}

// Examples that are copied from the documents of a running service work there: they have its address, its tenant and
// its application. They do not depend on the request. Otherwise another page could make them name its own host.
func TestTheDocumentsNameTheRunningService(t *testing.T) {
	for _, x := range []httpapi.Examples{
		{URL: "http://127.0.0.1:3000", TenantID: "default", ApplicationID: "demo"},
		{URL: "https://auth.acme.example/tokens", TenantID: "acme", ApplicationID: "shop"},
		{URL: "https://[2001:db8::7]:8443"},
		{URL: "https://a.example", TenantID: "no", ApplicationID: "yes"},
		{URL: "https://a.example", TenantID: "1.0", ApplicationID: "a: 'b' \"c\" \\ # <b> 用户 😀 \ufeff\u202e"},
	} {
		t.Run(x.URL+" "+x.ApplicationID, func(t *testing.T) {
			e := documentServer(t, x)
			req := httptest.NewRequest(http.MethodGet, "/openapi.yaml", nil)
			req.Host = "evil.example"
			rec := httptest.NewRecorder()
			e.ServeHTTP(rec, req)
			doc, err := openapi3.NewLoader().LoadFromData(rec.Body.Bytes())
			if err != nil {
				t.Fatal(err)
			}
			if err := doc.Validate(t.Context(), openapi3.EnableExamplesValidation()); err != nil {
				t.Error(err)
			}
			if len(doc.Servers) != 1 || doc.Servers[0].URL != x.URL {
				t.Errorf("got the servers %v, want %s", doc.Servers, x.URL)
			}
			tenant, application := cmp.Or(x.TenantID, "your-tenant"), cmp.Or(x.ApplicationID, "your-application")
			var root any
			if err := yaml.Unmarshal(rec.Body.Bytes(), &root); err != nil {
				t.Fatal(err)
			}
			named := map[string]int{}
			eachExample("", root, func(name string, value any) {
				want, ok := map[string]string{"tenantId": tenant, "applicationsId": application}[name]
				if _, isText := value.(string); !isText { // the errors of a field
					return
				}
				if named[name]++; ok && value != want {
					t.Errorf("an example has %s %v, want %s", name, value, want)
				}
			})
			if named["tenantId"] < 2 || named["applicationsId"] < 5 {
				t.Errorf("got examples with %v, want some of a tenant and of an application", named)
			}
			if got := doc.Components.SecuritySchemes["tenant"].Value.Extensions["x-example"]; got != tenant {
				t.Errorf("the tenant header's example is %v, want %s", got, tenant)
			}
			jwks := doc.Paths.Value("/t/{tenantId}/.well-known/jwks.json").Get
			if got := jwks.Parameters.GetByInAndName("path", "tenantId").Example; got != tenant {
				t.Errorf("the tenant in the path is %v, want %s", got, tenant)
			}

			page := httptest.NewRecorder()
			e.ServeHTTP(page, httptest.NewRequest(http.MethodGet, "/docs", nil))
			shown := html.UnescapeString(regexp.MustCompile("<[^>]*>").ReplaceAllString(page.Body.String(), ""))
			for _, want := range []string{
				"'" + x.URL + "/jwt/issue'", "'X-Stencil-TenantId: " + tenant + "'",
				"'" + x.URL + "/t/" + tenant + "/.well-known/jwks.json'",
			} {
				if !strings.Contains(shown, want) {
					t.Errorf("the page does not show %s", want)
				}
			}
		})
	}
}

// Replicas of one service have the same documents. Those of another service differ.
func TestTheDocumentsETagFollowsWhatTheyName(t *testing.T) {
	etag := func(x httpapi.Examples) string {
		rec := httptest.NewRecorder()
		documentServer(t, x).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/openapi.yaml", nil))
		return rec.Header().Get("ETag")
	}
	one := httpapi.Examples{URL: "https://a.example", TenantID: "acme", ApplicationID: "shop"}
	if first, second := etag(one), etag(one); first != second {
		t.Errorf("got ETags %s and %s of the same service, want one", first, second)
	}
	for _, other := range []httpapi.Examples{
		{URL: "https://b.example", TenantID: "acme", ApplicationID: "shop"},
		{URL: "https://a.example", TenantID: "beta", ApplicationID: "shop"},
		{URL: "https://a.example", TenantID: "acme", ApplicationID: "blog"},
	} {
		if etag(one) == etag(other) {
			t.Errorf("%v and %v have the same ETag", one, other)
		}
	}
}

// eachExample visits each member of the examples below a node.
func eachExample(key string, node any, visit func(name string, value any)) {
	switch node := node.(type) {
	case map[string]any:
		for name, child := range node {
			if key == "examples" || key == "in an example" {
				visit(name, child)
				eachExample("in an example", child, visit)
				continue
			}
			eachExample(name, child, visit)
		}
	case []any:
		for _, child := range node {
			eachExample(key, child, visit)
		}
	}
}
