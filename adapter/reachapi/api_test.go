package reachapi_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/refreshd/refreshd/adapter/jwxsigner"
	"github.com/refreshd/refreshd/adapter/memstore"
	"github.com/refreshd/refreshd/adapter/reachapi"
	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/test/storagetest"
	"github.com/refreshd/refreshd/usecase"
	"github.com/refreshd/refreshd/usecase/admin"
)

const (
	acme      = "acme"
	globex    = "globex"
	ourOrigin = "https://app.acme.example" // the one that is configured
)

// A service is the endpoint over a store in memory.
type service struct {
	t       testing.TB
	facts   *facts
	store   *memstore.Store
	options web.Options
	api     *reachapi.API
	handler http.Handler
	keys    map[string]string // API keys by name
	log     *lines

	outage   atomic.Bool  // of the store that authenticates
	lookups  atomic.Int64 // of API keys
	unsigned atomic.Bool  // proofs fail
	mu       sync.Mutex
	checked  func() // is called once, at the next look-up of an API key
}

// apiKeys is the store that authenticates.
type apiKeys struct {
	*memstore.Store
	s *service
}

func (a apiKeys) APIKeyByHash(ctx context.Context, hashes ...string) (domain.APIKey, error) {
	a.s.lookups.Add(1)
	if a.s.outage.Load() {
		return domain.APIKey{}, domain.ErrUnavailable
	}
	a.s.mu.Lock()
	checked := a.s.checked
	a.s.checked = nil
	a.s.mu.Unlock()
	if checked != nil {
		checked()
	}
	return a.Store.APIKeyByHash(ctx, hashes...)
}

func (s *service) onCheck(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checked = do
}

func (s *service) change(t testing.TB, name string, change func(*domain.APIKey)) {
	t.Helper()
	k, err := s.store.APIKeyByName(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	change(&k)
	if err := storagetest.SaveAPIKey(t.Context(), s.store, k); err != nil {
		t.Fatal(err)
	}
}

func (s *service) deleteKey(t testing.TB, name string) {
	t.Helper()
	k, err := s.store.APIKeyByName(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	e := domain.Event{ID: k.ID, At: time.Now().UTC(), Kind: domain.APIKeyDeleted}
	e.ID[15]++
	if err := s.store.DeleteAPIKey(t.Context(), k.ID, k.Version, e); err != nil {
		t.Fatal(err)
	}
}

func (s *service) deleteTenant(t testing.TB, id string) {
	t.Helper()
	if err := storagetest.DeleteTenant(t.Context(), s.store, id, time.Now().UTC()); err != nil {
		t.Fatal(err)
	}
}

// wantEnding checks that a stream's line gives that reason of its end, and that no stream is logged as a failure.
func (s *service) wantEnding(t testing.TB, kind string) {
	t.Helper()
	synctest.Wait()
	log := s.log.String()
	if !strings.Contains(log, `"event":"revocations.stream_ended"`) || !strings.Contains(log, `"kind":"`+kind+`"`) ||
		strings.Contains(log, `"request.failed"`) && kind != "blind" {
		t.Errorf("the log has no end by %q:\n%s", kind, log)
	}
}

var keys = map[string]domain.APIKey{
	"reader":          {TenantID: acme, Permissions: domain.Permissions{"/revocations": {"GET"}}},
	"globex reader":   {TenantID: globex, Permissions: domain.Permissions{"/revocations": {"GET"}}},
	"unbound reader":  {Permissions: domain.Permissions{"/revocations": {"GET"}}},
	"everything else": {TenantID: acme, Permissions: domain.Permissions{"*": {"*"}}},
}

// newService returns a service with the workers of its feed, which read the facts of the test.
func newService(t testing.TB) *service {
	t.Helper()
	s := newIdleService(t)
	s.start(t, s.facts)
	return s
}

// start mounts the endpoint over a feed of the store, and starts its workers. They end with the test.
func (s *service) start(t testing.TB, store port.Reach) {
	t.Helper()
	feed := &usecase.Feed{Store: store, Clock: time.Now, Reader: "test"}
	ctx, stop := context.WithCancel(context.Background())
	var workers sync.WaitGroup
	for _, work := range []func(context.Context) error{feed.RunReader, feed.RunStamper} {
		workers.Go(func() { _ = work(ctx) })
	}
	t.Cleanup(func() {
		stop()
		workers.Wait()
	})
	s.api.Feed = feed
	s.mount(t)
}

func newIdleService(t testing.TB) *service {
	t.Helper()
	s := &service{
		t:     t,
		facts: &facts{longest: 15 * time.Minute}, store: memstore.New(), keys: map[string]string{}, log: &lines{},
	}
	master, _, err := domain.NewMasterKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := usecase.OpenKeys(t.Context(), usecase.KeysConfig{
		Store: s.store, Signer: jwxsigner.New(rand.Reader), Master: master, Clock: time.Now, Random: rand.Reader,
	})
	if err != nil {
		t.Fatal(err)
	}
	kickstart := admin.Kickstart{Tenants: []admin.KickstartTenant{
		{Tenant: domain.Tenant{ID: acme, Name: "Acme"}}, {Tenant: domain.Tenant{ID: globex, Name: "Globex"}},
	}}
	for name, key := range keys {
		s.keys[name] = "ak_" + rand.Text()
		checks.Secrets.Add(s.keys[name])
		key.Name = name
		kickstart.APIKeys = append(kickstart.APIKeys,
			admin.KickstartAPIKey{APIKey: key, Key: domain.NewSecret(s.keys[name])})
	}
	apply := &admin.Apply{
		Tenants: s.store, Applications: s.store, APIKeys: s.store, Keys: opened, Clock: time.Now, Random: rand.Reader,
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
			APIKeys: apiKeys{s.store, s}, Tokens: s.store, Tenants: s.store, Keys: opened, Clock: time.Now,
		},
		Log: slog.New(slog.NewJSONHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	s.api = &reachapi.API{URL: "http://127.0.0.1:3000", TenantID: "default", Prove: func(
		_ context.Context, tenantID, nonce string, cursor domain.Position, age time.Duration,
	) (string, error) {
		if s.unsigned.Load() {
			return "", domain.ErrUnavailable
		}
		return fmt.Sprint(tenantID, ".", nonce, ".", cursor, ".", age.Milliseconds()), nil
	}}
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

// request returns a request for acme's stream with an API key.
func (s *service) request(t testing.TB, query string, header ...string) *http.Request {
	req := httptest.NewRequestWithContext(t.Context(), "GET", "/t/acme/revocations"+query, nil)
	req.Header.Set("Authorization", s.keys["reader"])
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return req
}

// do sends a request, and checks its response against the document.
func (s *service) do(req *http.Request) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	s.handler.ServeHTTP(rec, req)
	checkAgainstContract(s.t, req, rec.Result(), rec.Body.Bytes())
	return rec
}

// follow returns what a stream sends until its client disconnects after d.
func (s *service) follow(req *http.Request, d time.Duration) *httptest.ResponseRecorder {
	ctx, cancel := context.WithTimeout(req.Context(), d)
	defer cancel()
	return s.do(req.WithContext(ctx))
}

const asStream = "text/event-stream"

// lines is a log.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = checks.Log.Write(p)
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// facts is a store of facts that a test controls. Each fact is stamped by the test, or by the feed's Stamp if stamps is
// set.
type facts struct {
	mu      sync.Mutex
	all     []domain.Fact
	head    domain.Position
	beat    time.Time
	longest time.Duration
	gone    bool         // the tenants do not exist
	failing error        // of each call that the feed repeats
	slow    atomic.Int64 // the time that a read takes after its snapshot
}

// revoke adds facts, with the head as their position unless it is 0.
func (f *facts) revoke(head domain.Position, all ...domain.Fact) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, fact := range all {
		fact.Position = head
		f.all = append(f.all, fact)
	}
	f.head = max(f.head, head)
}

// stamp gives all facts that have none a position.
func (f *facts) stamp(head domain.Position) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.all {
		if f.all[i].Position == 0 {
			f.all[i].Position = head
		}
	}
	f.head = head
}

// fail has each call fail with err, or none if it is nil.
func (f *facts) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failing = err
}

func (f *facts) Revoked(_ context.Context, q port.FactQuery, each func(domain.Fact)) (port.Reading, error) {
	f.mu.Lock()
	all, read, err := slices.Clone(f.all), port.Reading{Head: f.head, Beat: f.beat}, f.failing
	f.mu.Unlock()
	time.Sleep(time.Duration(f.slow.Load()))
	for _, fact := range all {
		if fact.Position == 0 || fact.Position > q.After {
			each(fact)
		}
	}
	return read, err
}

func (f *facts) Stamp(context.Context, time.Time, int) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return 0, f.failing
}

func (f *facts) Beat(_ context.Context, _ string, at time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failing == nil {
		f.beat = at
	}
	return f.failing
}

func (f *facts) LongestAccessTTL(context.Context, string) (time.Duration, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.gone {
		return 0, domain.ErrNotFound
	}
	return f.longest, nil
}
