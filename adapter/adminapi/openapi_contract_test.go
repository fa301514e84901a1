package adminapi_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/adapter/manifest"
	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/support/contract"
	"github.com/refreshd/refreshd/usecase/admin"
)

// checks has what the package's tests got of the service.
var checks = contract.Run{Infallible: []string{"openapi", "docs", "docsStyle", "docsScript"}}

func TestMain(m *testing.M) { os.Exit(checks.Main(m)) }

// checkAgainstContract checks one response against openapi.yaml.
func checkAgainstContract(t testing.TB, req *http.Request, reqBody []byte, res *http.Response, resBody []byte) {
	t.Helper()
	checks.Check(t, req, reqBody, res, resBody)
	shows := bytes.Contains(resBody, []byte(`"key":"ak_`)) || bytes.Contains(resBody, []byte(`"clientSecret":"`))
	if shows != (res.Header.Get("Cache-Control") == "no-store") {
		t.Errorf("%s %s: the response has a key, or Cache-Control is no-store, but not both", req.Method, req.URL)
	}
}

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
	contract.CheckRoutes(t, "/administration", routes)
}

// A policy field that the manifest has, and the document does not, could not be set by a client that is generated.
func TestTheDocumentHasTheMembersOfTheManifest(t *testing.T) {
	doc := contract.Document(t)
	policy := manifest.PolicyFields()
	for name, fields := range map[string][]manifest.Field{
		"Tenant":              slices.Concat(manifest.TenantFields(), policy),
		"TenantDocument":      slices.Concat(manifest.TenantFields(), policy),
		"TenantChanges":       slices.Concat(manifest.TenantFields(), policy),
		"Application":         slices.Concat(manifest.ApplicationFields(), policy),
		"ApplicationDocument": slices.Concat(manifest.ApplicationFields(), policy),
		"ApplicationChanges":  slices.Concat(manifest.ApplicationFields(), policy),
		"APIKeyDocument":      manifest.APIKeyFields(), "APIKeyChanges": manifest.APIKeyFields(),
		"APIKey": manifest.APIKeyFields(), "APIKeyMade": manifest.APIKeyFields(),
	} {
		var want []string
		for _, f := range fields {
			if name != "APIKey" || f.Name != "key" {
				want = append(want, f.Name)
			}
		}
		if strings.HasPrefix(name, "APIKey") {
			want = append(want, "id", "hasPreviousKey")
		} else {
			want = append(want, "effectiveAlgorithm", "algorithmStartsInstant")
		}
		if name == "APIKey" {
			want = append(want, "endedPreviousKey")
		}
		if name == "Application" {
			want = append(want, "endedSecrets")
		}
		got := leaves("", doc.Components.Schemas[name].Value)
		for leaf, schema := range got {
			i := slices.IndexFunc(fields, func(f manifest.Field) bool { return f.Name == leaf })
			if i < 0 {
				continue
			}
			if null := schema.Type.Includes("null"); null != strings.HasSuffix(name, "Changes") && leaf != "id" {
				t.Errorf("%s: %s accepts null: %t", name, leaf, null)
			}
			if bounds := ""; schema.Min != nil && schema.Max != nil {
				if bounds = fmt.Sprintf("%.0f to %.0f", *schema.Min, *schema.Max); bounds != fields[i].Type {
					t.Errorf("%s: %s has the bounds %s, want %s", name, leaf, bounds, fields[i].Type)
				}
			}
			var words []string
			for _, word := range schema.Enum {
				if text, ok := word.(string); ok {
					words = append(words, text)
				}
			}
			if !slices.Equal(words, fields[i].Words) {
				t.Errorf("%s: %s is one of %q, want %q", name, leaf, words, fields[i].Words)
			}
		}
		names := make([]string, 0, len(got))
		for leaf := range got {
			names = append(names, leaf)
		}
		slices.Sort(names)
		slices.Sort(want)
		if diff := cmp.Diff(want, names); diff != "" {
			t.Errorf("%s (-manifest +document)\n%s", name, diff)
		}
	}
}

// leaves returns the members of a schema that are no objects with known names, by their path.
func leaves(at string, s *openapi3.Schema) map[string]*openapi3.Schema {
	all := map[string]*openapi3.Schema{}
	for name, property := range s.Properties {
		if len(property.Value.Properties) == 0 {
			all[at+name] = property.Value
			continue
		}
		for leaf, schema := range leaves(at+name+".", property.Value) {
			all[leaf] = schema
		}
	}
	return all
}

// The document and its page are served as the document says, with the address and the tenant of this service.
func TestTheDocumentIsServed(t *testing.T) {
	s := newService(t)
	s.api.URL, s.api.TenantID = "https://auth.acme.example/tokens", "1.0"
	s.mount(t)
	for path, want := range map[string]string{
		"/administration/openapi.yaml": "application/yaml", "/administration/docs": "text/html; charset=utf-8",
		"/administration/docs/style.css": "text/css; charset=utf-8",
		"/administration/docs/script.js": "text/javascript; charset=utf-8",
	} {
		res := s.do(t, "GET", path, "")
		if res.StatusCode != 200 || res.Header.Get("Content-Type") != want {
			t.Errorf("GET %s: got %d %q", path, res.StatusCode, res.Header.Get("Content-Type"))
		}
		s.do(t, "GET", path, "", header("If-None-Match", res.tag())).want(t, 304)
		s.do(t, "GET", path, strings.Repeat("x", 40_000)).want(t, 413)
	}
	rec := httptest.NewRecorder()
	s.handler.ServeHTTP(rec, httptest.NewRequest("GET", "/administration/docs", nil))
	for _, want := range []string{
		"https://auth.acme.example/tokens/tenant/1.0", `href="/administration/openapi.yaml"`,
	} {
		if !strings.Contains(rec.Body.String(), want) {
			t.Errorf("the page does not have %q", want)
		}
	}
}

// each calls visit for each operation of the document, with a path that has an id.
func each(t *testing.T, visit func(t *testing.T, method, path string, op *openapi3.Operation)) {
	for path, item := range contract.Document(t).Paths.Map() {
		for method, op := range item.Operations() {
			t.Run(op.OperationID, func(t *testing.T) {
				visit(t, method, strings.ReplaceAll(path, "{id}", "00000000-0000-7000-8000-000000000001"), op)
			})
		}
	}
}

// Each refusal that comes before the handler, at each route: a limit, a body that is too large, a missing key, the
// tenant, a fault, an outage of the store.
func TestEveryRouteRefusesAsTheDocumentSays(t *testing.T) {
	s := newService(t)
	each(t, func(t *testing.T, method, path string, op *openapi3.Operation) {
		s.do(t, method, path, strings.Repeat("x", 40_000)).want(t, 413)
		s.do(t, "OPTIONS", path, "", header("Origin", ourOrigin), header("Access-Control-Request-Method", method))
		if op.Tags[0] == "Documents" {
			return
		}
		headers := s.do(t, method, path, "", header("Origin", ourOrigin)).Header
		if headers.Get("Access-Control-Allow-Origin") != "" {
			t.Error("a page in a browser may read the response")
		}
		in := tenant(acme)
		s.do(t, method, path, "", in, without("Authorization")).want(t, 401)
		for _, key := range []string{"powerless", "expired"} {
			s.do(t, method, path, "", in, as(key)).want(t, 401)
		}
		s.do(t, method, path, "", tenant("nobody")).want(t, 401)
		s.do(t, method, path, "", tenant(globex), as("acme root")).want(t, 401)
		s.do(t, method, path, "", in, header("X-Tenant-Id", globex)).want(t, 400, "[conflict]X-Stencil-TenantId")
		s.do(t, method, path+"?x=1", "", in).want(t, 400, "[unknown]x")
		if op.RequestBody != nil {
			if op.RequestBody.Value.Required {
				s.do(t, method, path, "", in).want(t, 400, "[blank]")
			}
			s.do(t, method, path, "x", in, without("Content-Type")).want(t, 415)
			s.do(t, method, path, `{"x":null}`, in).want(t, 400, "[unknown]x")
		} else {
			s.do(t, method, path, "{}", in).want(t, 400, "[conflict]")
		}
		s.do(t, "PROPFIND", path, "").want(t, 405)
		s.store.onCheck = func() error { panic("a fault") }
		s.do(t, method, path, "", in).want(t, 500)
		s.store.onCheck = func() error { return errors.New("no store") }
		s.do(t, method, path, "", in).want(t, 503)
		s.store.onCheck = nil
	})
	s.options.Guard = web.NewGuard(web.RateLimits{Address: 1, APIKey: 1}, nil, time.Now, nil)
	s.mount(t)
	each(t, func(t *testing.T, method, path string, op *openapi3.Operation) {
		for range 25 { // more than a burst
			if s.do(t, method, path, "", tenant(acme)).StatusCode == 429 {
				return
			}
		}
		t.Error("there is no limit")
	})
}

// Names of error codes are for programs. One that nothing returns would be a promise that nothing keeps.
func TestTheStatusOfALostRaceIsTheDialects(t *testing.T) {
	dialect, err := newService(t).api.Dialect()
	if err != nil {
		t.Fatal(err)
	}
	want := []web.ErrorStatus{
		{Err: domain.ErrStale, Status: http.StatusPreconditionFailed},
		{Err: admin.ErrPreviousKey, Status: http.StatusConflict},
		{Err: admin.ErrTwoSecrets, Status: http.StatusConflict},
		{Err: domain.ErrUnsafe, Status: http.StatusConflict},
	}
	if !reflect.DeepEqual(dialect.Statuses, want) || !dialect.BackendOnly {
		t.Errorf("got %v, for backends only: %t", dialect.Statuses, dialect.BackendOnly)
	}
}
