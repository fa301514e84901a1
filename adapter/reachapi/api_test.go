package reachapi_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/adapter/jwxsigner"
	"github.com/refreshd/refreshd/adapter/memstore"
	"github.com/refreshd/refreshd/adapter/reachapi"
	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase"
)

const (
	acme   = "acme"
	globex = "globex"
)

// A service is the endpoint over a store in memory.
type service struct {
	feed    *feed
	store   *memstore.Store
	options web.Options
	api     *reachapi.API
	handler http.Handler
	keys    map[string]string // API keys by name
	log     *lines
}

var keys = map[string]domain.APIKey{
	"reader":          {TenantID: acme, Permissions: domain.Permissions{"/revocations": {"GET"}}},
	"globex reader":   {TenantID: globex, Permissions: domain.Permissions{"/revocations": {"GET"}}},
	"unbound reader":  {Permissions: domain.Permissions{"/revocations": {"GET"}}},
	"everything else": {TenantID: acme, Permissions: domain.Permissions{"*": {"*"}}},
}

func newService(t testing.TB) *service {
	t.Helper()
	s := &service{feed: &feed{keep: 1200 * time.Second}, store: memstore.New(), keys: map[string]string{}, log: &lines{}}
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
	kickstart := usecase.Kickstart{Tenants: []usecase.KickstartTenant{
		{Tenant: domain.Tenant{ID: acme, Name: "Acme"}}, {Tenant: domain.Tenant{ID: globex, Name: "Globex"}},
	}}
	for name, key := range keys {
		s.keys[name] = "ak_" + rand.Text()
		key.Name = name
		kickstart.APIKeys = append(kickstart.APIKeys,
			usecase.KickstartAPIKey{APIKey: key, Key: domain.NewSecret(s.keys[name])})
	}
	apply := &usecase.Apply{
		Tenants: s.store, Applications: s.store, APIKeys: s.store, Keys: opened, Clock: time.Now, Random: rand.Reader,
	}
	if _, err := apply.Do(t.Context(), kickstart); err != nil {
		t.Fatal(err)
	}
	s.options = web.Options{
		Authenticate: &usecase.Authenticate{
			APIKeys: s.store, Tokens: s.store, Tenants: s.store, Keys: opened, Clock: time.Now,
		},
		Log: slog.New(slog.NewJSONHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	s.api = &reachapi.API{Feed: s.feed, URL: "http://127.0.0.1:3000", TenantID: "default"}
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

// request returns a request for acme's stream with an API key.
func (s *service) request(t testing.TB, query string, header ...string) *http.Request {
	req := httptest.NewRequestWithContext(t.Context(), "GET", "/t/acme/revocations"+query, nil)
	req.Header.Set("Authorization", s.keys["reader"])
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return req
}

func (s *service) do(req *http.Request) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	s.handler.ServeHTTP(rec, req)
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
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// feed stands in.
type feed struct {
	mu    sync.Mutex
	facts []domain.Fact
	keep  time.Duration
}

type sub struct {
	*feed
	sent int
}

func (f *feed) add(facts ...domain.Fact) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.facts = append(f.facts, facts...)
}

func (f *feed) Follow(context.Context, string, domain.Position) (reachapi.Subscription, error) {
	return &sub{feed: f}, nil
}

func (s *sub) Close() {}

func (s *sub) Next(ctx context.Context, wait time.Duration) (reachapi.View, error) {
	for end := time.Now().Add(wait); ; {
		s.mu.Lock()
		more := s.facts[s.sent:]
		s.mu.Unlock()
		if len(more) > 0 || !time.Now().Before(end) {
			v := reachapi.View{Cursor: 1764440000123456, CompleteAsOf: time.Now(), Keep: s.keep}
			if len(more) > 0 {
				v.Ticks = append(v.Ticks, reachapi.Tick{Facts: more, Encoded: func(e func([]domain.Fact) []byte) []byte {
					return e(more)
				}})
			}
			s.sent += len(more)
			return v, nil
		}
		select {
		case <-ctx.Done():
			return reachapi.View{}, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// The bytes of a stream are what clients in other languages parse.
func TestAStreamIsThisByteForByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		s.feed.add(
			domain.Fact{TenantID: acme, SessionID: domain.ID{1, 2, 3}},
			domain.Fact{TenantID: acme, Epoch: 5, UserID: "u\n", Except: domain.ID{0xff}},
			domain.Fact{TenantID: acme, Epoch: 7, ApplicationID: "a"},
			domain.Fact{TenantID: acme, KeyID: "k-1"},
			domain.Fact{TenantID: acme, SessionID: domain.ID{4}},
		)
		got := s.follow(s.request(t, "", "Accept", asStream), 700*time.Millisecond)
		want := `event: hello
data: {"v":1,"tenant":"acme","keep":1200,"beat":500}

event: facts
data: {"n":1,"keep":1200,"s":["AQIDAAAAAAAAAAAAAAAAAA","BAAAAAAAAAAAAAAAAAAAAA"],` +
			`"m":[[null,"u\n",5,"_wAAAAAAAAAAAAAAAAAAAA"],["a",null,7,null]],"k":["k-1"]}

event: fresh
id: 1764440000123456
data: {"n":2,"e":0}

event: fresh
id: 1764440000123456
data: {"n":3,"e":500}

`
		body, bye, _ := strings.Cut(got.Body.String(), "event: bye\n")
		if diff := cmp.Diff(want, body); diff != "" || !strings.HasPrefix(bye, `data: {"after":`) {
			t.Errorf("the stream differs (-want +got):\n%s\n%s", diff, bye)
		}
	})
}
