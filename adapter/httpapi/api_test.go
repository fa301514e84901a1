package httpapi_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/refreshd/refreshd/adapter/httpapi"
	"github.com/refreshd/refreshd/adapter/jwxsigner"
	"github.com/refreshd/refreshd/adapter/memstore"
	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/test/storagetest"
	"github.com/refreshd/refreshd/usecase"
	"github.com/refreshd/refreshd/usecase/admin"
)

const (
	publicURL = "https://refreshd.example"
	ourOrigin = "https://app.acme.example" // the one that is configured
	aTenant   = "acme"
	bTenant   = "globex"
)

// The API keys of a service are named by their permissions. Without a tenant in the name they are acme's.
var keyNames = []string{
	"backend", "everywhere", "reader", "revoker", "issuer", "exchanger", "powerless", "expired", "globex backend",
	"globex exchanger",
	"everything of acme", "patcher", "operator", "lister",
}

var began = time.Date(2027, time.March, 4, 5, 6, 7, 891_234_000, time.UTC)

// A service is the complete API over a watched store in memory, with a clock that only a test advances.
type service struct {
	api     *httpapi.API
	options web.Options
	handler http.Handler // of these, see mount
	store   *watchedStore
	keys    map[string]string // API keys by name

	mu  sync.Mutex
	now time.Time
}

func (s *service) clock() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

func (s *service) wait(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = s.now.Add(d)
}

func newService(t testing.TB) *service {
	t.Helper()
	s := newEmptyService(t)
	s.apply(t, standard(s.keys))
	return s
}

// newEmptyService returns a service without tenants.
func newEmptyService(t testing.TB) *service {
	t.Helper()
	store := &watchedStore{Store: memstore.New()}
	s := &service{store: store, keys: map[string]string{}, now: began}
	for _, name := range keyNames {
		s.keys[name] = "ak_" + rand.Text()
		checks.Secrets.Add(s.keys[name])
	}
	master, _, err := domain.NewMasterKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer := jwxsigner.New(rand.Reader)
	store.opened, err = usecase.OpenKeys(t.Context(), usecase.KeysConfig{
		Store: store, Signer: signer, Master: master, Clock: s.clock, Random: rand.Reader,
		CacheAge: 2 * time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	origins, err := web.ParseOrigins([]string{ourOrigin})
	if err != nil {
		t.Fatal(err)
	}
	keys := store.opened
	minter := usecase.Minter{Keys: keys, Signer: signer, PublicURL: publicURL}
	s.api = &httpapi.API{
		Issue: &usecase.Issue{
			Tokens: store, Revocations: store, Applications: store, Minter: minter, Clock: s.clock, Random: rand.Reader,
		},
		Exchange: &usecase.Exchange{Tokens: store, Minter: minter, Clock: s.clock},
		List:     &usecase.List{Tokens: store, Clock: s.clock},
		Patch: &usecase.Patch{Tokens: store, Applications: store, PublicURL: publicURL, Clock: s.clock,
			Random: rand.Reader},
		Revoke: &usecase.Revoke{Revocations: store, Applications: store, Keys: keys, Clock: s.clock},
		Logout: &usecase.Logout{
			Revocations: store, Tokens: store, Keys: keys, Clock: s.clock,
		},
		Publish: &usecase.Publish{Tenants: store, Keys: keys, Clock: s.clock, RootTenant: "acme"},
		Ready:   store.Ready,
		Exchanged: func(e usecase.Exchanged) {
			store.mu.Lock()
			defer store.mu.Unlock()
			store.outcomes = append(store.outcomes, e.Outcome)
		},
	}
	s.options = web.Options{
		Proofs:         &usecase.Proofs{Signer: signer, Keys: keys, Tenants: store, PublicURL: publicURL, Clock: s.clock},
		Authenticate:   &usecase.Authenticate{APIKeys: store, Tokens: store, Tenants: store, Keys: keys, Clock: s.clock},
		Log:            slog.New(slog.NewJSONHandler(&checks.Log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Pages:          web.Pages{Origins: origins},
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
	}
	s.mount(t)
	return s
}

// mount makes the handler of the service with its present settings.
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

// setPublicURL serves the API of s at another public URL.
func (s *service) setPublicURL(t testing.TB, publicURL string) {
	t.Helper()
	s.options.Pages.PublicURL = publicURL
	s.mount(t)
}

func (s *service) apply(t testing.TB, k admin.Kickstart) {
	t.Helper()
	apply := &admin.Apply{
		Tenants: s.store, Applications: s.store, APIKeys: s.store, Keys: s.store.opened, Clock: s.clock,
		Random: rand.Reader,
	}
	if _, err := apply.Do(t.Context(), k); err != nil {
		t.Fatal(err)
	}
}

// standard is two tenants whose applications have the same ids, so that only the tenant distinguishes them.
func standard(keys map[string]string) admin.Kickstart {
	apps := func() []domain.Application {
		return []domain.Application{
			{ID: "shop", Name: "Shop", Settings: domain.Settings{CookieOnly: new(false)}},
			{ID: "blog", Name: "Blog", Settings: domain.Settings{GraceSeconds: new(int64(0)), RecoveryBurst: new(int64(0))}},
			{ID: "locked", Name: "Locked", Settings: domain.Settings{RequireAuthentication: new(true)}},
			{ID: "cookies", Name: "Cookies", Settings: domain.Settings{CookieDomain: new("acme.example")}},
			{ID: "kiosk", Name: "Kiosk", Settings: domain.Settings{Usage: new(domain.Reusable)}},
			{ID: "short", Name: "Short", Settings: domain.Settings{TTLMinutes: new(int64(10)),
				AccessTokenSeconds: new(int64(60))}},
		}
	}
	key := func(name, tenant string, p domain.Permissions) admin.KickstartAPIKey {
		return admin.KickstartAPIKey{
			APIKey: domain.APIKey{Name: name, TenantID: tenant, Permissions: p}, Key: domain.NewSecret(keys[name]),
		}
	}
	backend := domain.Permissions{"/jwt/issue": {"POST"}, "/jwt/refresh": {"GET", "DELETE"}}
	expired := key("expired", aTenant, backend)
	expired.APIKey.ExpiresAt = began
	return admin.Kickstart{
		Tenants: []admin.KickstartTenant{
			{Tenant: domain.Tenant{ID: aTenant, Name: "Acme", Issuer: "https://auth.acme.example"}, Applications: apps()},
			{Tenant: domain.Tenant{ID: bTenant, Name: "Globex"},
				Applications: append(apps(), domain.Application{ID: "globex only", Name: "More"})},
		},
		APIKeys: []admin.KickstartAPIKey{
			key("backend", aTenant, backend),
			key("everywhere", "", domain.Permissions{"*": {"*"}}),
			key("everything of acme", aTenant, domain.Permissions{"*": {"*"}}),
			key("reader", aTenant, domain.Permissions{"/jwt/refresh": {"GET"}}),
			key("patcher", aTenant, domain.Permissions{"/jwt/refresh": {"PATCH"}}),
			key("revoker", aTenant, domain.Permissions{"/jwt/refresh": {"DELETE"}}),
			key("issuer", aTenant, domain.Permissions{"/jwt/issue": {"*"}}),
			key("exchanger", aTenant, domain.Permissions{"/jwt/refresh": {"POST"}}),
			key("operator", aTenant, domain.Permissions{"*": {"*"}, "/sessions": {"GET"}}),
			key("lister", aTenant, domain.Permissions{"/sessions": {"GET"}}),
			key("powerless", aTenant, nil),
			expired,
			key("globex backend", bTenant, backend),
			key("globex exchanger", bTenant, domain.Permissions{"/jwt/refresh": {"POST"}}),
		},
	}
}

// setActive switches an application of acme on or off.
func (s *service) setActive(t *testing.T, app string, active bool) {
	t.Helper()
	s.set(t, app, func(settings *domain.Settings) { settings.Active = &active })
}

// set changes the settings of an application of acme.
func (s *service) set(t *testing.T, app string, change func(*domain.Settings)) {
	t.Helper()
	a, err := s.store.Application(t.Context(), aTenant, app)
	if err != nil {
		t.Fatal(err)
	}
	change(&a.Settings)
	if err := storagetest.SaveApplication(t.Context(), s.store, a); err != nil {
		t.Fatal(err)
	}
}

// An option changes a request.
type option func(s *service, r *request)

type request struct {
	*http.Request
	body []byte
}

// as sends an API key by its name.
func as(name string) option {
	return func(s *service, r *request) {
		if s.keys[name] == "" {
			panic("no API key " + name)
		}
		r.Header.Set("Authorization", s.keys[name])
	}
}

func bearer(credential string) option { return header("Authorization", "Bearer "+credential) }

func tenant(id string) option { return header("X-Stencil-TenantId", id) }

func header(name, value string) option {
	return func(_ *service, r *request) { r.Header.Add(name, value) }
}

func host(h string) option { return func(_ *service, r *request) { r.Host = h } }

func from(address string) option { return func(_ *service, r *request) { r.RemoteAddr = address } }

func cookie(name, value string) option {
	return func(_ *service, r *request) { r.AddCookie(&http.Cookie{Name: name, Value: value}) }
}

func raw(mediaType, body string) option {
	return func(_ *service, r *request) {
		r.body = []byte(body)
		if mediaType != "" {
			r.Header.Set("Content-Type", mediaType)
		}
	}
}

func text(body string) option { return raw("application/json", body) }

type object map[string]any

func body(o object) option {
	b, err := json.Marshal(o)
	if err != nil {
		panic(err)
	}
	return text(string(b))
}

func form(pairs ...string) option {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Add(pairs[i], pairs[i+1])
	}
	return raw("application/x-www-form-urlencoded", v.Encode())
}

// backend is acme's usual caller.
func backend(s *service, r *request) {
	as("backend")(s, r)
	tenant(aTenant)(s, r)
}

func globex(s *service, r *request) {
	as("globex backend")(s, r)
	tenant(bTenant)(s, r)
}

type answer struct {
	status int
	header http.Header
	body   []byte
	cookie map[string]*http.Cookie

	Success bool            `json:"success"`
	Message string          `json:"message"`
	Data    json.RawMessage `json:"data"`
	Errors  struct {
		FieldErrors   map[string][]fieldError `json:"fieldErrors"`
		GeneralErrors []fieldError            `json:"generalErrors"`
	} `json:"errors"`
}

type fieldError struct{ Code, Message string }

type grant struct {
	RefreshToken, RefreshTokenID, Token string
	ExpiresIn, RefreshTokenExpiresIn    int64
}

// do sends a request, and checks its response against the document.
func (s *service) do(t *testing.T, method, target string, options ...option) *answer {
	t.Helper()
	r := &request{Request: httptest.NewRequest(method, target, nil)}
	r.Host = "refreshd.example"
	for _, o := range options {
		o(s, r)
	}
	if r.body != nil {
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(r.body)), int64(len(r.body))
	}
	sent := r.Clone(t.Context())
	rec := httptest.NewRecorder()
	s.handler.ServeHTTP(rec, r.Request)
	res := rec.Result()
	a := &answer{status: res.StatusCode, header: res.Header, body: rec.Body.Bytes(), cookie: map[string]*http.Cookie{}}
	forms := map[string]bool{}
	for _, c := range res.Cookies() {
		if before := a.cookie[c.Name]; before != nil && before.MaxAge >= 0 {
			t.Errorf("%s %s: something follows the cookie %s that is set", method, target, c.Name)
		}
		form := strings.Join([]string{c.Name, c.Domain, c.Path, strconv.FormatBool(c.Partitioned)}, " ")
		if forms[form] {
			t.Errorf("%s %s: the cookie %s is set twice", method, target, form)
		}
		forms[form] = true
		a.cookie[c.Name] = c
		checks.Secrets.Add(c.Value)
	}
	if len(a.body) > 0 && strings.HasPrefix(res.Header.Get("Content-Type"), "application/json") {
		if err := json.Unmarshal(a.body, a); err != nil {
			t.Fatalf("%s %s: %v in %s", method, target, err, a.body)
		}
	}
	for _, code := range a.codes() {
		checks.Got("the code " + code)
	}
	if g, ok := a.tryGrant(); ok {
		checks.Secrets.Add(g.RefreshToken)
		checks.Secrets.Add(g.Token)
	}
	checks.Check(t, sent, r.body, res, a.body)
	return a
}

func (a *answer) tryGrant() (grant, bool) {
	var g grant
	return g, json.Unmarshal(a.Data, &g) == nil && g.Token != ""
}

func (a *answer) grant(t *testing.T) grant {
	t.Helper()
	g, ok := a.tryGrant()
	if !ok {
		t.Fatalf("got %d %s, want tokens", a.status, a.body)
	}
	return g
}

// codes returns all error codes of a response, sorted.
func (a *answer) codes() []string {
	codes := []string{}
	for field, errs := range a.Errors.FieldErrors {
		for _, e := range errs {
			if !strings.HasSuffix(e.Code, "]"+field) {
				e.Code += " at " + field
			}
			codes = append(codes, e.Code)
		}
	}
	for _, e := range a.Errors.GeneralErrors {
		codes = append(codes, e.Code)
	}
	slices.Sort(codes)
	return codes
}

// want checks status and codes. A message is for people, and only must not be empty.
func (a *answer) want(t *testing.T, status int, codes ...string) *answer {
	t.Helper()
	slices.Sort(codes)
	if got := a.codes(); a.status != status || !slices.Equal(got, codes) {
		t.Errorf("got %d %v, want %d %v; the body is %s", a.status, got, status, codes, a.body)
	}
	if len(a.body) > 0 && a.header.Get("Content-Type") == "application/json" && a.Message == "" && a.Success {
		t.Errorf("a response without a message: %s", a.body)
	}
	return a
}

func (a *answer) data(t *testing.T, to any) {
	t.Helper()
	if err := json.Unmarshal(a.Data, to); err != nil {
		t.Fatalf("%v in %d %s", err, a.status, a.body)
	}
}

func (a *answer) outcome() string { return a.header.Get("Refreshd-Outcome") }

// issue issues a refresh token of a user of acme.
func (s *service) issue(t *testing.T, app, user string) grant {
	t.Helper()
	return s.do(t, "POST", "/jwt/issue", backend, body(object{"applicationsId": app, "userId": user})).
		want(t, 200).grant(t)
}

func (s *service) issueAt(t *testing.T, who option, app, user string) grant {
	t.Helper()
	return s.do(t, "POST", "/jwt/issue", who, body(object{"applicationsId": app, "userId": user})).want(t, 200).grant(t)
}

func (s *service) exchange(t *testing.T, tokenString string, options ...option) *answer {
	t.Helper()
	return s.do(t, "POST", "/jwt/refresh", append(options, body(object{"refreshToken": tokenString}))...)
}

// alive reports whether the refresh token of acme is active.
func (s *service) alive(t *testing.T, id string) bool {
	t.Helper()
	parsed, _ := domain.ParseID(id)
	found, err := s.store.Store.Find(t.Context(), aTenant, parsed)
	if err != nil && !errors.Is(err, domain.ErrNotFound) {
		t.Fatal(err)
	}
	return err == nil && found.Alive(s.clock())
}

// A watchedStore counts calls, records inserts, and fails where a test says so.
type watchedStore struct {
	port.Store
	opened *usecase.Keys

	mu       sync.Mutex
	outcomes []domain.Outcome
	calls    []string
	writes   []string
	ids      []domain.ID
	// fail, if set, is called before each call. If it returns an error, the call returns that error.
	fail func(method string) error
}

func (w *watchedStore) called(method string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = append(w.calls, method)
	if w.fail == nil {
		return nil
	}
	return w.fail(method)
}

func (w *watchedStore) wrote(method string, err error) {
	if err != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writes = append(w.writes, method)
}

func (w *watchedStore) callCount() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.calls)
}

func (w *watchedStore) writesSoFar() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.writes
}

func (w *watchedStore) Insert(ctx context.Context, t domain.RefreshToken) (domain.RefreshToken, error) {
	if err := w.called("Insert"); err != nil {
		return domain.RefreshToken{}, err
	}
	stored, err := w.Store.Insert(ctx, t)
	w.wrote("Insert", err)
	if err == nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.ids = append(w.ids, t.ID)
	}
	return stored, err
}

func (w *watchedStore) Advance(ctx context.Context, id domain.ID, c domain.Call) (domain.RefreshToken,
	domain.Policy, error) {
	if err := w.called("Advance"); err != nil {
		return domain.RefreshToken{}, domain.Policy{}, err
	}
	t, p, err := w.Store.Advance(ctx, id, c)
	w.wrote("Advance", err)
	return t, p, err
}

func (w *watchedStore) Snapshot(ctx context.Context, id domain.ID) (domain.Snapshot, error) {
	if err := w.called("Snapshot"); err != nil {
		return domain.Snapshot{}, err
	}
	return w.Store.Snapshot(ctx, id)
}

func (w *watchedStore) Use(ctx context.Context, before, after domain.RefreshToken, now time.Time) error {
	if err := w.called("Use"); err != nil {
		return err
	}
	err := w.Store.Use(ctx, before, after, now)
	w.wrote("Use", err)
	return err
}

func (w *watchedStore) Swap(
	ctx context.Context, before, after domain.RefreshToken, now time.Time, e domain.Event,
) error {
	if err := w.called("Swap"); err != nil {
		return err
	}
	err := w.Store.Swap(ctx, before, after, now, e)
	w.wrote("Swap", err)
	return err
}

func (w *watchedStore) Find(ctx context.Context, tenantID string, id domain.ID) (domain.Session, error) {
	if err := w.called("Find"); err != nil {
		return domain.Session{}, err
	}
	return w.Store.Find(ctx, tenantID, id)
}

func (w *watchedStore) Count(ctx context.Context, q port.ListQuery) (int, bool, error) {
	if err := w.called("Count"); err != nil {
		return 0, false, err
	}
	return w.Store.Count(ctx, q)
}

func (w *watchedStore) Change(
	ctx context.Context, tenantID string, changes []domain.Change, now time.Time, e domain.Event,
) error {
	if err := w.called("Change"); err != nil {
		return err
	}
	err := w.Store.Change(ctx, tenantID, changes, now, e)
	w.wrote("Change", err)
	return err
}

func (w *watchedStore) List(ctx context.Context, q port.ListQuery) (port.Page, error) {
	if err := w.called("List"); err != nil {
		return port.Page{}, err
	}
	return w.Store.List(ctx, q)
}

func (w *watchedStore) Revoke(
	ctx context.Context, tenantID string, id domain.ID, r port.Revocation, e domain.Event,
) error {
	if err := w.called("Revoke"); err != nil {
		return err
	}
	err := w.Store.Revoke(ctx, tenantID, id, r, e)
	w.wrote("Revoke", err)
	return err
}

func (w *watchedStore) RevokeScope(
	ctx context.Context, scope domain.Scope, except domain.ID, r port.Revocation, e domain.Event,
) (uint64, error) {
	if err := w.called("RevokeScope"); err != nil {
		return 0, err
	}
	epoch, err := w.Store.RevokeScope(ctx, scope, except, r, e)
	w.wrote("RevokeScope", err)
	return epoch, err
}

func (w *watchedStore) KeepNewest(
	ctx context.Context, scope domain.Scope, keep int, r port.Revocation, e domain.Event,
) error {
	if err := w.called("KeepNewest"); err != nil {
		return err
	}
	err := w.Store.KeepNewest(ctx, scope, keep, r, e)
	w.wrote("KeepNewest", err)
	return err
}

func (w *watchedStore) Tenant(ctx context.Context, id string) (domain.Tenant, error) {
	if err := w.called("Tenant"); err != nil {
		return domain.Tenant{}, err
	}
	return w.Store.Tenant(ctx, id)
}

func (w *watchedStore) Tenants(ctx context.Context, after string, limit int) ([]domain.Tenant, string, error) {
	if err := w.called("Tenants"); err != nil {
		return nil, "", err
	}
	return w.Store.Tenants(ctx, after, limit)
}

func (w *watchedStore) Policy(ctx context.Context, tenantID, applicationID string) (domain.Policy, error) {
	if err := w.called("Policy"); err != nil {
		return domain.Policy{}, err
	}
	return w.Store.Policy(ctx, tenantID, applicationID)
}

func (w *watchedStore) APIKeyByHash(ctx context.Context, hashes ...string) (domain.APIKey, error) {
	if err := w.called("APIKeyByHash"); err != nil {
		return domain.APIKey{}, err
	}
	return w.Store.APIKeyByHash(ctx, hashes...)
}

func (w *watchedStore) KeysSince(ctx context.Context, revision uint64, limit int) ([]domain.SealedKey, error) {
	if err := w.called("KeysSince"); err != nil {
		return nil, err
	}
	return w.Store.KeysSince(ctx, revision, limit)
}

func (w *watchedStore) KeysOfTenant(ctx context.Context, tenantID string) ([]domain.SealedKey, error) {
	if err := w.called("KeysOfTenant"); err != nil {
		return nil, err
	}
	return w.Store.KeysOfTenant(ctx, tenantID)
}

func (w *watchedStore) KeyByID(ctx context.Context, id string) (domain.SealedKey, error) {
	if err := w.called("KeyByID"); err != nil {
		return domain.SealedKey{}, err
	}
	return w.Store.KeyByID(ctx, id)
}

func (w *watchedStore) AddKeys(ctx context.Context, e domain.Event, keys ...domain.SealedKey) error {
	if err := w.called("AddKeys"); err != nil {
		return err
	}
	err := w.Store.AddKeys(ctx, e, keys...)
	w.wrote("AddKeys", err)
	return err
}

func (w *watchedStore) Ready(ctx context.Context) error {
	if err := w.called("Ready"); err != nil {
		return err
	}
	return w.Store.Ready(ctx)
}

// A dump is the content of the store, as its port returns it, and the writes that succeeded.
type dump struct {
	Writes       []string
	Tenants      []domain.Tenant
	Applications []domain.Application
	APIKeys      []domain.APIKey
	Keys         []domain.SealedKey
	Tokens       []domain.Snapshot
}

func (s *service) dump(t *testing.T) dump {
	t.Helper()
	inner, ctx := s.store.Store, t.Context()
	check := func(err error) {
		t.Helper()
		if err != nil && !errors.Is(err, domain.ErrNotFound) {
			t.Fatal(err)
		}
	}
	s.store.mu.Lock()
	d := dump{Writes: slices.Clone(s.store.writes)}
	ids := slices.Clone(s.store.ids)
	s.store.mu.Unlock()
	var err error
	d.Tenants, _, err = inner.Tenants(ctx, "", 100)
	check(err)
	for _, tenant := range d.Tenants {
		for _, id := range []string{"shop", "blog", "locked", "cookies", "kiosk", "short"} {
			a, err := inner.Application(ctx, tenant.ID, id)
			check(err)
			d.Applications = append(d.Applications, a)
		}
	}
	for _, name := range keyNames {
		k, err := inner.APIKeyByName(ctx, name)
		check(err)
		d.APIKeys = append(d.APIKeys, k)
	}
	d.Keys, err = inner.KeysSince(ctx, 0, 1000)
	check(err)
	for _, id := range ids {
		snapshot, err := inner.Snapshot(ctx, id)
		check(err)
		d.Tokens = append(d.Tokens, snapshot)
	}
	return d
}
