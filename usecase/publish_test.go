package usecase_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/storagetest"
	"github.com/refreshd/refreshd/usecase"
)

type publicKey struct{ Kid, Alg string }

func publicKeys(t *testing.T, set []byte) []publicKey {
	t.Helper()
	var s struct{ Keys []publicKey }
	must(t, json.Unmarshal(set, &s))
	if strings.Contains(string(set), `"d"`) {
		t.Error("a private key was published")
	}
	return s.Keys
}

// kidOf returns the `kid` of an access token.
func kidOf(t *testing.T, accessToken domain.Secret) string {
	t.Helper()
	head, _, _ := strings.Cut(accessToken.Reveal(), ".")
	text, err := base64.RawURLEncoding.DecodeString(head)
	if err != nil {
		t.Error(err)
	}
	var h publicKey
	if err := json.Unmarshal(text, &h); err != nil {
		t.Error(err)
	}
	return h.Kid
}

// A backend fetches the set before the first login, and caches it: the first access token must verify with it.
func TestTheKeyOfATenantIsPublishedBeforeItSigns(t *testing.T) {
	w := newWorld(t)
	must(t, storagetest.SaveTenant(t.Context(), w.store,
		domain.Tenant{ID: "globex", Settings: domain.Settings{Algorithm: new(domain.ES256)}}))
	another := w.open(t)
	set, err := w.publish.Tenant(t.Context(), "globex")
	must(t, err)
	g, err := another.issue.Do(t.Context(), usecase.IssueInput{TenantID: "globex", ApplicationID: "shop",
		UserID: "ana"})
	must(t, err)
	if diff := cmp.Diff([]publicKey{{kidOf(t, g.AccessToken), "ES256"}}, publicKeys(t, set)); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	again, err := another.publish.Tenant(t.Context(), "globex")
	must(t, err)
	if string(again) != string(set) {
		t.Error("two processes publish different bytes")
	}
}

func TestATenantPublishesItsOwnKeysOnly(t *testing.T) {
	w := newWorld(t)
	mine := w.issued(t, "shop")
	_, err := w.issue.Do(t.Context(), usecase.IssueInput{TenantID: "globex", ApplicationID: "shop", UserID: "ana"})
	must(t, err)
	set, err := w.publish.Tenant(t.Context(), "acme")
	must(t, err)
	if diff := cmp.Diff([]publicKey{{kidOf(t, mine.AccessToken), "ES256"}}, publicKeys(t, set)); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	w.probe.forget()
	_, err = w.publish.Tenant(t.Context(), "unknown")
	wantErr(t, err, domain.ErrNotFound)
	if n := w.probe.count("NewKey"); n != 0 {
		t.Error("a key was made for a tenant that does not exist")
	}
}

// The set of the root is what verifiers of one tenant have configured: if it changed with the second tenant, they would
// refuse all of the first one's access tokens.
func TestTheRootSetIsThatOfItsTenantWhateverOthersThereAre(t *testing.T) {
	w := emptyWorld(t)
	w.replica = w.open(t)
	root := func() []publicKey {
		t.Helper()
		set, err := w.publish.Root(t.Context())
		must(t, err)
		return publicKeys(t, set)
	}
	unfound := func(when string) {
		t.Helper()
		if _, err := w.publish.Root(t.Context()); !errors.Is(err, domain.ErrNotFound) {
			t.Errorf("%s: error = %v, want ErrNotFound: a verifier would cache an empty set", when, err)
		}
	}
	unfound("an empty store")
	must(t, storagetest.SaveTenant(t.Context(), w.store, domain.Tenant{ID: "globex"}))
	w.clock.advance(time.Second)
	unfound("another tenant alone")
	must(t, storagetest.SaveTenant(t.Context(), w.store, domain.Tenant{ID: "acme"}))
	w.application(t, "acme", "shop", domain.Settings{})
	w.clock.advance(time.Second)
	keys := root()
	if diff := cmp.Diff([]publicKey{{kidOf(t, w.issued(t, "shop").AccessToken), "ES256"}}, keys); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	must(t, storagetest.SaveTenant(t.Context(), w.store, domain.Tenant{ID: "initech"}))
	w.clock.advance(time.Hour)
	if diff := cmp.Diff(keys, root()); diff != "" {
		t.Errorf("keys after another tenant came (-want +got):\n%s", diff)
	}
	must(t, storagetest.DeleteTenant(t.Context(), w.store, "acme", stored(w.clock.now())))
	w.clock.advance(time.Minute)
	unfound("the tenant was deleted")
}

// Without a root tenant, and while it does not exist, the set of the root has the shared keys.
func TestTheRootSetHasTheSharedKeysWithoutATenant(t *testing.T) {
	w := newWorld(t)
	w.signingKey(t, domain.SealedKey{Algorithm: domain.ES256, Number: 1, ID: "shared"})
	for _, tenant := range []string{"", "nobody"} {
		p := &usecase.Publish{Tenants: w.probe, Keys: w.keys, Clock: w.clock.now, RootTenant: tenant}
		w.clock.advance(time.Second)
		must(t, w.keys.Reload(t.Context()))
		set, err := p.Root(t.Context())
		must(t, err)
		if diff := cmp.Diff([]publicKey{{"shared", "ES256"}}, publicKeys(t, set)); diff != "" {
			t.Errorf("root tenant %q: keys (-want +got):\n%s", tenant, diff)
		}
	}
}

// Any number of requests for key sets, of known and of unknown names, loads no store: concurrent ones share a look-up.
func TestNoNumberOfRequestsForKeySetsLoadsTheStore(t *testing.T) {
	w := newWorld(t)
	ask := func(p *usecase.Publish, requests int) {
		var clients sync.WaitGroup
		for range 8 {
			clients.Go(func() {
				for range requests {
					_, _ = p.Tenant(t.Context(), "acme")
					_, _ = p.Tenant(t.Context(), "globex")
					_, _ = p.Root(t.Context())
				}
			})
		}
		clients.Wait()
	}
	for _, root := range []string{"acme", "nobody", ""} {
		p := &usecase.Publish{Tenants: w.probe, Keys: w.keys, Clock: w.clock.now, RootTenant: root}
		ask(p, 1)
		must(t, w.keys.Reload(t.Context())) // the first key set of a tenant makes its key
		ask(p, 1)
		w.probe.forget()
		ask(p, 1000)
		if calls := w.probe.asked(); len(calls) > 0 {
			t.Errorf("root %q: 24 000 requests made the calls %v of ports, want none", root, calls)
		}
		w.clock.advance(time.Minute)
		must(t, w.keys.Reload(t.Context()))
		w.probe.forget()
		ask(p, 1000)
		if calls := w.probe.asked(); len(calls) > 3 || w.probe.count("Tenant") != len(calls) {
			t.Errorf("root %q: 24 000 requests a minute later made the calls %v, want one look-up of each tenant", root,
				calls)
		}
	}
}
