package gormstore_test

import (
	"database/sql"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/adapter/gormstore"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/storagetest"
)

// migrateSteps returns the steps that Migrate reports.
func migrateSteps(t *testing.T, s *gormstore.Store) string {
	t.Helper()
	var steps []string
	if err := s.Migrate(t.Context(), func(step string) { steps = append(steps, step) }); err != nil {
		t.Fatalf("Migrate: %v", err)
	}
	return strings.Join(steps, "\n")
}

// policies are those of applications, by the ids of tenant and application.
type policies map[[2]string]domain.Policy

// crowdOf creates many tenants with an application each, one with more than a page of them, and one that has set what
// the others leave at the default. It returns the policies.
func crowdOf(t *testing.T, s *gormstore.Store) policies {
	t.Helper()
	want := make(policies)
	save := func(tenant domain.Tenant, with ...domain.Application) {
		t.Helper()
		if err := storagetest.SaveTenant(t.Context(), s, tenant, with...); err != nil {
			t.Fatal(err)
		}
		for _, a := range with {
			want[[2]string{tenant.ID, a.ID}] = must(domain.Combine(tenant, a))(t)
		}
	}
	var many []domain.Application
	for i := range 1030 {
		many = append(many, domain.Application{ID: fmt.Sprintf("app-%04d", i)})
	}
	save(domain.Tenant{ID: "acme"}, many...)
	for i := range 70 {
		save(domain.Tenant{ID: fmt.Sprintf("tenant-%d", i)}, domain.Application{ID: "shop"})
	}
	bodies := domain.Settings{CookieOnly: new(false)}
	save(domain.Tenant{ID: "own"}, domain.Application{ID: "body", Settings: bodies}, domain.Application{ID: "shop"})
	save(domain.Tenant{ID: "bodies", Settings: bodies}, domain.Application{ID: "shop"})
	return want
}

// policiesOf reads the policies of the same applications.
func policiesOf(t *testing.T, s *gormstore.Store, of policies) policies {
	t.Helper()
	got := make(policies)
	for a := range of {
		got[a] = must(s.Policy(t.Context(), a[0], a[1]))(t)
	}
	return got
}

// anOlderProgram stores the policies as a program with other defaults for three settings, and without a fourth, would.
func anOlderProgram(t *testing.T, db *sql.DB) {
	t.Helper()
	execute(t, db, `UPDATE applications SET grace_period = 7000000, policy = replace(replace(replace(replace(policy,
'"cookieOnly":true', '"cookieOnly":false'), '"cookieHostOnly":false,', ''),
'"gracePeriod":30000000000', '"gracePeriod":7000000000'),
'"ttl":', '"ttl":1,"before":')`, `UPDATE tenants SET longest_ttl = 1`)
}

// An application without cookieOnly has the documented default, whichever program saved it. Otherwise a changed default
// would apply only to new applications.
func TestMigrateGivesStoredApplicationsTheDefaultsOfThisProgram(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		s := d.migrated(t, gormstore.Options{})
		want := crowdOf(t, s)
		db := d.raw(t)
		anOlderProgram(t, db)
		for a, p := range policiesOf(t, s, want) {
			if p.CookieOnly || p.TTL != 1 || p.GracePeriod.Seconds() != 7 {
				t.Fatalf("%s/%s has %+v: not what an older program left", a[0], a[1], p)
			}
		}
		wantSteps := fmt.Sprintf("combined the policies of %d applications again", len(want))
		if got := migrateSteps(t, s); got != wantSteps {
			t.Errorf("got steps %q, want %q", got, wantSteps)
		}
		if diff := cmp.Diff(want, policiesOf(t, s, want)); diff != "" {
			t.Errorf("policies (-want +got):\n%s", diff)
		}
		grace := domain.DefaultPolicy().GracePeriod.Microseconds()
		var others, shortest int64
		if err := db.QueryRowContext(t.Context(), `SELECT count(*), (SELECT min(longest_ttl) FROM tenants) FROM applications
WHERE grace_period <> $1`, grace).Scan(&others, &shortest); err != nil {
			t.Fatal(err)
		}
		if want := domain.DefaultPolicy().TTL.Microseconds(); others != 0 || shortest != want {
			t.Errorf("%d applications have another grace period beside the policy, and a longest TTL is %d, want 0, and %d",
				others, shortest, want)
		}
		if got := migrateSteps(t, s); got != "" {
			t.Errorf("migrated again: got steps %q, want none", got)
		}
	})
}

// A program that is older than the schema does not know what it would remove.
func TestMigrateLeavesThePoliciesOfANewerProgram(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		s := d.migrated(t, gormstore.Options{})
		shop(t, s)
		db := d.raw(t)
		execute(t, db, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, true)`,
			`UPDATE applications SET policy = replace(policy, '{"active":true', '{"ofTheNextVersion":{"a":[1]},"active":true')`)
		if got, want := must(s.Policy(t.Context(), "acme", "shop"))(t), domain.DefaultPolicy(); got != want {
			t.Errorf("got the policy %+v, want %+v", got, want)
		}
		if got := migrateSteps(t, s); got != "" {
			t.Errorf("got steps %q, want none", got)
		}
		var kept int
		if err := db.QueryRowContext(t.Context(), `SELECT count(*) FROM applications WHERE policy LIKE '%ofTheNextVersion%'`).
			Scan(&kept); err != nil {
			t.Fatal(err)
		}
		if kept != 1 {
			t.Error("a newer program's policy was replaced")
		}
	})
}

// A policy that an older program allowed must not keep a newer one from starting.
func TestMigrateKeepsThePolicyOfWhatCannotBeCombined(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		s := d.migrated(t, gormstore.Options{})
		shop(t, s)
		if err := storagetest.SaveApplication(t.Context(), s, domain.Application{TenantID: "acme", ID: "web"}); err != nil {
			t.Fatal(err)
		}
		anOlderProgram(t, d.raw(t))
		execute(t, d.raw(t), `UPDATE applications SET settings = '{"ttlMinutes":-1}' WHERE id = 'shop'`)
		got := migrateSteps(t, s)
		for _, want := range []string{
			"the application shop of the tenant acme keeps its policy: ", "policies of 1 applications",
		} {
			if !strings.Contains(got, want) {
				t.Errorf("got steps %q, want %q in them", got, want)
			}
		}
		for id, want := range map[string]bool{"shop": false, "web": true} {
			if got := must(s.Policy(t.Context(), "acme", id))(t); got.CookieOnly != want {
				t.Errorf("%s: cookieOnly is %t, want %t", id, got.CookieOnly, want)
			}
		}
	})
}

// A field without a place in the codec does not compile, because its structs are converted to the domain's. A field
// that is stored under the name of another, or under none, does. So each is stored alone, and read again. An unset
// field must stay unset.
func TestTheCodecKeepsEachFieldApart(t *testing.T) {
	for field := range reflect.TypeFor[domain.Settings]().Fields() {
		for _, zero := range []bool{true, false} {
			var want domain.Settings
			into := reflect.New(field.Type.Elem())
			if !zero {
				notZero(t, into.Elem())
			}
			reflect.ValueOf(&want).Elem().FieldByIndex(field.Index).Set(into)
			text := must(gormstore.EncodeSettings(want))(t)
			if diff := cmp.Diff(want, must(gormstore.DecodeSettings(text))(t)); diff != "" {
				t.Errorf("%s in %s (-want +got):\n%s", field.Name, text, diff)
			}
		}
	}
	for field := range reflect.TypeFor[domain.Policy]().Fields() {
		var want domain.Policy
		notZero(t, reflect.ValueOf(&want).Elem().FieldByIndex(field.Index))
		text := must(gormstore.EncodePolicy(want))(t)
		if diff := cmp.Diff(want, must(gormstore.DecodePolicy(text))(t)); diff != "" {
			t.Errorf("%s in %s (-want +got):\n%s", field.Name, text, diff)
		}
	}
}

func notZero(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString("a")
	case reflect.Int64:
		v.SetInt(1_000_000_001)
	default:
		t.Fatalf("no value for a %v: add one", v.Type())
	}
}
