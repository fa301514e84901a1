package gormstore_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/adapter/gormstore"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/test/storagetest"
)

// everySetting has a value in every field, so that a field without a column or a JSON name is detected.
func everySetting(t *testing.T, number int64, text string, truth bool) (s domain.Settings) {
	t.Helper()
	fields := reflect.ValueOf(&s).Elem()
	for i := range fields.NumField() {
		field := fields.Field(i)
		field.Set(reflect.New(field.Type().Elem()))
		switch value := field.Elem(); value.Kind() {
		case reflect.Bool:
			value.SetBool(truth)
		case reflect.Int64:
			value.SetInt(number + int64(i))
		case reflect.String:
			value.SetString(text + fields.Type().Field(i).Name)
		default:
			t.Fatalf("%s is a %s: teach this test", fields.Type().Field(i).Name, value.Kind())
		}
	}
	return s
}

// Deleted tenants are rows until they are purged: a page reads a bounded number of rows, and the next continues after
// them.
func TestAPageOfTenantsEndsBehindThoseThatWereDeleted(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		s := d.migrated(t, gormstore.Options{})
		db := d.raw(t)
		for first := 0; first < port.MaxListRows+10; first += 1000 {
			var rows []string
			for i := range 1000 {
				rows = append(rows, fmt.Sprintf("('deleted-%05d', '', '', '{}', 0, 0, 1)", first+i))
			}
			must(db.ExecContext(t.Context(), `INSERT INTO tenants
(id, name, issuer, settings, epoch, longest_ttl, deleted_at) VALUES `+strings.Join(rows, ", ")))(t)
		}
		for _, id := range []string{"a", "z"} {
			if err := storagetest.SaveTenant(t.Context(), s, domain.Tenant{ID: id}); err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		pages := 0
		for after, more := "", true; more; more = after != "" {
			page, next, err := s.Tenants(t.Context(), after, 10)
			if err != nil {
				t.Fatal(err)
			}
			for _, tenant := range page {
				got = append(got, tenant.ID)
			}
			pages, after = pages+1, next
		}
		if want := []string{"a", "z"}; !slices.Equal(got, want) || pages != 2 {
			t.Errorf("got %q on %d pages, want %q on 2", got, pages, want)
		}
	})
}

// A setting that the store loses silently gives customers the default.
func TestEverySettingIsKept(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		s := d.migrated(t, gormstore.Options{})
		// These two exclude each other.
		all, hostOnly := everySetting(t, 1000, "x", true), everySetting(t, 1000, "x", true)
		all.CookieHostOnly, hostOnly.CookieDomain = new(false), new("")
		for _, tenant := range []domain.Tenant{
			{ID: "all", Name: "All", Issuer: "https://all.example", Settings: all},
			{ID: "hostOnly", Name: "Host only", Settings: hostOnly},
			{ID: "zero", Name: "Zero", Settings: everySetting(t, 0, "", false)},
			{ID: "none", Name: "None"},
		} {
			application := domain.Application{TenantID: tenant.ID, ID: "shop", Name: "Shop", Settings: tenant.Settings}
			if err := storagetest.SaveTenant(t.Context(), s, tenant); err != nil {
				t.Fatal(err)
			}
			if err := storagetest.SaveApplication(t.Context(), s, application); err != nil {
				t.Fatal(err)
			}
			tenant.Version, application.Version = 1, 2 // drawn from one counter
			if d := cmp.Diff(tenant, must(s.Tenant(t.Context(), tenant.ID))(t)); d != "" {
				t.Errorf("tenant %s (-want +got)\n%s", tenant.ID, d)
			}
			if d := cmp.Diff(application, must(s.Application(t.Context(), tenant.ID, "shop"))(t)); d != "" {
				t.Errorf("application of %s (-want +got)\n%s", tenant.ID, d)
			}
			want := must(domain.Combine(tenant, application))(t)
			if d := cmp.Diff(want, must(s.Policy(t.Context(), tenant.ID, "shop"))(t)); d != "" {
				t.Errorf("policy of %s (-want +got)\n%s", tenant.ID, d)
			}
		}
	})
}

// A mark that is deleted before a refresh token of a former, longer policy expires would make that one active again.
func TestAMarkIsKeptAsLongAsAnythingItRevokedCouldLive(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		s := d.migrated(t, gormstore.Options{})
		shop(t, s)
		short := int64(60)
		lived := domain.Tenant{ID: "acme", Settings: domain.Settings{TTLMinutes: &short}}
		if err := storagetest.SaveTenant(t.Context(), s, lived); err != nil {
			t.Fatal(err)
		}
		db := d.raw(t)
		revoke := func(at, want time.Time) {
			t.Helper()
			if _, err := s.RevokeScope(t.Context(), domain.Scope{TenantID: "acme"}, domain.ID{},
				port.Revocation{At: at}, storagetest.NewEvent()); err != nil {
				t.Fatal(err)
			}
			var us int64
			if err := db.QueryRowContext(t.Context(), `SELECT keep_until FROM marks`).Scan(&us); err != nil {
				t.Fatal(err)
			}
			if got := time.UnixMicro(us).UTC(); !got.Equal(want) {
				t.Errorf("kept until %v, want %v", got, want)
			}
		}
		kept := start.Add(domain.DefaultPolicy().TTL + domain.MarkRetention)
		revoke(start, kept)
		revoke(start.Add(-time.Hour), kept) // a replica whose clock is behind
		revoke(start.Add(time.Hour), kept.Add(time.Hour))
	})
}
