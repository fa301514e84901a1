package httpapi_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"
	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/support/contract"
	"github.com/refreshd/refreshd/test/support/tiny"
	"github.com/refreshd/refreshd/usecase/admin"
)

// newBilingual returns a service with a second dialect beside the API, whose greeting fails with *fail. It has two more
// API keys: one that reads everything, and one that reads the stream.
func newBilingual(t *testing.T, limits *web.RateLimits) (s *service, fail *error) {
	t.Helper()
	s, fail = newService(t), new(error)
	for _, name := range []string{"reads all", "feed"} {
		s.keys[name] = "ak_" + strings.ReplaceAll(name, " ", "_") + strings.Repeat("0", 30)
		checks.Secrets.Add(s.keys[name])
	}
	s.apply(t, admin.Kickstart{APIKeys: []admin.KickstartAPIKey{
		{Key: domain.NewSecret(s.keys["reads all"]), APIKey: domain.APIKey{
			Name: "reads all", Permissions: domain.Permissions{"/jwt/refresh": {"GET"}},
		}},
		{Key: domain.NewSecret(s.keys["feed"]), APIKey: domain.APIKey{
			Name: "feed", TenantID: aTenant, Permissions: domain.Permissions{"/revocations": {"GET"}},
		}},
	}})
	tokens, err := s.api.Dialect()
	if err != nil {
		t.Fatal(err)
	}
	second, err := tiny.Dialect(func() error { return *fail })
	if err != nil {
		t.Fatal(err)
	}
	if limits != nil {
		s.options.Guard = web.NewGuard(*limits, nil, s.clock, nil)
	}
	if s.handler, err = web.New(s.options, tokens, second); err != nil {
		t.Fatal(err)
	}
	return s, fail
}

// send sends a request that the document of the API does not have.
func (s *service) send(method, target, body string, header ...string) *http.Response {
	req := httptest.NewRequest(method, target, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	s.handler.ServeHTTP(rec, req)
	return rec.Result()
}

const asForm = "application/x-www-form-urlencoded"

// Each refusal, also one of the mount itself, has the format and the statuses of the dialect of the request.
func TestADialectRefusesInItsOwnWay(t *testing.T) {
	s, fail := newBilingual(t, nil)
	key := s.keys["reads all"]
	const greet = "/t/acme/tiny/greet"
	for name, tt := range map[string]struct {
		method, target, body string
		header               []string
		fail                 error
		status               int
		says                 string // the body; empty for the API's own, which has none for these statuses
		want                 []string
	}{
		"no API key": {"POST", greet, "name=a", nil, nil, 401, "tiny",
			[]string{"Www-Authenticate", `Bearer realm="refreshd"`}},
		"a wrong one, Basic": {"POST", greet, "name=a", []string{"Authorization", "Basic eHg6eHg="}, nil, 401, "tiny",
			[]string{"Www-Authenticate", `Basic realm="tiny"`}},
		"no permission": {"POST", greet, "name=a", []string{"Authorization", s.keys["feed"]}, nil, 401, "tiny", nil},
		"no such tenant": {"POST", "/t/nobody/tiny/greet", "name=a", []string{"Authorization", key}, nil,
			401, "tiny", nil},
		"two tenants": {"POST", greet, "name=a", []string{"Authorization", key, "X-Tenant-Id", "globex"}, nil,
			400, "tiny", nil},
		"no such object": {"POST", greet, "name=a", []string{"Authorization", key, "Content-Type", asForm},
			domain.ErrNotFound, 404, "tiny", nil},
		"no such path":        {"POST", "/t/acme/tiny/wave", "", nil, nil, 404, "tiny", nil},
		"no such path, below": {"POST", greet + "/twice", "", nil, nil, 404, "tiny", nil},
		"another method":      {"PUT", greet, "", nil, nil, 405, "tiny", []string{"Allow", "OPTIONS, POST"}},
		"too large": {"POST", greet, strings.Repeat("a", 101), nil, nil, 413, "tiny",
			nil},
		"another media type": {"POST", greet, "{}", []string{"Authorization", key, "Content-Type", "application/json"}, nil,
			415, "tiny", []string{"Accept", asForm}},
		"an empty value": {"POST", greet, "name=&x=y", []string{"Authorization", key, "Content-Type", asForm}, nil,
			400, "tiny", nil},
		"stale": {"POST", greet, "name=a", []string{"Authorization", key, "Content-Type", asForm},
			domain.ErrStale, 412, "tiny", nil},
		"taken": {"POST", greet, "name=a", []string{"Authorization", key, "Content-Type", asForm},
			domain.ErrDuplicate, 409, "tiny", nil},
		"a lost race": {"POST", greet, "name=a", []string{"Authorization", key, "Content-Type", asForm},
			errors.Join(domain.ErrStale, domain.ErrConflict), 503, "tiny", []string{"Retry-After", "1"}},
		"a fault": {"POST", greet, "name=a", []string{"Authorization", key, "Content-Type", asForm},
			errors.New("secret"), 500, "tiny", nil},
		"public, a fault": {"GET", "/tiny/hello", "", nil, errors.New("secret"), 500, "tiny", nil},

		"the API's object": {"GET", "/jwt/refresh/x", "", []string{"Authorization", key, "X-Tenant-Id", "acme"},
			nil, 404, "", nil},
		"the API's path":        {"GET", "/jwt/nothing", "", nil, nil, 404, "", nil},
		"a path of no dialect":  {"GET", "/nothing", "", nil, nil, 404, "", nil},
		"a tenant's path":       {"GET", "/t/acme/nothing", "", nil, nil, 404, "", nil},
		"the API's, no API key": {"POST", "/jwt/issue", "", nil, nil, 401, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			*fail = tt.fail
			res := s.send(tt.method, tt.target, tt.body, tt.header...)
			got := new(strings.Builder)
			_ = res.Write(got)
			isTiny := res.Header.Get("Content-Type") == "application/problem+json" &&
				strings.Contains(got.String(), fmt.Sprintf(`"error":%d`, tt.status))
			if res.StatusCode != tt.status || isTiny != (tt.says == "tiny") || strings.Contains(got.String(), "secret") {
				t.Errorf("got %s, want %d by %q", got, tt.status, tt.says)
			}
			for i := 0; i < len(tt.want); i += 2 {
				if got := res.Header.Get(tt.want[i]); got != tt.want[i+1] {
					t.Errorf("%s: got %q, want %q", tt.want[i], got, tt.want[i+1])
				}
			}
		})
	}
}

// A refusal by a limit has the format of the dialect of the request, whether or not a route matches. A refusal for
// overload is sent completely before its connection pauses.
func TestADialectSaysItselfThatItIsTooMuch(t *testing.T) {
	s, _ := newBilingual(t, &web.RateLimits{Address: 1})
	for range 10 {
		s.send("GET", "/nothing", "")
	}
	for target, isTiny := range map[string]bool{
		"/t/acme/tiny/greet": true, "/t/acme/tiny/nothing": true, "/jwt/refresh/x": false, "/nothing": false,
	} {
		res := s.send("GET", target, "")
		if got := res.Header.Get("Content-Type") == "application/problem+json"; res.StatusCode != 429 || got != isTiny {
			t.Errorf("%s: got %d with %s", target, res.StatusCode, res.Header.Get("Content-Type"))
		}
	}
}

// The caller of a route with an action is authenticated for the tenant in its path, without code in the handler.
func TestADialectsRouteHasItsCaller(t *testing.T) {
	s, fail := newBilingual(t, nil)
	*fail = nil
	res := s.send("POST", "/t/acme/tiny/greet", "name=ada&unknown=1&empty=", "Authorization",
		"Bearer "+s.keys["reads all"],
		"Content-Type", asForm, "X-Stencil-TenantId", "acme")
	got := new(strings.Builder)
	_ = res.Write(got)
	if res.StatusCode != 200 || !strings.HasSuffix(got.String(), "reads all greets ada in acme") {
		t.Errorf("got %s", got)
	}
	// An owner may read too. The action determines that, not the dialect.
	res = s.send("POST", "/t/acme/tiny/greet", "name=ada", "Authorization", s.issue(t, "shop", "ada").Token,
		"Content-Type", asForm)
	if res.StatusCode != 200 {
		t.Errorf("an owner: got %d", res.StatusCode)
	}
	if res := s.send("GET", "/t/acme/tiny/feed", "", "Authorization",
		s.issue(t, "shop", "ada").Token); res.StatusCode != 401 {
		t.Errorf("an owner reads the stream: got %d", res.StatusCode)
	}
}

func TestEachDialectHasItsDocumentAndItsHeaders(t *testing.T) {
	s, _ := newBilingual(t, nil)
	for path, want := range map[string]string{
		"/tiny/openapi.yaml": "title: Tiny", "/tiny/docs": "It greets.", "/tiny/docs/style.css": "{",
		"/tiny/docs/script.js": "(",
		"/openapi.yaml":        "/jwt/issue", "/docs": "/jwt/issue",
	} {
		rec := httptest.NewRecorder()
		s.handler.ServeHTTP(rec, httptest.NewRequest("GET", path, nil))
		if rec.Code != 200 || !strings.Contains(rec.Body.String(), want) {
			t.Errorf("%s: got %d without %q", path, rec.Code, want)
		}
	}
	for path, want := range map[string][2]string{
		"/t/acme/tiny/greet": {"Tiny-Proof", "OPTIONS, POST"},
		"/jwt/issue": {
			"Authorization,Content-Type,X-Stencil-TenantId,X-Stencil-Tenanid,X-Tenant-Id,X-Request-Id,DPoP,DPoP-Next",
			"OPTIONS, POST",
		},
	} {
		got := s.send("OPTIONS", path, "", "Origin", ourOrigin).Header
		if got.Get("Access-Control-Allow-Headers") != want[0] || got.Get("Access-Control-Allow-Methods") != want[1] {
			t.Errorf("%s: got %v", path, got)
		}
	}
	for path, want := range map[string]string{
		"/t/acme/tiny/greet": "Tiny-Seen",
		"/jwt/issue":         "Refreshd-Outcome,X-Request-Id,Link,X-Total-Count,Retry-After,DPoP-Nonce",
	} {
		if got := s.send("POST", path, "", "Origin", ourOrigin).Header.Get("Access-Control-Expose-Headers"); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}

// The document has exactly the routes that are served, and the callers of each that the table of routes has.
func TestTheDocumentSaysOfEachRouteWhatTheTableSays(t *testing.T) {
	s := newService(t)
	d, err := s.api.Dialect()
	if err != nil {
		t.Fatal(err)
	}
	forms := map[string]bool{}
	for _, f := range contract.Forms {
		forms["POST "+f.Path] = true
	}
	var served, documented []string
	for _, r := range s.handler.(*echo.Echo).Routes() {
		name := r.Method + " " + r.Path
		if r.Method != http.MethodHead && !forms[braced(name)] || name == "POST /jwt/refresh" {
			served = append(served, braced(name))
		}
	}
	doc := contract.Document(t)
	eachOperation(doc, func(where string, _ *openapi3.Operation) { documented = append(documented, where) })
	slices.Sort(served)
	slices.Sort(documented)
	if diff := cmp.Diff(documented, served); diff != "" {
		t.Errorf("(-documented +served)\n%s", diff)
	}

	for _, r := range d.Routes {
		item := doc.Paths.Value(braced(r.Path))
		if item == nil || item.GetOperation(r.Method) == nil {
			continue // a form
		}
		takes := map[string]bool{}
		for _, requirement := range *item.GetOperation(r.Method).Security {
			for scheme := range requirement {
				takes[scheme] = true
			}
		}
		actions := append(slices.Clone(r.Asks), r.Action)
		asks := slices.ContainsFunc(actions, func(a domain.Action) bool { return a != "" })
		owners := !r.BackendOnly && slices.ContainsFunc(actions, domain.Action.AllowsOwner)
		if takes["apiKey"] != asks || takes["accessToken"] != owners {
			t.Errorf("%s %s takes %v by the document; by the table an API key %t, an access token %t", r.Method, r.Path,
				takes, asks, owners)
		}
	}
}

// An action that no route needs would be a useless permission. The action of a route has the method and path of the
// route.
func TestEachRoutesActionIsSpelledAsTheRoute(t *testing.T) {
	s := newService(t)
	d, err := s.api.Dialect()
	if err != nil {
		t.Fatal(err)
	}
	asked := map[domain.Action]bool{}
	for _, r := range d.Routes {
		for _, a := range append(slices.Clone(r.Asks), r.Action) {
			if a != "" {
				asked[a] = true
			}
		}
		if r.Action == "" {
			continue
		}
		method, endpoints := r.Action.Permissions()
		if method != r.Method || !slices.Equal(endpoints, []string{r.Path}) {
			t.Errorf("%s %s asks for %s, which is %s on %v", r.Method, r.Path, r.Action, method, endpoints)
		}
	}
	for _, a := range []domain.Action{
		domain.TokenIssue, domain.TokenExchange, domain.TokenRead, domain.TokenList, domain.TokenListWide,
		domain.TokenListAny,
		domain.TokenChange, domain.TokenChangeMany, domain.TokenRevoke, domain.TokenRevokeMany,
	} {
		if !asked[a] {
			t.Errorf("no route asks for %s", a)
		}
	}
}

// braced returns a path with its parameters in the syntax of the document.
func braced(path string) string {
	parts := strings.Split(path, "/")
	for i, part := range parts {
		if name, ok := strings.CutPrefix(part, ":"); ok {
			parts[i] = "{" + name + "}"
		}
	}
	return strings.Join(parts, "/")
}
