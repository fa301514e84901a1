package admin_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/adapter/memstore"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/storagetest"
	"github.com/refreshd/refreshd/usecase"
	"github.com/refreshd/refreshd/usecase/admin"
)

// changing is a store in which another process writes after the applications or the tenants were read.
type changing struct {
	*memstore.Store
	applications, tenants func()
}

func (c *changing) Applications(
	ctx context.Context, tenantID, after string, limit int,
) ([]domain.Application, string, error) {
	page, next, err := c.Store.Applications(ctx, tenantID, after, limit)
	if f := c.applications; f != nil {
		c.applications = nil
		f()
	}
	return page, next, err
}

func (c *changing) Tenants(ctx context.Context, after string, limit int) ([]domain.Tenant, string, error) {
	page, next, err := c.Store.Tenants(ctx, after, limit)
	if f := c.tenants; f != nil {
		c.tenants = nil
		f()
	}
	return page, next, err
}

func exported(t *testing.T, store *changing) admin.Kickstart {
	t.Helper()
	k, err := (&admin.Export{Tenants: store, Applications: store, APIKeys: store, Keys: store}).Do(t.Context())
	must(t, err)
	must(t, k.Validate())
	return k
}

// An export of a moment when a tenant has its old settings and its application the new ones could not be applied.
func TestAnExportHasATenantWithTheApplicationsThatFitIt(t *testing.T) {
	w := newWorld(t)
	store := &changing{Store: w.store}
	store.applications = func() {
		must(t, storagetest.SaveTenant(t.Context(), w.store, domain.Tenant{
			ID: "acme", Name: "Renamed", Issuer: "https://login.acme.example",
		}))
		w.application(t, "acme", "late", domain.Settings{})
	}
	acme := exported(t, store).Tenants[0]
	var ids []string
	for _, a := range acme.Applications {
		ids = append(ids, a.ID)
	}
	if diff := cmp.Diff([]string{"guarded", "late", "shop"}, ids); diff != "" || acme.Tenant.Name != "Renamed" {
		t.Errorf("tenant %q, applications (-want +got):\n%s", acme.Tenant.Name, diff)
	}
}

// An issuer moves from one tenant to another between two pages, a tenant is deleted, and another one is made with an
// API key: the export can still be applied.
func TestAnExportOfAChangingStoreCanBeApplied(t *testing.T) {
	for name, change := range map[string]func(w *world){
		"an issuer moves": func(w *world) {
			must(t, storagetest.SaveTenant(t.Context(), w.store, domain.Tenant{ID: "acme"}))
			must(t, storagetest.SaveTenant(t.Context(), w.store, domain.Tenant{
				ID: "globex", Issuer: "https://login.acme.example",
			}))
		},
		"a tenant goes": func(w *world) {
			globex, err := w.store.Tenant(t.Context(), "globex")
			must(t, err)
			e, err := domain.NewEvent(domain.TenantDeleted, domain.Service(), t0, w.random)
			must(t, err)
			must(t, w.store.DeleteTenant(t.Context(), "globex", globex.Version, e))
		},
		"a tenant comes with an API key": func(w *world) {
			must(t, storagetest.SaveTenant(t.Context(), w.store, domain.Tenant{ID: "zeta"}))
			must(t, storagetest.SaveAPIKey(t.Context(), w.store, domain.APIKey{Name: "zeta", TenantID: "zeta", Hash: "z"}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			k := exported(t, &changing{Store: w.store, tenants: func() { change(w) }})
			k.By = domain.Service()
			to := emptyWorld(t)
			to.replica = to.open(t)
			applied(t, to, k)
		})
	}
}

// Prune deletes the objects that were confirmed: one that was changed since stays, one that no longer exists is no
// error, and each deletion has an event of the file.
func TestPruneDeletesOnlyWhatWasListed(t *testing.T) {
	w := newWorld(t)
	w.issued(t, "shop")
	prune := &admin.Prune{Apply: *w.apply, Tokens: w.store}
	k := admin.Kickstart{
		By: domain.Origin{Actor: domain.Actor{Kind: domain.ActorKickstart, Name: "all.yaml"}},
		Tenants: []admin.KickstartTenant{{
			Tenant: domain.Tenant{ID: "acme"}, Applications: []domain.Application{{ID: "shop"}},
		}},
	}
	list, err := prune.Unnamed(t.Context(), k)
	must(t, err)
	var names []string
	for _, one := range list {
		names = append(names, one.Kind+" "+one.Name)
	}
	if diff := cmp.Diff([]string{"application acme/guarded", "tenant globex"}, names); diff != "" {
		t.Fatalf("not named (-want +got):\n%s", diff)
	}
	w.application(t, "acme", "guarded", domain.Settings{Active: new(false)})
	done, err := prune.Delete(t.Context(), k.By, list)
	wantErr(t, err, domain.ErrStale)
	if len(done) > 0 {
		t.Errorf("deleted %v, want nothing after what was changed", actions(done))
	}
	list, err = prune.Unnamed(t.Context(), k)
	must(t, err)
	done, err = prune.Delete(t.Context(), k.By, list)
	must(t, err)
	want := []string{"application acme/guarded: deleted", "tenant globex: deleted"}
	if diff := cmp.Diff(want, actions(done)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if again, err := prune.Delete(t.Context(), k.By, list); err != nil || len(again) > 0 {
		t.Errorf("again: %v, %v, want nothing", actions(again), err)
	}
	var kinds []domain.EventKind
	for _, e := range eventsOf(t, w, k) {
		kinds = append(kinds, e.Kind)
	}
	if diff := cmp.Diff([]domain.EventKind{domain.ApplicationDeleted, domain.TenantDeleted}, kinds); diff != "" {
		t.Errorf("events of the file (-want +got):\n%s", diff)
	}
}

// A key that the file names for a tenant that it does not name would go with the tenant.
func TestAFileToPruneByNamesTheTenantsOfItsKeys(t *testing.T) {
	k := kickstart()
	must(t, k.ValidateComplete())
	k.APIKeys[0].APIKey.TenantID = "elsewhere"
	wantCodes(t, k.ValidateComplete(), "[conflict]apiKeys[0].tenantId")
}

// An API key without a text keeps the stored one, and its other fields change.
func TestAnAPIKeyWithoutAKeyKeepsItsText(t *testing.T) {
	w := newWorld(t)
	k := kickstart()
	k.Tenants = nil
	k.APIKeys[0].APIKey.TenantID = ""
	key := k.APIKeys[0].Key
	k.APIKeys[0].Key = domain.Secret{}
	_, err := w.apply.Do(t.Context(), k)
	wantCodes(t, err, "[blank]apiKeys[0].key")
	k.APIKeys[0].Key = key
	applied(t, w, k)
	k.APIKeys[0].Key = domain.Secret{}
	if diff := cmp.Diff([]string{"API key backend: unchanged"}, actions(applied(t, w, k))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	k.APIKeys[0].APIKey.TenantID = "acme"
	if diff := cmp.Diff([]string{"API key backend: updated"}, actions(applied(t, w, k))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	_, err = w.byKey(t, key, domain.TokenIssue)
	must(t, err)
}

// While the backends change to a new key both are valid. A kickstart file that has the present one must not end the
// other. A text that the file changes by force ends both: it may be the answer to a theft.
func TestApplyKeepsThePreviousKeyUntilItChangesTheText(t *testing.T) {
	w := newWorld(t)
	k := kickstart()
	applied(t, w, k)
	stored, err := w.store.APIKeyByName(t.Context(), "backend")
	must(t, err)
	keys := admin.APIKeys{
		APIKeys: w.store, Tenants: w.store, Keys: w.keys, Clock: usecase.Clock(w.clock.now), Random: w.random,
	}
	_, second, err := keys.NewKey(t.Context(), admin.By{Operator: true}, stored.ID, nil, false)
	must(t, err)
	valid := func(key domain.Secret) bool {
		_, err := w.byKey(t, key, domain.TokenIssue)
		return err == nil
	}
	first := k.APIKeys[0].Key
	for _, key := range []domain.Secret{second, {}} {
		k.APIKeys[0].Key = key
		for _, line := range actions(applied(t, w, k)) {
			if line == "API key backend: updated" {
				t.Error("the same text is a change")
			}
		}
	}
	if !valid(first) || !valid(second) {
		t.Errorf("the previous key is valid: %t, the present one: %t, want both", valid(first), valid(second))
	}
	k.APIKeys[0].Key = domain.NewSecret("ak_third-012345678901234567890123")
	k.APIKeys[0].Force = true
	applied(t, w, k)
	if valid(first) || valid(second) || !valid(k.APIKeys[0].Key) {
		t.Errorf("after a change of the text the first is valid: %t, the second: %t, the third: %t; want the third only",
			valid(first), valid(second), valid(k.APIKeys[0].Key))
	}
}
