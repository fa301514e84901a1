package gormstore_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/adapter/gormstore"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/test/storagetest"
)

// everySetting says something in every field, so that a field which a column or a JSON name was forgotten for is missed.
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

// A setting that is lost on the way to the store silently gives customers the default.
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

// A mark that goes while a refresh token of a former, longer policy lives would bring that one back.
func TestAMarkIsKeptAsLongAsAnythingItRevokedCouldLive(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		s := d.migrated(t, gormstore.Options{})
		shop(t, s)
		short := int64(60)
		if err := storagetest.SaveTenant(t.Context(), s, domain.Tenant{ID: "acme", Settings: domain.Settings{TTLMinutes: &short}}); err != nil {
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
		kept := start.Add(domain.DefaultPolicy().TTL + domain.MarkSlack)
		revoke(start, kept)
		revoke(start.Add(-time.Hour), kept) // a replica whose clock is behind
		revoke(start.Add(time.Hour), kept.Add(time.Hour))
	})
}
