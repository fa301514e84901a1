package adminapi_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/refreshd/refreshd/adapter/adminapi"
	"github.com/refreshd/refreshd/adapter/jwxsigner"
	"github.com/refreshd/refreshd/adapter/memstore"
	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/usecase"
	"github.com/refreshd/refreshd/usecase/admin"
)

const (
	acme      = "acme"
	globex    = "globex"
	publicURL = "https://refreshd.example"
	ourOrigin = "https://app.acme.example" // the configured one
)

var began = time.Date(2027, time.March, 4, 5, 6, 7, 891_234_000, time.UTC)

// everything is each permission that exists.
var everything = domain.Permissions{
	"*": {"*"}, "/sessions": {"GET"}, "/revocations": {"GET"},
	"/tenant": {"*"}, "/application": {"*"}, "/api-key": {"*"}, "/key": {"*"}, "/audit": {"*"},
}

// reading is the permission to read what this API has.
var reading = domain.Permissions{
	"/tenant": {"GET"}, "/application": {"GET"}, "/api-key": {"GET"}, "/key": {"GET"}, "/audit": {"GET"},
}

var standardKeys = map[string]domain.APIKey{
	"root":        {Permissions: everything},
	"acme root":   {TenantID: acme, Permissions: everything},
	"globex root": {TenantID: globex, Permissions: everything},
	"reader":      {Permissions: reading},
	"powerless":   {Permissions: domain.Permissions{"*": {"*"}, "/sessions": {"GET"}}},
	"expired":     {Permissions: everything, ExpiresAt: began},
}

// A service is the API over a store in memory.
type service struct {
	store   *watched
	options web.Options
	api     *adminapi.API
	handler http.Handler
	keys    map[string]string // API keys by name
}

// watched is the store of a service, and fails as its tests say.
type watched struct {
	port.Store
	mu      sync.Mutex
	onCheck func() error // at each look-up of an API key
	onWrite func()       // once, before the next write of a tenant or an application
}

func (w *watched) APIKeyByHash(ctx context.Context, hash string) (domain.APIKey, error) {
	w.mu.Lock()
	check := w.onCheck
	w.mu.Unlock()
	if check != nil {
		if err := check(); err != nil {
			return domain.APIKey{}, err
		}
	}
	return w.Store.APIKeyByHash(ctx, hash)
}

func (w *watched) before() {
	w.mu.Lock()
	do := w.onWrite
	w.onWrite = nil
	w.mu.Unlock()
	if do != nil {
		do()
	}
}

func (w *watched) SaveTenant(
	ctx context.Context, t domain.Tenant, expect domain.Version, e domain.Event, with ...port.ApplicationWrite,
) (domain.Version, error) {
	w.before()
	return w.Store.SaveTenant(ctx, t, expect, e, with...)
}

func (w *watched) SaveApplication(
	ctx context.Context, a domain.Application, expect domain.Version, e domain.Event,
) (domain.Version, error) {
	w.before()
	return w.Store.SaveApplication(ctx, a, expect, e)
}

// newService returns a service with two tenants that have an application of the same name, and the standard keys.
func newService(t testing.TB) *service {
	t.Helper()
	s := &service{store: &watched{Store: memstore.New()}, keys: map[string]string{}}
	clock := func() time.Time { return began }
	master, _, err := domain.NewMasterKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := usecase.OpenKeys(t.Context(), usecase.KeysConfig{
		Store: s.store, Signer: jwxsigner.New(rand.Reader), Master: master, Clock: clock, Random: rand.Reader,
	})
	if err != nil {
		t.Fatal(err)
	}
	kickstart := admin.Kickstart{Tenants: []admin.KickstartTenant{
		{Tenant: domain.Tenant{ID: acme, Name: "Acme"}, Applications: []domain.Application{{ID: "shop", Name: "Acme's"}}},
		{Tenant: domain.Tenant{ID: globex}, Applications: []domain.Application{{ID: "shop", Name: "Globex'"}}},
	}}
	for name, key := range standardKeys {
		s.keys[name] = "ak_" + rand.Text()
		checks.Secrets.Add(s.keys[name])
		key.Name = name
		kickstart.APIKeys = append(kickstart.APIKeys,
			admin.KickstartAPIKey{APIKey: key, Key: domain.NewSecret(s.keys[name])})
	}
	apply := &admin.Apply{
		Tenants: s.store, Applications: s.store, APIKeys: s.store, Keys: keys, Clock: clock, Random: rand.Reader,
	}
	if _, err := apply.Do(t.Context(), kickstart); err != nil {
		t.Fatal(err)
	}
	origins, err := web.ParseOrigins([]string{ourOrigin})
	if err != nil {
		t.Fatal(err)
	}
	s.options = web.Options{
		Pages: web.Pages{Origins: origins},
		Authenticate: &usecase.Authenticate{
			APIKeys: s.store, Tokens: s.store, Tenants: s.store, Keys: keys, Clock: clock,
		},
		Log: slog.New(slog.NewJSONHandler(&checks.Log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	s.api = &adminapi.API{
		Tenants: &admin.Tenants{
			Tenants: s.store, Applications: s.store, Keys: keys, Clock: clock, Random: rand.Reader,
		},
		Applications: &admin.Applications{
			Tenants: s.store, Applications: s.store, Keys: keys, Clock: clock, Random: rand.Reader,
		},
		APIKeys: &admin.APIKeys{
			APIKeys: s.store, Tenants: s.store, Keys: keys, Clock: clock, Random: rand.Reader,
		},
		Keys: &admin.Keys{Keys: s.store}, Audit: &admin.Audit{Events: s.store},
		URL: "http://127.0.0.1:3000", TenantID: "default",
	}
	s.mount(t)
	return s
}

func (s *service) mount(t testing.TB) {
	t.Helper()
	dialect, err := s.api.Dialect()
	if err != nil {
		t.Fatal(err)
	}
	if s.handler, err = web.New(s.options, dialect); err != nil {
		t.Fatal(err)
	}
}

// An option changes a request.
type option func(s *service, r *http.Request)

func as(key string) option {
	return func(s *service, r *http.Request) { r.Header.Set("Authorization", "Bearer "+s.keys[key]) }
}

func header(name, value string) option {
	return func(_ *service, r *http.Request) { r.Header.Add(name, value) }
}

func tenant(id string) option { return header("X-Stencil-TenantId", id) }

func ifMatch(tag string) option { return header("If-Match", tag) }

func without(name string) option { return func(_ *service, r *http.Request) { r.Header.Del(name) } }

// answer is a response, checked against the document.
type answer struct {
	*http.Response
	Success bool
	Message string
	Data    json.RawMessage
	Errors  struct {
		FieldErrors   map[string][]problem
		GeneralErrors []problem
	}
}

type problem struct{ Code, Message string }

// do sends a request with the key root, unless an option has another one. A body is JSON.
func (s *service) do(t testing.TB, method, target, body string, options ...option) *answer {
	t.Helper()
	req := httptest.NewRequest(method, target, strings.NewReader(body))
	if body == "" {
		req = httptest.NewRequest(method, target, nil)
	} else {
		req.Header.Set("Content-Type", "application/json")
	}
	as("root")(s, req)
	for _, o := range options {
		o(s, req)
	}
	rec := httptest.NewRecorder()
	s.handler.ServeHTTP(rec, req)
	a := &answer{Response: rec.Result()}
	content := rec.Body.Bytes()
	checkAgainstContract(t, req, []byte(body), a.Response, content)
	if strings.HasPrefix(a.Header.Get("Content-Type"), "application/json") && len(content) > 0 {
		if err := json.Unmarshal(content, a); err != nil {
			t.Fatalf("%s %s: %v in %s", method, target, err, content)
		}
	}
	return a
}

// events returns the number of events in the store.
func (s *service) events(t testing.TB) int {
	t.Helper()
	page, err := s.store.Events(t.Context(), port.EventQuery{Limit: 10_000, MaxBytes: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	return len(page.Events)
}

func (a *answer) codes() (all []string) {
	for _, ps := range a.Errors.FieldErrors {
		for _, p := range ps {
			all = append(all, p.Code)
		}
	}
	for _, p := range a.Errors.GeneralErrors {
		all = append(all, p.Code)
	}
	slices.Sort(all)
	return all
}

// want fails the test unless the response has the status and exactly these codes.
func (a *answer) want(t testing.TB, status int, codes ...string) *answer {
	t.Helper()
	if got := a.codes(); a.StatusCode != status || fmt.Sprint(got) != fmt.Sprint(codes) {
		t.Fatalf("got %d %v %s %v, want %d %v", a.StatusCode, got, a.Data, a.Errors, status, codes)
	}
	return a
}

// is fails the test unless the data is this JSON.
func (a *answer) is(t testing.TB, want string) *answer {
	t.Helper()
	var got, wanted bytes.Buffer
	if json.Compact(&got, a.Data) != nil || json.Compact(&wanted, []byte(want)) != nil || got.String() != wanted.String() {
		t.Fatalf("got %s, want %s", a.Data, want)
	}
	return a
}

func (a *answer) tag() string { return a.Header.Get("ETag") }

// member returns a text of the data.
func (a *answer) member(t testing.TB, name string) string {
	t.Helper()
	var members map[string]any
	if err := json.Unmarshal(a.Data, &members); err != nil {
		t.Fatal(err)
	}
	text, _ := members[name].(string)
	return text
}
