package storagetest

import (
	"fmt"
	"strings"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// versionedWrites are the methods that take an expected version.
func versionedWrites() []eventWrite {
	versioned := func(v domain.Version) func(domain.Event) domain.Event {
		return func(one domain.Event) domain.Event {
			one.Version = v
			return one
		}
	}
	shop := func(e *env) { e.shop(domain.Settings{}) } // versions 1 and 2
	key := domain.APIKey{ID: tokenID(70), Name: "backend", Hash: "hash"}
	saveKey := func(e *env, s port.Store, expect domain.Version, one domain.Event) (uint64, error) {
		v, err := s.SaveAPIKey(e.Context(), key, expect, one)
		return uint64(v), err
	}
	saveTenant := func(e *env, s port.Store, expect domain.Version, one domain.Event) (uint64, error) {
		v, err := s.SaveTenant(e.Context(), domain.Tenant{ID: "acme", Name: "saved"}, expect, one)
		return uint64(v), err
	}
	saveShop := func(e *env, s port.Store, expect domain.Version, one domain.Event) (uint64, error) {
		a := domain.Application{TenantID: "acme", ID: "shop", Name: "saved"}
		v, err := s.SaveApplication(e.Context(), a, expect, one)
		return uint64(v), err
	}
	type save = func(e *env, s port.Store, expect domain.Version, one domain.Event) (uint64, error)
	type remove = func(e *env, s port.Store, expect domain.Version, one domain.Event) error
	of := func(name string, prepare func(*env), save save, expect, wrong, v domain.Version) eventWrite {
		return eventWrite{
			name: name, prepare: prepare, stored: versioned(v), state: configuration, err: domain.ErrStale,
			write: func(e *env, s port.Store, one domain.Event) (uint64, error) { return save(e, s, expect, one) },
			refused: func(e *env, s port.Store, one domain.Event) error {
				_, err := save(e, s, wrong, one)
				return err
			},
		}
	}
	deletion := func(name string, prepare func(*env), remove remove, expect domain.Version) eventWrite {
		return of(name, prepare, func(e *env, s port.Store, expect domain.Version, one domain.Event) (uint64, error) {
			return 0, remove(e, s, expect, one)
		}, expect, expect+1, 0)
	}
	keyed := func(e *env) {
		_, err := saveKey(e, e.store, 0, NewEvent())
		e.must(err)
	}
	return []eventWrite{
		of("Tenants/SaveTenant/to create", func(*env) {}, saveTenant, 0, 1, 1),
		of("Tenants/SaveTenant/to replace", shop, saveTenant, 1, 0, 3),
		of("Applications/SaveApplication/to create", func(e *env) {
			e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "acme"}))
		}, saveShop, 0, 1, 2),
		of("Applications/SaveApplication/to replace", shop, saveShop, 2, 1, 3),
		of("APIKeys/SaveAPIKey/to create", func(*env) {}, saveKey, 0, 1, 1),
		of("APIKeys/SaveAPIKey/to replace", keyed, saveKey, 1, 0, 2),
		deletion("Tenants/DeleteTenant", shop, func(e *env, s port.Store, v domain.Version, one domain.Event) error {
			return s.DeleteTenant(e.Context(), "acme", v, one)
		}, 1),
		deletion("Applications/DeleteApplication", shop,
			func(e *env, s port.Store, v domain.Version, one domain.Event) error {
				return s.DeleteApplication(e.Context(), "acme", "shop", v, one)
			}, 2),
		deletion("APIKeys/DeleteAPIKey", keyed, func(e *env, s port.Store, v domain.Version, one domain.Event) error {
			return s.DeleteAPIKey(e.Context(), key.ID, v, one)
		}, 1),
	}
}

// configuration returns all that these methods write, with versions.
func configuration(e *env) any {
	tenants, _, err := e.store.Tenants(e.Context(), "", 99)
	e.must(err)
	state := []any{tenants}
	for _, t := range tenants {
		applications, _, err := e.store.Applications(e.Context(), t.ID, "", 99)
		e.must(err)
		for _, a := range applications {
			p, err := e.store.Policy(e.Context(), t.ID, a.ID)
			e.must(err)
			state = append(state, a, p)
		}
		state = append(state, t.Version)
	}
	keys, _, err := e.store.APIKeys(e.Context(), "", domain.ID{}, 99)
	e.must(err)
	return fmt.Sprintf("%v %v", state, keys)
}

const (
	versionsCount   = "Tenants/SaveTenant/versions of a tenant and of its applications come from one counter"
	versionsOutlive = "Tenants/DeleteTenant/an earlier version is never used again"
	versionsStay    = "Applications/SaveApplication/a version moves with its own save only"
	versionsStale   = "Tenants/SaveTenant/a version that is not the stored one is refused, and changes nothing"
	versionsRace    = "Tenants/SaveTenant/of many concurrent saves with one version exactly one succeeds"
	eventsWith      = "Tenants/SaveTenant/with applications stores the event of each"

	applicationsStale = "Applications/SaveApplication/a version that is not the stored one is refused, and changes nothing"
	applicationsRace  = "Applications/SaveApplication/of many concurrent saves with one version exactly one succeeds"
	applicationsKept  = "Applications/DeleteApplication/another version deletes nothing"
	tenantsKept       = "Tenants/DeleteTenant/another version deletes nothing"

	apiKeysVersion = "APIKeys/SaveAPIKey/versions count for each id, and are above those of deleted keys"
	apiKeysStale   = "APIKeys/SaveAPIKey/a version that is not the stored one is refused, and changes nothing"
	apiKeysRace    = "APIKeys/SaveAPIKey/of many concurrent saves with one version exactly one succeeds"
	apiKeysName    = "APIKeys/SaveAPIKey/another key's name is a duplicate, and a name can be given up"
	apiKeysDelete  = "APIKeys/DeleteAPIKey/removes that key and no other, and frees its name and hash"
	apiKeysKept    = "APIKeys/DeleteAPIKey/another version deletes nothing, and no key is not found"
	apiKeysByID    = "APIKeys/APIKey/finds the key of that id, and no other"
	apiKeysPages   = "APIKeys/APIKeys/pages show each key once, by id"
	apiKeysSize    = "APIKeys/APIKeys/a page ends at its greatest size"
)

var versioning = []clause{
	{versionsCount, func(e *env) {
		t, a := domain.Tenant{ID: "acme", Issuer: "https://acme.example"}, domain.Application{TenantID: "acme", ID: "shop"}
		b := domain.Application{TenantID: "acme", ID: "bar"}
		e.wantVersion("created", 1)(e.store.SaveTenant(e.Context(), t, 0, NewEvent()))
		e.wantVersion("an application", 2)(e.store.SaveApplication(e.Context(), a, 0, NewEvent()))
		e.wantVersion("saved", 3)(e.store.SaveTenant(e.Context(), t, 1, NewEvent()))
		e.wantVersion("with applications", 4)(e.store.SaveTenant(e.Context(), t, 3, NewEvent(),
			port.ApplicationWrite{Application: a, Expect: 2, Event: NewEvent()},
			port.ApplicationWrite{Application: b, Event: NewEvent()}))
		e.wantVersion("another tenant", 1)(e.store.SaveTenant(e.Context(), domain.Tenant{ID: "other"}, 0, NewEvent()))
		e.wantVersion("an application", 5)(e.store.SaveApplication(e.Context(), b, 4, NewEvent()))
		e.wantTenantVersion("acme", 4)
		e.wantApplicationVersion("acme", "shop", 4)
		e.wantApplicationVersion("acme", "bar", 5)
		got, err := e.store.TenantByIssuer(e.Context(), t.Issuer)
		e.wantVersion("by its issuer", 4)(got.Version, err)
	}},

	// An old ETag must not match an object that was created again.
	{versionsOutlive, func(e *env) {
		e.shop(domain.Settings{}) // 1 and 2
		e.must(e.store.DeleteApplication(e.Context(), "acme", "shop", 2, NewEvent()))
		a := domain.Application{TenantID: "acme", ID: "shop"}
		e.wantVersion("an application created again", 3)(e.store.SaveApplication(e.Context(), a, 0, NewEvent()))
		e.must(e.store.DeleteTenant(e.Context(), "acme", 1, NewEvent()))
		t := domain.Tenant{ID: "acme"}
		e.wantVersion("a tenant created again", 4)(e.store.SaveTenant(e.Context(), t, 0, NewEvent()))
		e.wantVersion("an application of it", 5)(e.store.SaveApplication(e.Context(), a, 0, NewEvent()))
	}},

	{versionsStay, func(e *env) {
		e.shop(domain.Settings{})
		e.application("acme", "bar", domain.Settings{}) // 3
		e.revokeScope(domain.Scope{TenantID: "acme"}, domain.ID{}, t0)
		e.revokeScope(domain.Scope{TenantID: "acme", ApplicationID: "shop"}, domain.ID{}, t0)
		e.issue(token(1))
		e.wantTenantVersion("acme", 1)
		e.wantApplicationVersion("acme", "shop", 2)
		// Its policies have changed now.
		tenant := domain.Tenant{ID: "acme", Settings: domain.Settings{GraceSeconds: new(int64(9))}}
		e.wantVersion("the tenant", 4)(e.store.SaveTenant(e.Context(), tenant, 1, NewEvent()))
		e.wantApplicationVersion("acme", "shop", 2)
		e.wantApplicationVersion("acme", "bar", 3)
		shop := domain.Application{TenantID: "acme", ID: "shop", Name: "saved"}
		e.wantVersion("the shop", 5)(e.store.SaveApplication(e.Context(), shop, 2, NewEvent()))
		e.wantTenantVersion("acme", 4)
		e.wantApplicationVersion("acme", "bar", 3)
	}},

	{versionsStale, func(e *env) {
		save := func(id string, expect domain.Version, with ...port.ApplicationWrite) error {
			_, err := e.store.SaveTenant(e.Context(), domain.Tenant{ID: id, Name: "stale"}, expect, event(1), with...)
			return err
		}
		write := func(id string, expect domain.Version) port.ApplicationWrite {
			a := domain.Application{ID: id, Name: "stale"}
			return port.ApplicationWrite{Application: a, Expect: expect, Event: event(2)}
		}
		e.shop(domain.Settings{})
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "acme"})) // 3
		before := configuration(e)
		for _, expect := range []domain.Version{0, 1, 2, 4} {
			e.wantErr(fmt.Sprint("expecting ", expect), save("acme", expect), domain.ErrStale)
		}
		e.wantErr("of no tenant", save("none", 1), domain.ErrStale)
		for _, expect := range []domain.Version{0, 1, 3} {
			err := save("acme", 3, write("new", 0), write("shop", expect))
			e.wantErr(fmt.Sprint("with an application expecting ", expect), err, domain.ErrStale)
		}
		e.wantErr("with no application", save("acme", 3, write("new", 1)), domain.ErrStale)
		e.wantErr("created with one", save("none", 0, write("shop", 2)), domain.ErrStale)
		e.wantSame("what is stored", configuration(e), before)
		e.wantEvents("of calls that were refused")
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "acme"}))
		e.wantTenantVersion("acme", 4)
	}},

	{versionsRace, func(e *env) {
		hs := e.handles(3)
		for round := range 4 {
			expect := domain.Version(round)
			e.race(hs, domain.ErrStale, func(s port.Store, i int) error {
				t := domain.Tenant{ID: "acme", Name: fmt.Sprint(i), Issuer: "https://acme.example"}
				_, err := s.SaveTenant(e.Context(), t, expect, NewEvent())
				return err
			}, func() string {
				got, err := e.store.Tenant(e.Context(), "acme")
				e.wantVersion("the tenant", expect+1)(got.Version, err)
				return got.Name
			})
		}
	}},

	{eventsWith, func(e *env) {
		e.shop(domain.Settings{})
		e.knownEvents()
		shop, bar := event(1), event(2)
		shop.ObjectID, bar.ObjectID = "shop", "bar"
		tenant, with := event(3), []port.ApplicationWrite{
			{Application: domain.Application{ID: "shop"}, Expect: 2, Event: presumptuous(shop)},
			{Application: domain.Application{ID: "bar"}, Event: presumptuous(bar)},
		}
		for range 2 {
			e.wantVersion("saved", 3)(e.store.SaveTenant(e.Context(), domain.Tenant{ID: "acme"}, 1, tenant, with...))
			shop.Version, bar.Version = 3, 3
			want := tenant
			want.Version = 3
			e.wantEvents("of all three", shop, bar, want)
		}
	}},

	{applicationsStale, func(e *env) {
		save := func(id string, expect domain.Version) error {
			a := domain.Application{TenantID: "acme", ID: id, Name: "stale"}
			_, err := e.store.SaveApplication(e.Context(), a, expect, event(1))
			return err
		}
		e.shop(domain.Settings{})
		e.application("acme", "shop", domain.Settings{}) // 3
		before := configuration(e)
		for _, expect := range []domain.Version{0, 1, 2, 4} {
			e.wantErr(fmt.Sprint("expecting ", expect), save("shop", expect), domain.ErrStale)
		}
		e.wantErr("of no application", save("none", 1), domain.ErrStale)
		e.wantSame("what is stored", configuration(e), before)
		e.wantEvents("of calls that were refused")
		e.application("acme", "shop", domain.Settings{})
		e.wantApplicationVersion("acme", "shop", 4)
	}},

	{applicationsRace, func(e *env) {
		hs := e.handles(3)
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "acme"}))
		for round := range 4 {
			expect := domain.Version(0)
			if round > 0 {
				expect = domain.Version(round + 1)
			}
			e.race(hs, domain.ErrStale, func(s port.Store, i int) error {
				a := domain.Application{TenantID: "acme", ID: "shop", Name: fmt.Sprint(i)}
				_, err := s.SaveApplication(e.Context(), a, expect, NewEvent())
				return err
			}, func() string {
				got, err := e.store.Application(e.Context(), "acme", "shop")
				e.wantVersion("the application", domain.Version(round+2))(got.Version, err)
				return got.Name
			})
		}
	}},

	{applicationsKept, func(e *env) {
		e.shop(domain.Settings{})
		alive := e.issue(token(1))[0]
		for _, expect := range []domain.Version{0, 1, 3} {
			err := e.store.DeleteApplication(e.Context(), "acme", "shop", expect, event(1))
			e.wantErr(fmt.Sprint("expecting ", expect), err, domain.ErrStale)
		}
		e.wantApplicationVersion("acme", "shop", 2)
		e.wantActive("its refresh token", t0, alive)
		e.wantEvents("of calls that were refused")
	}},

	{tenantsKept, func(e *env) {
		e.shop(domain.Settings{})
		e.must(SaveAPIKey(e.Context(), e.store, domain.APIKey{Name: "backend", Hash: "hash", TenantID: "acme"}))
		alive := e.issue(token(1))[0]
		for _, expect := range []domain.Version{0, 2, 3} {
			err := e.store.DeleteTenant(e.Context(), "acme", expect, event(1))
			e.wantErr(fmt.Sprint("expecting ", expect), err, domain.ErrStale)
		}
		e.wantTenantVersion("acme", 1)
		e.wantApplicationVersion("acme", "shop", 2)
		_, err := e.store.APIKeyByName(e.Context(), "backend")
		e.must(err)
		e.wantActive("its refresh token", t0, alive)
		e.wantEvents("of calls that were refused")
	}},

	{apiKeysVersion, func(e *env) {
		k := apiKey(1)
		e.wantVersion("created", 1)(e.store.SaveAPIKey(e.Context(), k, 0, NewEvent()))
		e.wantVersion("another", 1)(e.store.SaveAPIKey(e.Context(), apiKey(2), 0, NewEvent()))
		k.Hash, k.Name, k.Permissions = "changed", "renamed", domain.Permissions{"*": {"GET"}}
		e.wantVersion("saved", 2)(e.store.SaveAPIKey(e.Context(), k, 1, NewEvent()))
		k.Version = 2
		got, err := e.store.APIKey(e.Context(), k.ID)
		e.must(err)
		e.wantKey("by id", got, k)
		got, err = e.store.APIKeyByHash(e.Context(), "changed")
		e.must(err)
		e.wantKey("by hash", got, k)
		e.must(e.store.DeleteAPIKey(e.Context(), k.ID, 2, NewEvent()))
		e.wantVersion("created again", 3)(e.store.SaveAPIKey(e.Context(), k, 0, NewEvent()))
		e.must(e.store.DeleteAPIKey(e.Context(), apiKey(2).ID, 1, NewEvent()))
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "acme"}))
		of := apiKey(3)
		of.TenantID = "acme"
		e.wantVersion("of a tenant", 3)(e.store.SaveAPIKey(e.Context(), of, 0, NewEvent()))
		e.wantVersion("saved", 4)(e.store.SaveAPIKey(e.Context(), of, 3, NewEvent()))
		e.must(e.store.DeleteTenant(e.Context(), "acme", 1, NewEvent()))
		of.TenantID = ""
		e.wantVersion("created again after its tenant", 5)(e.store.SaveAPIKey(e.Context(), of, 0, NewEvent()))
	}},

	{apiKeysStale, func(e *env) {
		for range 2 {
			e.must(SaveAPIKey(e.Context(), e.store, domain.APIKey{Name: "backend", Hash: "hash"}))
		}
		stored, err := e.store.APIKeyByName(e.Context(), "backend")
		e.wantVersion("stored", 2)(stored.Version, err)
		stale := stored
		stale.Hash = "stale"
		for _, expect := range []domain.Version{0, 1, 3} {
			_, err := e.store.SaveAPIKey(e.Context(), stale, expect, event(1))
			e.wantErr(fmt.Sprint("expecting ", expect), err, domain.ErrStale)
		}
		_, err = e.store.SaveAPIKey(e.Context(), apiKey(1), 1, event(1))
		e.wantErr("of no key", err, domain.ErrStale)
		got, _, err := e.store.APIKeys(e.Context(), "", domain.ID{}, 99)
		e.must(err)
		if len(got) != 1 {
			e.Fatalf("%d keys are stored, want 1", len(got))
		}
		e.wantKey("the key", got[0], stored)
		e.wantEvents("of calls that were refused")
	}},

	{apiKeysRace, func(e *env) {
		hs := e.handles(3)
		for round := range 4 {
			expect := domain.Version(round)
			e.race(hs, domain.ErrStale, func(s port.Store, i int) error {
				k := apiKey(1)
				k.Hash = fmt.Sprint(i)
				_, err := s.SaveAPIKey(e.Context(), k, expect, NewEvent())
				return err
			}, func() string {
				got, err := e.store.APIKey(e.Context(), tokenID(71))
				e.wantVersion("the key", expect+1)(got.Version, err)
				return got.Hash
			})
		}
	}},

	{apiKeysName, func(e *env) {
		for n := range 2 {
			e.wantVersion("created", 1)(e.store.SaveAPIKey(e.Context(), apiKey(n+1), 0, NewEvent()))
		}
		thief := apiKey(2)
		thief.Name = apiKey(1).Name
		_, err := e.store.SaveAPIKey(e.Context(), thief, 1, NewEvent())
		e.wantErr("renamed", err, domain.ErrDuplicate)
		third := apiKey(3)
		third.Name = apiKey(1).Name
		_, err = e.store.SaveAPIKey(e.Context(), third, 0, NewEvent())
		e.wantErr("created", err, domain.ErrDuplicate)
		got, err := e.store.APIKeyByName(e.Context(), apiKey(2).Name)
		e.must(err)
		e.wantSame("after the duplicates", got, apiKey(2))
		first := apiKey(1)
		first.Name = "given up"
		e.wantVersion("renamed", 2)(e.store.SaveAPIKey(e.Context(), first, 1, NewEvent()))
		_, err = e.store.APIKeyByName(e.Context(), apiKey(1).Name)
		e.wantErr("by the old name", err, domain.ErrNotFound)
		e.wantVersion("renamed", 2)(e.store.SaveAPIKey(e.Context(), thief, 1, NewEvent()))
	}},

	{apiKeysDelete, func(e *env) {
		for n := range 2 {
			e.wantVersion("created", 1)(e.store.SaveAPIKey(e.Context(), apiKey(n+1), 0, NewEvent()))
		}
		gone := apiKey(1)
		e.must(e.store.DeleteAPIKey(e.Context(), gone.ID, 1, NewEvent()))
		_, err := e.store.APIKey(e.Context(), gone.ID)
		e.wantErr("by id", err, domain.ErrNotFound)
		_, err = e.store.APIKeyByName(e.Context(), gone.Name)
		e.wantErr("by name", err, domain.ErrNotFound)
		_, err = e.store.APIKeyByHash(e.Context(), gone.Hash)
		e.wantErr("by hash", err, domain.ErrNotFound)
		got, err := e.store.APIKeyByHash(e.Context(), apiKey(2).Hash)
		e.must(err)
		e.wantSame("the other", got, apiKey(2))
		e.must(SaveAPIKey(e.Context(), e.store, domain.APIKey{Name: gone.Name, Hash: gone.Hash}))
	}},

	{apiKeysKept, func(e *env) {
		e.wantVersion("created", 1)(e.store.SaveAPIKey(e.Context(), apiKey(1), 0, NewEvent()))
		e.knownEvents()
		for _, expect := range []domain.Version{0, 2} {
			err := e.store.DeleteAPIKey(e.Context(), tokenID(71), expect, event(1))
			e.wantErr(fmt.Sprint("expecting ", expect), err, domain.ErrStale)
		}
		_, err := e.store.APIKey(e.Context(), tokenID(71))
		e.must(err)
		err = e.store.DeleteAPIKey(e.Context(), tokenID(72), 1, event(1))
		e.wantErr("of no key", err, domain.ErrNotFound)
		e.wantEvents("of calls that were refused")
	}},

	{apiKeysByID, func(e *env) {
		e.wantVersion("created", 1)(e.store.SaveAPIKey(e.Context(), apiKey(1), 0, NewEvent()))
		want := apiKey(1)
		want.Version = 1
		got, err := e.store.APIKey(e.Context(), want.ID)
		e.must(err)
		e.wantKey("the key", got, want)
		for _, id := range []domain.ID{{}, tokenID(72)} {
			_, err := e.store.APIKey(e.Context(), id)
			e.wantErr(id.String(), err, domain.ErrNotFound)
		}
	}},

	{apiKeysPages, func(e *env) {
		const n = 7
		tenants := []string{"", "acme", "other"}
		for _, id := range tenants[1:] {
			e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: id}))
		}
		want := make(map[string][]domain.APIKey)
		for i := range n {
			k := apiKey(1 + i*3%n) // not in the order of their ids
			k.TenantID = tenants[int(k.ID[15])%3]
			e.wantVersion("created", 1)(e.store.SaveAPIKey(e.Context(), k, 0, NewEvent()))
			k = apiKey(1 + i)
			k.TenantID = tenants[int(k.ID[15])%3]
			if want[""] = append(want[""], k); k.TenantID != "" {
				want[k.TenantID] = append(want[k.TenantID], k)
			}
		}
		for _, limit := range []int{1, 2, n, n + 1} {
			for _, tenant := range append(tenants, "none") {
				e.wantSame(fmt.Sprintf("of %q, limit %d", tenant, limit), e.apiKeysInPages(tenant, limit), want[tenant])
			}
		}
	}},

	{apiKeysSize, func(e *env) {
		var want []domain.APIKey
		for i, size := range []int{port.MaxListBytes + 1, 1, port.MaxListBytes / 2, port.MaxListBytes / 2, 1} {
			k := apiKey(i + 1)
			k.Permissions = domain.Permissions{"*": {long(size)}}
			e.wantVersion("created", 1)(e.store.SaveAPIKey(e.Context(), k, 0, NewEvent()))
			want = append(want, k)
		}
		e.wantSame("all pages together", e.apiKeysInPages("", 99), want)
	}},
}

// apiKey returns a key; a higher n has a higher id.
func apiKey(n int) domain.APIKey {
	return domain.APIKey{
		ID: tokenID(70 + n), Name: fmt.Sprint("key ", n), Hash: fmt.Sprint("hash ", n), ExpiresAt: t0.Add(time.Hour),
	}
}

// wantKey compares id and version too, which wantSame ignores.
func (e *env) wantKey(what string, got, want domain.APIKey) {
	e.Helper()
	e.wantSame(what, got, want)
	if got.ID != want.ID || got.Version != want.Version {
		e.Errorf("%s: got id %s, version %d, want %s, %d", what, got.ID, got.Version, want.ID, want.Version)
	}
}

func (e *env) apiKeysInPages(tenantID string, limit int) (all []domain.APIKey) {
	e.Helper()
	for after, more := (domain.ID{}), true; more; more = !after.IsZero() {
		page, next, err := e.store.APIKeys(e.Context(), tenantID, after, limit)
		e.must(err)
		if len(page) > limit {
			e.Errorf("limit %d: a page has %d keys", limit, len(page))
		}
		if !next.IsZero() && next.String() <= after.String() {
			e.Fatalf("limit %d: after %s the page that follows begins after %s", limit, after, next)
		}
		bytes := 0
		for i, k := range page {
			if bytes >= port.MaxListBytes {
				e.Errorf("%d of the %d keys of a page have %d bytes, want the page to end there", i, len(page), bytes)
			}
			bytes += port.APIKeyBytes(k)
		}
		all, after = append(all, page...), next
	}
	return all
}

// wantVersion checks the result of a save.
func (e *env) wantVersion(what string, want domain.Version) func(domain.Version, error) {
	return func(got domain.Version, err error) {
		e.Helper()
		if err != nil || got != want {
			e.Errorf("%s: got version %d, %v, want %d", what, got, err, want)
		}
	}
}

// wantTenantVersion checks the version in every way to read it.
func (e *env) wantTenantVersion(id string, want domain.Version) {
	e.Helper()
	got, err := e.store.Tenant(e.Context(), id)
	e.wantVersion("the tenant "+id, want)(got.Version, err)
	list, _, err := e.store.Tenants(e.Context(), "", 99)
	e.must(err)
	for _, t := range list {
		if t.ID == id && t.Version != want {
			e.Errorf("the tenant %s is listed with version %d, want %d", id, t.Version, want)
		}
	}
}

func (e *env) wantApplicationVersion(tenantID, id string, want domain.Version) {
	e.Helper()
	got, err := e.store.Application(e.Context(), tenantID, id)
	e.wantVersion("the application "+id, want)(got.Version, err)
	list, _, err := e.store.Applications(e.Context(), tenantID, "", 99)
	e.must(err)
	for _, a := range list {
		if a.ID == id && a.Version != want {
			e.Errorf("the application %s is listed with version %d, want %d", id, a.Version, want)
		}
	}
}

// race runs save concurrently at these handles: one succeeds, all others return loss, and its number is stored.
func (e *env) race(hs []port.Store, loss error, save func(s port.Store, i int) error, stored func() string) {
	e.Helper()
	errs := make([]error, 9)
	together(len(errs), func(i int) { errs[i] = save(hs[i%len(hs)], i) })
	e.wantOneWinner(errs, loss)
	got := stored()
	for i, err := range errs {
		if err == nil && got != fmt.Sprint(i) {
			e.Errorf("%s is stored, want that of %d, which succeeded", got, i)
		}
	}
}

func long(n int) string { return strings.Repeat("n", n) }
