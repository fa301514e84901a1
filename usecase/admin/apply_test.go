package admin_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/test/storagetest"
	"github.com/refreshd/refreshd/usecase"
	"github.com/refreshd/refreshd/usecase/admin"
)

// actions returns the result for each object, as "kind name: action".
func actions(done []admin.Applied) []string {
	var lines []string
	for _, a := range done {
		lines = append(lines, a.Kind+" "+a.Name+": "+a.Action)
	}
	return lines
}

func applied(t *testing.T, w *world, k admin.Kickstart) []admin.Applied {
	t.Helper()
	done, err := w.apply.Do(t.Context(), k)
	must(t, err)
	return done
}

func TestApplyCreatesThenLeavesThenUpdates(t *testing.T) {
	w := emptyWorld(t)
	w.replica = w.open(t)
	k := kickstart()
	k.Tenants[0].Tenant.Settings.TTLMinutes = new(int64(60))
	k.APIKeys[0].APIKey.ExpiresAt = stored(t0.Add(time.Hour))
	for _, step := range []struct {
		name   string
		change func()
		want   string // actions, in the order of the file
	}{
		{"first", func() {}, "created created created created"},
		{"again", func() {}, "unchanged unchanged unchanged unchanged"},
		{"a tenant", func() { k.Tenants[0].Tenant.Name = "Acme Inc" }, "updated unchanged unchanged unchanged"},
		{"a setting", func() {
			k.Tenants[0].Applications[1].Settings.GraceSeconds = new(int64(5))
		}, "unchanged unchanged updated unchanged"},
		{"a setting taken back", func() {
			k.Tenants[0].Applications[1].Settings.GraceSeconds = nil
		}, "unchanged unchanged updated unchanged"},
		{"permissions", func() { k.APIKeys[0].APIKey.Permissions = domain.Permissions{"*": {"GET"}} },
			"unchanged unchanged unchanged updated"},
		{"a key", func() { k.APIKeys[0].Key = domain.NewSecret("ak_another-7890123456789012") },
			"unchanged unchanged unchanged updated"},
		{"again", func() {}, "unchanged unchanged unchanged unchanged"},
	} {
		step.change()
		w.probe.forget()
		done := applied(t, w, k)
		actions := strings.Fields(step.want)
		if got := w.probe.count("SaveTenant"); (got == 1) == (actions[0] == "unchanged") || got > 1 {
			t.Errorf("%s: the tenant was written %d times", step.name, got)
		}
		alone := actions[0] == "unchanged" && (actions[1] != "unchanged" || actions[2] != "unchanged")
		if got := w.probe.count("SaveApplication"); (got == 1) != alone || got > 1 {
			t.Errorf("%s: %d applications were written without their tenant", step.name, got)
		}
		if got := w.probe.count("SaveAPIKey"); (got == 1) == strings.HasSuffix(step.want, "unchanged") || got > 1 {
			t.Errorf("%s: the API key was written %d times", step.name, got)
		}
		var got []string
		for _, a := range done {
			got = append(got, a.Action)
		}
		if strings.Join(got, " ") != step.want {
			t.Errorf("%s: %v, want %s", step.name, got, step.want)
		}
	}
	p, err := w.store.Policy(t.Context(), "acme", "terminal")
	must(t, err)
	if p.TTL != time.Hour || p.Usage != domain.Reusable {
		t.Errorf("the policy in force is %+v, want the tenant's TTL and the application's usage", p)
	}
	if _, err := w.byKey(t, k.APIKeys[0].Key, domain.TokenList); err != nil {
		t.Errorf("the key of the file: %v", err)
	}
}

// A file that names fewer objects than the last one deletes nothing: sessions depend on them.
func TestApplyDeletesNothing(t *testing.T) {
	w := newWorld(t)
	live := w.issued(t, "shop")
	applied(t, w, kickstart())
	less := kickstart()
	less.Tenants[0].Applications, less.APIKeys = nil, nil
	applied(t, w, less)
	applied(t, w, admin.Kickstart{})
	for _, id := range []string{"shop", "guarded", "terminal"} {
		if _, err := w.store.Application(t.Context(), "acme", id); err != nil {
			t.Errorf("application %s: %v", id, err)
		}
	}
	if _, err := w.store.APIKeyByName(t.Context(), "backend"); err != nil {
		t.Error(err)
	}
	if got := w.exchanged(t, live.TokenString); got != domain.Rotated {
		t.Errorf("outcome = %s, want rotated", got)
	}
}

// All errors are reported together, with their place in the file, and then nothing was written.
func TestWhatIsWrongWithAKickstartIsToldBeforeAnythingIsWritten(t *testing.T) {
	w := newWorld(t)
	taken := domain.NewSecret("ak_taken-567890123456789012")
	applied(t, w, admin.Kickstart{APIKeys: []admin.KickstartAPIKey{{APIKey: domain.APIKey{Name: "first"},
		Key: taken}}})
	for _, tc := range []struct {
		name   string
		change func(*admin.Kickstart)
		want   []string
	}{
		{"several together", func(k *admin.Kickstart) {
			k.Tenants[0].Tenant.Issuer = "ftp://x"
			k.Tenants[0].Applications[1].Settings.GraceSeconds = new(int64(-1))
			k.APIKeys[0].Key = domain.NewSecret("hunter2")
		}, []string{
			"[invalid]tenants[1].issuer", "[invalid]tenants[1].applications[1]." + domain.FieldGraceSeconds,
			"[invalid]apiKeys[0].key",
		}},
		{"an application that does not go with its tenant", func(k *admin.Kickstart) {
			k.Tenants[0].Tenant.Settings.MaximumTTLMinutes = new(int64(50_000))
			k.Tenants[0].Applications[0].Settings.TTLMinutes = new(int64(50_001))
		}, []string{"[conflict]tenants[1].applications[0]." + domain.FieldMaximumTTLMinutes}},
		{"a tenant twice", func(k *admin.Kickstart) { k.Tenants = append(k.Tenants, k.Tenants[0]) },
			[]string{"[repeated]tenants[2].id", "[repeated]tenants[2].issuer"}},
		{"an issuer twice", func(k *admin.Kickstart) {
			k.Tenants[0].Tenant.Issuer = "https://one.example"
			k.Tenants = append(k.Tenants, admin.KickstartTenant{Tenant: domain.Tenant{ID: "t",
				Issuer: "https://one.example"}})
		}, []string{"[repeated]tenants[2].issuer"}},
		{"an application twice", func(k *admin.Kickstart) { k.Tenants[0].Applications[1].ID = "shop" },
			[]string{"[repeated]tenants[1].applications[1].id"}},
		{"a name and a key twice", func(k *admin.Kickstart) { k.APIKeys = append(k.APIKeys, k.APIKeys[0]) },
			[]string{"[repeated]apiKeys[1].name", "[repeated]apiKeys[1].key"}},
		{"a method that is none", func(k *admin.Kickstart) {
			k.APIKeys[0].APIKey.Permissions = domain.Permissions{"/jwt/issue": {"POKE"}}
		},
			[]string{"[invalid]apiKeys[0].permissions.endpoints./jwt/issue"}},
		{"an endpoint that is none", func(k *admin.Kickstart) {
			k.APIKeys[0].APIKey.Permissions = domain.Permissions{"/jwt/refrеsh": {"GET"}}
		},
			[]string{"[invalid]apiKeys[0].permissions.endpoints./jwt/refrеsh"}},
		{"the issuer that another tenant derives", func(k *admin.Kickstart) {
			k.Tenants[0].Tenant.Issuer = "https://auth.example/t/nobody-yet"
		},
			[]string{"[conflict]tenants[1].issuer"}},
		{"no key", func(k *admin.Kickstart) { k.APIKeys[0].Key = domain.Secret{} },
			[]string{"[blank]apiKeys[0].key"}},
		{"a key of a tenant that is nowhere", func(k *admin.Kickstart) { k.APIKeys[0].APIKey.TenantID = "nowhere" },
			[]string{"[invalid]apiKeys[0].tenantId"}},
		{"a tenant in the store has the issuer", func(k *admin.Kickstart) { k.Tenants[0].Tenant.ID = "other" },
			[]string{"[duplicate]tenants[1].issuer"}},
		{"a key in the store under another name", func(k *admin.Kickstart) { k.APIKeys[0].Key = taken },
			[]string{"[duplicate]apiKeys[0].key"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			k := kickstart()
			k.Tenants[0].Tenant.Issuer = "https://login.acme.example"
			tc.change(&k)
			fine := admin.KickstartTenant{Tenant: domain.Tenant{ID: "fine", Name: "Fine"}}
			k.Tenants = append([]admin.KickstartTenant{fine}, k.Tenants...)
			w.probe.forget()
			done, err := w.apply.Do(t.Context(), k)
			wantCodes(t, err, tc.want...)
			if len(done) > 0 {
				t.Errorf("done = %v", actions(done))
			}
			for _, write := range []string{"SaveTenant", "SaveApplication", "SaveAPIKey"} {
				if n := w.probe.count(write); n != 0 {
					t.Errorf("%d times %s", n, write)
				}
			}
			for _, ka := range k.APIKeys {
				if key := ka.Key.Reveal(); key != "" && strings.Contains(err.Error(), key) {
					t.Error("the error shows a key")
				}
			}
		})
	}
}

// A key may name a tenant that an earlier file created.
func TestAnAPIKeyMayNameATenantOfTheStore(t *testing.T) {
	w := newWorld(t)
	k := kickstart()
	k.Tenants = nil
	if diff := cmp.Diff([]string{"API key backend: created"}, actions(applied(t, w, k))); diff != "" {
		t.Errorf("done (-want +got):\n%s", diff)
	}
}

func TestApplyWarnsOfWhatIsAllowedAndProbablyNotMeant(t *testing.T) {
	w := newWorld(t)
	k := kickstart()
	k.Tenants[0].Applications[0].Settings.AccessTokenSeconds = new(int64(30)) // with a grace period of 30 s
	for _, when := range []string{"when it is made", "when it is there"} {
		for _, a := range applied(t, w, k) {
			if want := a.Name == "acme/shop"; (len(a.Warnings) > 0) != want {
				t.Errorf("%s: %s %s has warnings %q", when, a.Kind, a.Name, a.Warnings)
			}
		}
	}
}

// The report includes what was done before a failure, and the next run continues from there.
func TestAnApplyThatBrokeOffSaysHowFarItCame(t *testing.T) {
	k := kickstart()
	k.Tenants = append(k.Tenants, admin.KickstartTenant{
		Tenant: domain.Tenant{ID: "globex"}, Applications: []domain.Application{{ID: "shop"}},
	})
	fresh := func() *world {
		w := emptyWorld(t)
		w.replica = w.open(t)
		w.probe.forget()
		return w
	}
	clean := fresh()
	applied(t, clean, k)
	calls := clean.probe.asked()
	slices.Reverse(calls)

	w := fresh()
	w.probe.failAt, w.probe.how = len(calls)-slices.Index(calls, "SaveTenant"), notDone // the last one
	done, err := w.apply.Do(t.Context(), k)
	wantErr(t, err, domain.ErrUnavailable)
	want := []string{"tenant acme: created", "application acme/shop: created", "application acme/terminal: created"}
	if diff := cmp.Diff(want, actions(done)); diff != "" {
		t.Errorf("done (-want +got):\n%s", diff)
	}
	want = []string{
		"tenant acme: unchanged", "application acme/shop: unchanged", "application acme/terminal: unchanged",
		"tenant globex: created", "application globex/shop: created", "API key backend: created",
	}
	if diff := cmp.Diff(want, actions(applied(t, w, k))); diff != "" {
		t.Errorf("done (-want +got):\n%s", diff)
	}
}

// crossed returns a stored tenant and shop, and a kickstart that changes both so that neither change is possible with
// the other's stored settings: the tenant's maximum is below the shop's old lifetime, the shop's burst is above the
// tenant's old interval.
func crossed(t *testing.T, w *world) admin.Kickstart {
	t.Helper()
	must(t, storagetest.SaveTenant(t.Context(), w.store, domain.Tenant{ID: "acme"}))
	w.application(t, "acme", "shop", domain.Settings{TTLMinutes: new(int64(100_000))})
	return admin.Kickstart{Tenants: []admin.KickstartTenant{{
		Tenant: domain.Tenant{ID: "acme", Settings: domain.Settings{
			MaximumTTLMinutes: new(int64(50_000)), RecoveryInterval: new(int64(50)),
			AccessTokenSeconds: new(int64(600)),
		}},
		Applications: []domain.Application{
			{ID: "new"},
			{ID: "shop", Settings: domain.Settings{TTLMinutes: new(int64(40_000)), RecoveryBurst: new(int64(20))}},
		},
	}}}
}

// wantApplied checks that the store holds the content of the kickstart, and no intermediate state.
func wantApplied(t *testing.T, w *world, k admin.Kickstart) {
	t.Helper()
	for _, kt := range k.Tenants {
		tenant, err := w.store.Tenant(t.Context(), kt.Tenant.ID)
		must(t, err)
		if diff := cmp.Diff(kt.Tenant, tenant, unversioned); diff != "" {
			t.Errorf("tenant (-want +got):\n%s", diff)
		}
		for _, want := range kt.Applications {
			want.TenantID = kt.Tenant.ID
			got, err := w.store.Application(t.Context(), want.TenantID, want.ID)
			must(t, err)
			if diff := cmp.Diff(want, got, unversioned); diff != "" {
				t.Errorf("application (-want +got):\n%s", diff)
			}
			policy, err := w.store.Policy(t.Context(), want.TenantID, want.ID)
			must(t, err)
			combined, err := domain.Combine(kt.Tenant, want)
			must(t, err)
			if diff := cmp.Diff(combined, policy); diff != "" {
				t.Errorf("policy (-want +got):\n%s", diff)
			}
		}
	}
}

func TestApplyChangesTenantAndApplicationTogether(t *testing.T) {
	w := emptyWorld(t)
	w.replica = w.open(t)
	k := crossed(t, w)
	want := []string{"tenant acme: updated", "application acme/new: created", "application acme/shop: updated"}
	if diff := cmp.Diff(want, actions(applied(t, w, k))); diff != "" {
		t.Errorf("done (-want +got):\n%s", diff)
	}
	wantApplied(t, w, k)
	want = []string{"tenant acme: unchanged", "application acme/new: unchanged", "application acme/shop: unchanged"}
	if diff := cmp.Diff(want, actions(applied(t, w, k))); diff != "" {
		t.Errorf("again (-want +got):\n%s", diff)
	}
}

// A verifier may cache a key set for long, so no set may lack the key of an application that signs.
func TestApplyMakesSigningKeysBeforeTheirApplications(t *testing.T) {
	w := emptyWorld(t)
	w.replica = w.open(t)
	k := kickstart()
	k.Tenants[0].Applications[1].Settings.Algorithm = new(domain.EdDSA)
	w.probe.forget()
	applied(t, w, k)
	var got []string
	for _, call := range w.probe.asked() {
		if call == "AddKeys" || call == "SaveTenant" {
			got = append(got, call)
		}
	}
	if diff := cmp.Diff([]string{"AddKeys", "SaveTenant"}, got); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

// An application that the file does not name may take its algorithm from the tenant: one that is stored, and one that
// another process stores meanwhile, so that the tenant is planned again.
func TestApplyMakesSigningKeysOfApplicationsThatItDoesNotMention(t *testing.T) {
	save := func(ctx context.Context, s port.Store) error {
		return storagetest.SaveApplication(ctx, s, domain.Application{TenantID: "acme", ID: "unmentioned"})
	}
	for name, meanwhile := range map[string]bool{"stored": false, "stored meanwhile": true} {
		t.Run(name, func(t *testing.T) {
			w := emptyWorld(t)
			w.replica = w.open(t)
			k := admin.Kickstart{Tenants: []admin.KickstartTenant{{Tenant: domain.Tenant{ID: "acme"}}}}
			applied(t, w, k)
			k.Tenants[0].Tenant.Settings.Algorithm = new(domain.EdDSA)
			if meanwhile {
				w.apply.Applications = &meddled{w.store, 1, func(ctx context.Context, s port.Store) error {
					// With the tenant, so that the planned save finds another version.
					return errors.Join(save(ctx, s),
						storagetest.SaveTenant(ctx, s, domain.Tenant{ID: "acme", Name: "Meddled"}))
				}}
			} else {
				must(t, save(t.Context(), w.store))
			}
			applied(t, w, k)
			keys, err := w.store.KeysOfTenant(t.Context(), "acme")
			must(t, err)
			if !slices.ContainsFunc(keys, func(k domain.SealedKey) bool {
				return k.Kind == domain.KeySigning && k.Algorithm == domain.EdDSA
			}) {
				t.Errorf("got %d keys, want one for EdDSA among them", len(keys))
			}
		})
	}
}

// unversioned ignores the fields that the store sets.
var unversioned = cmp.Options{
	cmpopts.IgnoreFields(domain.Tenant{}, "Version"), cmpopts.IgnoreFields(domain.Application{}, "Version"),
	cmpopts.IgnoreFields(domain.APIKey{}, "ID", "Version"),
}

// meddled lets another process write after the applications were read, as often as it is told to.
type meddled struct {
	port.Store
	times   int
	meddles func(ctx context.Context, s port.Store) error
}

func (m *meddled) Applications(
	ctx context.Context, tenantID, after string, limit int,
) ([]domain.Application, string, error) {
	page, next, err := m.Store.Applications(ctx, tenantID, after, limit)
	if err == nil && m.times > 0 {
		m.times--
		err = m.meddles(ctx, m.Store)
	}
	return page, next, err
}

// An application that another process stores meanwhile may be impossible with the new tenant.
func TestApplySavesItsTenantWithTheApplicationsAsTheFileSays(t *testing.T) {
	w := newWorld(t)
	k := kickstart()
	applied(t, w, k)
	k.Tenants[0].Tenant.Settings.MaximumTTLMinutes = new(int64(50_000))
	w.apply.Applications = &meddled{w.store, 3, func(ctx context.Context, s port.Store) error {
		return storagetest.SaveApplication(ctx, s, domain.Application{
			TenantID: "acme", ID: "shop", Settings: domain.Settings{TTLMinutes: new(int64(50_001))},
		})
	}}
	applied(t, w, k)
	wantApplied(t, w, k)
}

// An object that another process wrote meanwhile is read before it is overwritten, and the report says what was found.
func TestApplyReadsAgainWhatAnotherProcessWrote(t *testing.T) {
	for name, meddles := range map[string]func(ctx context.Context, s port.Store) error{
		"the tenant": func(ctx context.Context, s port.Store) error {
			return storagetest.SaveTenant(ctx, s, domain.Tenant{ID: "acme", Name: "Meddled"})
		},
		"an application": func(ctx context.Context, s port.Store) error {
			return storagetest.SaveApplication(ctx, s,
				domain.Application{TenantID: "acme", ID: "shop", Name: "Meddled"})
		},
		"the tenant, which it deleted": func(ctx context.Context, s port.Store) error {
			return storagetest.DeleteTenant(ctx, s, "acme", t0)
		},
	} {
		for _, changes := range []string{"the tenant", "an application"} {
			if name == "the tenant" && changes == "an application" {
				continue // the tenant was what the file says when it was read, and was changed later
			}
			t.Run(name+" beside "+changes, func(t *testing.T) {
				w := newWorld(t)
				k := kickstart()
				applied(t, w, k)
				if changes == "the tenant" {
					k.Tenants[0].Tenant.Name = "Acme Inc"
				}
				k.Tenants[0].Applications[0].Name = "The shop"
				w.apply.Applications = &meddled{w.store, 1, meddles}
				applied(t, w, k)
				wantApplied(t, w, k)
			})
		}
	}
}

// A process that writes as often as Apply reads must not block it forever, and its writes must not be lost.
func TestApplyGivesUpWhereAnotherProcessIsAlwaysFaster(t *testing.T) {
	w := newWorld(t)
	k := kickstart()
	applied(t, w, k)
	k.Tenants[0].Tenant.Name = "Acme Inc"
	n := 0
	w.apply.Applications = &meddled{w.store, 1000, func(ctx context.Context, s port.Store) error {
		n++
		return storagetest.SaveTenant(ctx, s, domain.Tenant{ID: "acme", Name: fmt.Sprint("Meddled ", n)})
	}}
	done, err := w.apply.Do(t.Context(), k)
	wantErr(t, err, domain.ErrBusy)
	if len(done) > 0 {
		t.Errorf("done = %v", actions(done))
	}
	got, err := w.store.Tenant(t.Context(), "acme")
	must(t, err)
	if want := fmt.Sprint("Meddled ", n); got.Name != want {
		t.Errorf("the tenant is called %q, want %q", got.Name, want)
	}
}

func TestApplySaysThatAnotherProcessTookTheIssuer(t *testing.T) {
	w := emptyWorld(t)
	w.replica = w.open(t)
	k := kickstart()
	w.apply.Applications = &meddled{w.store, 1, func(ctx context.Context, s port.Store) error {
		return storagetest.SaveTenant(ctx, s, domain.Tenant{ID: "globex", Issuer: k.Tenants[0].Tenant.Issuer})
	}}
	_, err := w.apply.Do(t.Context(), k)
	wantCodes(t, err, "[duplicate]tenants[0].issuer")
}

// taken lets another process write an API key after it was looked up.
type taken struct {
	port.Store
	times int
	key   domain.APIKey
}

func (r *taken) APIKeyByName(ctx context.Context, name string) (domain.APIKey, error) {
	k, err := r.Store.APIKeyByName(ctx, name)
	if r.times > 0 {
		r.times--
		if err := storagetest.SaveAPIKey(ctx, r.Store, r.key); err != nil {
			return k, err
		}
	}
	return k, err
}

func TestApplyReadsAnAPIKeyAgainThatAnotherProcessWrote(t *testing.T) {
	for _, exists := range []bool{false, true} {
		w := newWorld(t)
		k := kickstart()
		if exists {
			applied(t, w, k)
			k.APIKeys[0].APIKey.Permissions = domain.Permissions{"*": {"GET"}}
		}
		w.apply.APIKeys = &taken{w.store, 1, domain.APIKey{Name: "backend", Hash: "another"}}
		done := applied(t, w, k)
		if got, want := done[len(done)-1].Action, "updated"; got != want {
			t.Errorf("exists: %t: the API key is %s, want %s", exists, got, want)
		}
		got, err := w.store.APIKeyByName(t.Context(), "backend")
		must(t, err)
		if diff := cmp.Diff(k.APIKeys[0].APIKey.Permissions, got.Permissions); diff != "" {
			t.Errorf("exists: %t: permissions (-want +got):\n%s", exists, diff)
		}
	}
}

// eventsOf returns the events of k's origin, in order, without id and instant.
func eventsOf(t *testing.T, w *world, k admin.Kickstart) (events []domain.Event) {
	t.Helper()
	page, err := w.store.Events(t.Context(), port.EventQuery{Limit: 1000, MaxBytes: 1 << 30})
	must(t, err)
	for _, e := range page.Events {
		if e.Origin == k.By && e.Kind != domain.KeyAdded {
			if e.ID.IsZero() || !e.At.Equal(stored(w.clock.now())) {
				t.Errorf("%s: id %s, at %s", e.Kind, e.ID, e.At)
			}
			e.ID, e.At = domain.ID{}, time.Time{}
			events = append(events, e)
		}
	}
	slices.SortFunc(events, func(a, b domain.Event) int {
		return strings.Compare(string(a.Kind), string(b.Kind))
	})
	return events
}

// The audit trail must show which file set a value, and the former value. An unchanged object has no event, and a dry
// run has none.
func TestApplyStoresAnEventOfEachObjectThatItWrites(t *testing.T) {
	w := emptyWorld(t)
	w.replica = w.open(t)
	k := admin.Kickstart{
		By: domain.Origin{Actor: domain.Actor{Kind: domain.ActorKickstart, Name: "first.yaml"}, RequestID: "request"},
		Tenants: []admin.KickstartTenant{{
			Tenant:       domain.Tenant{ID: "acme", Name: "Acme"},
			Applications: []domain.Application{{ID: "shop", Name: "Shop"}},
		}},
		APIKeys: []admin.KickstartAPIKey{{
			APIKey: domain.APIKey{Name: "backend", TenantID: "acme", Permissions: domain.Permissions{"*": {"GET"}}},
			Key:    domain.NewSecret("ak_0123456789-0123456789012"),
		}},
	}
	_, err := w.apply.DryRun(t.Context(), k)
	must(t, err)
	if got := eventsOf(t, w, k); len(got) > 0 {
		t.Errorf("a dry run left events: %v", got)
	}
	applied(t, w, k)
	key, err := w.store.APIKeyByName(t.Context(), "backend")
	must(t, err)
	about := func(kind domain.EventKind, id string, v domain.Version, before, after domain.Object) domain.Event {
		return domain.Event{
			Origin: k.By, Kind: kind, TenantID: "acme", ObjectID: id, Version: v, Before: before, After: after,
		}
	}
	wantKey := domain.Object(`{"name":"backend","permissions.endpoints.*":"GET","tenantId":"acme"}`)
	want := []domain.Event{
		about(domain.APIKeyCreated, key.ID.String(), 1, "", wantKey),
		about(domain.ApplicationCreated, "shop", 1, "", `{"name":"Shop"}`),
		about(domain.TenantCreated, "acme", 1, "", `{"name":"Acme"}`),
	}
	if diff := cmp.Diff(want, eventsOf(t, w, k)); diff != "" {
		t.Errorf("created (-want +got):\n%s", diff)
	}
	applied(t, w, k)
	if diff := cmp.Diff(want, eventsOf(t, w, k)); diff != "" {
		t.Errorf("unchanged (-want +got):\n%s", diff)
	}

	k.By.Actor.Name = "second.yaml"
	k.Tenants[0].Applications[0].Settings.GraceSeconds = new(int64(5))
	applied(t, w, k)
	k.Tenants[0].Tenant.Name = "Acme Inc"
	k.APIKeys[0].Key = domain.NewSecret("ak_another-7890123456789012")
	applied(t, w, k)
	const grace = domain.FieldGraceSeconds
	want = []domain.Event{
		about(domain.APIKeyUpdated, key.ID.String(), 2, `{"key":"another"}`, wantKey),
		about(domain.ApplicationUpdated, "shop", 2, `{"`+grace+`":null}`, `{"`+grace+`":"5","name":"Shop"}`),
		about(domain.TenantUpdated, "acme", 3, `{"name":"Acme"}`, `{"name":"Acme Inc"}`),
	}
	if diff := cmp.Diff(want, eventsOf(t, w, k)); diff != "" {
		t.Errorf("updated (-want +got):\n%s", diff)
	}
}

// A reader of a tenant's events must see that a key became valid for it, and that its key became valid for every
// tenant.
func TestTheEventOfAKeyIsOfTheTenantThatItServesOrServed(t *testing.T) {
	w := emptyWorld(t)
	w.replica = w.open(t)
	k := admin.Kickstart{
		By:      domain.Origin{Actor: domain.Actor{Kind: domain.ActorKickstart, Name: "keys.yaml"}},
		Tenants: []admin.KickstartTenant{{Tenant: domain.Tenant{ID: "acme"}}, {Tenant: domain.Tenant{ID: "other"}}},
		APIKeys: []admin.KickstartAPIKey{{
			APIKey: domain.APIKey{Name: "backend"}, Key: domain.NewSecret("ak_0123456789-0123456789012"),
		}},
	}
	var version domain.Version
	for _, tt := range []struct{ serves, of string }{
		{"", ""}, {"acme", "acme"}, {"other", "other"}, {"", "other"}, {"acme", "acme"}, {"", "acme"},
	} {
		k.APIKeys[0].APIKey.TenantID = tt.serves
		applied(t, w, k)
		version++
		page, err := w.store.Events(t.Context(), port.EventQuery{TenantID: tt.of, Limit: 1000, MaxBytes: 1 << 30})
		must(t, err)
		if !slices.ContainsFunc(page.Events, func(e domain.Event) bool {
			return e.Version == version && e.TenantID == tt.of &&
				(e.Kind == domain.APIKeyCreated || e.Kind == domain.APIKeyUpdated)
		}) {
			t.Errorf("version %d, of a key for %q: it is not among the events of %q", version, tt.serves, tt.of)
		}
	}
}

// Wherever it is interrupted, all of it is stored or nothing, and the next run results in the content of the file.
func TestAnApplyOfTenantAndApplicationTogetherCanBeRepeated(t *testing.T) {
	for failAt := 1; ; failAt++ {
		for _, how := range []fault{notDone, done} {
			w := emptyWorld(t)
			w.replica = w.open(t)
			k := crossed(t, w)
			before, err := w.store.Application(t.Context(), "acme", "shop")
			must(t, err)
			w.probe.forget()
			w.probe.failAt, w.probe.how = failAt, how
			_, err = w.apply.Do(t.Context(), k)
			if w.probe.struck == 0 {
				must(t, err)
				if failAt < 8 {
					t.Errorf("only %d calls of ports", failAt-1)
				}
				return
			}
			wantErr(t, err, domain.ErrUnavailable)
			tenant, err := w.store.Tenant(t.Context(), "acme")
			must(t, err)
			if cmp.Equal(tenant, domain.Tenant{ID: "acme"}, unversioned) {
				got, err := w.store.Application(t.Context(), "acme", "shop")
				must(t, err)
				if diff := cmp.Diff(before, got); diff != "" {
					t.Errorf("call %d, %s: the shop without its tenant (-want +got):\n%s", failAt, how, diff)
				}
			} else {
				wantApplied(t, w, k)
			}
			applied(t, w, k)
			wantApplied(t, w, k)
		}
	}
}

// An application that the file does not name is never changed, so its tenant must not be either.
func TestApplyRefusesATenantThatMakesAnotherApplicationImpossible(t *testing.T) {
	w := emptyWorld(t)
	w.replica = w.open(t)
	k := crossed(t, w)
	w.application(t, "acme", "forgotten", domain.Settings{TTLMinutes: new(int64(100_000))})
	before, err := w.store.Policy(t.Context(), "acme", "shop")
	must(t, err)
	done, err := w.apply.Do(t.Context(), k)
	wantCodes(t, err, `[conflict]tenants[0].applications["forgotten"].`+domain.FieldMaximumTTLMinutes)
	if len(done) > 0 {
		t.Errorf("done = %v", actions(done))
	}
	after, err := w.store.Policy(t.Context(), "acme", "shop")
	must(t, err)
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("the shop's policy changed (-before +after):\n%s", diff)
	}
	tenant, err := w.store.Tenant(t.Context(), "acme")
	must(t, err)
	if diff := cmp.Diff(domain.Tenant{ID: "acme"}, tenant, unversioned); diff != "" {
		t.Errorf("the tenant changed (-before +after):\n%s", diff)
	}
}

// changesOf returns the changes of each object that has some, as "name field: old -> new".
func changesOf(done []admin.Applied) (lines []string) {
	for _, a := range done {
		for _, c := range a.Changes {
			lines = append(lines, fmt.Sprintf("%s %s: %s -> %s", a.Name, c.Field, c.Old, c.New))
		}
	}
	return lines
}

// An operator must see what a file changes, above all by leaving fields out; and no secret.
func TestApplyTellsTheOldAndTheNewValueOfWhatItChanges(t *testing.T) {
	w := emptyWorld(t)
	w.replica = w.open(t)
	k := kickstart()
	k.Tenants[0].Tenant.Settings.GraceSeconds = new(int64(20))
	k.Tenants[0].Applications[0].Settings.CookieOnly = new(false)
	k.Tenants[0].Applications[1].Settings.GraceSeconds = new(int64(5))
	k.APIKeys[0].APIKey.ExpiresAt = stored(t0).Truncate(time.Hour)
	if lines := changesOf(applied(t, w, k)); len(lines) > 0 {
		t.Errorf("when they are created: %q", lines)
	}
	k.Tenants[0].Tenant.Name, k.Tenants[0].Tenant.Issuer = "Acme Inc", ""
	k.Tenants[0].Applications[0].Settings.CookieOnly = nil
	k.Tenants[0].Applications[1].Settings.GraceSeconds = nil
	k.Tenants[0].Applications[1].Settings.CookieDomain = new("acme.example")
	k.APIKeys[0].Key = domain.NewSecret("ak_another-7890123456789012")
	k.APIKeys[0].APIKey.TenantID, k.APIKeys[0].APIKey.ExpiresAt = "", time.Time{}
	k.APIKeys[0].APIKey.Permissions = domain.Permissions{"/jwt/issue": {"POST"}, "*": {"GET", "POST"}}
	want := []string{
		"acme name: Acme -> Acme Inc",
		"acme issuer: https://login.acme.example -> derived from the public URL",
		"acme/shop cookieOnly: false -> true (not set)",
		`acme/terminal cookieDomain: "" (not set) -> acme.example`,
		"acme/terminal " + domain.FieldGraceSeconds + ": 5 -> 20 (not set)",
		"backend key:  -> ",
		"backend tenantId: acme -> every tenant",
		"backend permissions.endpoints.*: none -> GET POST",
		"backend permissions.endpoints./jwt/refresh: GET DELETE -> none",
		"backend expiresAt: 2031-02-03T03:00:00Z -> never",
	}
	w.probe.forget()
	would, err := w.apply.DryRun(t.Context(), k)
	must(t, err)
	if diff := cmp.Diff(want, changesOf(would)); diff != "" {
		t.Errorf("dry run (-want +got):\n%s", diff)
	}
	for _, write := range []string{"SaveTenant", "SaveApplication", "SaveAPIKey", "AddKeys", "Reseal"} {
		if n := w.probe.count(write); n != 0 {
			t.Errorf("dry run: %d times %s", n, write)
		}
	}
	if diff := cmp.Diff(would, applied(t, w, k)); diff != "" {
		t.Errorf("a dry run says something else than is done (-would +done):\n%s", diff)
	}
}

// A dry run must not change a store, also before the service has ever started on it, and while the master key is
// changed.
func TestADryRunOpensTheKeysAndWritesNothing(t *testing.T) {
	w := emptyWorld(t)
	readOnly := func() replica {
		t.Helper()
		c := w.keysConfig()
		c.ReadOnly = true
		previous := newMasterKey(t, w.random)
		if len(w.sealed(t)) > 0 {
			c.Master, previous = previous, c.Master
		}
		c.Previous = &previous
		keys, err := usecase.OpenKeys(t.Context(), c)
		must(t, err)
		return w.replicaOf(keys)
	}
	would, err := readOnly().apply.DryRun(t.Context(), kickstart())
	must(t, err)
	if a := actions(would); len(a) != 4 || !strings.HasSuffix(a[3], "created") {
		t.Errorf("on an empty store: %q", a)
	}
	w.replica = w.open(t)
	applied(t, w, kickstart())
	before := w.sealed(t)
	would, err = readOnly().apply.DryRun(t.Context(), kickstart())
	must(t, err)
	for _, a := range would {
		if a.Action != "unchanged" {
			t.Errorf("after the kickstart: %s %s is %s", a.Kind, a.Name, a.Action)
		}
	}
	if diff := cmp.Diff(before, w.sealed(t)); diff != "" {
		t.Errorf("keys (-before +after):\n%s", diff)
	}
	w.probe.forget()
	_, err = readOnly().apply.DryRun(t.Context(), kickstart())
	must(t, err)
	if n := w.probe.count("AddKeys") + w.probe.count("Reseal"); n != 0 {
		t.Errorf("%d attempts to write", n)
	}
}

// An error that the store would return for one tenant must be found before another one is written.
func TestWhatDoesNotGoWithTheStoreIsRefusedBeforeAnythingIsWritten(t *testing.T) {
	w := emptyWorld(t)
	w.replica = w.open(t)
	k := crossed(t, w)
	w.application(t, "acme", "forgotten", domain.Settings{TTLMinutes: new(int64(100_000))})
	k.Tenants = append([]admin.KickstartTenant{{Tenant: domain.Tenant{ID: "first"}}}, k.Tenants...)
	want := `[conflict]tenants[1].applications["forgotten"].` + domain.FieldMaximumTTLMinutes
	_, err := w.apply.DryRun(t.Context(), k)
	wantCodes(t, err, want)
	done, err := w.apply.Do(t.Context(), k)
	wantCodes(t, err, want)
	_, err = w.store.Tenant(t.Context(), "first")
	wantErr(t, err, domain.ErrNotFound)
	if len(done) > 0 {
		t.Errorf("done = %v", actions(done))
	}
}

// The cost of an apply is linear: with twice as many tenants it reads and writes twice as much.
func TestApplyIsLinear(t *testing.T) {
	costs := func(tenants int) (calls, keys, others int) {
		w := emptyWorld(t)
		store := &measured{Store: w.store}
		w.probe.Store = store
		w.replica = w.open(t)
		w.probe.forget()
		store.keys, store.tenants = 0, 0
		var k admin.Kickstart
		for i := range tenants {
			id := fmt.Sprint("tenant-", i)
			k.Tenants = append(k.Tenants, admin.KickstartTenant{
				Tenant:       domain.Tenant{ID: id, Issuer: "https://" + id + ".example"},
				Applications: []domain.Application{{ID: "shop"}, {ID: "blog"}},
			})
		}
		applied(t, w, k)
		return len(w.probe.asked()), store.keys, store.tenants
	}
	calls, keys, others := costs(100)
	if twice, twiceKeys, twiceOthers := costs(200); twice != 2*calls || keys > 100 || twiceKeys > 200 ||
		twiceOthers != 2*others {
		t.Errorf("200 tenants: %d calls of ports, %d keys and %d tenants read; 100: %d, %d, %d", twice, twiceKeys,
			twiceOthers,
			calls, keys, others)
	}
}

func TestTheKeysThatAnApplyMakesNameItsFile(t *testing.T) {
	w := emptyWorld(t)
	w.replica = w.open(t)
	k := kickstart()
	k.By = domain.Origin{Actor: domain.Actor{Kind: domain.ActorKickstart, Name: "kickstart.yaml"}}
	applied(t, w, k)
	page, err := w.store.Events(t.Context(), port.EventQuery{Limit: 1000, MaxBytes: 1 << 30})
	must(t, err)
	made := 0
	for _, e := range page.Events {
		if e.Kind != domain.KeyAdded || !strings.Contains(string(e.After), `"kind":"signing"`) {
			continue
		}
		if made++; e.Origin != k.By {
			t.Errorf("%s was made by %+v, want %+v", e.After, e.Origin, k.By)
		}
	}
	if made == 0 {
		t.Error("no event of a signing key")
	}
}

// measured counts the objects that are read.
type measured struct {
	port.Store
	keys, tenants int
}

func (m *measured) counted(keys []domain.SealedKey, err error) ([]domain.SealedKey, error) {
	m.keys += len(keys)
	return keys, err
}

func (m *measured) KeysSince(ctx context.Context, revision uint64, limit int) ([]domain.SealedKey, error) {
	return m.counted(m.Store.KeysSince(ctx, revision, limit))
}

func (m *measured) KeysOfTenant(ctx context.Context, tenantID string) ([]domain.SealedKey, error) {
	return m.counted(m.Store.KeysOfTenant(ctx, tenantID))
}

func (m *measured) Tenant(ctx context.Context, id string) (domain.Tenant, error) {
	m.tenants++
	return m.Store.Tenant(ctx, id)
}

func (m *measured) Tenants(ctx context.Context, after string, limit int) ([]domain.Tenant, string, error) {
	ts, next, err := m.Store.Tenants(ctx, after, limit)
	m.tenants += len(ts)
	return ts, next, err
}

// A file whose key was replaced since is fulfilled while that key is valid. Another key in the file is refused, because
// it would end the one in use; by force it ends both.
func TestApplyLeavesAKeyThatWasReplacedAndEndsBothByForceOnly(t *testing.T) {
	w := emptyWorld(t)
	w.replica = w.open(t)
	k := kickstart()
	applied(t, w, k)
	stored, err := w.store.APIKeyByName(t.Context(), "backend")
	must(t, err)
	_, second, err := w.apiKeys.NewKey(t.Context(), operator, stored.ID, nil, false)
	must(t, err)
	valid := func(when string, key domain.Secret, want bool) {
		t.Helper()
		if _, err := w.byKey(t, key, domain.TokenList); (err == nil) != want {
			t.Errorf("%s: %v, want the key valid: %t", when, err, want)
		}
	}
	done := applied(t, w, k)
	if got := done[len(done)-1].Action; got != "unchanged" {
		t.Errorf("with the previous key in the file: %s, want unchanged", got)
	}
	valid("the previous key", backendKey, true)
	valid("the new key", second, true)
	k.APIKeys[0].Key = domain.NewSecret("ak_another-7890123456789012")
	_, err = w.apply.DryRun(t.Context(), k)
	wantCodes(t, err, "[conflict]apiKeys[0].key")
	_, err = w.apply.Do(t.Context(), k)
	wantCodes(t, err, "[conflict]apiKeys[0].key")
	valid("the previous key, after a refusal", backendKey, true)
	valid("the new key, after a refusal", second, true)
	valid("the other one, after a refusal", k.APIKeys[0].Key, false)
	k.APIKeys[0].Force = true
	applied(t, w, k)
	valid("the previous key, after another one", backendKey, false)
	valid("the new key, after another one", second, false)
	valid("the other one", k.APIKeys[0].Key, true)
}

// A file of hashes, as a sealed export is, stays fulfilled after the hash key was rotated and the API key used, which
// stores it under the new hash key. Force takes the file's hash.
func TestApplyLeavesAnAPIKeyThatIsStoredUnderANewerHashKey(t *testing.T) {
	w := emptyWorld(t)
	w.replica = w.open(t)
	k := kickstart()
	applied(t, w, k)
	before, err := w.store.APIKeyByName(t.Context(), "backend")
	must(t, err)
	k.APIKeys[0].Key = domain.Secret{}
	k.APIKeys[0].APIKey.Hash, k.APIKeys[0].APIKey.HashKey = before.Hash, before.HashKey
	next, err := w.keys.Rotate(t.Context(), operator.Origin, usecase.RotateKeys{Kind: domain.KeyAPI})
	must(t, err)
	w.clock.at = next.StartsAt.Add(time.Second)
	must(t, w.keys.Reload(t.Context()))
	_, err = w.byKey(t, backendKey, domain.TokenList)
	must(t, err)
	used, err := w.store.APIKeyByName(t.Context(), "backend")
	must(t, err)
	if used.HashKey != next.Number {
		t.Fatalf("the API key is stored under hash key %d, want %d", used.HashKey, next.Number)
	}
	done := applied(t, w, k)
	if got := done[len(done)-1].Action; got != "unchanged" {
		t.Errorf("after the API key was used: %s, want unchanged", got)
	}
	k.APIKeys[0].Force = true
	done = applied(t, w, k)
	if got := done[len(done)-1].Action; got != "updated" {
		t.Errorf("by force: %s, want updated", got)
	}
	_, err = w.byKey(t, backendKey, domain.TokenList)
	must(t, err)
}

// Somebody changes an API key while its user's request stores it under the new hash key. The change must not put the
// former hash back: its hash key may be retired, because no API key is stored under it, and the API key with it.
func TestAChangeOfAnAPIKeyKeepsTheHashOfAConcurrentRequest(t *testing.T) {
	w := emptyWorld(t)
	w.replica = w.open(t)
	applied(t, w, kickstart())
	before, err := w.store.APIKeyByName(t.Context(), "backend")
	must(t, err)
	next, err := w.keys.Rotate(t.Context(), operator.Origin, usecase.RotateKeys{Kind: domain.KeyAPI})
	must(t, err)
	w.clock.at = next.StartsAt.Add(time.Second)
	must(t, w.keys.Reload(t.Context()))
	use := func() {
		_, err := w.byKey(t, backendKey, domain.TokenList)
		must(t, err)
	}
	rename := func(k domain.APIKey) (domain.APIKey, domain.Secret, error) {
		use()
		k.Name = "renamed"
		return k, domain.Secret{}, nil
	}
	if _, err := w.apiKeys.Change(t.Context(), operator, before.ID, admin.Expect{before.Version}, rename); !errors.Is(
		err, domain.ErrStale) {
		t.Errorf("of the version before: got %v, want ErrStale", err)
	}
	must(t, w.store.RehashAPIKey(t.Context(), apiKeyOf(t, w, before.ID), before))
	if _, err := w.apiKeys.Change(t.Context(), operator, before.ID, nil, rename); err != nil {
		t.Errorf("of any version: got %v", err)
	}
	if k := apiKeyOf(t, w, before.ID); k.Name != "renamed" || k.HashKey != next.Number {
		t.Errorf("got %q, stored under hash key %d, want %d", k.Name, k.HashKey, next.Number)
	}
	_, err = w.keys.Retire(t.Context(), operator.Origin, "api-1", false)
	must(t, err)
	use()
}

func apiKeyOf(t *testing.T, w *world, id domain.ID) domain.APIKey {
	t.Helper()
	k, err := w.store.APIKey(t.Context(), id)
	must(t, err)
	return k
}

// A dry run must find the names that the keys cannot have, before others of the file are written.
func TestApplyRefusesANameOfAKeyThatDeceives(t *testing.T) {
	w := emptyWorld(t)
	w.replica = w.open(t)
	k := kickstart()
	k.Keys = []admin.ImportedKey{{NewKey: usecase.NewKey{ID: "former-1", Kind: domain.KeySigning, Name: "a\u202eb"}}}
	_, err := w.apply.DryRun(t.Context(), k)
	wantCodes(t, err, "[invalid]keys[0].name")
}
