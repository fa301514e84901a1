package usecase_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/refreshd/refreshd/adapter/jwxsigner"
	"github.com/refreshd/refreshd/adapter/memstore"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/storagetest"
	"github.com/refreshd/refreshd/usecase"
)

// onceInMemory is a port.Once of one process.
type onceInMemory struct {
	mu    sync.Mutex
	until map[string]time.Time
	fail  error
}

func (o *onceInMemory) Once(_ context.Context, key []byte, now, until time.Time) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.fail != nil:
		return o.fail
	case o.until[string(key)].After(now):
		return domain.ErrDuplicate
	}
	o.until[string(key)] = until
	return nil
}

// assertionRig is two replicas, and a client of acme and of globex with one key.
type assertionRig struct {
	replicas [2]*usecase.AuthenticateClient
	once     *onceInMemory
	private  *ecdsa.PrivateKey
	now      time.Time
}

func newAssertionRig(t *testing.T) *assertionRig {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := private.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	keys := `{"keys":[{"kty":"EC","crv":"P-256","x":"` + encode(point[1:33]) + `","y":"` + encode(point[33:]) + `"}]}`
	store := memstore.New()
	for id, issuer := range map[string]string{"acme": "https://auth.acme.example/base/", "globex": ""} {
		if err := storagetest.SaveTenant(t.Context(), store, domain.Tenant{ID: id, Name: id, Issuer: issuer}); err != nil {
			t.Fatal(err)
		}
		for _, app := range []string{"shop", "blog"} {
			err := storagetest.SaveApplication(t.Context(), store, domain.Application{
				ID: app, TenantID: id, Name: app, Client: domain.Client{Keys: keys},
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		err := storagetest.SaveApplication(t.Context(), store, domain.Application{ID: "public", TenantID: id, Name: "p"})
		if err != nil {
			t.Fatal(err)
		}
	}
	r := &assertionRig{
		once: &onceInMemory{until: map[string]time.Time{}}, private: private,
		now: time.Date(2027, time.March, 4, 5, 6, 7, 0, time.UTC),
	}
	for i := range r.replicas {
		assertions := &usecase.Assertions{
			Signer: jwxsigner.New(rand.Reader), Applications: store, Once: r.once, PublicURL: "https://refreshd.example",
			RootTenant: "acme", Clock: func() time.Time { return r.now },
		}
		r.replicas[i] = &usecase.AuthenticateClient{Applications: store, Assertion: assertions.Check}
	}
	return r
}

// assertion returns one of acme's shop, with changed claims.
func (r *assertionRig) assertion(t *testing.T, changed map[string]any) domain.Secret {
	t.Helper()
	claims := map[string]any{
		"iss": "shop", "sub": "shop", "aud": "https://auth.acme.example/base/", "jti": rand.Text(), "iat": r.now.Unix(),
		"exp": r.now.Add(time.Minute).Unix(),
	}
	maps.Copy(claims, changed)
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(`{"alg":"ES256"}`)) + "." + encode(payload)
	hash := sha256.Sum256([]byte(signed))
	x, y, err := ecdsa.Sign(rand.Reader, r.private, hash[:])
	if err != nil {
		t.Fatal(err)
	}
	signature := append(x.FillBytes(make([]byte, 32)), y.FillBytes(make([]byte, 32))...)
	return domain.NewSecret(signed + "." + encode(signature))
}

// do authenticates at a replica.
func (r *assertionRig) do(replica int, tenantID, clientID string, assertion domain.Secret) (usecase.ClientAuth, error) {
	return r.replicas[replica].Do(context.Background(),
		usecase.ClientCredential{TenantID: tenantID, ClientID: clientID, Assertion: assertion})
}

// RFC 7523, section 3: which claims an assertion needs, and for whom it may be.
func TestAnAssertionAuthenticatesItsClientHere(t *testing.T) {
	type claims = map[string]any
	const issuer = "https://auth.acme.example/base/"
	r := newAssertionRig(t)
	for name, c := range map[string]struct {
		tenant, client string
		changed        claims
		ok             bool
	}{
		"the issuer":                  {"acme", "shop", nil, true},
		"without client_id":           {"acme", "", nil, true}, // RFC 7521, section 4.2
		"the token endpoint":          {"acme", "shop", claims{"aud": "https://auth.acme.example/base/oauth2/token"}, true},
		"that of the public URL":      {"acme", "shop", claims{"aud": "https://refreshd.example/t/acme/oauth2/token"}, true},
		"that at the root":            {"acme", "shop", claims{"aud": "https://refreshd.example/oauth2/token"}, true},
		"the issuer, among others":    {"acme", "shop", claims{"aud": []string{"x", issuer}}, true},
		"a derived issuer":            {"globex", "shop", claims{"aud": "https://refreshd.example/t/globex"}, true},
		"the root of another tenant":  {"globex", "shop", claims{"aud": "https://refreshd.example/oauth2/token"}, false},
		"another tenant's":            {"globex", "shop", nil, false},
		"another client's":            {"acme", "blog", nil, false},
		"another client of it":        {"acme", "", claims{"iss": "blog"}, false},
		"an unknown client":           {"acme", "", claims{"iss": "nobody", "sub": "nobody"}, false},
		"a client without keys":       {"acme", "public", claims{"iss": "public", "sub": "public"}, false},
		"expired":                     {"acme", "shop", claims{"exp": r.now.Add(-time.Hour).Unix()}, false},
		"for longer than ten minutes": {"acme", "shop", claims{"exp": r.now.Add(time.Hour).Unix()}, false},
		"without an id to remember":   {"acme", "shop", claims{"jti": ""}, false},
	} {
		auth, err := r.do(0, c.tenant, c.client, r.assertion(t, c.changed))
		switch {
		case c.ok && (err != nil || !auth.Authenticated || auth.Application.ID != "shop" ||
			auth.Application.TenantID != c.tenant):
			t.Errorf("%s: got %+v, %v, want the client", name, auth, err)
		case !c.ok && (!errors.Is(err, domain.ErrUnauthorized) || auth.Authenticated):
			t.Errorf("%s: got %+v, %v, want ErrUnauthorized", name, auth, err)
		}
	}
	forged := newAssertionRig(t)
	if _, err := r.do(0, "acme", "shop", forged.assertion(t, nil)); !errors.Is(err, domain.ErrUnauthorized) {
		t.Errorf("by another key: got %v, want ErrUnauthorized", err)
	}
}

// A copy of an assertion must be refused, at any replica, for as long as it would be valid.
func TestAnAssertionServesOnceAtAllReplicas(t *testing.T) {
	r := newAssertionRig(t)
	once := r.assertion(t, map[string]any{"exp": r.now.Add(10 * time.Minute).Unix()})
	var answered atomic.Int64
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			switch _, err := r.do(i%2, "acme", "shop", once); {
			case err == nil:
				answered.Add(1)
			case !errors.Is(err, domain.ErrUnauthorized):
				t.Errorf("got %v, want ErrUnauthorized", err)
			}
		})
	}
	all.Wait()
	if got := answered.Load(); got != 1 {
		t.Errorf("%d requests were authenticated, want 1", got)
	}
	for range 12 {
		r.now = r.now.Add(time.Minute)
		if _, err := r.do(1, "acme", "shop", once); !errors.Is(err, domain.ErrUnauthorized) {
			t.Errorf("at %v: got %v, want ErrUnauthorized", r.now, err)
		}
	}
	// Another client, and the same client of another tenant, may choose the same jti.
	for _, c := range []struct{ tenant, client, aud string }{
		{"acme", "shop", "https://auth.acme.example/base/"}, {"acme", "blog", "https://auth.acme.example/base/"},
		{"globex", "shop", "https://refreshd.example/t/globex"},
	} {
		_, err := r.do(0, c.tenant, c.client,
			r.assertion(t, map[string]any{"iss": c.client, "sub": c.client, "aud": c.aud, "jti": "chosen"}))
		if err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// If the store cannot say whether an assertion was used, no client is authenticated, and it may try again.
func TestWithoutTheStoreNoAssertionAuthenticates(t *testing.T) {
	r := newAssertionRig(t)
	r.once.fail = errors.New("the store is down")
	sent := r.assertion(t, nil)
	if auth, err := r.do(0, "acme", "shop", sent); !errors.Is(err, domain.ErrUnavailable) || auth.Authenticated {
		t.Errorf("got %+v, %v, want ErrUnavailable", auth, err)
	}
	r.once.fail = nil
	if _, err := r.do(0, "acme", "shop", sent); err != nil {
		t.Errorf("again: %v", err)
	}
}
