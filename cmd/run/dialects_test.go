package run

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/config"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/usecase/admin"
)

// The tests in this file walk the routes of all dialects, as they are mounted. So a new route cannot be forgotten: the
// test fails until it says what the route is about.

const (
	walked, foreign = "walked", "foreign" // two tenants

	// secretName is in the names of all objects of the foreign tenant.
	secretName = "of the foreign tenant"
)

// walk is a service in memory with all dialects, and the routes of these.
type walk struct {
	s       *service
	handler http.Handler
	routes  []web.Route
	ids     map[string]string // of objects of the foreign tenant, by the path of their list
	token   string            // an access token of the tenant walked
}

// anything is a permission for everything.
func anything() domain.Permissions {
	p := domain.Permissions{"*": {"*"}, domain.SessionsPermission: {"GET"}, domain.RevocationsPermission: {"GET"}}
	for _, endpoint := range domain.AdministrationEndpoints() {
		p[endpoint] = []string{"*"}
	}
	return p
}

func newWalk(t *testing.T) *walk {
	t.Helper()
	stores, err := withStores(nil)
	if err != nil {
		t.Fatal(err)
	}
	p := process{stores: stores, stdout: io.Discard, stderr: io.Discard}
	c, err := config.Load(nil, []string{
		"REFRESHD_DATABASE_URL=memory:", "REFRESHD_RATE_LIMIT_ADDRESS=0", "REFRESHD_RATE_LIMIT_API_KEY=0",
	}, p.schemes()...)
	if err != nil {
		t.Fatal(err)
	}
	w := &walk{ids: map[string]string{}}
	if w.s, err = p.open(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.s.store.Close() })
	var k admin.Kickstart
	for _, id := range []string{walked, foreign} {
		name := "of the walked tenant"
		if id == foreign {
			name = secretName
		}
		k.Tenants = append(k.Tenants, admin.KickstartTenant{
			Tenant:       domain.Tenant{ID: id, Name: name},
			Applications: []domain.Application{{ID: "app-" + id, Name: name}},
		})
		k.APIKeys = append(k.APIKeys, admin.KickstartAPIKey{
			APIKey: domain.APIKey{Name: "key " + name, TenantID: id, Permissions: anything()}, Key: domain.NewSecret(keyFor(id)),
		})
	}
	if _, err := w.s.applier().Do(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	ready := func(context.Context) error { return nil }
	dialects, err := w.s.dialects(t.Context(), c, "https://refreshd.example", ready)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dialects {
		w.routes = append(w.routes, d.Routes...)
	}
	if w.handler, err = w.s.newHandler(t.Context(), c, "https://refreshd.example", ready); err != nil {
		t.Fatal(err)
	}
	w.token = w.issue(t, walked).Token
	w.ids["/jwt/refresh"] = w.issue(t, foreign).RefreshTokenID
	w.ids["/tenant"], w.ids["/application"] = foreign, "app-"+foreign
	w.ids["/api-key"], w.ids["/key"] = w.first(t, "/api-key"), w.first(t, "/key")
	return w
}

func keyFor(name string) string { return fmt.Sprintf("ak_%s_%032d", name, 0) }

type issued struct{ RefreshTokenID, Token string }

func (w *walk) issue(t *testing.T, tenant string) (got issued) {
	t.Helper()
	body := `{"userId":"ada","applicationsId":"app-` + tenant + `"}`
	w.data(t, w.send("POST", "/jwt/issue", body, keyFor(tenant), tenant), &got)
	return got
}

// first returns the id of the first object that the foreign tenant sees in a list.
func (w *walk) first(t *testing.T, path string) string {
	t.Helper()
	var rows []struct{ ID string }
	w.data(t, w.send("GET", path, "", keyFor(foreign), foreign), &rows)
	if len(rows) == 0 {
		t.Fatalf("%s has no object of the tenant", path)
	}
	return rows[0].ID
}

func (w *walk) data(t *testing.T, rec *httptest.ResponseRecorder, into any) {
	t.Helper()
	var envelope struct{ Data json.RawMessage }
	if err := json.Unmarshal(rec.Body.Bytes(), &envelope); err != nil || rec.Code/100 != 2 {
		t.Fatalf("got %d %s, %v", rec.Code, rec.Body, err)
	}
	if err := json.Unmarshal(envelope.Data, into); err != nil {
		t.Fatal(err)
	}
}

// send sends a request. An empty credential or tenant is left out.
func (w *walk) send(method, path, body, credential, tenant string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if credential != "" {
		req.Header.Set("Authorization", credential)
	}
	if tenant != "" {
		req.Header.Set("X-Stencil-TenantId", tenant)
	}
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, req)
	return rec
}

// listOf returns the path of the list that a route belongs to.
func listOf(r web.Route) string {
	if strings.HasPrefix(r.Path, "/key/") {
		return "/key"
	}
	list, _, _ := strings.Cut(r.Path, "/:")
	return list
}

// at returns the path of a route for that tenant, with the id of the foreign object.
func (w *walk) at(t *testing.T, r web.Route, tenant string) string {
	t.Helper()
	path := strings.Replace(r.Path, ":tenantId", tenant, 1)
	if strings.Contains(path, ":id") {
		id := w.ids[listOf(r)]
		if id == "" {
			t.Fatalf("%s %s: this test does not know such an object: give the foreign tenant one", r.Method, r.Path)
		}
		path = strings.Replace(path, ":id", id, 1)
	}
	if strings.Contains(path, ":") {
		t.Fatalf("%s %s has a parameter that this test does not know", r.Method, r.Path)
	}
	return path
}

// body returns a body that the route accepts, if it accepts one of this form.
func body(r web.Route) string {
	switch {
	case r.Method == "GET" || r.Method == "DELETE" || strings.HasSuffix(r.Path, "/:id/key"),
		r.Path == "/jwt/refresh/:id" && r.Method == "POST":
		return ""
	case listOf(r) == "/jwt/refresh" && r.Method == "PATCH":
		return `{"roles":["admin"]}`
	case listOf(r) == "/api-key" && r.Method != "PATCH":
		return `{"name":"made by a walk"}`
	case r.Path == "/key/reseal":
		return ""
	default:
		return `{}`
	}
}

// public are the routes that need no credential. A new one has to be added here, so that no route is public by mistake.
var public = []string{
	"GET /.well-known/jwks.json", "GET /.well-known/oauth-authorization-server",
	"GET /.well-known/oauth-authorization-server/t/:tenantId", "GET /.well-known/openid-configuration",
	"GET /.well-known/openid-configuration/t/:tenantId", "GET /healthz", "GET /readyz",
	"GET /t/:tenantId/.well-known/jwks.json", "GET /t/:tenantId/.well-known/oauth-authorization-server",
	"GET /t/:tenantId/.well-known/openid-configuration",
	"POST /oauth2/revoke", "POST /oauth2/token", "POST /t/:tenantId/oauth2/revoke", "POST /t/:tenantId/oauth2/token",
}

// aside are the routes, by path or by method and path, whose action is spelled as another path, and that path.
var aside = map[string]string{
	"/t/:tenantId/revocations": domain.RevocationsPermission, "/api-key/:id/key": "/api-key/:id",
	"/application/:id/secret": "/application/:id",
	"/key/generate":           "/key", "/key/generate/:id": "/key", "/key/import": "/key", "/key/import/:id": "/key",
	"/key/rotate": "/key", "/key/retire/:id": "/key", "/key/revoke/:id": "/key", "/key/reseal": "/key",
	"PATCH /key/:id": "/key",
}

// Each route needs its own permission: with it alone a request is let through, with all others it is 401.
func TestEachRouteNeedsItsPermission(t *testing.T) {
	w := newWalk(t)
	var anybody []string
	for _, r := range w.routes {
		name := r.Method + " " + r.Path
		if r.Anybody {
			anybody = append(anybody, name)
			continue
		}
		t.Run(name, func(t *testing.T) {
			path, tenant := w.at(t, r, walked), walked
			if rec := w.send(r.Method, path, body(r), "ak_unknown_0123456789_0123456789", tenant); rec.Code != 401 {
				t.Errorf("with an unknown key: got %d", rec.Code)
			}
			if rec := w.send(r.Method, path, body(r), w.token, tenant); r.BackendOnly && r.Action != "" && rec.Code != 401 {
				t.Errorf("with an access token: got %d", rec.Code)
			}
			actions := slices.DeleteFunc(append(slices.Clone(r.Asks), r.Action), func(a domain.Action) bool { return a == "" })
			for _, a := range actions {
				method, endpoints := a.Permissions()
				if r.Action != "" {
					want, ok := aside[r.Path]
					if !ok {
						want, ok = aside[name]
					}
					if !ok && (method != r.Method || !slices.Equal(endpoints, []string{r.Path})) ||
						ok && !slices.Equal(endpoints, []string{want}) {
						t.Errorf("it asks for %s, which is %s on %v", a, method, endpoints)
					}
				}
			}
			if len(actions) == 0 {
				t.Fatal("it has no action")
			}
			if r.Action == "" {
				return // its requests determine the action: the tests of its dialect have them
			}
			method, endpoints := r.Action.Permissions()
			w.give(t, domain.Permissions{endpoints[0]: {method}})
			if rec := w.send(r.Method, path, body(r), keyFor("given"), tenant); rec.Code == 401 && !refusesItself(r) {
				t.Errorf("with %s on %s: got %d", method, endpoints[0], rec.Code)
			}
			w.give(t, allBut(method, endpoints[0]))
			if rec := w.send(r.Method, path, body(r), keyFor("given"), tenant); rec.Code != 401 {
				t.Errorf("without %s on %s: got %d", method, endpoints[0], rec.Code)
			}
		})
	}
	slices.Sort(anybody)
	if !slices.Equal(anybody, public) {
		t.Errorf("the public routes are %q, want %q", anybody, public)
	}
}

// creates reports whether the route creates an object of administration.
func creates(r web.Route) bool {
	return strings.Contains(string(r.Action), ".create") ||
		strings.HasPrefix(r.Path, "/key/generate") || strings.HasPrefix(r.Path, "/key/import")
}

// refusesItself reports whether the use case refuses the request of the walk: the key of one tenant creates no tenant,
// and does not seal the keys of all.
func refusesItself(r web.Route) bool {
	return creates(r) && listOf(r) == "/tenant" || r.Path == "/key/reseal"
}

// give sets the permissions of the key for "given", which serves the tenant walked.
func (w *walk) give(t *testing.T, p domain.Permissions) {
	t.Helper()
	_, err := w.s.applier().Do(t.Context(), admin.Kickstart{APIKeys: []admin.KickstartAPIKey{{
		APIKey: domain.APIKey{Name: "given", TenantID: walked, Permissions: p}, Key: domain.NewSecret(keyFor("given")),
	}}})
	if err != nil {
		t.Fatal(err)
	}
}

// allBut returns every permission but the one for the method on the endpoint, which is below no other one in it.
func allBut(method, endpoint string) domain.Permissions {
	all := domain.Endpoints()
	for _, e := range domain.AdministrationEndpoints() {
		all[e], all[e+"/:id"] = allMethods(), allMethods()
	}
	all[domain.SessionsPermission], all[domain.RevocationsPermission] = []string{"GET"}, []string{"GET"}
	p := domain.Permissions{}
	for e, methods := range all {
		methods = slices.DeleteFunc(slices.Clone(methods), func(m string) bool {
			return m == method && (e == endpoint || strings.HasPrefix(endpoint, e+"/"))
		})
		if len(methods) > 0 {
			p[e] = methods
		}
	}
	return p
}

func allMethods() []string { return []string{"GET", "POST", "PUT", "PATCH", "DELETE"} }

// A key of one tenant neither sees nor changes anything of another one, whichever tenant its request names.
func TestNoRouteReachesAnotherTenant(t *testing.T) {
	w := newWalk(t)
	before := w.dump(t)
	// Creations come last: they make an object of the same id in the own tenant.
	slices.SortStableFunc(w.routes, func(a, b web.Route) int {
		return map[bool]int{true: 1}[creates(a)] - map[bool]int{true: 1}[creates(b)]
	})
	for _, r := range w.routes {
		if r.Anybody {
			continue
		}
		t.Run(r.Method+" "+r.Path, func(t *testing.T) {
			for _, tenant := range []string{foreign, walked, ""} {
				inPath := tenant
				if inPath == "" {
					inPath = foreign
				}
				rec := w.send(r.Method, w.at(t, r, inPath), body(r), keyFor(walked), tenant)
				want := []int{404, 401} // for an object of the other tenant
				switch {
				case tenant == foreign && r.Kind == web.Exchange:
					want = []int{400, 401} // it needs no key, and the body has no token string
				case tenant == foreign:
					want = []int{401}
				case tenant == "" && !r.TenantOptional:
					want = []int{400, 401}
				case creates(r) || !strings.Contains(r.Path, ":id"):
					want = nil // about the own tenant, whatever it is
				}
				if want != nil && !slices.Contains(want, rec.Code) {
					t.Errorf("naming %q: got %d %s, want %v", tenant, rec.Code, rec.Body, want)
				}
				if strings.Contains(rec.Body.String()+fmt.Sprint(rec.Header()), secretName) {
					t.Errorf("naming %q: the response has something of the other tenant: %s", tenant, rec.Body)
				}
			}
			if after := w.dump(t); after != before {
				t.Errorf("the other tenant changed\nfrom %s\nto   %s", before, after)
			}
		})
	}
}

// dump returns all that the foreign tenant sees of itself.
func (w *walk) dump(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, path := range slices.Sorted(maps.Keys(w.ids)) {
		for _, target := range []string{path, path + "/" + w.ids[path]} {
			rec := w.send("GET", target, "", keyFor(foreign), foreign)
			if rec.Code != 200 {
				t.Fatalf("GET %s: got %d", target, rec.Code)
			}
			fmt.Fprintf(&all, "%s %s %s\n", target, rec.Header().Get("ETag"), rec.Body)
		}
	}
	return all.String()
}

// A service records that a known API key was refused. Its tests alone do not show that it is wired.
func TestAServiceRecordsARefusedAPIKey(t *testing.T) {
	s, h := onMemory(t)
	text := "ak_" + strings.Repeat("k", 32)
	hash, number := s.keys.HashAPIKey(domain.NewSecret(text))
	k := domain.APIKey{ID: domain.ID{6: 0x70, 8: 0x80}, Name: "k", Hash: hash, HashKey: number}
	if _, err := s.store.SaveAPIKey(t.Context(), k, 0, domain.Event{ID: domain.ID{1}}); err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodGet, "/tenant", nil)
	r.Header.Set("Authorization", "Bearer "+text)
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, r); w.Code != http.StatusUnauthorized {
		t.Fatalf("GET /tenant without a permission: %d, want 401", w.Code)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := s.refused.Run(ended); err != nil { // stores what is queued
		t.Fatal(err)
	}
	page, err := s.store.Events(t.Context(), port.EventQuery{
		Kinds: []domain.EventKind{domain.APIKeyRefused}, Limit: 9, MaxRows: 9, MaxBytes: 1 << 20,
	})
	if err != nil || len(page.Events) != 1 || page.Events[0].ObjectID != k.ID.String() {
		t.Fatalf("the audit trail has %v (%v), want one refusal of the key", page.Events, err)
	}
	want := domain.Origin{
		Actor:     domain.Actor{Kind: domain.ActorAPIKey, ID: k.ID.String(), Name: "k", Address: "192.0.2.1"},
		RequestID: w.Header().Get("X-Request-Id"),
	}
	if got := page.Events[0].Origin; got != want {
		t.Errorf("the refusal is of %+v, want %+v", got, want)
	}
}
