package gormstore_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/refreshd/refreshd/adapter/gormstore"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/test/storagetest"
	"github.com/refreshd/refreshd/test/support/postgres"
)

// A role that owns nothing can serve with the grants of OPERATING.md, and needs no others.
func TestPostgresARoleThatOwnsNothingServesWithTheGrantsOfTheDocument(t *testing.T) {
	t.Parallel()
	dsn := postgres.NewDatabase(t)
	role, as, owner := newRole(t, dsn)
	s := must(gormstore.OpenPostgres(t.Context(), domain.NewSecret(dsn), gormstore.Options{}))(t)
	defer s.Close()
	if err := s.Migrate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	tables := must(owner.QueryContext(t.Context(), `SELECT relname FROM pg_class
		WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace`))(t)
	defer tables.Close()
	var got []string
	for tables.Next() {
		var name string
		if err := tables.Scan(&name); err != nil {
			t.Fatal(err)
		}
		if name != "janitor" { // which only older programs use
			got = append(got, name)
		}
	}
	want := slices.Concat(gormstore.WrittenTables, gormstore.ReadTables)
	slices.Sort(got)
	slices.Sort(want)
	if err := tables.Err(); err != nil || !slices.Equal(got, want) {
		t.Fatalf("the schema has %q, %v; privileges are asked for on %q", got, err, want)
	}
	document := string(must(os.ReadFile("../../OPERATING.md"))(t))
	grants := regexp.MustCompile(`(?m)^GRANT .* TO serving;$`).FindAllString(document, -1)
	if len(grants) != 2 {
		t.Fatalf("OPERATING.md has the grants %q, want two", grants)
	}
	for _, grant := range grants {
		execute(t, owner, strings.Replace(grant, "TO serving", "TO "+role, 1))
	}
	open := func() *gormstore.Store { return must(gormstore.OpenPostgres(t.Context(), as, gormstore.Options{}))(t) }
	ready := open()
	defer ready.Close()
	if err := ready.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	storagetest.Run(t, func(t *testing.T) func() port.Store {
		execute(t, owner, `TRUNCATE `+strings.Join(gormstore.WrittenTables, ", "))
		execute(t, owner, `INSERT INTO key_ring (one, revision) VALUES (1, 0)`, // as after the migration
			`INSERT INTO revocation_feed (one, position) VALUES (1, 0)`)
		return func() port.Store { return open() }
	})
}

// A role that may read and not write would be reported ready, and fail every call.
func TestPostgresARoleThatLacksAPrivilegeIsNotReadyAndSaysWhich(t *testing.T) {
	t.Parallel()
	dsn := postgres.NewDatabase(t)
	role, as, owner := newRole(t, dsn)
	s := must(gormstore.OpenPostgres(t.Context(), as, gormstore.Options{}))(t)
	defer s.Close()
	if err := s.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "refreshd migrate") {
		t.Errorf("without a schema: got %v, want an error that names refreshd migrate", err)
	}
	migrating := must(gormstore.OpenPostgres(t.Context(), domain.NewSecret(dsn), gormstore.Options{}))(t)
	defer migrating.Close()
	if err := migrating.Migrate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	written, read := strings.Join(gormstore.WrittenTables, ", "), strings.Join(gormstore.ReadTables, ", ")
	everything := []string{
		`GRANT SELECT, INSERT, UPDATE, DELETE ON ` + written + ` TO ` + role, `GRANT SELECT ON ` + read + ` TO ` + role,
	}
	for _, tc := range []struct{ revoke, lacking string }{
		{`REVOKE INSERT, UPDATE, DELETE ON ` + written + ` FROM ` + role, "INSERT on refresh_tokens"},
		{`REVOKE UPDATE ON marks FROM ` + role, "lacks UPDATE on marks:"},
		{`REVOKE DELETE ON refresh_tokens FROM ` + role, "lacks DELETE on refresh_tokens:"},
		{`REVOKE SELECT ON api_keys FROM ` + role, "lacks SELECT on api_keys:"},
		{`REVOKE SELECT ON goose_db_version FROM ` + role, "lacks SELECT on goose_db_version:"},
	} {
		execute(t, owner, everything...)
		if err := s.Ready(t.Context()); err != nil {
			t.Fatalf("with every privilege: %v", err)
		}
		execute(t, owner, tc.revoke)
		err := s.Ready(t.Context())
		for _, want := range append([]string{tc.lacking, role}, everything...) {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v, want an error that says %q", tc.revoke, err, want)
			}
		}
	}
}
