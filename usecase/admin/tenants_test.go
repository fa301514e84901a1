package admin_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/storagetest"
	"github.com/refreshd/refreshd/usecase/admin"
)

// named returns an edit that gives a tenant this name.
func named(name string) func(domain.Tenant) (domain.Tenant, error) {
	return func(t domain.Tenant) (domain.Tenant, error) {
		t.Name = name
		return t, nil
	}
}

// Each write is one event with what it changed; a change that changes nothing is none.
func TestEachWriteOfATenantAndAnApplicationIsAnEvent(t *testing.T) {
	w := newWorld(t)
	ctx, by := t.Context(), forTenant(operator, "")
	made, err := w.tenants.Create(ctx, by, domain.Tenant{ID: "new", Name: "New"})
	must(t, err)
	got, err := w.tenants.Get(ctx, by, "new")
	must(t, err)
	if diff := cmp.Diff(got, made); diff != "" || made.Version != 1 {
		t.Errorf("created, version %d (-stored +returned):\n%s", made.Version, diff)
	}
	changed, err := w.tenants.Change(ctx, by, "new", nil, named("Newer"))
	must(t, err)
	same, err := w.tenants.Change(ctx, by, "new", admin.Expect{changed.Version}, named("Newer"))
	must(t, err)
	if same.Version != changed.Version {
		t.Errorf("a change of nothing: version %d, want %d", same.Version, changed.Version)
	}
	by = forTenant(operator, "new")
	app, err := w.applications.Create(ctx, by, domain.Application{ID: "app", Name: "App"})
	must(t, err)
	_, err = w.applications.Change(ctx, by, "app", nil, func(a domain.Application) (domain.Application, error) {
		a.Settings.GraceSeconds = new(int64(5))
		return a, nil
	})
	must(t, err)
	must(t, w.applications.Delete(ctx, by, "app", nil))
	must(t, w.tenants.Delete(ctx, by, "new", nil))
	about := func(kind domain.EventKind, id string, v domain.Version, before, after domain.Object) domain.Event {
		return domain.Event{
			At: stored(t0), Origin: operator.Origin, Kind: kind, TenantID: "new", ObjectID: id, Version: v,
			Before: before, After: after,
		}
	}
	const grace = domain.FieldGraceSeconds
	want := []domain.Event{
		about(domain.TenantCreated, "new", 1, "", `{"name":"New"}`),
		about(domain.TenantUpdated, "new", 2, `{"name":"New"}`, `{"name":"Newer"}`),
		about(domain.ApplicationCreated, "app", app.Version, "", `{"name":"App"}`),
		about(domain.ApplicationUpdated, "app", app.Version+1, `{"`+grace+`":null}`, `{"`+grace+`":"5","name":"App"}`),
		about(domain.ApplicationDeleted, "app", 0, `{"`+grace+`":"5","name":"App"}`, ""),
		about(domain.TenantDeleted, "new", 0, `{"name":"Newer"}`, ""),
	}
	events := w.events(t)
	byKind := func(a, b domain.Event) int {
		return slices.Index(domain.EventKinds, a.Kind) - slices.Index(domain.EventKinds, b.Kind)
	}
	slices.SortStableFunc(events, byKind)
	slices.SortStableFunc(want, byKind)
	if diff := cmp.Diff(want, events); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// Without an id one is made, and a taken one is refused and changes nothing.
func TestAnIDIsMadeOrMustBeFree(t *testing.T) {
	w := newWorld(t)
	ctx, acme := t.Context(), forTenant(operator, "acme")
	tenant, err := w.tenants.Create(ctx, operator, domain.Tenant{Name: "No id"})
	must(t, err)
	app, err := w.applications.Create(ctx, acme, domain.Application{Name: "No id"})
	must(t, err)
	key, _, err := w.apiKeys.Create(ctx, operator, domain.APIKey{Name: "no id"}, domain.Secret{})
	must(t, err)
	for _, id := range []string{tenant.ID, app.ID, key.ID.String()} {
		if made, ok := domain.ParseID(id); !ok || made[6]>>4 != 7 {
			t.Errorf("the id %q was made, want a UUID of version 7", id)
		}
	}
	_, err = w.tenants.Create(ctx, operator, domain.Tenant{ID: "acme", Name: "Another"})
	wantCodes(t, err, "[duplicate]id")
	_, err = w.applications.Create(ctx, acme, domain.Application{ID: "shop", Name: "Another"})
	wantCodes(t, err, "[duplicate]id")
	_, _, err = w.apiKeys.Create(ctx, operator, domain.APIKey{ID: key.ID, Name: "another"}, domain.Secret{})
	wantCodes(t, err, "[duplicate]id")
	got, err := w.tenants.Get(ctx, operator, "acme")
	must(t, err)
	if got.Name != "Acme" {
		t.Errorf("the tenant that has the id is called %q now", got.Name)
	}
}

// A tenant's settings must be possible with its stored applications: the error names the one with which they are not.
func TestATenantThatMakesAnApplicationImpossibleIsRefusedByItsName(t *testing.T) {
	w := newWorld(t)
	w.application(t, "acme", "long", domain.Settings{TTLMinutes: new(int64(100_000))})
	before, err := w.store.Tenant(t.Context(), "acme")
	must(t, err)
	_, err = w.tenants.Change(t.Context(), operator, "acme", nil, func(a domain.Tenant) (domain.Tenant, error) {
		a.Settings.MaximumTTLMinutes = new(int64(50_000))
		return a, nil
	})
	wantCodes(t, err, `[conflict]applications["long"].`+domain.FieldMaximumTTLMinutes)
	_, err = w.applications.Change(t.Context(), forTenant(operator, "acme"), "long", nil,
		func(a domain.Application) (domain.Application, error) {
			a.Settings.MaximumTTLMinutes = new(int64(50_000))
			return a, nil
		})
	wantCodes(t, err, "[conflict]"+domain.FieldMaximumTTLMinutes)
	after, err := w.store.Tenant(t.Context(), "acme")
	must(t, err)
	if diff := cmp.Diff(before, after); diff != "" || len(w.events(t)) > 0 {
		t.Errorf("%d events; the tenant (-before +after):\n%s", len(w.events(t)), diff)
	}
}

// No two tenants have one issuer: not one that is set, and not one that is derived for another tenant, which need not
// exist yet.
func TestIssuersAreUniqueDerivedOnesIncluded(t *testing.T) {
	for _, tt := range []struct{ name, issuer, code string }{
		{"another one", "https://other.example", ""},
		{"its own derived one", publicURL + "/t/globex", ""},
		{"that of another tenant", "https://login.acme.example", "[duplicate]issuer"},
		{"that is derived for another tenant", publicURL + "/t/acme", "[conflict]issuer"},
		{"that is derived for a tenant to come", publicURL + "/t/initech", "[conflict]issuer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			check := func(how, prefix string, err error) {
				t.Helper()
				if tt.code == "" {
					must(t, err)
				} else {
					wantCodes(t, err, tt.code[:len(tt.code)-len("issuer")]+prefix+"issuer")
				}
			}
			w := newWorld(t)
			_, err := w.tenants.Change(t.Context(), operator, "globex", nil, func(g domain.Tenant) (domain.Tenant, error) {
				g.Issuer = tt.issuer
				return g, nil
			})
			check("change", "", err)
			must(t, w.tenants.Delete(t.Context(), operator, "globex", nil))
			_, err = w.tenants.Create(t.Context(), operator, domain.Tenant{ID: "globex", Issuer: tt.issuer})
			check("create", "", err)
			_, err = w.apply.Do(t.Context(), admin.Kickstart{Tenants: []admin.KickstartTenant{
				{Tenant: domain.Tenant{ID: "globex", Issuer: tt.issuer}},
			}})
			check("apply", "tenants[0].", err)
		})
	}
}

// A caller that named the version by which it decided gets ErrStale, and overwrites nothing.
func TestAConditionThatDoesNotHoldChangesNothing(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	before, err := w.tenants.Get(ctx, operator, "acme")
	must(t, err)
	v := before.Version
	for _, expect := range []admin.Expect{{v + 1}, {v + 1, v + 2}, {}} {
		_, err := w.tenants.Change(ctx, operator, "acme", expect, named("lost"))
		wantErr(t, err, domain.ErrStale)
		wantErr(t, w.tenants.Delete(ctx, operator, "acme", expect), domain.ErrStale)
	}
	// Another process writes after this one has read.
	_, err = w.tenants.Change(ctx, operator, "acme", admin.Expect{v}, func(a domain.Tenant) (domain.Tenant, error) {
		must(t, storagetest.SaveTenant(ctx, w.store, domain.Tenant{ID: "acme", Name: "Faster"}))
		return named("lost")(a)
	})
	wantErr(t, err, domain.ErrStale)
	got, err := w.tenants.Get(ctx, operator, "acme")
	must(t, err)
	if got.Name != "Faster" || len(w.events(t)) > 0 {
		t.Errorf("the tenant is called %q, with %d events", got.Name, len(w.events(t)))
	}
	_, err = w.tenants.Change(ctx, operator, "acme", admin.Expect{v, got.Version}, named("Acme"))
	must(t, err)
}

// A change without a condition is decided again on what another process wrote meanwhile, and loses nothing of it.
func TestAChangeWithoutAConditionIsDecidedAgain(t *testing.T) {
	for _, races := range []int{1, 4, 5} {
		w := newWorld(t)
		ctx, n := t.Context(), 0
		got, err := w.tenants.Change(ctx, operator, "acme", nil, func(a domain.Tenant) (domain.Tenant, error) {
			if n++; n <= races {
				other := a
				other.Settings.GraceSeconds = new(int64(n))
				must(t, storagetest.SaveTenant(ctx, w.store, other))
			}
			return named("Changed")(a)
		})
		if races == 5 {
			wantErr(t, err, domain.ErrBusy)
			if errors.Is(err, domain.ErrStale) || len(w.events(t)) > 0 {
				t.Errorf("%v, with %d events: want no ErrStale and no event", err, len(w.events(t)))
			}
			continue
		}
		must(t, err)
		if got.Name != "Changed" || *got.Settings.GraceSeconds != int64(races) {
			t.Errorf("got %q with %d, want both changes", got.Name, *got.Settings.GraceSeconds)
		}
		if events := w.events(t); len(events) != 1 {
			t.Errorf("%d events, want 1", len(events))
		}
	}
}

// A deletion revokes the sessions of the object in the same step. An object that is made again has no sessions.
func TestADeletionRevokesAndAnObjectMadeAgainHasNoSessions(t *testing.T) {
	acme := forTenant(operator, "acme")
	for name, remove := range map[string]func(t *testing.T, w *world) error{
		"tenant": func(t *testing.T, w *world) error {
			must(t, w.tenants.Delete(t.Context(), operator, "acme", nil))
			_, err := w.tenants.Create(t.Context(), operator, domain.Tenant{ID: "acme"})
			return err
		},
		"application": func(t *testing.T, w *world) error {
			return w.applications.Delete(t.Context(), acme, "shop", nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			live := w.issued(t, "shop")
			must(t, remove(t, w))
			if got := w.exchanged(t, live.TokenString); got != domain.RefusedRevoked {
				t.Errorf("the exchange is %s, want %s", got, domain.RefusedRevoked)
			}
			_, err := w.applications.Create(t.Context(), acme, domain.Application{ID: "shop"})
			must(t, err)
			if got := w.exchanged(t, live.TokenString); got != domain.RefusedRevoked {
				t.Errorf("after it is made again: %s, want %s", got, domain.RefusedRevoked)
			}
		})
	}
}

// A verifier caches a key set, so a key is published before the first application signs with it.
func TestSigningKeysAreMadeBeforeWhatSignsWithThem(t *testing.T) {
	eddsa := domain.Settings{Algorithm: new(domain.EdDSA)}
	for name, write := range map[string]func(t *testing.T, w *world) error{
		"a tenant that is changed": func(t *testing.T, w *world) error {
			_, err := w.tenants.Change(t.Context(), operator, "acme", nil, func(a domain.Tenant) (domain.Tenant, error) {
				a.Settings = eddsa
				return a, nil
			})
			return err
		},
		"an application that is created": func(t *testing.T, w *world) error {
			_, err := w.applications.Create(t.Context(), forTenant(operator, "acme"),
				domain.Application{ID: "new", Settings: eddsa})
			return err
		},
		"an application that is changed": func(t *testing.T, w *world) error {
			_, err := w.applications.Change(t.Context(), forTenant(operator, "acme"), "shop", nil,
				func(a domain.Application) (domain.Application, error) {
					a.Settings = eddsa
					return a, nil
				})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.probe.forget()
			must(t, write(t, w))
			calls := slices.DeleteFunc(w.probe.asked(), func(call string) bool {
				return call != "AddKeys" && call != "SaveTenant" && call != "SaveApplication"
			})
			if len(calls) != 2 || calls[0] != "AddKeys" {
				t.Errorf("calls %q, want AddKeys before the save", calls)
			}
		})
	}
}

// A caller for one tenant does not learn of others, and one that is no caller learns of none.
func TestACallerForOneTenantSeesAndChangesNoOther(t *testing.T) {
	key := &domain.APIKey{Name: "bound", TenantID: "acme"}
	for name, by := range map[string]admin.By{
		"a key of the tenant":                               {Key: key, TenantID: "acme"},
		"a key of the tenant, in a request that names none": {Key: key},
		"an operator who names the tenant":                  forTenant(operator, "acme"),
		"a key of all that names the tenant":                {Key: &domain.APIKey{Name: "all"}, TenantID: "acme"},
		"no caller":                                         {},
		"no caller, for the tenant":                         {TenantID: "acme"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			ctx := t.Context()
			_, err := w.tenants.Get(ctx, by, "globex")
			wantErr(t, err, domain.ErrNotFound)
			_, err = w.tenants.Change(ctx, by, "globex", nil, named("Mine"))
			wantErr(t, err, domain.ErrNotFound)
			wantErr(t, w.tenants.Delete(ctx, by, "globex", nil), domain.ErrNotFound)
			for _, id := range []string{"", "initech"} {
				_, err = w.tenants.Create(ctx, by, domain.Tenant{ID: id})
				wantErr(t, err, domain.ErrUnauthorized)
			}
			page, next, err := w.tenants.List(ctx, by, "", 10)
			must(t, err)
			for _, tenant := range page {
				if tenant.ID != "acme" || next != "" {
					t.Errorf("the list has %s, and then %q", tenant.ID, next)
				}
			}
			if is := by.Operator || by.Key != nil; is != (len(page) == 1) {
				t.Errorf("%d tenants are listed, though the caller may see one: %t", len(page), is)
			}
			after, _, err := w.tenants.List(ctx, by, "acme", 10)
			must(t, err)
			if len(after) > 0 {
				t.Errorf("the page after the last one has %v", after)
			}
			globex := by
			globex.TenantID = "globex"
			if by.Key != nil && by.Key.TenantID != "" {
				_, err = w.applications.Get(ctx, globex, "shop")
				wantErr(t, err, domain.ErrUnauthorized)
			}
		})
	}
	w := newWorld(t)
	_, _, err := w.applications.List(t.Context(), operator, "", 10)
	wantCodes(t, err, "[blank]tenantId")
	page, next, err := w.tenants.List(t.Context(), operator, "", 1)
	must(t, err)
	if len(page) != 1 || page[0].ID != "acme" || next != "acme" {
		t.Errorf("a page of all: %v, then %q", page, next)
	}
}

func TestAnEditChangesNoID(t *testing.T) {
	w := newWorld(t)
	_, err := w.tenants.Change(t.Context(), operator, "acme", nil, func(a domain.Tenant) (domain.Tenant, error) {
		a.ID = "globex"
		return a, nil
	})
	wantCodes(t, err, "[conflict]id")
	_, err = w.applications.Change(t.Context(), forTenant(operator, "acme"), "shop", nil,
		func(a domain.Application) (domain.Application, error) {
			a.TenantID = "globex"
			return a, nil
		})
	wantCodes(t, err, "[conflict]id")
}
