package usecase_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
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

func TestTheSharedSetHoldsASingleTenantsKeys(t *testing.T) {
	w := emptyWorld(t)
	w.replica = w.open(t)
	shared := func() []publicKey {
		t.Helper()
		set, err := w.publish.Shared(t.Context())
		must(t, err)
		return publicKeys(t, set)
	}
	if n := len(shared()); n != 0 {
		t.Errorf("%d keys without a tenant", n)
	}
	must(t, storagetest.SaveTenant(t.Context(), w.store, domain.Tenant{ID: "acme"}))
	w.application(t, "acme", "shop", domain.Settings{})
	w.clock.advance(time.Second)
	keys := shared()
	if diff := cmp.Diff([]publicKey{{kidOf(t, w.issued(t, "shop").AccessToken), "ES256"}}, keys); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	must(t, storagetest.SaveTenant(t.Context(), w.store, domain.Tenant{ID: "globex"}))
	w.clock.advance(time.Second)
	if n := len(shared()); n != 0 {
		t.Errorf("%d keys with two tenants", n)
	}
}

// A page may be empty although there is another one, so only the end of the list shows that a tenant is the only one.
func TestOnlyTenantReadsToTheEnd(t *testing.T) {
	acme, globex := domain.Tenant{ID: "acme"}, domain.Tenant{ID: "globex"}
	for _, tt := range []struct {
		name  string
		pages [][]domain.Tenant
		want  bool
	}{
		{"none", [][]domain.Tenant{nil}, false},
		{"one", [][]domain.Tenant{{acme}}, true},
		{"one, and an empty page", [][]domain.Tenant{{acme}, nil}, true},
		{"one, behind an empty page", [][]domain.Tenant{nil, {acme}}, true},
		{"two", [][]domain.Tenant{{acme, globex}}, false},
		{"two, a page each", [][]domain.Tenant{{acme}, nil, {globex}}, false},
	} {
		got, ok, err := usecase.OnlyTenant(t.Context(), pagesOf{pages: tt.pages})
		must(t, err)
		if ok != tt.want || ok != (got.ID == "acme") {
			t.Errorf("%s: got %q, %t, want %t", tt.name, got.ID, ok, tt.want)
		}
	}
}

// pagesOf returns these pages of tenants. The parameter after of a page is its number.
type pagesOf struct {
	port.Store
	pages [][]domain.Tenant
}

func (p pagesOf) Tenants(_ context.Context, after string, _ int) (page []domain.Tenant, next string, err error) {
	n := len(after)
	if n < len(p.pages)-1 {
		next = after + "x"
	}
	return p.pages[n], next, nil
}
