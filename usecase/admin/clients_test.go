package admin_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase/admin"
)

var (
	secretA = domain.NewSecret("a-client-secret-of-another-product")
	secretB = domain.NewSecret("b-client-secret-of-another-product")
	secretC = domain.NewSecret("c-client-secret-of-another-product")
)

// shopWith returns a file in which acme's shop has these client secrets.
func shopWith(force bool, texts ...domain.Secret) admin.Kickstart {
	return admin.Kickstart{By: operator.Origin, Tenants: []admin.KickstartTenant{{
		Tenant:       domain.Tenant{ID: "acme"},
		Applications: []domain.Application{{ID: "shop"}},
		Secrets:      map[string]admin.ClientSecrets{"shop": {Texts: texts, Force: force}},
	}}}
}

// secrets returns which of the three secrets are stored for acme's shop, in the order of the store.
func (w *world) secrets(t *testing.T) (names string) {
	t.Helper()
	a, err := w.store.Application(t.Context(), "acme", "shop")
	must(t, err)
	for _, s := range a.Client.Secrets {
		name := "?"
		for i, text := range []domain.Secret{secretA, secretB, secretC} {
			hashes, err := w.keys.HashesOfClientSecret(t.Context(), "acme", "shop", text)
			must(t, err)
			if (domain.Client{Secrets: []domain.ClientSecret{s}}).SecretWith(hashes...) == 0 {
				name = string(rune('A' + i))
			}
		}
		names += name
	}
	return names
}

// A secret that is stored is unchanged, without an event. A file cannot end a secret while two are valid, unless it
// is forced to.
func TestApplyKeepsClientSecretsThatAreStored(t *testing.T) {
	w := newWorld(t)
	var none domain.Secret
	for i, step := range []struct {
		file  []domain.Secret
		force bool
		want  string
		event bool
	}{
		{[]domain.Secret{secretA}, false, "A", true},
		{[]domain.Secret{secretA}, false, "A", false},
		{[]domain.Secret{secretB, secretA}, false, "BA", true},
		{[]domain.Secret{secretA, secretB}, false, "BA", false},
		{[]domain.Secret{secretA}, false, "BA", false}, // a file from before the replacement
		{[]domain.Secret{none, none}, false, "BA", false},
		{[]domain.Secret{secretC}, false, "refused", false},
		{[]domain.Secret{}, false, "refused", false},
		{[]domain.Secret{secretC, none}, true, "CB", true},
		{[]domain.Secret{}, true, "", true},
		{[]domain.Secret{none}, false, "refused", false},
		{[]domain.Secret{secretA, secretA}, false, "refused", false},
		{[]domain.Secret{domain.NewSecret("too short")}, false, "refused", false},
	} {
		w.clock.at = w.clock.at.Add(1e9)
		stored, events := w.secrets(t), len(w.events(t))
		_, err := w.apply.Do(t.Context(), shopWith(step.force, step.file...))
		want := step.want
		if invalid := (*domain.Invalid)(nil); want == "refused" {
			want = stored
			if !errors.As(err, &invalid) {
				t.Errorf("step %d: got %v", i, err)
			}
		} else {
			must(t, err)
		}
		if got := w.secrets(t); got != want {
			t.Errorf("step %d: the store has %q, want %q", i, got, want)
		}
		more := 0
		for _, e := range w.events(t)[events:] {
			if e.Kind == domain.ApplicationUpdated {
				more++
			}
			for _, s := range []domain.Secret{secretA, secretB, secretC} {
				if strings.Contains(fmt.Sprint(e), s.Reveal()) {
					t.Errorf("step %d: the event has a secret", i)
				}
			}
		}
		if (more > 0) != step.event {
			t.Errorf("step %d: %d events", i, more)
		}
	}
}

// An export that keeps the hashes, applied to an empty store with the same keys, gives the same applications, and
// changes nothing in its own store.
func TestAnExportOfClientsGivesTheSameStore(t *testing.T) {
	w := newWorld(t)
	by := forTenant(operator, "acme")
	_, _, err := w.applications.NewSecret(t.Context(), by, "shop", nil, false)
	must(t, err)
	_, _, err = w.applications.NewSecret(t.Context(), by, "shop", nil, false)
	must(t, err)
	_, err = w.applications.Change(t.Context(), by, "shop", nil, func(a domain.Application) (domain.Application, error) {
		a.Client.Keys = `{"keys":[{"kty":"OKP"}]}`
		a.Client.Audiences, a.Client.Origins = []string{"api"}, []string{"https://shop.example.com"}
		a.Client.Secrets = nil // which is ignored
		return a, nil
	})
	must(t, err)
	_, err = w.tenants.Change(t.Context(), operator, "acme", nil, func(t domain.Tenant) (domain.Tenant, error) {
		t.Login = domain.LoginEndpoints{
			Authorization: "https://a.example/a", EndSession: "https://a.example/e", Userinfo: "https://a.example/u",
		}
		return t, nil
	})
	must(t, err)
	k := exported(t, &changing{Store: w.store})
	k.By = operator.Origin
	for _, one := range applied(t, w, k) {
		if one.Action != "unchanged" {
			t.Errorf("in its own store: %+v", one)
		}
	}
	to := emptyWorld(t)
	to.replica = to.open(t)
	applied(t, to, k)
	again := exported(t, &changing{Store: to.store})
	if diff := cmp.Diff(k.Tenants, again.Tenants, unversioned); diff != "" {
		t.Errorf("(-exported +imported):\n%s", diff)
	}
	if got := len(again.Tenants[0].Applications[1].Client.Secrets); got != 2 {
		t.Errorf("got %d secrets of the shop", got)
	}
}
