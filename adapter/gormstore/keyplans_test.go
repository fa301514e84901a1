package gormstore_test

import (
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/refreshd/refreshd/adapter/gormstore"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/test/storagetest"
)

// keyTable matches a statement that reads or changes the table of keys.
var keyTable = regexp.MustCompile(`(FROM|UPDATE) keys\b`)

// keyStatements returns those on the keys: a change, a seal, two pages of signing keys. TurnCheck, which reads all keys
// once after they were all sealed again, is not among them.
func keyStatements(t *testing.T, s *gormstore.Store, j *journal) (statements []string) {
	t.Helper()
	signing := func(tenant string) domain.SealedKey {
		return domain.SealedKey{
			Kind: domain.KeySigning, TenantID: tenant, Algorithm: domain.ES256, Number: 1, ID: tenant, CreatedAt: start,
			Sealed: "sealed",
		}
	}
	change := func(c port.KeyChange) {
		t.Helper()
		if err := s.ChangeKeys(t.Context(), storagetest.NewEvent(), c); err != nil {
			t.Fatal(err)
		}
	}
	change(port.KeyChange{Add: []domain.SealedKey{signing("acme"), signing("other")}})
	stored := must(s.KeyByID(t.Context(), "acme"))(t)
	j.statements(t)
	change(port.KeyChange{Add: []domain.SealedKey{signing("third")}, Replace: []domain.SealedKey{stored}})
	if err := s.Reseal(t.Context(), signing("acme"), "again", "master"); err != nil {
		t.Fatal(err)
	}
	for _, limit := range []int{1, 9} {
		if _, _, err := s.SigningKeys(t.Context(), "a", limit); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]bool{}
	for _, text := range j.statements(t) {
		if keyTable.MatchString(text) && !seen[text] {
			statements, seen[text] = append(statements, text), true
		}
	}
	if len(statements) != 6 {
		t.Fatalf("got %d statements, want a replacement, the check value, a seal and three of pages: %q", len(statements),
			statements)
	}
	return statements
}

// A hundred thousand tenants have as many signing keys. Statements for one, and for a page of them, must not read all.
func TestPostgresKeysAreFoundByTheirIndexes(t *testing.T) {
	t.Parallel()
	d := onPostgres(t)
	var j journal
	s := d.migrated(t, gormstore.Options{Logger: j.logger()})
	statements := keyStatements(t, s, &j)
	db := d.raw(t)
	conn := planner(t, db)
	for _, when := range []string{"small", "large"} {
		if when == "large" {
			execute(t, db, `INSERT INTO keys (kind, tenant_id, algorithm, number, id, created_at, starts_at, retired_at,
				sealed, revision)
			SELECT 'signing', 'tenant ' || n, 'ES256', 1, 'kid ' || n, 1, 0, 0, '', n + 1000
			FROM generate_series(1, 20000) AS n`,
				`ANALYZE keys`)
		}
		for _, text := range statements {
			most := 0
			for _, p := range parameter.FindAllStringSubmatch(text, -1) {
				most = max(most, must(strconv.Atoi(p[1]))(t))
			}
			values := ""
			if most > 0 {
				values = ` (` + strings.TrimSuffix(strings.Repeat("NULL, ", most), ", ") + `)`
			}
			planText(t, conn, `PREPARE step AS `+text)
			plan := planText(t, conn, `EXPLAIN EXECUTE step`+values)
			planText(t, conn, `DEALLOCATE step`)
			if !strings.Contains(plan, "keys_pkey") && !strings.Contains(plan, "keys_tenant") &&
				!strings.Contains(plan, "keys_id") || strings.Contains(plan, "Seq Scan") {
				t.Errorf("%s: want a scan of an index of keys and no other: %s\n%s", when, text, plan)
			}
		}
	}
}

func TestSQLiteKeysAreFoundByTheirIndexes(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	var j journal
	s := d.migrated(t, gormstore.Options{Logger: j.logger()})
	for _, text := range keyStatements(t, s, &j) {
		plan := strings.Join(planOf(t, d.raw(t), text), "\n")
		if !strings.Contains(plan, "SEARCH keys USING") || strings.Contains(plan, "SCAN") ||
			strings.Contains(plan, "TEMP B-TREE") {
			t.Errorf("want a search of an index, and no scan: %s\n%s", text, plan)
		}
	}
}
