package storagetest

import (
	"fmt"
	"slices"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// checkKey is the check value, sealed by that master key.
func checkKey(sealedBy string) domain.SealedKey {
	return domain.SealedKey{Kind: domain.KeyCheck, Number: 1, CreatedAt: t0, Sealed: "check", SealedBy: sealedBy}
}

// signingKey is the n-th signing key of a tenant.
func signingKey(tenantID string, n int) domain.SealedKey {
	return domain.SealedKey{
		Kind: domain.KeySigning, TenantID: tenantID, Algorithm: domain.ES256, Number: uint32(n),
		ID: fmt.Sprint("kid ", tenantID, n), CreatedAt: t0, Sealed: "sealed",
	}
}

// add adds the keys, one after another, and returns them as stored.
func (e *env) add(keys ...domain.SealedKey) []domain.SealedKey {
	e.Helper()
	for _, k := range keys {
		e.must(e.store.ChangeKeys(e.Context(), NewEvent(), port.KeyChange{Add: []domain.SealedKey{k}}))
	}
	stored, err := e.store.KeysSince(e.Context(), 0, 1000)
	e.must(err)
	for i, k := range keys {
		keys[i] = keyOf(stored, k)
	}
	return keys
}

// keyChanging are the clauses about changes of keys.
var keyChanging = []clause{
	{"KeyChanges/ChangeKeys/adds a key with every field", func(e *env) {
		e.add(checkKey("master"), fullSealedKey())
		e.wantKeys(checkKey("master"), fullSealedKey())
	}},

	{"KeyChanges/ChangeKeys/replaces name and instants of a key, and nothing else", func(e *env) {
		other := fullSealedKey()
		other.Number, other.ID = 2, "kid-2"
		before := e.add(fullSealedKey(), other)[0]
		after := before
		after.Name, after.KnownAt, after.StartsAt = "another", t0.Add(20*tick), t0.Add(21*tick)
		after.UnusedAt = t0.Add(24 * tick)
		after.RetiredAt, after.RevokedAt = time.Time{}, t0.Add(23*tick)
		want := after
		after.CreatedAt, after.Sealed, after.SealedBy = t0.Add(time.Hour), "other", "other"
		e.must(e.store.ChangeKeys(e.Context(), NewEvent(), port.KeyChange{Replace: []domain.SealedKey{after}}))
		want.Revision = 0
		e.wantKeys(want, other)
	}},

	{"KeyChanges/ChangeKeys/gives each key a revision of its own, above all others", func(e *env) {
		before := e.add(tokenKey(1), tokenKey(2))
		e.must(e.store.ChangeKeys(e.Context(), NewEvent(), port.KeyChange{
			Add: []domain.SealedKey{tokenKey(3)}, Replace: before,
		}))
		e.wantKeyRevision("after two keys and three writes", 5)
		newer, err := e.store.KeysSince(e.Context(), 2, 10)
		e.must(err)
		if len(newer) != 3 || newer[0].Revision != 3 || newer[1].Revision != 4 || newer[2].Revision != 5 {
			e.Errorf("newer than the two keys: got %+v, want three keys with 3, 4 and 5", newer)
		}
	}},

	{"KeyChanges/ChangeKeys/of a key that has another revision is stale, and writes nothing", func(e *env) {
		before := e.add(tokenKey(1), tokenKey(2))
		e.must(e.store.ChangeKeys(e.Context(), NewEvent(), port.KeyChange{Replace: before[:1]}))
		unknown := tokenKey(4)
		unknown.Revision = 1
		for what, c := range map[string]port.KeyChange{
			"changed": {Replace: before[:1]},
			"unknown": {Replace: []domain.SealedKey{unknown}},
			"one of two, beside a new one": {
				Add: []domain.SealedKey{tokenKey(3)}, Replace: []domain.SealedKey{before[1], before[0]},
			},
		} {
			e.wantErr(what, e.store.ChangeKeys(e.Context(), NewEvent(), c), domain.ErrStale)
		}
		e.wantKeys(tokenKey(1), tokenKey(2))
		e.wantKeyRevision("after three writes", 3)
	}},

	{"KeyChanges/ChangeKeys/a taken name or id is a duplicate, and writes nothing", func(e *env) {
		before := e.add(fullSealedKey(), tokenKey(1))
		sameID := fullSealedKey()
		sameID.Number = 7
		changed := before[1]
		changed.Name = "changed"
		for what, added := range map[string][]domain.SealedKey{
			"a name": {tokenKey(1)}, "an id": {sameID}, "a name twice": {tokenKey(2), tokenKey(2)},
		} {
			c := port.KeyChange{Add: added, Replace: []domain.SealedKey{changed}}
			e.wantErr(what, e.store.ChangeKeys(e.Context(), NewEvent(), c), domain.ErrDuplicate)
		}
		e.wantKeys(fullSealedKey(), tokenKey(1))
		e.wantKeyRevision("after two keys", 2)
	}},

	{"KeyChanges/ChangeKeys/of concurrent changes of one key exactly one succeeds", func(e *env) {
		before := e.add(tokenKey(1))[0]
		hs := e.handles(3)
		errs := make([]error, 12)
		named := func(i int) domain.SealedKey {
			k := before
			k.Name = fmt.Sprint("name ", i)
			return k
		}
		together(len(errs), func(i int) {
			c := port.KeyChange{Replace: []domain.SealedKey{named(i)}}
			errs[i] = hs[i%3].ChangeKeys(e.Context(), NewEvent(), c)
		})
		want := named(e.wantOneWinner(errs, domain.ErrStale))
		want.Revision = 0
		e.wantKeys(want)
	}},

	{"KeyChanges/ChangeKeys/a key that another master key sealed than the check value is a conflict", func(e *env) {
		other := tokenKey(1)
		other.SealedBy = "other"
		add := func(keys ...domain.SealedKey) error {
			return e.store.ChangeKeys(e.Context(), NewEvent(), port.KeyChange{Add: keys})
		}
		e.wantErr("beside a new check value", add(checkKey("master"), other), domain.ErrConflict)
		e.must(add(checkKey("master")))
		e.wantErr("another master key", add(other), domain.ErrConflict)
		e.wantErr("an unknown master key", add(tokenKey(1)), domain.ErrConflict)
		e.wantErr("AddKeys", e.store.AddKeys(e.Context(), NewEvent(), other), domain.ErrConflict)
		e.wantKeys(checkKey("master"))
		e.wantKeyRevision("after one key", 1)
		other.SealedBy = "master"
		e.must(add(other))
	}},

	{"KeyChanges/ChangeKeys/without a known master key in force, keys of any are added", func(e *env) {
		one, two := tokenKey(1), tokenKey(2)
		one.SealedBy, two.SealedBy = "one", "two"
		e.add(one, checkKey(""), two)
		e.wantKeys(one, checkKey(""), two)
	}},

	{"KeyChanges/TurnCheck/replaces ciphertext and seal of the check value", func(e *env) {
		check := e.add(checkKey("one"))[0]
		k := tokenKey(1)
		k.SealedBy = "one"
		e.add(k)
		e.must(e.store.Reseal(e.Context(), k, "again", "two"))
		after := check
		after.Sealed, after.SealedBy, after.Name = "check again", "two", "another"
		e.must(e.store.TurnCheck(e.Context(), NewEvent(), check, after))
		k.Sealed, k.SealedBy = "again", "two"
		want := checkKey("two")
		want.Sealed = "check again"
		e.wantKeys(k, want)
		e.wantKeyRevision("after four writes", 4)
	}},

	{"KeyChanges/TurnCheck/while a key is sealed by another master key is a conflict, and writes nothing", func(e *env) {
		check := e.add(checkKey("one"))[0]
		for n, sealedBy := range []string{"one", "one"} {
			k := tokenKey(uint32(n + 1))
			k.SealedBy = sealedBy
			e.add(k)
		}
		after := check
		after.Sealed, after.SealedBy = "again", "two"
		e.wantErr("with two", e.store.TurnCheck(e.Context(), NewEvent(), check, after), domain.ErrConflict)
		e.must(e.store.Reseal(e.Context(), tokenKey(1), "again", "two"))
		e.wantErr("with one", e.store.TurnCheck(e.Context(), NewEvent(), check, after), domain.ErrConflict)
		e.must(e.store.Reseal(e.Context(), tokenKey(2), "again", ""))
		e.wantErr("with an unknown one", e.store.TurnCheck(e.Context(), NewEvent(), check, after), domain.ErrConflict)
		keys, err := sealedKeys(e.Context(), e.store)
		e.must(err)
		e.wantSame("the check value", keyOf(keys, check), checkKey("one"))
	}},

	{"KeyChanges/TurnCheck/of a check value that has changed is a conflict, and writes nothing", func(e *env) {
		check := e.add(checkKey("one"))[0]
		before, after := check, check
		before.Sealed, after.SealedBy = "another", "two"
		e.wantErr("changed", e.store.TurnCheck(e.Context(), NewEvent(), before, after), domain.ErrConflict)
		e.wantKeys(checkKey("one"))
		e.wantKeyRevision("after one key", 1)
	}},

	{"KeyChanges/TurnCheck/leaves no key that is added concurrently behind", func(e *env) {
		check := e.add(checkKey("one"))[0]
		hs := e.handles(3)
		after := check
		after.Sealed, after.SealedBy = "again", "two"
		errs := make([]error, 9)
		together(len(errs), func(i int) {
			if i == 0 {
				errs[0] = hs[0].TurnCheck(e.Context(), NewEvent(), check, after)
				return
			}
			k := tokenKey(uint32(i))
			k.SealedBy = "one"
			errs[i] = hs[i%3].AddKeys(e.Context(), NewEvent(), k)
		})
		added := len(errs) - 1
		for i, err := range errs {
			if err != nil {
				e.wantErr(fmt.Sprint("call ", i), err, domain.ErrConflict)
				if i > 0 {
					added--
				}
			}
		}
		if turned := errs[0] == nil; turned == (added > 0) {
			e.Errorf("turned = %t, and %d keys of the former master key were added", turned, added)
		}
	}},

	{"KeyChanges/SigningKeys/gives all of each tenant, in pages by tenant", func(e *env) {
		shared, retired, revoked := signingKey("", 1), signingKey("b", 3), signingKey("d", 1)
		retired.RetiredAt, revoked.RevokedAt = t0, t0
		all := []domain.SealedKey{
			signingKey("c", 1), signingKey("a", 1), signingKey("b", 1), signingKey("b", 2), signingKey("c", 2),
			signingKey("B", 1),
		}
		e.add(append(slices.Clone(all), shared, retired, revoked, tokenKey(1))...)
		for limit := 1; limit <= 8; limit++ {
			var got []string
			for after, pages := "", 0; ; pages++ {
				page, next, err := e.store.SigningKeys(e.Context(), after, limit)
				e.must(err)
				tenants := map[string]bool{}
				for _, k := range page {
					if !tenants[k.TenantID] {
						got = append(got, fmt.Sprint(k.TenantID, len(of(page, k.TenantID))))
					}
					tenants[k.TenantID] = true
				}
				if next == "" || pages > 8 {
					if got, want := pages, 8/limit; got > want {
						e.Errorf("limit %d: %d pages before the last, want at most %d", limit, got, want)
					}
					break
				}
				after = next
			}
			e.wantSame(fmt.Sprint("limit ", limit), got, []string{"B1", "a1", "b2", "c2"})
		}
		page, _, err := e.store.SigningKeys(e.Context(), "b", 1)
		e.must(err)
		k := keyOf(page, signingKey("c", 1))
		k.Revision = 0
		e.wantSame("a key", k, signingKey("c", 1))
	}},

	{"KeyChanges/OldestRotation/is zero before a pass, and what the last complete pass saw active", func(e *env) {
		e.shop(noGrace())
		want := func(when string, began, oldest time.Time) {
			e.Helper()
			gotBegan, gotOldest, err := e.store.OldestRotation(e.Context())
			e.must(err)
			e.wantSame(when, []time.Time{gotBegan, gotOldest}, []time.Time{began, oldest})
		}
		want("no pass", time.Time{}, time.Time{})
		var ts []domain.RefreshToken
		for n := 1; n <= 5; n++ {
			t := token(n)
			t.RotatedAt = t0.Add(time.Duration(n) * time.Minute)
			ts = append(ts, e.issue(t)...)
		}
		at := t0.Add(time.Hour)
		pass := func(steps int) {
			e.Helper()
			for range steps {
				if e.purgeStep(stepOf("one", at, at.Add(-time.Minute), 2)).Done {
					return
				}
				at = at.Add(time.Second)
			}
		}
		e.must(e.store.Revoke(e.Context(), "acme", tokenID(1), byRequest(t0), NewEvent()))
		e.must(e.store.Revoke(e.Context(), "acme", tokenID(4), byRequest(t0), NewEvent()))
		pass(2)
		want("the first pass is not complete", time.Time{}, time.Time{})
		pass(20)
		began := t0.Add(time.Hour)
		want("the first pass", began, ts[1].RotatedAt)
		e.advance(ts[1], at.Add(time.Second))
		second := at
		pass(2)
		want("the second pass is not complete", began, ts[1].RotatedAt)
		pass(20)
		want("the second pass", second, ts[2].RotatedAt)
		e.revokeScope(domain.Scope{TenantID: "acme"}, domain.ID{}, at)
		at = at.Add(time.Second)
		third := at
		pass(20)
		want("nothing is active", third, time.Time{})
	}},
}

// of returns the keys of that tenant.
func of(keys []domain.SealedKey, tenantID string) (own []domain.SealedKey) {
	for _, k := range keys {
		if k.TenantID == tenantID {
			own = append(own, k)
		}
	}
	return own
}

// rehashing are the clauses about the keys that hash API keys.
var rehashing = []clause{
	{"APIKeys/APIKeyByHash/of several hashes gives the key of the first that is a hash of one", func(e *env) {
		one := domain.APIKey{Name: "one", Hash: "hash 1", PreviousHash: "previous 1"}
		two := domain.APIKey{Name: "two", Hash: "hash 2", PreviousHash: "previous 2"}
		e.must(SaveAPIKey(e.Context(), e.store, one))
		e.must(SaveAPIKey(e.Context(), e.store, two))
		for _, tt := range []struct {
			hashes []string
			want   string
		}{
			{[]string{"hash 1", "hash 2"}, "one"}, {[]string{"hash 2", "hash 1"}, "two"},
			{[]string{"previous 2", "hash 1"}, "two"}, {[]string{"none", "previous 1"}, "one"},
			{[]string{"", "hash 2"}, "two"}, {[]string{"none", "", "hash 1"}, "one"}, {[]string{"none", "another"}, ""},
		} {
			got, err := e.store.APIKeyByHash(e.Context(), tt.hashes...)
			if tt.want == "" {
				e.wantErr(fmt.Sprintf("%q", tt.hashes), err, domain.ErrNotFound)
				continue
			}
			e.must(err)
			e.wantSame(fmt.Sprintf("%q", tt.hashes), got.Name, tt.want)
		}
	}},

	{"APIKeys/RehashAPIKey/replaces the hashes and their keys, under the next version, and nothing else", func(e *env) {
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "acme"}))
		e.must(SaveAPIKey(e.Context(), e.store, fullAPIKey()))
		before, err := e.store.APIKeyByName(e.Context(), "backend")
		e.must(err)
		want := before
		want.Hash, want.HashKey, want.PreviousHash, want.PreviousHashKey = "again", 8, "previous again", 9
		want.Version++
		after := want
		after.Name, after.TenantID, after.Permissions, after.ExpiresAt = "other", "", nil, t0
		e.must(e.store.RehashAPIKey(e.Context(), before, after))
		for _, hash := range []string{"again", "previous again"} {
			got, err := e.store.APIKeyByHash(e.Context(), hash)
			e.must(err)
			e.wantSame("by "+hash, got, want)
			if got.Version != want.Version || got.ID != want.ID {
				e.Errorf("got version %d of %v, want %d of %v", got.Version, got.ID, want.Version, want.ID)
			}
		}
		for _, hash := range []string{before.Hash, before.PreviousHash} {
			_, err := e.store.APIKeyByHash(e.Context(), hash)
			e.wantErr("by a former hash", err, domain.ErrNotFound)
		}
		after.PreviousHash, after.PreviousHashKey = "", 0
		e.must(e.store.RehashAPIKey(e.Context(), want, after))
		e.must(e.store.RehashAPIKey(e.Context(), after, want))
	}},

	{"APIKeys/RehashAPIKey/a save of the version before it is stale, and changes nothing", func(e *env) {
		e.must(SaveAPIKey(e.Context(), e.store, domain.APIKey{Name: "backend", Hash: "hash", HashKey: 1}))
		before, err := e.store.APIKeyByName(e.Context(), "backend")
		e.must(err)
		want := before
		want.Hash, want.HashKey, want.Version = "again", 2, before.Version+1
		e.must(e.store.RehashAPIKey(e.Context(), before, want))
		renamed := before
		renamed.Name = "renamed"
		_, err = e.store.SaveAPIKey(e.Context(), renamed, before.Version, NewEvent())
		e.wantErr("SaveAPIKey", err, domain.ErrStale)
		got, err := e.store.APIKey(e.Context(), before.ID)
		e.must(err)
		e.wantKey("the key", got, want)
	}},

	{"APIKeys/RehashAPIKey/of a key with other hashes is a conflict, and writes nothing", func(e *env) {
		e.must(SaveAPIKey(e.Context(), e.store, domain.APIKey{Name: "backend", Hash: "hash", HashKey: 1}))
		want, err := e.store.APIKeyByName(e.Context(), "backend")
		e.must(err)
		after := domain.APIKey{Hash: "again", HashKey: 2}
		other, previous, unknown := want, want, want
		other.Hash, previous.PreviousHash, unknown.ID = "other", "previous", tokenID(99)
		for what, before := range map[string]domain.APIKey{
			"another hash": other, "a previous hash": previous, "an unknown key": unknown,
		} {
			e.wantErr(what, e.store.RehashAPIKey(e.Context(), before, after), domain.ErrConflict)
		}
		got, err := e.store.APIKeyByName(e.Context(), "backend")
		e.must(err)
		e.wantSame("the key", got, want)
	}},

	{"APIKeys/RehashAPIKey/a hash of another key, current or previous, is a duplicate", func(e *env) {
		one := domain.APIKey{Name: "one", Hash: "hash 1", PreviousHash: "previous 1"}
		e.must(SaveAPIKey(e.Context(), e.store, one))
		e.must(SaveAPIKey(e.Context(), e.store, domain.APIKey{Name: "two", Hash: "hash 2"}))
		before, err := e.store.APIKeyByName(e.Context(), "two")
		e.must(err)
		for _, taken := range []string{one.Hash, one.PreviousHash} {
			for _, after := range []domain.APIKey{{Hash: taken}, {Hash: "free", PreviousHash: taken}} {
				e.wantErr(fmt.Sprintf("%q", after.Hash), e.store.RehashAPIKey(e.Context(), before, after),
					domain.ErrDuplicate)
			}
		}
		got, err := e.store.APIKeyByName(e.Context(), "two")
		e.must(err)
		e.wantSame("the key", got, before)
	}},

	{"Applications/RehashClientSecrets/replaces the secrets, under a new version, and nothing else", func(e *env) {
		e.must(SaveTenant(e.Context(), e.store, fullTenant(), fullApplication()))
		before, err := e.store.Application(e.Context(), "acme", "shop")
		e.must(err)
		want := before
		want.Client = before.Client.Clone()
		want.Client.Secrets[1].Hash, want.Client.Secrets[1].HashKey = "again", 8
		want.Version++
		after := want
		after.Name, after.Client.Audiences, after.Settings = "other", nil, domain.Settings{}
		e.must(e.store.RehashClientSecrets(e.Context(), before, after))
		got, err := e.store.Application(e.Context(), "acme", "shop")
		e.must(err)
		e.wantSame("the application", got, want)
		if got.Version != want.Version {
			e.Errorf("got version %d, want %d", got.Version, want.Version)
		}
		e.must(e.store.DeleteApplication(e.Context(), "acme", "shop", want.Version, NewEvent()))
		again, err := e.store.SaveApplication(e.Context(), before, 0, NewEvent())
		e.must(err)
		if again <= want.Version {
			e.Errorf("created again with version %d, want one above %d", again, want.Version)
		}
	}},

	{"Applications/RehashClientSecrets/a concurrent save does not put the former secrets back", func(e *env) {
		e.must(SaveTenant(e.Context(), e.store, fullTenant(), fullApplication()))
		hs := e.handles(2)
		for round := range 20 {
			before, err := e.store.Application(e.Context(), "acme", "shop")
			e.must(err)
			renamed, after := before, before
			renamed.Name = fmt.Sprint("round ", round)
			after.Client = before.Client.Clone()
			after.Client.Secrets[0].Hash = fmt.Sprint("hash ", round)
			errs := make([]error, 2)
			together(2, func(i int) {
				if i == 0 {
					_, errs[0] = hs[0].SaveApplication(e.Context(), renamed, before.Version, NewEvent())
					return
				}
				errs[1] = hs[1].RehashClientSecrets(e.Context(), before, after)
			})
			e.must(errs[1]) // a save that was first has the same secrets
			if errs[0] != nil {
				e.wantErr("SaveApplication", errs[0], domain.ErrStale)
			}
			got, err := e.store.Application(e.Context(), "acme", "shop")
			e.must(err)
			e.wantSame("the hash", got.Client.Secrets[0].Hash, after.Client.Secrets[0].Hash)
		}
	}},

	{"Applications/RehashClientSecrets/a save of the version before it is stale, and changes nothing", func(e *env) {
		e.must(SaveTenant(e.Context(), e.store, fullTenant(), fullApplication()))
		before, err := e.store.Application(e.Context(), "acme", "shop")
		e.must(err)
		want := before
		want.Client, want.Version = before.Client.Clone(), before.Version+1
		want.Client.Secrets[0].Hash, want.Client.Secrets[0].HashKey = "again", 8
		e.must(e.store.RehashClientSecrets(e.Context(), before, want))
		renamed := before
		renamed.Name = "renamed"
		_, err = e.store.SaveApplication(e.Context(), renamed, before.Version, NewEvent())
		e.wantErr("SaveApplication", err, domain.ErrStale)
		tenant, err := e.store.Tenant(e.Context(), "acme")
		e.must(err)
		_, err = e.store.SaveTenant(e.Context(), tenant, tenant.Version, NewEvent(),
			port.ApplicationWrite{Application: renamed, Expect: before.Version, Event: NewEvent()})
		e.wantErr("SaveTenant", err, domain.ErrStale)
		got, err := e.store.Application(e.Context(), "acme", "shop")
		e.must(err)
		e.wantSame("the application", got, want)
		if got.Version != want.Version {
			e.Errorf("got version %d, want %d", got.Version, want.Version)
		}
	}},

	{"Applications/RehashClientSecrets/of one that has changed is a conflict, and writes nothing", func(e *env) {
		e.must(SaveTenant(e.Context(), e.store, fullTenant(), fullApplication()))
		want, err := e.store.Application(e.Context(), "acme", "shop")
		e.must(err)
		after := want
		after.Client = domain.Client{Secrets: []domain.ClientSecret{{Hash: "again", HashKey: 2, CreatedAt: t0}}}
		other, fewer, unknown := want, want, want
		other.Client, fewer.Client, unknown.ID = want.Client.Clone(), want.Client.Clone(), "unknown"
		other.Client.Secrets[0].Hash, fewer.Client.Secrets = "other", want.Client.Secrets[:1]
		for what, before := range map[string]domain.Application{
			"another hash": other, "fewer secrets": fewer, "an unknown application": unknown,
		} {
			e.wantErr(what, e.store.RehashClientSecrets(e.Context(), before, after), domain.ErrConflict)
		}
		got, err := e.store.Application(e.Context(), "acme", "shop")
		e.must(err)
		e.wantSame("the application", got, want)
	}},

	{"Applications/ApplicationsHashedWith/counts the applications with a secret of that key, and names the first",
		func(e *env) {
			secret := func(numbers ...uint32) (c domain.Client) {
				for _, n := range numbers {
					c.Secrets = append(c.Secrets, domain.ClientSecret{Hash: fmt.Sprint(n), HashKey: n, CreatedAt: t0})
				}
				return c
			}
			e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "beta"}, domain.Application{ID: "a", Client: secret(7)}))
			e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "acme"},
				domain.Application{ID: "c", Client: secret(8, 7)}, domain.Application{ID: "b", Client: secret(7)},
				domain.Application{ID: "a", Client: secret(8)}, domain.Application{ID: "public"}))
			first, total, err := e.store.ApplicationsHashedWith(e.Context(), 7, 2)
			e.must(err)
			var names []string
			for _, a := range first {
				names = append(names, a.TenantID+" "+a.ID)
			}
			e.wantSame("the first", names, []string{"acme b", "acme c"})
			e.wantSame("the number", total, 3)
			_, none, err := e.store.ApplicationsHashedWith(e.Context(), 1, 2)
			e.must(err)
			e.wantSame("another key", none, 0)
		}},

	{"APIKeys/APIKeysHashedWith/counts the keys of which one hash is of that key, and names the first", func(e *env) {
		for i, k := range []domain.APIKey{
			{Name: "d", HashKey: 1}, {Name: "b", HashKey: 2, PreviousHash: "p1", PreviousHashKey: 1}, {Name: "c", HashKey: 2},
			{Name: "a", HashKey: 1, PreviousHash: "p2", PreviousHashKey: 1}, {Name: "e", HashKey: 2, PreviousHashKey: 1},
		} {
			k.Hash = fmt.Sprint("hash ", i)
			e.must(SaveAPIKey(e.Context(), e.store, k))
		}
		for _, tt := range []struct {
			number uint32
			limit  int
			total  int
			want   []string
		}{
			{1, 10, 3, []string{"a", "b", "d"}}, {1, 2, 3, []string{"a", "b"}}, {2, 3, 3, []string{"b", "c", "e"}},
			{3, 1, 0, nil},
		} {
			first, total, err := e.store.APIKeysHashedWith(e.Context(), tt.number, tt.limit)
			e.must(err)
			var names []string
			for _, k := range first {
				names = append(names, k.Name)
			}
			what := fmt.Sprintf("of key %d, at most %d", tt.number, tt.limit)
			e.wantSame(what, names, tt.want)
			e.wantSame(what, total, tt.total)
		}
	}},
}

// endingRotations are the clauses about what a pass revokes.
var endingRotations = []clause{
	{"Janitor/Purge/revokes what is active and was rotated within a range, with the event and as facts", func(e *env) {
		e.shop(domain.Settings{})
		for n := 1; n <= 6; n++ {
			t := token(n)
			t.RotatedAt = t0.Add(time.Duration(n) * time.Minute)
			e.insert(t)
		}
		e.must(e.store.Revoke(e.Context(), "acme", tokenID(4), byRequest(t0), NewEvent()))
		expired := token(7)
		expired.RotatedAt, expired.ExpiresAt = t0.Add(2*time.Minute), t0.Add(3*time.Minute)
		e.insert(expired)
		now := t0.Add(time.Hour)
		step := stepOf("one", now, t0.Add(30*time.Minute), 100)
		step.Ended = []port.RotationRange{
			{From: t0.Add(2 * time.Minute), To: t0.Add(3 * time.Minute)},
			{From: t0.Add(4 * time.Minute), To: t0.Add(6 * time.Minute)},
		}
		step.Event = event(1)
		if p := e.purgeStep(step); p.Revoked != 2 || p.Deleted != 1 {
			e.Errorf("got %+v, want 2 revoked and 1 deleted", p)
		}
		for n := 1; n <= 6; n++ {
			got := e.snapshot(tokenID(n)).Token
			switch {
			case n == 2 || n == 5:
				e.wantSame(describe(got), []any{got.RevokedAt, got.RevokedReason}, []any{now, domain.RevokedWithKey})
			case n == 4:
				e.wantSame(describe(got), got.RevokedReason, domain.RevokedByRequest)
			default:
				e.wantSame(describe(got), got.RevokedAt, time.Time{})
			}
		}
		want := event(1)
		want.Tokens = []domain.EndedToken{
			{ID: tokenID(2), ApplicationID: "shop", UserID: "ana"}, {ID: tokenID(5), ApplicationID: "shop", UserID: "ana"},
		}
		e.wantSame("the event", e.eventOf(want.ID), want)
		e.wantFacts("of the sessions", 0, sessionFact(token(2)), sessionFact(token(4)), sessionFact(token(5)))
	}},

	{"Janitor/Purge/a step that revokes nothing stores no event", func(e *env) {
		e.shop(domain.Settings{})
		e.insert(token(1))
		step := stepOf("one", t0.Add(time.Hour), t0.Add(30*time.Minute), 100)
		step.Ended, step.Event = []port.RotationRange{{From: t0.Add(-time.Hour), To: t0}}, event(1)
		if p := e.purgeStep(step); p.Revoked != 0 {
			e.Errorf("%d were revoked, want none", p.Revoked)
		}
		e.wantActive("outside of the range", t0, token(1))
		e.wantSame("the event", e.eventOf(event(1).ID), domain.Event{})
	}},
}

// eventOf returns the stored event of that id, or zero.
func (e *env) eventOf(id domain.ID) domain.Event {
	e.Helper()
	q := port.EventQuery{From: id, Limit: 1000, MaxBytes: unbounded, MaxRows: unbounded}
	page, err := e.store.Events(e.Context(), q)
	e.must(err)
	for _, found := range page.Events {
		if found.ID == id {
			return found
		}
	}
	return domain.Event{}
}

// keyFacts are the clauses about the facts of keys.
var keyFacts = []clause{
	{"Reach/Revoked/gives the signing keys that are revoked, and no other keys", func(e *env) {
		fact := func(tenantID string, n int) domain.Fact {
			return domain.Fact{TenantID: tenantID, KeyID: signingKey(tenantID, n).ID}
		}
		retired, revokedToken, born := signingKey("acme", 3), tokenKey(1), signingKey("acme", 4)
		retired.RetiredAt, revokedToken.RevokedAt, born.RevokedAt = t0, t0, t0
		keys := e.add(signingKey("acme", 1), signingKey("acme", 2), signingKey("", 1), retired, revokedToken)
		e.wantFacts("of no revoked key", 0)
		keys[0].RevokedAt, keys[2].RevokedAt = t0, t0.Add(time.Hour)
		e.must(e.store.ChangeKeys(e.Context(), NewEvent(), port.KeyChange{Replace: []domain.SealedKey{keys[0], keys[2]}}))
		want := []domain.Fact{fact("acme", 1), fact("", 1)}
		e.wantFacts("of two revoked keys", 0, want...)
		stamped, err := e.store.Stamp(e.Context(), t0, 10)
		e.must(err)
		e.wantSame("stamped", stamped, 2)
		e.wantFacts("stamped", 0, want...)
		_, head := e.facts(0)
		if head == 0 {
			e.Errorf("the head is 0 after a stamp")
		}
		e.wantFacts("above the head", head)
		e.add(born)
		e.wantFacts("a key that was revoked when it was added", head, fact("acme", 4))
		stamped, err = e.store.Stamp(e.Context(), t0, 10)
		e.must(err)
		e.wantSame("stamped again", stamped, 1)
		e.wantFacts("above the former head", head, fact("acme", 4))
	}},

	{"Reach/Stamp/stamps at most its limit of signing keys, and tells that there may be more", func(e *env) {
		for n := range 3 {
			k := signingKey("acme", n+1)
			k.RevokedAt = t0
			e.add(k)
		}
		for _, want := range []int{2, 1, 0} {
			got, err := e.store.Stamp(e.Context(), t0, 2)
			e.must(err)
			e.wantSame("stamped", got, want)
		}
	}},
}
