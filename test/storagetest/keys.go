package storagetest

import (
	"fmt"
	"sync"

	"github.com/refreshd/refreshd/domain"
)

// keeping are the clauses about API keys and sealed keys.
var keeping = []clause{
	{"APIKeys/SaveAPIKey/keeps every field", func(e *env) {
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "acme"}))
		k := fullAPIKey()
		e.must(SaveAPIKey(e.Context(), e.store, k))
		byName, err := e.store.APIKeyByName(e.Context(), k.Name)
		e.must(err)
		e.wantSame("by name", byName, k)
		byHash, err := e.store.APIKeyByHash(e.Context(), k.Hash)
		e.must(err)
		e.wantSame("by hash", byHash, k)
		byPrevious, err := e.store.APIKeyByHash(e.Context(), k.PreviousHash)
		e.must(err)
		e.wantSame("by the previous hash", byPrevious, k)
	}},

	{"APIKeys/SaveAPIKey/replaces the key of that name, whole, and its hash finds nothing any more", func(e *env) {
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "acme"}))
		e.must(SaveAPIKey(e.Context(), e.store, fullAPIKey()))
		e.must(SaveAPIKey(e.Context(), e.store, domain.APIKey{Name: "backend", Hash: "another"}))
		got, err := e.store.APIKeyByName(e.Context(), "backend")
		e.must(err)
		e.wantSame("replaced", got, domain.APIKey{Name: "backend", Hash: "another"})
		_, err = e.store.APIKeyByHash(e.Context(), fullAPIKey().Hash)
		e.wantErr("by the old hash", err, domain.ErrNotFound)
		e.must(SaveAPIKey(e.Context(), e.store, domain.APIKey{Name: "other", Hash: fullAPIKey().Hash})) // the hash is free
	}},

	{"APIKeys/SaveAPIKey/another name's hash is a duplicate, and writes nothing", func(e *env) {
		one, two := domain.APIKey{Name: "one", Hash: "hash 1"}, domain.APIKey{Name: "two", Hash: "hash 2"}
		e.must(SaveAPIKey(e.Context(), e.store, one))
		e.must(SaveAPIKey(e.Context(), e.store, two))
		e.must(SaveAPIKey(e.Context(), e.store, two)) // its own hash
		taken := domain.APIKey{Name: "two", Hash: one.Hash}
		e.wantErr("replaced", SaveAPIKey(e.Context(), e.store, taken), domain.ErrDuplicate)
		taken.Name = "three"
		e.wantErr("created", SaveAPIKey(e.Context(), e.store, taken), domain.ErrDuplicate)
		for _, want := range []domain.APIKey{one, two} {
			got, err := e.store.APIKeyByHash(e.Context(), want.Hash)
			e.must(err)
			e.wantSame("after the duplicates", got, want)
		}
		_, err := e.store.APIKeyByName(e.Context(), "three")
		e.wantErr("the one not created", err, domain.ErrNotFound)
	}},

	{"APIKeys/SaveAPIKey/its previous hash finds it too, until it has another one or none", func(e *env) {
		k := domain.APIKey{Name: "backend", Hash: "first"}
		for _, step := range []struct {
			hash, previous string
			free           []string // hashes that find nothing
		}{
			{"first", "", []string{"second", "third"}},
			{"second", "first", []string{"third"}},
			{"third", "second", []string{"first"}},
			{"third", "first", []string{"second"}},
			{"first", "third", []string{"second"}}, // back again
			{"third", "", []string{"first", "second"}},
		} {
			k.Hash, k.PreviousHash = step.hash, step.previous
			e.must(SaveAPIKey(e.Context(), e.store, k))
			for _, hash := range []string{step.hash, step.previous} {
				if hash == "" {
					continue
				}
				got, err := e.store.APIKeyByHash(e.Context(), hash)
				e.must(err)
				e.wantSame("by "+hash, got, k)
			}
			for _, hash := range append(step.free, "") {
				_, err := e.store.APIKeyByHash(e.Context(), hash)
				e.wantErr(fmt.Sprintf("by %q, which it does not have", hash), err, domain.ErrNotFound)
			}
		}
		e.must(SaveAPIKey(e.Context(), e.store, domain.APIKey{Name: "other", Hash: "first", PreviousHash: "second"}))
	}},

	{"APIKeys/SaveAPIKey/a hash of another key, current or previous, is a duplicate", func(e *env) {
		one := domain.APIKey{Name: "one", Hash: "hash 1", PreviousHash: "previous 1"}
		two := domain.APIKey{Name: "two", Hash: "hash 2", PreviousHash: "previous 2"}
		e.must(SaveAPIKey(e.Context(), e.store, one))
		e.must(SaveAPIKey(e.Context(), e.store, two))
		for _, taken := range []string{one.Hash, one.PreviousHash} {
			for _, name := range []string{"two", "three"} {
				e.wantErr(taken+" as the hash of "+name, SaveAPIKey(e.Context(), e.store,
					domain.APIKey{Name: name, Hash: taken, PreviousHash: "free"}), domain.ErrDuplicate)
				e.wantErr(taken+" as the previous hash of "+name, SaveAPIKey(e.Context(), e.store,
					domain.APIKey{Name: name, Hash: "free", PreviousHash: taken}), domain.ErrDuplicate)
			}
		}
		for _, want := range []domain.APIKey{one, two} {
			for _, hash := range []string{want.Hash, want.PreviousHash} {
				got, err := e.store.APIKeyByHash(e.Context(), hash)
				e.must(err)
				e.wantSame("after the duplicates", got, want)
			}
		}
		_, err := e.store.APIKeyByHash(e.Context(), "free")
		e.wantErr("a hash that was not stored", err, domain.ErrNotFound)
	}},

	{"APIKeys/SaveAPIKey/of many concurrent keys with one hash, as either of their two, one is stored", func(e *env) {
		hs := e.handles(3)
		errs := make([]error, 12)
		together(len(errs), func(i int) {
			k := domain.APIKey{Name: fmt.Sprint("key ", i), Hash: "one", PreviousHash: fmt.Sprint("own ", i)}
			if k.ID = tokenID(i + 1); i%2 == 0 {
				k.Hash, k.PreviousHash = k.PreviousHash, k.Hash
			}
			_, errs[i] = hs[i%3].SaveAPIKey(e.Context(), k, 0, NewEvent())
		})
		winner := e.wantOneWinner(errs, domain.ErrDuplicate)
		got, err := e.store.APIKeyByHash(e.Context(), "one")
		e.must(err)
		if want := fmt.Sprint("key ", winner); got.Name != want {
			e.Errorf("the hash finds %s, want %s", got.Name, want)
		}
	}},

	{"APIKeys/SaveAPIKey/for a tenant that does not exist is not found, and writes nothing", func(e *env) {
		e.wantErr("SaveAPIKey", SaveAPIKey(e.Context(), e.store, fullAPIKey()), domain.ErrNotFound)
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "acme"}))
		_, err := e.store.APIKeyByName(e.Context(), "backend")
		e.wantErr("the one not created", err, domain.ErrNotFound)
	}},

	{"APIKeys/APIKeyByName/what does not exist is not found", func(e *env) {
		e.must(SaveAPIKey(e.Context(), e.store, domain.APIKey{Name: "backend", Hash: "hash"}))
		for _, name := range []string{"", "hash", "backend2"} {
			_, err := e.store.APIKeyByName(e.Context(), name)
			e.wantErr(name, err, domain.ErrNotFound)
		}
	}},

	{"APIKeys/APIKeyByHash/what does not exist is not found, however near", func(e *env) {
		e.must(SaveAPIKey(e.Context(), e.store, domain.APIKey{Name: "backend", Hash: everyByte[:32]}))
		for _, hash := range []string{"", everyByte[:31], everyByte[:33], everyByte[1:33], "backend"} {
			_, err := e.store.APIKeyByHash(e.Context(), hash)
			e.wantErr(fmt.Sprintf("%x", hash), err, domain.ErrNotFound)
		}
	}},

	{"Keys/AddKeys/keeps every field", func(e *env) {
		check := domain.SealedKey{Kind: domain.KeyCheck, Number: 1, CreatedAt: t0, Sealed: "sealed"}
		e.must(e.store.AddKeys(e.Context(), NewEvent(), check))
		e.must(e.store.AddKeys(e.Context(), NewEvent(), fullSealedKey()))
		keys, err := sealedKeys(e.Context(), e.store)
		e.must(err)
		if len(keys) != 2 {
			e.Errorf("%d keys, want 2", len(keys))
		}
		e.wantSame("with every field", keyOf(keys, fullSealedKey()), fullSealedKey())
		e.wantSame("with few fields", keyOf(keys, check), check)
	}},

	{"Keys/AddKeys/a taken name is a duplicate, and writes nothing", func(e *env) {
		e.must(e.store.AddKeys(e.Context(), NewEvent(), fullSealedKey()))
		e.must(e.store.AddKeys(e.Context(), NewEvent(), tokenKey(1)))
		again := fullSealedKey()
		again.ID, again.Sealed = "kid-2", "another"
		e.wantErr("a signing key", e.store.AddKeys(e.Context(), NewEvent(), again), domain.ErrDuplicate)
		again = tokenKey(1)
		again.Sealed = "another"
		e.wantErr("a token key", e.store.AddKeys(e.Context(), NewEvent(), again), domain.ErrDuplicate)
		e.wantKeys(fullSealedKey(), tokenKey(1))
		e.wantKeyRevision("after two keys and two duplicates", 2)
	}},

	{"Keys/AddKeys/a taken id is a duplicate, and writes nothing", func(e *env) {
		e.must(e.store.AddKeys(e.Context(), NewEvent(), fullSealedKey()))
		again := fullSealedKey()
		again.TenantID, again.Number, again.Sealed = "other", 7, "another"
		e.wantErr("AddKeys", e.store.AddKeys(e.Context(), NewEvent(), again), domain.ErrDuplicate)
		e.wantKeys(fullSealedKey())
	}},

	{"Keys/AddKeys/each part of the name tells keys apart, and having no id does not clash", func(e *env) {
		want := []domain.SealedKey{
			{Kind: domain.KeyToken, Number: 1},
			{Kind: domain.KeyToken, Number: 2},
			{Kind: domain.KeyAPI, Number: 1},
			{Kind: domain.KeySigning, Number: 1, Algorithm: domain.EdDSA, ID: "a"},
			{Kind: domain.KeySigning, Number: 1, Algorithm: domain.ES256, ID: "A"},
			{Kind: domain.KeySigning, Number: 1, Algorithm: domain.EdDSA, TenantID: "acme", ID: "aa"},
			{Kind: domain.KeySigning, Number: 1, Algorithm: domain.EdDSA, TenantID: "other", ID: "b"},
		}
		for i := range want {
			want[i].Sealed = fmt.Sprint("sealed ", i)
			e.must(e.store.AddKeys(e.Context(), NewEvent(), want[i]))
		}
		e.wantKeys(want...)
	}},

	{"Keys/AddKeys/of several, one of which is a duplicate, writes none", func(e *env) {
		e.must(e.store.AddKeys(e.Context(), NewEvent(), tokenKey(1), fullSealedKey(), tokenKey(2)))
		keys, err := e.store.KeysSince(e.Context(), 1, 10)
		e.must(err)
		want := []domain.SealedKey{fullSealedKey(), tokenKey(2)}
		want[0].Revision, want[1].Revision = 2, 3
		e.wantSame("the second and third", keys, want)
		e.wantErr("the last one", e.store.AddKeys(e.Context(),
			NewEvent(), tokenKey(3), tokenKey(4), tokenKey(2)), domain.ErrDuplicate)
		e.wantErr("by id", e.store.AddKeys(e.Context(),
			NewEvent(), tokenKey(3), domain.SealedKey{Kind: domain.KeySigning, ID: "kid-1"}),
			domain.ErrDuplicate)
		e.wantErr("of each other", e.store.AddKeys(e.Context(),
			NewEvent(), tokenKey(3), tokenKey(3)), domain.ErrDuplicate)
		e.wantKeys(tokenKey(1), fullSealedKey(), tokenKey(2))
		e.wantKeyRevision("after three keys and three duplicates", 3)
	}},

	{"Keys/AddKeys/of many concurrent calls under one name exactly one succeeds", func(e *env) {
		hs := e.handles(3)
		errs := make([]error, 20)
		sealed := func(i int) domain.SealedKey {
			k := fullSealedKey()
			k.ID, k.Sealed = fmt.Sprint("kid-", i), fmt.Sprint("sealed ", i)
			return k
		}
		together(len(errs), func(i int) { errs[i] = hs[i%3].AddKeys(e.Context(), NewEvent(), sealed(i)) })
		e.wantKeys(sealed(e.wantOneWinner(errs, domain.ErrDuplicate)))
	}},

	{"Keys/Reseal/replaces ciphertext and SealedBy of that key and nothing else", func(e *env) {
		want := []domain.SealedKey{fullSealedKey(), tokenKey(1), tokenKey(2)}
		want[2].Sealed = want[1].Sealed // equal by chance
		for _, k := range want {
			e.must(e.store.AddKeys(e.Context(), NewEvent(), k))
		}
		for i := range want {
			before := want[i]
			want[i].Sealed = fmt.Sprint("\x00\xff again ", i)
			want[i].SealedBy = fmt.Sprint("master ", i)
			e.must(e.store.Reseal(e.Context(), before, want[i].Sealed, want[i].SealedBy))
			e.wantKeys(want...)
		}
	}},

	{"Keys/Reseal/of a key that has changed or does not exist is a conflict, and writes nothing", func(e *env) {
		e.must(e.store.AddKeys(e.Context(), NewEvent(), tokenKey(1)))
		changed := tokenKey(1)
		changed.Sealed = "another"
		e.wantErr("changed", e.store.Reseal(e.Context(), changed, "again", ""), domain.ErrConflict)
		e.wantErr("unknown", e.store.Reseal(e.Context(), tokenKey(2), "again", ""), domain.ErrConflict)
		e.wantKeys(tokenKey(1))
		e.wantKeyRevision("after one key and two conflicts", 1)
	}},

	{"Keys/Reseal/gives the key the next revision", func(e *env) {
		e.must(e.store.AddKeys(e.Context(), NewEvent(), tokenKey(1)))
		e.must(e.store.AddKeys(e.Context(), NewEvent(), tokenKey(2)))
		e.must(e.store.Reseal(e.Context(), tokenKey(1), "again", ""))
		e.wantKeyRevision("after three writes", 3)
		keys, err := e.store.KeysSince(e.Context(), 2, 10)
		e.must(err)
		want := tokenKey(1)
		want.Sealed, want.Revision = "again", 3
		e.wantSame("what is newer than the two keys", keys, []domain.SealedKey{want})
		keys, err = e.store.KeysSince(e.Context(), 0, 10)
		e.must(err)
		if len(keys) != 2 {
			e.Errorf("%d keys in all, want 2", len(keys))
		}
	}},

	{"Keys/Reseal/of many concurrent calls exactly one succeeds", func(e *env) {
		e.must(e.store.AddKeys(e.Context(), NewEvent(), tokenKey(1)))
		hs := e.handles(3)
		errs := make([]error, 20)
		together(len(errs), func(i int) { errs[i] = hs[i%3].Reseal(e.Context(), tokenKey(1), fmt.Sprint("again ", i), "") })
		want := tokenKey(1)
		want.Sealed = fmt.Sprint("again ", e.wantOneWinner(errs, domain.ErrConflict))
		e.wantKeys(want)
	}},

	{"Keys/KeyRevision/is that of the newest key, and 0 while there is none", func(e *env) {
		e.wantKeyRevision("empty", 0)
		for n := range uint32(3) {
			e.must(e.store.AddKeys(e.Context(), NewEvent(), tokenKey(n+1)))
			e.wantKeyRevision("a key later", uint64(n)+1)
		}
	}},

	{"Keys/KeysSince/gives what is newer, by revision, and no more than was asked for", func(e *env) {
		want := []domain.SealedKey{tokenKey(3), fullSealedKey(), tokenKey(1), tokenKey(2)}
		for i := range want {
			e.must(e.store.AddKeys(e.Context(), NewEvent(), want[i]))
			want[i].Revision = uint64(i) + 1
		}
		for since := range want {
			for limit := 1; limit <= len(want); limit++ {
				got, err := e.store.KeysSince(e.Context(), uint64(since), limit)
				e.must(err)
				what := fmt.Sprintf("%d since %d", limit, since)
				e.wantSame(what, got, want[since:min(since+limit, len(want))])
			}
		}
		for _, since := range []uint64{4, 5, 1 << 62} {
			got, err := e.store.KeysSince(e.Context(), since, 10)
			e.must(err)
			if len(got) > 0 {
				e.Errorf("%d keys since %d, want none", len(got), since)
			}
		}
	}},

	// A process that has missed a key refuses what it signed, and publishes a set without it, as long as it runs.
	{"Keys/KeysSince/a reader that continues from the last revision misses no key of concurrent writers", func(e *env) {
		const writers, each = 8, 6
		hs := e.handles(4)
		reader := e.handle()
		var writing sync.WaitGroup
		var last uint64
		seen := map[uint32]bool{}
		read := func() {
			keys, err := reader.KeysSince(e.Context(), last, 1000)
			e.must(err)
			for _, k := range keys {
				if k.Revision <= last {
					e.Errorf("revision %d after %d", k.Revision, last)
				}
				seen[k.Number], last = true, k.Revision
			}
		}
		for w := range writers {
			writing.Go(func() {
				for i := range each {
					if err := hs[w%len(hs)].AddKeys(e.Context(), NewEvent(), tokenKey(uint32(w*each+i+1))); err != nil {
						e.Errorf("AddKeys: %v", err)
					}
				}
			})
		}
		written := make(chan struct{})
		go func() { writing.Wait(); close(written) }()
		for reading := true; reading; {
			select {
			case <-written:
				reading = false
			default:
			}
			read()
		}
		if len(seen) != writers*each {
			e.Errorf("the reader saw %d keys of %d", len(seen), writers*each)
		}
		e.wantKeyRevision("in the end", writers*each)
	}},

	{"Keys/KeysOfTenant/gives those of that tenant; for an empty id those of none", func(e *env) {
		of := func(tenantID, id string, number uint32) domain.SealedKey {
			k := fullSealedKey()
			k.TenantID, k.ID, k.Number = tenantID, id, number
			return k
		}
		keys := []domain.SealedKey{tokenKey(1), of("acme", "a", 1), of("acme", "b", 2), of("Acme", "c", 1), of("", "d", 1)}
		for _, k := range keys {
			e.must(e.store.AddKeys(e.Context(), NewEvent(), k))
		}
		for tenantID, want := range map[string][]domain.SealedKey{
			"acme": keys[1:3], "Acme": keys[3:4], "": {keys[0], keys[4]}, "acm": nil,
		} {
			got, err := e.store.KeysOfTenant(e.Context(), tenantID)
			e.must(err)
			if len(got) != len(want) {
				e.Errorf("%q: %d keys, want %d", tenantID, len(got), len(want))
			}
			for _, k := range want {
				stored := keyOf(got, k)
				stored.Revision = 0
				e.wantSame(fmt.Sprintf("a key of %q", tenantID), stored, k)
			}
		}
	}},

	{"Keys/KeyByID/finds the key of that id, and none for no id", func(e *env) {
		e.must(e.store.AddKeys(e.Context(), NewEvent(), tokenKey(1)))
		e.must(e.store.AddKeys(e.Context(), NewEvent(), fullSealedKey()))
		got, err := e.store.KeyByID(e.Context(), "kid-1")
		e.must(err)
		want := fullSealedKey()
		want.Revision = 2
		e.wantSame("by its id", got, want)
		for _, id := range []string{"", "kid", "KID-1", "kid-1 "} {
			_, err := e.store.KeyByID(e.Context(), id)
			e.wantErr(fmt.Sprintf("%q", id), err, domain.ErrNotFound)
		}
	}},

	{"Store/HasData/reports everything except sealed keys", func(e *env) {
		want := func(when string, want bool) {
			e.Helper()
			got, err := e.store.HasData(e.Context())
			e.must(err)
			if got != want {
				e.Errorf("%s: HasData = %t, want %t", when, got, want)
			}
		}
		want("empty", false)
		e.must(e.store.AddKeys(e.Context(), NewEvent(), tokenKey(1)))
		e.must(e.store.AddKeys(e.Context(), NewEvent(), fullSealedKey()))
		want("with sealed keys", false)
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "acme"}))
		want("with a tenant", true)
		e.must(DeleteTenant(e.Context(), e.store, "acme", t0))
		e.must(SaveAPIKey(e.Context(), e.store, domain.APIKey{Name: "backend", Hash: "hash"}))
		want("with an API key", true)
	}},
}

// wantKeys checks that these are the sealed keys, in any order.
func (e *env) wantKeys(want ...domain.SealedKey) {
	e.Helper()
	got, err := sealedKeys(e.Context(), e.store)
	e.must(err)
	if len(got) != len(want) {
		e.Errorf("%d sealed keys, want %d", len(got), len(want))
	}
	for _, k := range want {
		e.wantSame("a sealed key", keyOf(got, k), k)
	}
}

func (e *env) wantKeyRevision(when string, want uint64) {
	e.Helper()
	got, err := e.store.KeyRevision(e.Context())
	e.must(err)
	if got != want {
		e.Errorf("%s: KeyRevision = %d, want %d", when, got, want)
	}
}
