package gormstore_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/refreshd/refreshd/adapter/gormstore"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/storagetest"
)

// A program without the seventh migration serves beside this one during a rolling upgrade. It seals keys again without
// noting the master key, so the former note must not hold: the check value could be turned, and the key be lost.
func TestASealOfAnOlderProgramIsUnknown(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		s := d.migrated(t, gormstore.Options{})
		k := domain.SealedKey{Kind: domain.KeyToken, Number: 1, CreatedAt: start, Sealed: "sealed", SealedBy: "master"}
		if err := s.AddKeys(t.Context(), storagetest.NewEvent(), k); err != nil {
			t.Fatal(err)
		}
		sealedBy := func() string {
			t.Helper()
			keys := must(s.KeysOfTenant(t.Context(), ""))(t)
			return keys[0].SealedBy
		}
		if got := sealedBy(); got != "master" {
			t.Errorf("added: got %q, want master", got)
		}
		db := d.raw(t)
		execute(t, db, `UPDATE key_ring SET revision = revision + 1`)
		must(db.ExecContext(t.Context(), `UPDATE keys SET sealed = $1, revision = 2`, []byte("again")))(t)
		if got := sealedBy(); got != "" {
			t.Errorf("sealed by an older program: got %q, want an unknown master key", got)
		}
	})
}

// What an older program adds during a rolling upgrade has the defaults, and its API keys are of the first hash key.
func TestRowsOfAnOlderProgramHaveTheDefaults(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		s := d.migrated(t, gormstore.Options{})
		for _, insert := range []string{
			`INSERT INTO api_keys (name, hash, tenant_id, permissions, expires_at) VALUES ('old', $1, '', '{}', 0)`,
			`INSERT INTO keys (kind, tenant_id, algorithm, number, id, created_at, starts_at, retired_at, sealed, revision)
			VALUES ('token', '', '', 1, '', 1, 0, 0, $1, 1)`,
		} {
			must(d.raw(t).ExecContext(t.Context(), insert, []byte("bytes")))(t)
		}
		first, total, err := s.APIKeysHashedWith(t.Context(), 1, 9)
		if err != nil || total != 1 || first[0].Name != "old" || first[0].PreviousHashKey != 0 {
			t.Errorf("got %+v of %d, %v, want the API key of the older program", first, total, err)
		}
		k := must(s.KeysOfTenant(t.Context(), ""))(t)[0]
		if k.SealedBy != "" || !k.RevokedAt.IsZero() || !k.KnownAt.IsZero() || k.Name != "" {
			t.Errorf("got %+v, want no seal, name, or further instant", k)
		}
	})
}

// An older program drops what a pass has noted when it makes a step of it: the refresh tokens of its step are not
// noted, so the pass must not have a result.
func TestAPassWithAStepOfAnOlderProgramHasNoResult(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		s := d.migrated(t, gormstore.Options{})
		shop(t, s)
		issue(t, s, 5)
		db := d.raw(t)
		step := purgeStep(2)
		must(s.Purge(t.Context(), step))(t)
		var cursor string
		if err := db.QueryRowContext(t.Context(), `SELECT cursor FROM jobs`).Scan(&cursor); err != nil {
			t.Fatal(err)
		}
		var at map[string]any
		if err := json.Unmarshal([]byte(cursor), &at); err != nil {
			t.Fatal(err)
		}
		if at["began"] == nil {
			t.Fatalf("the position does not note when the pass began: %s", cursor)
		}
		delete(at, "began")
		delete(at, "oldest")
		older := must(json.Marshal(at))(t)
		execute(t, db, `UPDATE jobs SET cursor = '`+string(older)+`'`)
		pass(t, s, step)
		if began, oldest, err := s.OldestRotation(t.Context()); err != nil || !began.IsZero() || !oldest.IsZero() {
			t.Errorf("got %v, %v, %v, want no result", began, oldest, err)
		}
		pass(t, s, step)
		if began, _, err := s.OldestRotation(t.Context()); err != nil || !began.Equal(step.Now.Truncate(time.Microsecond)) {
			t.Errorf("a pass of this program: got %v, %v, want %v", began, err, step.Now)
		}
	})
}
