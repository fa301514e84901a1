package usecase_test

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/refreshd/refreshd/adapter/jwxsigner"
	"github.com/refreshd/refreshd/adapter/memstore"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/storagetest"
	"github.com/refreshd/refreshd/test/support/dpop"
	"github.com/refreshd/refreshd/usecase"
)

// proofRig is a process that checks proofs, with a clock that only a test moves.
type proofRig struct {
	*usecase.Proofs
	store *memstore.Store
	key   dpop.Key
	now   time.Time
}

func newProofRig(t *testing.T) *proofRig {
	t.Helper()
	r := &proofRig{store: memstore.New(), key: dpop.NewKey(t), now: time.Date(2027, time.March, 4, 5, 6, 7, 0, time.UTC)}
	master, _, err := domain.NewMasterKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r.Proofs = r.process(t, master)
	return r
}

// process returns a process with the store of r.
func (r *proofRig) process(t *testing.T, master domain.MasterKey) *usecase.Proofs {
	t.Helper()
	clock := func() time.Time { return r.now }
	signer := jwxsigner.New(rand.Reader)
	keys, err := usecase.OpenKeys(t.Context(), usecase.KeysConfig{
		Store: r.store, Signer: signer, Master: master, Clock: clock, Random: rand.Reader, CacheAge: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	return &usecase.Proofs{
		Signer: signer, Keys: keys, Tenants: r.store, PublicURL: "https://refreshd.example/", Clock: clock,
	}
}

// proof returns a proof for a request to the path below the URL.
func (r *proofRig) proof(t *testing.T, url string, change ...func(header, claims map[string]any)) string {
	return r.key.Proof(t, "POST", url, r.now, change...)
}

func (r *proofRig) input(t *testing.T) usecase.ProofInput {
	return usecase.ProofInput{
		Proof: r.proof(t, "https://refreshd.example/jwt/refresh"), Method: "POST", Path: "/jwt/refresh",
	}
}

// RFC 9449, section 11.1. Requests with one proof may arrive concurrently.
func TestOfConcurrentRequestsWithOneProofOneIsAnswered(t *testing.T) {
	r := newProofRig(t)
	in := r.input(t)
	var answered atomic.Int64
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			key, err := r.Check(context.Background(), in)
			switch {
			case err == nil && key.Key == r.key.Thumbprint(t):
				answered.Add(1)
			case !errors.Is(err, domain.ErrProof):
				t.Errorf("got %q, %v, want ErrProof", key, err)
			}
		})
	}
	all.Wait()
	if got := answered.Load(); got != 1 {
		t.Errorf("%d requests were answered, want 1", got)
	}
}

// A used proof is remembered for as long as it would be valid, which begins a minute before its iat and ends a minute
// after it. The memory is then free again.
func TestAUsedProofIsRememberedWhileItIsValid(t *testing.T) {
	r := newProofRig(t)
	r.MaxUsed = 1
	in := r.input(t)
	iat := r.now
	r.now = iat.Add(-domain.ProofWindow)
	if _, err := r.Check(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	for after := -domain.ProofWindow; after <= domain.ProofWindow; after += time.Second {
		r.now = iat.Add(after)
		if _, err := r.Check(t.Context(), in); !errors.Is(err, domain.ErrProof) {
			t.Fatalf("%v after iat, again: got %v, want ErrProof", after, err)
		}
	}
	r.now = iat.Add(domain.ProofWindow + 11*time.Second)
	if _, err := r.Check(t.Context(), r.input(t)); err != nil {
		t.Errorf("another one, after the first became worthless: %v", err)
	}
	// Setting the clock back lets none in again.
	r.now = iat
	r.MaxUsed = 100
	if _, err := r.Check(t.Context(), in); !errors.Is(err, domain.ErrProof) {
		t.Errorf("the first one, after the clock was set back: got %v, want ErrProof", err)
	}
}

// Neither forgetting a used proof nor accepting one unremembered is safe: the client has to come again.
func TestWithoutRoomProofsAreRefusedAsBusy(t *testing.T) {
	r := newProofRig(t)
	r.MaxUsed = 2
	first := r.input(t)
	for _, in := range []usecase.ProofInput{first, r.input(t)} {
		if _, err := r.Check(t.Context(), in); err != nil {
			t.Fatal(err)
		}
	}
	third := r.input(t)
	if _, err := r.Check(t.Context(), third); !errors.Is(err, domain.ErrBusy) || errors.Is(err, domain.ErrProof) {
		t.Errorf("a third proof: got %v, want ErrBusy and not ErrProof", err)
	}
	if _, err := r.Check(t.Context(), first); !errors.Is(err, domain.ErrProof) {
		t.Errorf("the first one again: got %v, want ErrProof", err)
	}
	bad := r.input(t)
	bad.Method = "GET"
	if _, err := r.Check(t.Context(), bad); !errors.Is(err, domain.ErrProof) {
		t.Errorf("one that is not valid: got %v, want ErrProof", err)
	}
	r.MaxUsed = 3
	if _, err := r.Check(t.Context(), third); err != nil {
		t.Errorf("the third one, once there is room: %v", err)
	}
}

// A proxy routes an issuer on another host to the tenant's paths: clients know no other URL. Only the tenant that the
// request names counts, so that a proof for one tenant's host is none for another's.
func TestAProofMayBeForTheIssuerOfItsTenant(t *testing.T) {
	r := newProofRig(t)
	for id, issuer := range map[string]string{"acme": "https://auth.acme.example/base", "globex": ""} {
		err := storagetest.SaveTenant(t.Context(), r.store, domain.Tenant{ID: id, Name: id, Issuer: issuer})
		if err != nil {
			t.Fatal(err)
		}
	}
	const token = "/t/acme/oauth2/token"
	for _, c := range []struct {
		url, path, tenant string
		ok                bool
	}{
		{"https://refreshd.example" + token, token, "acme", true},
		{"https://auth.acme.example/base/oauth2/token", token, "acme", true},
		{"https://auth.acme.example/jwt/refresh", "/jwt/refresh", "acme", true},
		{"https://auth.acme.example/oauth2/token", "/oauth2/token", "acme", true},
		{"https://auth.acme.example/base/oauth2/revoke", token, "acme", false},
		{"https://auth.acme.example/base/oauth2/token", token, "globex", false},
		{"https://auth.acme.example/base/oauth2/token", token, "", false},
		{"https://auth.acme.example/base/oauth2/token", token, "unknown", false},
		{"https://auth.acme.example/base/oauth2/token", token, "not a tenant", false},
	} {
		_, err := r.Check(t.Context(), usecase.ProofInput{
			Proof: r.proof(t, c.url), Method: "POST", Path: c.path, TenantID: c.tenant,
		})
		if (err == nil) != c.ok || err != nil && !errors.Is(err, domain.ErrProof) {
			t.Errorf("%+v: got %v", c, err)
		}
	}
}

// A client takes a nonce from one replica and sends it to another. Nothing is stored for it.
func TestANonceOfOneProcessIsGoodAtAnother(t *testing.T) {
	r := newProofRig(t)
	r.DemandNonce = true
	another := &usecase.Proofs{
		Signer: r.Signer, Keys: r.Keys, Tenants: r.store, PublicURL: r.PublicURL, Clock: r.Clock, DemandNonce: true,
	}
	in := r.input(t)
	_, err := r.Check(t.Context(), in)
	if !errors.Is(err, domain.ErrProofNonce) || errors.Is(err, domain.ErrProof) {
		t.Fatalf("without a nonce: got %v, want ErrProofNonce and not ErrProof", err)
	}
	nonce, err := r.NextNonce(err)
	if err != nil || nonce == "" {
		t.Fatalf("got the nonce %q, %v", nonce, err)
	}
	r.now = r.now.Add(2 * time.Minute)
	in.Proof = r.proof(t, "https://refreshd.example/jwt/refresh", func(_, claims map[string]any) {
		claims["nonce"] = nonce
	})
	if _, err := another.Check(t.Context(), in); err != nil {
		t.Errorf("with the nonce, at another process: %v", err)
	}
	r.DemandNonce = false
	if nonce, err := r.NextNonce(nil); nonce != "" || err != nil {
		t.Errorf("without a demand the next nonce is %q, %v, want none", nonce, err)
	}
}
