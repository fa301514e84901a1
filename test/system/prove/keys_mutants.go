package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/refreshd/refreshd/test/support/rig"
)

// longestKeySearch is how long a scene runs with a mutant.
const longestKeySearch = 3 * time.Minute

// findInScene runs a mutant in its scene until something is wrong, and reports whether it was.
func findInScene(ctx context.Context, o options, m mutant, seed uint64, dir string, w io.Writer) (bool, error) {
	i := slices.IndexFunc(keyScenes, func(s keyScene) bool { return s.name == m.scene })
	if i < 0 {
		return false, fmt.Errorf("there is no scene %s", m.scene)
	}
	m.changes = slices.Concat(oftenRotates, m.changes)
	program, err := rig.Build(ctx, dir, m.build())
	if err != nil {
		return false, err
	}
	began := time.Now()
	faults, _, err := keyRound(ctx, program, keyScenes[i], seed, longestKeySearch, io.Discard)
	if err != nil {
		return false, err
	}
	by := "nothing: NOT FOUND"
	if len(faults) > 0 {
		by = fmt.Sprintf("%.160s", strings.Join(strings.Fields(faults[0]), " "))
	}
	fmt.Fprintf(w, "| %s: %s | %s | %.0f s |\n", m.name, m.says, by, time.Since(began).Seconds())
	return len(faults) > 0, nil
}

// keyMutants are services that change keys wrongly.
var keyMutants = []mutant{
	{
		name: "start-now", says: "a key starts when it was made, not when verifiers know it", scene: "keys-caches",
		changes: []change{{"usecase/keychange.go", "CacheAge: k.CacheAge,", "CacheAge: 0,"}},
	},
	{
		name: "cache-of-an-hour", says: "the arithmetic takes half of the cache age", scene: "keys-caches",
		changes: []change{{"usecase/keychange.go", "CacheAge: k.CacheAge,", "CacheAge: k.CacheAge / 2,"}},
	},
	{
		name: "retired-early", says: "a key is retired while its access tokens are valid", scene: "keys-caches",
		changes: []change{{"domain/keysteps.go", "		return last.Add(MaxAccessTokenTTL + r.CacheAge)\n",
			"		return last.Add(r.CacheAge)\n"}},
	},
	{
		name: "algorithm-now", says: "another algorithm signs when its key is made", scene: "keys-caches",
		changes: []change{{"domain/signingkey.go", `	for _, k := range ks.byAlgorithm[wanted] {
		if k.started(at) {`, `	for _, k := range ks.byAlgorithm[wanted] {
		if k.start().Before(Never) {`}},
	},
	{
		name: "revocation-makes", says: "after a revocation a new key signs, and not the standby", scene: "keys-caches",
		changes: []change{
			{"usecase/keyend.go", "	case r.NewKey:\n", "	case r.NewKey, len(others) > 0:\n"},
		},
	},
	{
		name: "unsealed", says: "the new master key is in force although it has not sealed the token keys",
		scene: "keys-master",
		changes: []change{
			{"usecase/keyseal.go", "			if s.SealedBy == k.masterID {\n",
				"			if s.SealedBy == k.masterID || s.Kind == domain.KeyToken {\n"},
			{"adapter/gormstore/keys.go", "			if other {\n", "			if other && before.Number == 0 {\n"},
		},
	},
	{
		name: "sealed-by-own", says: "a service seals by the first of its master keys, and not by the one in force",
		scene: "keys-master",
		changes: []change{
			{"usecase/keyseal.go", "			by = r.inForce\n", "			_ = r.inForce\n"},
			{"adapter/gormstore/keys.go", "	if len(keys) == 0 {\n		return nil\n	}\n	var inForce string\n",
				"	if len(keys) < 1000 {\n		return nil\n	}\n	var inForce string\n"},
		},
	},
	{
		name: "sealed-at-start", says: "a service with two master keys seals all keys again when it starts",
		scene: "keys-master",
		changes: []change{{"usecase/keys.go", "	return k, k.loadFirst(ctx)\n", `
	if err := k.loadFirst(ctx); err != nil || k.Previous == nil {
		return k, err
	}
	return k, k.Reseal(ctx, domain.Service(), nil)
`}},
	},
	{
		name: "ring-unread", says: "a service does not read the changes of keys", scene: "keys-ended",
		changes: []change{{"usecase/keyring.go", "		complete := len(changed) < keyPage\n",
			"		changed = nil\n		complete := true\n"}},
	},
	{
		name: "revoke-early", says: "the response to a revocation does not wait for the other services",
		scene:   "keys-ended",
		changes: []change{{"usecase/keyend.go", "		sleep(ctx, wait)\n", "		sleep(ctx, wait/1000)\n"}},
	},
	{
		name: "revoked-verifies", says: "a revoked key verifies", scene: "keys-ended",
		changes: []change{
			{"usecase/keyring.go", "	if !key.Published() {\n		if ok", "	if !key.RetiredAt.IsZero() {\n		if ok"},
			{"usecase/keyring.go", "	if !key.Published() {\n		return", "	if !key.RetiredAt.IsZero() {\n		return"},
		},
	},
	{
		name: "revoked-published", says: "key sets keep a revoked key", scene: "keys-ended",
		changes: []change{{"usecase/keys.go", "slices.Clone(keys.Published()),\n", "slices.Clone(keys.All()),\n"}},
	},
	{
		name: "key-no-fact", says: "the revocation of a key is not on the stream", scene: "keys-ended",
		changes: []change{{"adapter/gormstore/reach.go", "`kind = 'signing' AND revoked_at <> 0`",
			"`kind = 'signing' AND revoked_at < 0`"}},
	},
}
