package storagetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// promises are the clauses about every method of a store.
var promises = []clause{
	{"Store/Ready/is nil on a store that is ready, and writes nothing", func(e *env) {
		e.must(e.store.Ready(e.Context()))
		has, err := e.store.HasData(e.Context())
		e.must(err)
		keys, err := sealedKeys(e.Context(), e.store)
		e.must(err)
		if has || len(keys) > 0 {
			e.Errorf("after Ready: HasData = %t, %d sealed keys, want an empty store", has, len(keys))
		}
	}},

	{"Store/Close/leaves other handles working, and what was written stored", func(e *env) {
		other := e.handle()
		e.must(SaveTenant(e.Context(), other, domain.Tenant{ID: "acme"}))
		e.must(other.Close())
		_, err := e.store.Tenant(e.Context(), "acme")
		e.must(err)
		e.shop(domain.Settings{})
	}},

	// One of these errors would be taken for a result: "not found" logs a user out.
	{"Store/Context/one that is done ends every call with an operational error", func(e *env) {
		e.shop(domain.Settings{})
		stored := e.issue(token(1))[0]
		key := tokenKey(1)
		e.must(e.store.AddKeys(e.Context(), NewEvent(), key))
		e.must(e.store.AddKeys(e.Context(), NewEvent(), fullSealedKey()))
		e.must(SaveAPIKey(e.Context(), e.store, domain.APIKey{Name: "backend", Hash: "hash"}))
		ctx, cancel := context.WithCancel(e.Context())
		cancel()
		for name, err := range everyCall(ctx, e.store, stored, key) {
			if err == nil {
				e.Errorf("%s: got no error", name)
			}
			for _, sentinel := range []error{
				domain.ErrNotFound, domain.ErrConflict, domain.ErrDuplicate, domain.ErrUnauthorized, domain.ErrUnavailable,
				domain.ErrBusy,
			} {
				if errors.Is(err, sentinel) {
					e.Errorf("%s: got %v, want an operational error", name, err)
				}
			}
		}
	}},

	{"Store/Handles/a refresh token is the same at every one immediately", func(e *env) {
		e.shop(domain.Settings{})
		hs := e.handles(3)
		current := token(1)
		e.insert(current)
		for i := range 12 {
			next, _, err := hs[i%3].Advance(e.Context(), current.ID,
				domain.Call{Generation: current.Generation, Now: t0.Add(time.Duration(i) * time.Minute)})
			e.must(err)
			for j, h := range hs {
				s, err := h.Snapshot(e.Context(), current.ID)
				e.must(err)
				e.wantSame(fmt.Sprintf("step %d, seen by handle %d", i, j), s.Token, next)
			}
			current = next
		}
	}},

	{"Store/Handles/a revocation is seen by the next call at every one", func(e *env) {
		e.shop(domain.Settings{})
		hs := e.handles(3)
		for i := range 6 {
			t := e.issue(token(i + 1))[0]
			for _, h := range hs {
				if !e.alive(h, t, t0) {
					e.Fatalf("a new refresh token has ended")
				}
			}
			if i%2 == 0 {
				_, err := hs[i%3].RevokeScope(e.Context(), domain.Scope{TenantID: "acme", UserID: "ana"}, domain.ID{},
					byRequest(t0), NewEvent())
				e.must(err)
			} else {
				e.must(hs[i%3].Revoke(e.Context(), "acme", t.ID, byRequest(t0), NewEvent()))
			}
			for j, h := range hs {
				_, _, err := h.Advance(e.Context(), t.ID, domain.Call{Generation: 1, Now: t0})
				e.wantErr(fmt.Sprintf("revoked at handle %d: Advance at handle %d", i%3, j), err, domain.ErrConflict)
				if e.alive(h, t, t0) {
					e.Errorf("revoked at handle %d: active at handle %d", i%3, j)
				}
			}
		}
	}},

	{"Store/Handles/a policy is in force at every one immediately", func(e *env) {
		e.shop(domain.Settings{})
		hs := e.handles(3)
		t := e.issue(token(1))[0]
		for i := range 6 {
			s := domain.Settings{GraceSeconds: new(int64(i)), RequireAuthentication: new(i%2 == 0)}
			e.must(SaveApplication(e.Context(), hs[i%3], domain.Application{TenantID: "acme", ID: "shop", Settings: s}))
			for j, h := range hs {
				p, err := h.Policy(e.Context(), "acme", "shop")
				e.must(err)
				want := combined(domain.Tenant{}, domain.Application{Settings: s})
				e.wantSame(fmt.Sprintf("saved at handle %d: Policy at handle %d", i%3, j), p, want)
				snapshot, err := h.Snapshot(e.Context(), t.ID)
				e.must(err)
				e.wantSame(fmt.Sprintf("saved at handle %d: Snapshot at handle %d", i%3, j), snapshot.Policy, want)
			}
		}
	}},

	{"Store/Handles/an application deactivated at one issues and exchanges at none", func(e *env) {
		e.shop(noGrace())
		hs := e.handles(3)
		for i := range 6 {
			t := e.issue(token(10*i + 1))[0]
			for _, h := range hs {
				next, _, err := h.Advance(e.Context(), t.ID, domain.Call{Generation: t.Generation, Now: t0})
				e.must(err)
				t = next
			}
			if i%2 == 0 {
				e.must(SaveApplication(e.Context(), hs[i%3],
					domain.Application{TenantID: "acme", ID: "shop", Settings: domain.Settings{Active: new(false)}}))
			} else {
				e.must(SaveTenant(e.Context(), hs[i%3], domain.Tenant{ID: "acme", Settings: domain.Settings{Active: new(false)}}))
			}
			for j, h := range hs {
				_, err := h.Insert(e.Context(), token(10*i+2+j))
				e.wantErr(fmt.Sprintf("deactivated at handle %d: Insert at handle %d", i%3, j), err, domain.ErrNotFound)
				_, _, err = h.Advance(e.Context(), t.ID, domain.Call{Generation: t.Generation, Now: t0})
				e.wantErr(fmt.Sprintf("deactivated at handle %d: Advance at handle %d", i%3, j), err, domain.ErrConflict)
			}
			e.shop(noGrace())
		}
	}},

	{"Store/Handles/a replaced API key is unknown at every one immediately", func(e *env) {
		hs := e.handles(3)
		for i := range 6 {
			hash, before := fmt.Sprintf("hash %d", i), fmt.Sprintf("hash %d", i-1)
			e.must(SaveAPIKey(e.Context(), hs[i%3], domain.APIKey{Name: "backend", Hash: hash}))
			for j, h := range hs {
				k, err := h.APIKeyByHash(e.Context(), hash)
				e.must(err)
				e.wantSame(fmt.Sprintf("saved at handle %d: read at handle %d", i%3, j), k,
					domain.APIKey{Name: "backend", Hash: hash})
				_, err = h.APIKeyByHash(e.Context(), before)
				e.wantErr(fmt.Sprintf("replaced at handle %d: read at handle %d", i%3, j), err, domain.ErrNotFound)
			}
		}
	}},

	{"Store/Handles/sealed keys are the same at every one immediately", func(e *env) {
		hs := e.handles(2)
		for i := range 4 {
			k := tokenKey(uint32(i + 1))
			e.must(hs[i%2].AddKeys(e.Context(), NewEvent(), k))
			e.must(hs[i%2].Reseal(e.Context(), k, "sealed again", ""))
			for _, h := range hs {
				keys, err := sealedKeys(e.Context(), h)
				e.must(err)
				k.Sealed = "sealed again"
				e.wantSame("the key", keyOf(keys, k), k)
			}
		}
	}},

	{"Store/Values/what was handed in may change afterwards", func(e *env) {
		tenant, app, apiKey, t := fullTenant(), fullApplication(), fullAPIKey(), activeToken()
		e.must(SaveTenant(e.Context(), e.store, tenant))
		e.must(SaveApplication(e.Context(), e.store, app))
		e.must(SaveAPIKey(e.Context(), e.store, apiKey))
		e.insert(t)
		scribble(tenant.Settings)
		scribble(app.Settings)
		apiKey.Permissions["*"][0] = "GET"
		apiKey.Permissions["/more"] = []string{"GET"}
		t.Roles[0], t.Scopes[1] = "changed", "changed"
		wantFull(e)
	}},

	{"Store/Values/what was handed out may change afterwards", func(e *env) {
		e.must(SaveTenant(e.Context(), e.store, fullTenant()))
		e.must(SaveApplication(e.Context(), e.store, fullApplication()))
		e.must(SaveAPIKey(e.Context(), e.store, fullAPIKey()))
		e.insert(activeToken())
		spoil := func(t domain.RefreshToken) { t.Roles[0], t.Scopes[1] = "changed", "changed" }
		for range 2 { // twice, for a store that shares only what it has cached
			tenant, err := e.store.Tenant(e.Context(), "acme")
			e.must(err)
			scribble(tenant.Settings)
			tenants, _, err := e.store.Tenants(e.Context(), "", 1)
			e.must(err)
			scribble(tenants[0].Settings)
			app, err := e.store.Application(e.Context(), "acme", "shop")
			e.must(err)
			scribble(app.Settings)
			byName, err := e.store.APIKeyByName(e.Context(), "backend")
			e.must(err)
			byName.Permissions["*"][0] = "GET"
			byHash, err := e.store.APIKeyByHash(e.Context(), fullAPIKey().Hash)
			e.must(err)
			byHash.Permissions["/more"] = []string{"GET"}
			spoil(e.snapshot(tokenID(1)).Token)
			found, err := e.store.Find(e.Context(), "acme", tokenID(1))
			e.must(err)
			spoil(found.Token)
			spoil(e.list(port.ListQuery{TenantID: "acme", UserID: "ana", Limit: 1, Now: t0}).Sessions[0].Token)
		}
		wantFull(e)
		next, _, err := e.store.Advance(e.Context(), tokenID(1), domain.Call{
			Generation: activeToken().Generation, Now: t0, Authenticated: true, Binding: activeToken().Binding,
		})
		e.must(err)
		stored := e.snapshot(tokenID(1)).Token
		spoil(next)
		e.wantStored("after a change to what Advance gave", stored)
	}},

	{"Store/Values/instants keep their microsecond and are UTC, whatever zone they came in", func(e *env) {
		e.shop(domain.Settings{})
		want := activeToken()
		in := want
		zone := time.FixedZone("elsewhere", -5*60*60)
		for _, at := range []*time.Time{&in.IssuedAt, &in.RotatedAt, &in.LastUsedAt, &in.ExpiresAt, &in.RecoveredAt} {
			*at = at.In(zone)
		}
		e.insert(in)
		e.wantStored("inserted", want)
		now := want.RotatedAt.Add(time.Hour + tick)
		next, p, err := e.store.Advance(e.Context(), want.ID,
			domain.Call{Generation: want.Generation, Now: now.In(zone), Binding: want.Binding})
		e.must(err)
		want = want.Rotated(p, now, "")
		e.wantSame("advanced", next, want)
		e.wantStored("advanced", want)
		e.must(e.store.Revoke(e.Context(), want.TenantID, want.ID, byRequest(now.Add(tick).In(zone)), NewEvent()))
		want.RevokedAt, want.RevokedReason = now.Add(tick), domain.RevokedByRequest
		e.wantStored("revoked", want)
	}},

	{"Store/Values/a zero instant stays zero", func(e *env) {
		e.shop(domain.Settings{})
		t := e.issue(token(1))[0]
		if !t.RecoveredAt.IsZero() || !t.RevokedAt.IsZero() {
			e.Errorf("RecoveredAt, RevokedAt = %v, %v, want zero", t.RecoveredAt, t.RevokedAt)
		}
		if next := e.advance(t, t0); !next.RecoveredAt.IsZero() || !next.RevokedAt.IsZero() {
			e.Errorf("advanced: RecoveredAt, RevokedAt = %v, %v, want zero", next.RecoveredAt, next.RevokedAt)
		}
		e.must(SaveAPIKey(e.Context(), e.store, domain.APIKey{Name: "backend", Hash: "hash"}))
		k, err := e.store.APIKeyByName(e.Context(), "backend")
		e.must(err)
		e.must(e.store.AddKeys(e.Context(), NewEvent(), domain.SealedKey{Kind: domain.KeyToken, Number: 1}))
		keys, err := sealedKeys(e.Context(), e.store)
		e.must(err)
		for name, at := range map[string]time.Time{
			"APIKey.ExpiresAt": k.ExpiresAt, "SealedKey.StartsAt": keys[0].StartsAt, "SealedKey.RetiredAt": keys[0].RetiredAt,
		} {
			if !at.IsZero() {
				e.Errorf("%s = %v, want zero", name, at)
			}
		}
	}},

	{"Store/Values/text keeps every byte", func(e *env) {
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "acme", Name: awkward}))
		e.must(SaveApplication(e.Context(), e.store, domain.Application{TenantID: "acme", ID: awkward, Name: awkward}))
		t := tokenOf(1, "acme", awkward, awkward)
		t.Binding = everyByte[:domain.MaxBinding] // bytes, not text
		t.Roles = []string{awkward, "", "a,b", `{"c"}`, "[]", "null"}
		t.Scopes = []string{"a,b", `'`, "%"}
		// Valid JSON that decoding and encoding would change: a repeated name, order, spelling of numbers and of
		// characters.
		t.Claims = `{"b":1,"a":2,"b":1.0e+2,"\u0000":"\ud800","n":123456789012345678901234567890}`
		t.MetaData = domain.MetaData{
			Device:        domain.Device{Name: awkward, Type: awkward[1:], Description: awkward[2:]},
			ClientAddress: "fe80::1%eth0", Data: t.Claims,
		}
		e.insert(t)
		t.Ordinal = 1
		e.wantStored("inserted", t)
		list := e.list(port.ListQuery{TenantID: "acme", UserID: awkward, ApplicationID: awkward, Limit: 9, Now: t0})
		e.wantSame("listed", list.Sessions, []domain.Session{{Token: t}})
		_, _, err := e.store.Advance(e.Context(), t.ID, domain.Call{Generation: 1, Now: t0, Binding: t.Binding})
		e.must(err)
		e.must(SaveAPIKey(e.Context(), e.store, domain.APIKey{
			Name: awkward, Hash: everyByte, Permissions: domain.Permissions{awkward: {awkward}},
		}))
		k, err := e.store.APIKeyByHash(e.Context(), everyByte)
		e.must(err)
		e.wantSame("the API key", k,
			domain.APIKey{Name: awkward, Hash: everyByte, Permissions: domain.Permissions{awkward: {awkward}}})
	}},

	{"Store/Values/names that look alike are different", func(e *env) {
		e.shop(domain.Settings{})
		for i, name := range lookalikes {
			e.application("acme", name, domain.Settings{GraceSeconds: new(int64(i))})
			e.issue(tokenOf(i+1, "acme", name, "ana"), tokenOf(i+101, "acme", "shop", name))
			e.must(SaveAPIKey(e.Context(), e.store, domain.APIKey{Name: name, Hash: "hash of " + name}))
		}
		for i, name := range lookalikes {
			p, err := e.store.Policy(e.Context(), "acme", name)
			e.must(err)
			if got, want := p.GracePeriod, time.Duration(i)*time.Second; got != want {
				e.Errorf("application %q: grace period %v, want %v", name, got, want)
			}
			k, err := e.store.APIKeyByName(e.Context(), name)
			e.must(err)
			if k.Hash != "hash of "+name {
				e.Errorf("API key %q: got hash %q", name, k.Hash)
			}
			list := e.list(port.ListQuery{TenantID: "acme", UserID: name, Limit: 9, Now: t0})
			e.wantSame(fmt.Sprintf("of user %q", name), ids(list.Sessions), []domain.ID{tokenID(i + 101)})
		}
		revoked := lookalikes[0]
		e.revokeScope(domain.Scope{TenantID: "acme", UserID: revoked}, domain.ID{}, t0)
		e.revokeScope(domain.Scope{TenantID: "acme", ApplicationID: revoked}, domain.ID{}, t0)
		for i, name := range lookalikes {
			if got, want := e.alive(e.store, tokenOf(i+1, "acme", name, "ana"), t0), name != revoked; got != want {
				e.Errorf("application %q revoked: active in %q = %t, want %t", revoked, name, got, want)
			}
			if got, want := e.alive(e.store, tokenOf(i+101, "acme", "shop", name), t0), name != revoked; got != want {
				e.Errorf("user %q revoked: %q active = %t, want %t", revoked, name, got, want)
			}
		}
	}},

	{"Store/Values/tenants that look alike are different", func(e *env) {
		names := []string{"a", "A", "a.", "a~", "aa", "-a"}
		for i, name := range names {
			e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: name, Name: name}))
			e.application(name, "shop", domain.Settings{})
			e.issue(tokenOf(i+1, name, "shop", "ana"))
		}
		e.revokeScope(domain.Scope{TenantID: "a"}, domain.ID{}, t0)
		for i, name := range names {
			t, err := e.store.Tenant(e.Context(), name)
			e.must(err)
			if t.Name != name {
				e.Errorf("tenant %q: got that of %q", name, t.Name)
			}
			if got, want := e.alive(e.store, tokenOf(i+1, name, "shop", "ana"), t0), name != "a"; got != want {
				e.Errorf("tenant a revoked: active in %q = %t, want %t", name, got, want)
			}
		}
	}},

	{"Store/Values/empty and nil lists are one", func(e *env) {
		e.shop(domain.Settings{})
		t := token(1)
		t.Roles, t.Scopes = []string{}, []string{}
		e.insert(t)
		got := e.snapshot(t.ID).Token
		if len(got.Roles) != 0 || len(got.Scopes) != 0 {
			e.Errorf("Roles, Scopes = %q, %q, want none", got.Roles, got.Scopes)
		}
		e.must(SaveAPIKey(e.Context(), e.store, domain.APIKey{Name: "idle", Hash: "hash", Permissions: domain.Permissions{}}))
		k, err := e.store.APIKeyByName(e.Context(), "idle")
		e.must(err)
		if len(k.Permissions) != 0 {
			e.Errorf("Permissions = %v, want none", k.Permissions)
		}
		list := e.list(port.ListQuery{TenantID: "acme", UserID: "nobody", Limit: 1, Now: t0})
		if len(list.Sessions) != 0 || !list.Next.IsZero() {
			e.Errorf("List of an unknown user = %d refresh tokens, next %v, want none", len(list.Sessions), list.Next)
		}
	}},
}

// everyCall calls every method but Close, each so that it would succeed, and returns the errors by name.
func everyCall(ctx context.Context, s port.Store, t domain.RefreshToken, key domain.SealedKey) map[string]error {
	errs := map[string]error{
		"Ready":             s.Ready(ctx),
		"Use":               s.Use(ctx, t, t, t0),
		"Swap":              s.Swap(ctx, t, t, t0, NewEvent()),
		"Rebind":            s.Rebind(ctx, t, t, t0, NewEvent()),
		"Change":            s.Change(ctx, t.TenantID, []domain.Change{{Before: t, After: t}}, t0, NewEvent()),
		"Revoke":            s.Revoke(ctx, t.TenantID, t.ID, byRequest(t0), NewEvent()),
		"KeepNewest":        s.KeepNewest(ctx, domain.Scope{TenantID: "acme"}, 1, byRequest(t0), NewEvent()),
		"DeleteApplication": s.DeleteApplication(ctx, "acme", "shop", 1, event(95)),
		"DeleteTenant":      s.DeleteTenant(ctx, "acme", 1, event(96)),
		"DeleteAPIKey":      s.DeleteAPIKey(ctx, tokenID(1), 1, event(97)),
		"AddKeys":           s.AddKeys(ctx, event(98), tokenKey(99)),
		"Reseal":            s.Reseal(ctx, key, "sealed again", ""),
		"ChangeKeys":        s.ChangeKeys(ctx, event(100), port.KeyChange{Add: []domain.SealedKey{tokenKey(98)}}),
		"TurnCheck":         s.TurnCheck(ctx, event(101), key, key),
		"RehashAPIKey":      s.RehashAPIKey(ctx, domain.APIKey{ID: tokenID(1), Hash: "hash"}, domain.APIKey{Hash: "again"}),
		"RehashClientSecrets": s.RehashClientSecrets(ctx, domain.Application{TenantID: "acme", ID: "shop"},
			domain.Application{}),
		"Record":  s.Record(ctx, event(99)),
		"Lease":   s.Lease(ctx, port.JobLease{Job: port.JobRotateKeys, Holder: "one", Now: t0, Until: t0}),
		"Release": s.Release(ctx, port.JobPurge, "one"),
		"Beat":    s.Beat(ctx, "one", t0),
		"Once":    s.Once(ctx, []byte("key"), t0, t0.Add(time.Minute)),
	}
	_, errs["Insert"] = s.Insert(ctx, token(99))
	_, _, errs["Advance"] = s.Advance(ctx, t.ID, domain.Call{Generation: t.Generation, Now: t0})
	_, errs["Snapshot"] = s.Snapshot(ctx, t.ID)
	_, errs["Find"] = s.Find(ctx, t.TenantID, t.ID)
	_, errs["List"] = s.List(ctx, bounded(port.ListQuery{TenantID: "acme", UserID: "ana", Limit: 1, Now: t0}))
	_, _, errs["Count"] = s.Count(ctx, bounded(port.ListQuery{TenantID: "acme", UserID: "ana", Limit: 1, Now: t0}))
	_, errs["RevokeScope"] = s.RevokeScope(ctx, domain.Scope{TenantID: "acme"}, domain.ID{}, byRequest(t0), NewEvent())
	_, errs["SaveTenant"] = s.SaveTenant(ctx, domain.Tenant{ID: "acme"}, 1, event(92))
	app := domain.Application{TenantID: "acme", ID: "shop"}
	_, errs["SaveApplication"] = s.SaveApplication(ctx, app, 1, event(93))
	_, errs["SaveAPIKey"] = s.SaveAPIKey(ctx, domain.APIKey{ID: tokenID(1), Name: "backend", Hash: "hash"}, 1, event(94))
	_, errs["Tenant"] = s.Tenant(ctx, "acme")
	_, _, errs["Tenants"] = s.Tenants(ctx, "", 1)
	_, errs["Application"] = s.Application(ctx, "acme", "shop")
	_, errs["Policy"] = s.Policy(ctx, "acme", "shop")
	_, errs["APIKey"] = s.APIKey(ctx, tokenID(1))
	_, _, errs["APIKeys"] = s.APIKeys(ctx, "", domain.ID{}, 1)
	_, errs["APIKeyByName"] = s.APIKeyByName(ctx, "backend")
	_, errs["APIKeyByHash"] = s.APIKeyByHash(ctx, "hash")
	_, errs["TenantByIssuer"] = s.TenantByIssuer(ctx, "https://acme.example")
	_, _, errs["Applications"] = s.Applications(ctx, "acme", "", 1)
	_, _, errs["ApplicationsHashedWith"] = s.ApplicationsHashedWith(ctx, 1, 1)
	_, _, errs["APIKeysHashedWith"] = s.APIKeysHashedWith(ctx, 1, 1)
	_, _, errs["SigningKeys"] = s.SigningKeys(ctx, "", 1)
	_, _, errs["OldestRotation"] = s.OldestRotation(ctx)
	_, errs["KeyRevision"] = s.KeyRevision(ctx)
	_, errs["KeysSince"] = s.KeysSince(ctx, 0, 1)
	_, errs["KeysOfTenant"] = s.KeysOfTenant(ctx, "")
	_, errs["KeyByID"] = s.KeyByID(ctx, "kid-1")
	_, errs["HasData"] = s.HasData(ctx)
	_, errs["Events"] = s.Events(ctx, port.EventQuery{Limit: 1, MaxBytes: 1})
	_, errs["Revoked"] = s.Revoked(ctx, port.FactQuery{}, func(domain.Fact) {})
	_, errs["Stamp"] = s.Stamp(ctx, t0, 1)
	_, errs["LongestAccessTTL"] = s.LongestAccessTTL(ctx, "acme")
	_, errs["Purge"] = s.Purge(ctx,
		port.PurgeStep{LeaseHolder: "one", Now: t0, LeaseUntil: t0.Add(time.Minute), Before: t0, Limit: 1})
	return errs
}

// wantFull checks that the full fixtures are stored.
func wantFull(e *env) {
	e.Helper()
	tenant, err := e.store.Tenant(e.Context(), "acme")
	e.must(err)
	e.wantSame("the tenant", tenant, fullTenant())
	app, err := e.store.Application(e.Context(), "acme", "shop")
	e.must(err)
	e.wantSame("the application", app, fullApplication())
	policy, err := e.store.Policy(e.Context(), "acme", "shop")
	e.must(err)
	e.wantSame("the policy", policy, combined(fullTenant(), fullApplication()))
	key, err := e.store.APIKeyByName(e.Context(), "backend")
	e.must(err)
	e.wantSame("the API key", key, fullAPIKey())
	e.wantStored("the refresh token", activeToken())
}

// scribble changes every value that the settings point to.
func scribble(s domain.Settings) {
	for _, f := range s.Fields() {
		switch v := reflect.ValueOf(f.Into).Elem().Elem(); v.Kind() {
		case reflect.Invalid: // not set in a fixture, which a test of the fixtures reports
		case reflect.Bool:
			v.SetBool(!v.Bool())
		case reflect.Int64:
			v.SetInt(v.Int() + 1)
		default:
			v.SetString("changed")
		}
	}
}

func ids(sessions []domain.Session) []domain.ID {
	var out []domain.ID
	for _, s := range sessions {
		out = append(out, s.Token.ID)
	}
	return out
}

// sealedKeys returns all keys of the store, without their revisions.
func sealedKeys(ctx context.Context, s port.Store) ([]domain.SealedKey, error) {
	keys, err := s.KeysSince(ctx, 0, 1000)
	for i := range keys {
		keys[i].Revision = 0
	}
	return keys, err
}

// keyOf returns the stored key of k's name, or zero.
func keyOf(keys []domain.SealedKey, k domain.SealedKey) domain.SealedKey {
	for _, other := range keys {
		if other.Kind == k.Kind && other.TenantID == k.TenantID && other.Algorithm == k.Algorithm &&
			other.Number == k.Number {
			return other
		}
	}
	return domain.SealedKey{}
}
