package verify_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/refreshd/refreshd/adapter/jwxsigner"
	"github.com/refreshd/refreshd/adapter/memstore"
	"github.com/refreshd/refreshd/adapter/reachapi"
	"github.com/refreshd/refreshd/adapter/verify"
	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
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

// streamOf returns the service's endpoint over feed, with apiKey.
func streamOf(t *testing.T, feed *usecase.Feed) http.Handler {
	t.Helper()
	store := memstore.New()
	master, _, err := domain.NewMasterKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := usecase.OpenKeys(t.Context(), usecase.KeysConfig{
		Store: store, Signer: jwxsigner.New(rand.Reader), Master: master, Clock: time.Now, Random: rand.Reader,
	})
	if err != nil {
		t.Fatal(err)
	}
	apply := &admin.Apply{
		Tenants: store, Applications: store, APIKeys: store, Keys: opened, Clock: time.Now, Random: rand.Reader,
	}
	permissions := domain.Permissions{"/revocations": {"GET"}}
	if _, err := apply.Do(t.Context(), admin.Kickstart{
		Tenants: []admin.KickstartTenant{{Tenant: domain.Tenant{ID: "acme", Name: "Acme"}}},
		APIKeys: []admin.KickstartAPIKey{{
			APIKey: domain.APIKey{Name: "reader", TenantID: "acme", Permissions: permissions}, Key: domain.NewSecret(apiKey),
		}},
	}); err != nil {
		t.Fatal(err)
	}
	api := &reachapi.API{Feed: feed, URL: "http://127.0.0.1:3000", TenantID: "acme"}
	dialect, err := api.Dialect()
	if err != nil {
		t.Fatal(err)
	}
	handler, err := web.New(web.Options{
		Authenticate: &usecase.Authenticate{
			APIKeys: store, Tokens: store, Tenants: store, Keys: opened, Clock: time.Now,
		},
		Log: slog.New(slog.DiscardHandler),
	}, dialect)
	if err != nil {
		t.Fatal(err)
	}
	return handler
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
