package verify_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/refreshd/refreshd/adapter/jwxsigner"
	"github.com/refreshd/refreshd/adapter/memstore"
	"github.com/refreshd/refreshd/adapter/oauthapi"
	"github.com/refreshd/refreshd/adapter/reachapi"
	"github.com/refreshd/refreshd/adapter/verify"
	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/test/storagetest"
	"github.com/refreshd/refreshd/usecase"
	"github.com/refreshd/refreshd/usecase/admin"
)

// The package imports nothing of the service, so only a test can hold them to one protocol: the service's own stream,
// over HTTP, with every kind of fact.
func TestTheStreamOfTheServiceIsUnderstood(t *testing.T) {
	var facts reach
	feed := &usecase.Feed{Store: &facts, Clock: time.Now, Reader: "test"}
	ctx, stop := context.WithCancel(context.Background())
	var workers sync.WaitGroup
	for _, work := range []func(context.Context) error{feed.RunReader, feed.RunStamper} {
		workers.Go(func() { _ = work(ctx) })
	}
	defer workers.Wait()
	defer stop()
	first, second := newKey("first", "ES256"), newKey("second", "EdDSA")
	mux := http.NewServeMux()
	mux.Handle("/t/acme/revocations", streamOf(t, feed))
	mux.HandleFunc("/t/acme/.well-known/jwks.json", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"keys":[` + first.jwk(true) + `,` + second.jwk(true) + `]}`))
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	address := server.URL + "/t/acme"
	v, err := verify.New(ctx, verify.Config{Issuer: address, Audience: audience, APIKey: apiKey, MaxAge: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()

	// until waits for a decision about a token; the test's own time limit ends it.
	until := func(what, token string, want error) {
		t.Helper()
		for {
			_, err := v.Verify(t.Context(), token)
			if errors.Is(err, want) {
				return
			}
			if err != nil && !errors.Is(err, verify.ErrStale) {
				t.Fatalf("%s: got %v, want %v", what, err, want)
			}
			time.Sleep(10 * time.Millisecond) // between two decisions; a fact arrives within about 100 ms
		}
	}
	is := func(what, token string, want error) {
		t.Helper()
		if _, err := v.Verify(t.Context(), token); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", what, err, want)
		}
	}
	token := func(change with) string {
		change["iss"] = address
		return first.token(change)
	}
	mine, others := token(with{}), token(with{"sid": other})
	elsewhere := token(with{"sid": other, "applicationId": "invoices", "sub": "user-2"})
	newer := token(with{"sid": other, "rve": 8})
	until("at the start", mine, nil)
	facts.add(domain.Fact{TenantID: "acme", SessionID: parsed(session)})
	until("a session", mine, verify.ErrRevoked)
	is("another session", others, nil)
	// A wide revocation that spares one session.
	facts.add(domain.Fact{TenantID: "acme", Epoch: 8, UserID: "user-1", Except: parsed(other)})
	until("a user", token(with{"sid": "0197a2b3-4c5d-766e-877f-8091a2b3c4d7"}), verify.ErrRevoked)
	is("the session that was spared", others, nil)
	facts.add(domain.Fact{TenantID: "acme", Epoch: 8, ApplicationID: audience})
	until("an application", others, verify.ErrRevoked)
	is("another application and user", elsewhere, nil)
	is("a token of after", newer, nil)
	facts.add(domain.Fact{TenantID: "acme", Epoch: 8})
	until("a tenant", elsewhere, verify.ErrRevoked)
	is("a token of after", newer, nil)
	facts.add(domain.Fact{TenantID: "globex", Epoch: 1 << 40})
	facts.add(domain.Fact{TenantID: "acme", KeyID: first.kid})
	until("a key", newer, verify.ErrRevoked)
	byOther := second.token(with{"iss": address, "sid": other, "rve": 8})
	is("another key", byOther, nil)
	facts.add(domain.Fact{KeyID: second.kid})
	until("a shared key", byOther, verify.ErrRevoked)
	if s := v.State(); !s.Ready || s.Tenant != "acme" || s.Facts != 6 {
		t.Errorf("the state is %+v", s)
	}
}

// backend is the store and the keys of a service with the tenant acme.
type backend struct {
	store  *memstore.Store
	keys   *usecase.Keys
	signer port.Signer
}

func newBackend(t *testing.T, tenant admin.KickstartTenant, keys ...admin.KickstartAPIKey) backend {
	t.Helper()
	b := backend{store: memstore.New(), signer: jwxsigner.New(rand.Reader)}
	master, _, err := domain.NewMasterKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b.keys, err = usecase.OpenKeys(t.Context(), usecase.KeysConfig{
		Store: b.store, Signer: b.signer, Master: master, Clock: time.Now, Random: rand.Reader,
	})
	if err != nil {
		t.Fatal(err)
	}
	apply := &admin.Apply{
		Tenants: b.store, Applications: b.store, APIKeys: b.store, Keys: b.keys, Clock: time.Now, Random: rand.Reader,
	}
	tenant.Tenant = domain.Tenant{ID: "acme", Name: "Acme"}
	if _, err := apply.Do(t.Context(), admin.Kickstart{
		Tenants: []admin.KickstartTenant{tenant}, APIKeys: keys,
	}); err != nil {
		t.Fatal(err)
	}
	return b
}

// keyFor returns an API key with one permission.
func keyFor(key, endpoint, method string) admin.KickstartAPIKey {
	return admin.KickstartAPIKey{
		APIKey: domain.APIKey{Name: endpoint, TenantID: "acme", Permissions: domain.Permissions{endpoint: {method}}},
		Key:    domain.NewSecret(key),
	}
}

// serves returns the handler of a dialect.
func (b backend) serves(t *testing.T, dialect web.Dialect, err error) http.Handler {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	handler, err := web.New(web.Options{
		Authenticate: &usecase.Authenticate{
			APIKeys: b.store, Tokens: b.store, Tenants: b.store, Keys: b.keys, Clock: time.Now,
		},
		Log: slog.New(slog.DiscardHandler),
	}, dialect)
	if err != nil {
		t.Fatal(err)
	}
	return handler
}

// streamOf returns the service's endpoint over feed, with apiKey.
func streamOf(t *testing.T, feed *usecase.Feed) http.Handler {
	t.Helper()
	b := newBackend(t, admin.KickstartTenant{}, keyFor(apiKey, "/revocations", "GET"))
	dialect, err := (&reachapi.API{Feed: feed, URL: "http://127.0.0.1:3000", TenantID: "acme"}).Dialect()
	return b.serves(t, dialect, err)
}

// While the stream is down, the service's own introspection decides: with an API key, or as the client that the tokens
// are for. It says of an access token that its session or its key has ended as soon as that was revoked.
func TestTheIntrospectionOfTheServiceIsUnderstood(t *testing.T) {
	const secret = "a-client-secret-of-the-tests-of-this-package"
	byClient := func(application string) func(*verify.Introspection) {
		return func(i *verify.Introspection) {
			i.APIKey, i.Authorize = "", func(r *http.Request) { r.SetBasicAuth(application, secret) }
		}
	}
	for name, tc := range map[string]struct {
		change func(*verify.Introspection)
		denied bool // the service does not respond to that caller
	}{
		"an API key":                      {change: nil},
		"the client":                      {change: byClient(audience)},
		"an API key without permission":   {func(i *verify.Introspection) { i.APIKey = apiKey }, true},
		"a client with another's secret":  {byClient("invoices"), true},
		"a client that does not identify": {byClient(""), true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { introspected(t, secret, tc.change, tc.denied) })
		})
	}
}

func introspected(t *testing.T, secret string, change func(*verify.Introspection), denied bool) {
	t.Helper()
	b := newBackend(t, admin.KickstartTenant{Applications: []domain.Application{
		{ID: audience, Name: "Orders"}, {ID: "invoices", Name: "Invoices"},
	}}, keyFor(askKey, "/oauth2/introspect", "POST"), keyFor(apiKey, "/revocations", "GET"))
	application, err := b.store.Application(t.Context(), "acme", audience)
	if err != nil {
		t.Fatal(err)
	}
	hash, number := b.keys.HashClientSecret("acme", audience, domain.NewSecret(secret))
	application.Client.Secrets = []domain.ClientSecret{{Hash: hash, HashKey: number, CreatedAt: time.Now()}}
	if err := storagetest.SaveApplication(t.Context(), b.store, application); err != nil {
		t.Fatal(err)
	}
	minter := usecase.Minter{Keys: b.keys, Signer: b.signer, PublicURL: "https://id.example"}
	issue := &usecase.Issue{
		Tokens: b.store, Revocations: b.store, Applications: b.store, Minter: minter, Clock: time.Now, Random: rand.Reader,
	}
	dialect, err := (&oauthapi.API{
		Exchange: &usecase.Exchange{Tokens: b.store, Applications: b.store, Minter: minter, Clock: time.Now},
		Revoke: &usecase.RevokeHeld{
			Revocations: b.store, Tokens: b.store, Applications: b.store, Keys: b.keys, Clock: time.Now,
		},
		Introspect:   &usecase.Introspect{Tokens: b.store, Keys: b.keys, Clock: time.Now, PublicURL: minter.PublicURL},
		Authenticate: &usecase.AuthenticateClient{Applications: b.store, Keys: b.keys},
		Publish:      &usecase.Publish{Tenants: b.store, Keys: b.keys, Clock: time.Now, PublicURL: minter.PublicURL},
		URL:          minter.PublicURL,
	}).Dialect()
	handler := b.serves(t, dialect, err)

	login := func(user string) usecase.Grant {
		t.Helper()
		g, err := issue.Do(t.Context(), usecase.IssueInput{TenantID: "acme", ApplicationID: audience, UserID: user})
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	live, ended, another := login("ada"), login("grace"), login("alan")
	s := newService()
	set, err := (&usecase.Publish{Tenants: b.store, Keys: b.keys, Clock: time.Now}).Tenant(t.Context(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	s.serveKeys(http.StatusOK, string(set))
	s.asked = handler
	v := start(t, s, asking(change))
	pass(time.Second)
	active, revoked := error(nil), verify.ErrRevoked
	if denied {
		active, revoked = verify.ErrStale, verify.ErrStale
	}
	verified(t, v, "by the stream", live.AccessToken.Reveal(), nil)
	s.cutStream()
	pass(59 * time.Second)
	form := url.Values{"token": {ended.TokenString.Reveal()}, "client_id": {audience}, "client_secret": {secret}}
	r := httptest.NewRequest("POST", "/t/acme/oauth2/revoke", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	if handler.ServeHTTP(w, r); w.Code != http.StatusOK {
		t.Fatalf("the revocation: got %d %s", w.Code, w.Body)
	}
	verified(t, v, "revoked, within MaxAge", ended.AccessToken.Reveal(), nil)
	pass(2 * time.Second)
	verified(t, v, "revoked, after MaxAge", ended.AccessToken.Reveal(), revoked)
	verified(t, v, "live, after MaxAge", live.AccessToken.Reveal(), active)
	keys, err := b.keys.SigningKeysOf(t.Context(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys.Published() {
		if _, err := b.keys.Revoke(t.Context(), domain.Service(), k.ID, usecase.RevokeKey{}); err != nil {
			t.Fatal(err)
		}
	}
	verified(t, v.Require(2*time.Second), "its key was revoked", live.AccessToken.Reveal(), revoked)
	s.cut()
	verified(t, v, "no service", another.AccessToken.Reveal(), verify.ErrStale)
}

func parsed(id string) (parsed domain.ID) {
	if _, err := hex.Decode(parsed[:], []byte(strings.ReplaceAll(id, "-", ""))); err != nil {
		panic(err)
	}
	return parsed
}

// reach is a store of facts.
type reach struct {
	mu    sync.Mutex
	facts []domain.Fact
	head  domain.Position
	beat  time.Time
}

func (r *reach) add(f domain.Fact) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.facts = append(r.facts, f)
}

func (r *reach) Revoked(_ context.Context, q port.FactQuery, each func(domain.Fact)) (port.Reading, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.facts {
		if f.Position == 0 || f.Position > q.After {
			each(f)
		}
	}
	return port.Reading{Head: r.head, Beat: r.beat}, nil
}

func (r *reach) Stamp(_ context.Context, now time.Time, _ int) (stamped int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := max(r.head+1, domain.Position(now.UnixMicro()))
	for i := range r.facts {
		if r.facts[i].Position == 0 {
			r.facts[i].Position, r.head = next, next
			stamped++
		}
	}
	return stamped, nil
}

func (r *reach) Beat(_ context.Context, _ string, at time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.beat = at
	return nil
}

func (r *reach) LongestAccessTTL(context.Context, string) (time.Duration, error) {
	return 15 * time.Minute, nil
}
