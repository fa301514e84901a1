package oauthapi_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/refreshd/refreshd/adapter/jwxsigner"
	"github.com/refreshd/refreshd/adapter/memstore"
	"github.com/refreshd/refreshd/adapter/oauthapi"
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
	acme      = "acme"                     // the root tenant
	globex    = "globex"
)

var began = time.Date(2027, time.March, 4, 5, 6, 7, 891_234_000, time.UTC)

// A service is the dialect over a watched store in memory, with a clock that only a test advances.
type service struct {
	api     *oauthapi.API
	options web.Options
	handler http.Handler // of these, see mount
	store   *watched
	opened  *usecase.Keys
	issue   *usecase.Issue
	keys    map[string]string // API keys by name
	secrets map[string]string // client secrets by application

	mu       sync.Mutex
	now      time.Time
	outcomes []domain.Outcome
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

// watched counts the calls of a store, by method, and fails those that a test wants to fail.
type watched struct {
	*memstore.Store
	mu      sync.Mutex
	calls   map[string]int
	tenants int // how often one was looked up
	fail    error
	panic   bool
}

func (w *watched) called(method string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls[method]++
	if w.panic {
		panic("the store is broken")
	}
	return w.fail
}

// took returns the calls since it was called last.
func (w *watched) took() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	calls := w.calls
	w.calls = map[string]int{}
	return calls
}

func (w *watched) breakWith(err error, panics bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fail, w.panic = err, panics
}

func (w *watched) Advance(
	ctx context.Context, id domain.ID, c domain.Call,
) (domain.RefreshToken, domain.Policy, error) {
	if err := w.called("Advance"); err != nil {
		return domain.RefreshToken{}, domain.Policy{}, err
	}
	return w.Store.Advance(ctx, id, c)
}

func (w *watched) Snapshot(ctx context.Context, id domain.ID) (domain.Snapshot, error) {
	if err := w.called("Snapshot"); err != nil {
		return domain.Snapshot{}, err
	}
	return w.Store.Snapshot(ctx, id)
}

func (w *watched) Swap(ctx context.Context, before, after domain.RefreshToken, now time.Time, e domain.Event) error {
	if err := w.called("Swap"); err != nil {
		return err
	}
	return w.Store.Swap(ctx, before, after, now, e)
}

func (w *watched) Rebind(ctx context.Context, before, after domain.RefreshToken, now time.Time, e domain.Event) error {
	if err := w.called("Rebind"); err != nil {
		return err
	}
	return w.Store.Rebind(ctx, before, after, now, e)
}

func (w *watched) Use(ctx context.Context, before, after domain.RefreshToken, now time.Time) error {
	if err := w.called("Use"); err != nil {
		return err
	}
	return w.Store.Use(ctx, before, after, now)
}

func (w *watched) Tenant(ctx context.Context, id string) (domain.Tenant, error) {
	err := w.called("Tenant")
	w.mu.Lock()
	delete(w.calls, "Tenant") // it says nothing about tokens
	w.tenants++
	w.mu.Unlock()
	if err != nil {
		return domain.Tenant{}, err
	}
	return w.Store.Tenant(ctx, id)
}

func (w *watched) Application(ctx context.Context, tenantID, id string) (domain.Application, error) {
	if err := w.called("Application"); err != nil {
		return domain.Application{}, err
	}
	return w.Store.Application(ctx, tenantID, id)
}

func (w *watched) Revoke(
	ctx context.Context, tenantID string, id domain.ID, r port.Revocation, e domain.Event,
) error {
	if err := w.called("Revoke"); err != nil {
		return err
	}
	return w.Store.Revoke(ctx, tenantID, id, r, e)
}

func (w *watched) Find(ctx context.Context, tenantID string, id domain.ID) (domain.Session, error) {
	if err := w.called("Find"); err != nil {
		return domain.Session{}, err
	}
	return w.Store.Find(ctx, tenantID, id)
}

func (w *watched) Once(ctx context.Context, key []byte, now, until time.Time) error {
	if err := w.called("Once"); err != nil {
		return err
	}
	return w.Store.Once(ctx, key, now, until)
}

var keyNames = []string{"inspector", "globex inspector", "everywhere", "backend"}

func newService(t testing.TB) *service {
	t.Helper()
	store := &watched{Store: memstore.New(), calls: map[string]int{}}
	s := &service{store: store, keys: map[string]string{}, secrets: map[string]string{}, now: began}
	for _, name := range keyNames {
		s.keys[name] = "ak_" + rand.Text()
		checks.Secrets.Add(s.keys[name])
	}
	master, _, err := domain.NewMasterKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer := jwxsigner.New(rand.Reader)
	s.opened, err = usecase.OpenKeys(t.Context(), usecase.KeysConfig{
		Store: store, Signer: signer, Master: master, Clock: s.clock, Random: rand.Reader, CacheAge: 2 * time.Hour,
		Pause: func(_ context.Context, d time.Duration) error { s.wait(d); return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	origins, err := web.ParseOrigins([]string{ourOrigin})
	if err != nil {
		t.Fatal(err)
	}
	minter := usecase.Minter{Keys: s.opened, Signer: signer, PublicURL: publicURL}
	s.issue = &usecase.Issue{
		Tokens: store, Revocations: store, Applications: store, Minter: minter, Clock: s.clock, Random: rand.Reader,
	}
	assertions := &usecase.Assertions{
		Signer: signer, Applications: store, Once: store, PublicURL: publicURL, RootTenant: acme, Clock: s.clock,
	}
	s.api = &oauthapi.API{
		Exchange: &usecase.Exchange{Tokens: store, Applications: store, Minter: minter, Clock: s.clock},
		Revoke: &usecase.RevokeHeld{
			Revocations: store, Tokens: store, Applications: store, Keys: s.opened, Clock: s.clock,
		},
		Introspect:   &usecase.Introspect{Tokens: store, Keys: s.opened, Clock: s.clock, PublicURL: publicURL},
		Authenticate: &usecase.AuthenticateClient{Applications: store, Keys: s.opened, Assertion: assertions.Check},
		Publish: &usecase.Publish{
			Tenants: store, Keys: s.opened, Clock: s.clock, RootTenant: acme, PublicURL: publicURL,
		},
		RootTenant: acme,
		URL:        publicURL,
		Exchanged: func(e usecase.Exchanged) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.outcomes = append(s.outcomes, e.Outcome)
		},
	}
	s.options = web.Options{
		Proofs: &usecase.Proofs{Signer: signer, Keys: s.opened, Tenants: store, PublicURL: publicURL, Clock: s.clock},
		Authenticate: &usecase.Authenticate{
			APIKeys: store, Tokens: store, Tenants: store, Keys: s.opened, Clock: s.clock,
		},
		Log:   slog.New(slog.NewJSONHandler(&checks.Log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Pages: web.Pages{PublicURL: publicURL, Origins: origins},
	}
	s.mount(t)
	s.apply(t)
	store.took()
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

// apply stores two tenants whose applications have the same ids, so that only the tenant distinguishes them.
func (s *service) apply(t testing.TB) {
	t.Helper()
	apps := func() []domain.Application {
		return []domain.Application{
			{ID: "spa", Name: "SPA"},
			{ID: "strict", Name: "Strict", Settings: domain.Settings{
				GraceSeconds: new(int64(0)), RecoveryBurst: new(int64(0)),
			}},
			{ID: "backend", Name: "Backend"},
			{ID: "locked", Name: "Locked", Settings: domain.Settings{RequireAuthentication: new(true)}},
			{ID: "a b%2Fc", Name: "An id that form encoding changes"},
		}
	}
	key := func(name, tenant string, p domain.Permissions) admin.KickstartAPIKey {
		return admin.KickstartAPIKey{
			APIKey: domain.APIKey{Name: name, TenantID: tenant, Permissions: p}, Key: domain.NewSecret(s.keys[name]),
		}
	}
	apply := &admin.Apply{
		Tenants: s.store, Applications: s.store, APIKeys: s.store, Keys: s.opened, Clock: s.clock, Random: rand.Reader,
	}
	_, err := apply.Do(t.Context(), admin.Kickstart{
		Tenants: []admin.KickstartTenant{
			{Tenant: domain.Tenant{ID: acme, Name: "Acme", Issuer: "https://auth.acme.example"}, Applications: apps()},
			{Tenant: domain.Tenant{ID: globex, Name: "Globex"}, Applications: apps()},
		},
		APIKeys: []admin.KickstartAPIKey{
			key("inspector", acme, domain.Permissions{"/oauth2/introspect": {"POST"}}),
			key("globex inspector", globex, domain.Permissions{"/oauth2/introspect": {"POST"}}),
			key("everywhere", "", domain.Permissions{"*": {"*"}}),
			key("backend", acme, domain.Permissions{"/jwt/issue": {"POST"}}),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tenant := range []string{acme, globex} {
		s.client(t, tenant, "backend", func(c *domain.Client) {
			c.Audiences = []string{"https://api.example.com", "orders"}
		})
		s.secrets[tenant+" backend"] = s.newSecret(t, tenant, "backend")
	}
	s.secrets["encoded"] = s.newSecret(t, acme, "a b%2Fc")
}

// client changes an application as a client.
func (s *service) client(t testing.TB, tenant, id string, change func(*domain.Client)) {
	t.Helper()
	a, err := s.store.Application(t.Context(), tenant, id)
	if err != nil {
		t.Fatal(err)
	}
	change(&a.Client)
	if err := storagetest.SaveApplication(t.Context(), s.store, a); err != nil {
		t.Fatal(err)
	}
}

// set changes the settings of an application of acme.
func (s *service) set(t testing.TB, id string, change func(*domain.Settings)) {
	t.Helper()
	a, err := s.store.Application(t.Context(), acme, id)
	if err != nil {
		t.Fatal(err)
	}
	change(&a.Settings)
	if err := storagetest.SaveApplication(t.Context(), s.store, a); err != nil {
		t.Fatal(err)
	}
}

// newSecret gives an application one more secret.
func (s *service) newSecret(t testing.TB, tenant, id string) string {
	t.Helper()
	secret, err := domain.NewClientSecret(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s.addSecret(t, tenant, id, secret.Reveal())
	return secret.Reveal()
}

func (s *service) addSecret(t testing.TB, tenant, id, secret string) {
	t.Helper()
	checks.Secrets.Add(secret)
	hash, number := s.opened.HashClientSecret(tenant, id, domain.NewSecret(secret))
	s.client(t, tenant, id, func(c *domain.Client) {
		c.Secrets = append([]domain.ClientSecret{{Hash: hash, HashKey: number, CreatedAt: s.clock()}}, c.Secrets...)
	})
}

// login issues a refresh token, and returns its first token string and access token.
func (s *service) login(t testing.TB, tenant, app string, scopes ...string) usecase.Grant {
	t.Helper()
	grant, err := s.issue.Do(t.Context(), usecase.IssueInput{
		TenantID: tenant, ApplicationID: app, UserID: "ada", Scopes: scopes, Roles: []string{"admin"},
	})
	if err != nil {
		t.Fatal(err)
	}
	checks.Secrets.Add(grant.TokenString.Reveal())
	checks.Secrets.Add(grant.AccessToken.Reveal())
	s.store.took()
	return grant
}

// An option changes a request.
type option func(s *service, r *request)

type request struct {
	*http.Request
	body []byte
}

func header(name, value string) option {
	return func(_ *service, r *request) { r.Header.Add(name, value) }
}

func basic(id, secret string) option {
	return header("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(id+":"+secret)))
}

// as sends an API key by its name.
func as(name string) option {
	return func(s *service, r *request) {
		if s.keys[name] == "" {
			panic("no API key " + name)
		}
		r.Header.Set("Authorization", "Bearer "+s.keys[name])
	}
}

func raw(mediaType, body string) option {
	return func(_ *service, r *request) {
		r.body = []byte(body)
		if mediaType != "" {
			r.Header.Set("Content-Type", mediaType)
		}
	}
}

func form(pairs ...string) option { return raw("application/x-www-form-urlencoded", encode(pairs...)) }

func encode(pairs ...string) string {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Add(pairs[i], pairs[i+1])
	}
	return v.Encode()
}

// refresh is the usual body of the token endpoint.
func refresh(tokenString domain.Secret, pairs ...string) option {
	return form(append([]string{"grant_type", "refresh_token", "refresh_token", tokenString.Reveal()}, pairs...)...)
}

type answer struct {
	status  int
	header  http.Header
	body    []byte
	members map[string]any
}

func (a *answer) text(member string) string {
	s, _ := a.members[member].(string)
	return s
}

// do sends a request, and checks its response against the document.
func (s *service) do(t testing.TB, method, target string, options ...option) *answer {
	t.Helper()
	r := &request{Request: httptest.NewRequest(method, target, nil)}
	r.Host = "refreshd.example"
	for _, o := range options {
		o(s, r)
	}
	if r.body != nil {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(string(r.body))), int64(len(r.body))
	}
	sent := r.Clone(t.Context())
	rec := httptest.NewRecorder()
	s.handler.ServeHTTP(rec, r.Request)
	res := rec.Result()
	a := &answer{status: res.StatusCode, header: res.Header, body: rec.Body.Bytes()}
	if len(a.body) > 0 && strings.HasPrefix(res.Header.Get("Content-Type"), "application/json") {
		if err := json.Unmarshal(a.body, &a.members); err != nil {
			t.Fatalf("%s %s: %v in %s", method, target, err, a.body)
		}
	}
	for _, secret := range []string{"access_token", "refresh_token"} {
		if a.text(secret) != "" {
			checks.Secrets.Add(a.text(secret))
		}
	}
	checks.Check(t, sent, r.body, res, a.body)
	return a
}

// token sends a request to the token endpoint of acme.
func (s *service) token(t testing.TB, options ...option) *answer {
	t.Helper()
	return s.do(t, "POST", "/t/acme/oauth2/token", options...)
}

// want checks the status, and the error if it is a refusal.
func (a *answer) want(t testing.TB, status int, code string) *answer {
	t.Helper()
	if a.status != status || a.text("error") != code {
		t.Errorf("got %d %q, want %d %q; the body is %s", a.status, a.text("error"), status, code, a.body)
	}
	return a
}

// claims returns the claims of the access token in the answer.
func (a *answer) claims(t testing.TB) map[string]any {
	t.Helper()
	return claimsOf(t, a.text("access_token"))
}

func claimsOf(t testing.TB, accessToken string) (claims map[string]any) {
	t.Helper()
	parts := strings.Split(accessToken, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is not an access token", accessToken)
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err = errors.Join(err, json.Unmarshal(payload, &claims)); err != nil {
		t.Fatal(err)
	}
	return claims
}
