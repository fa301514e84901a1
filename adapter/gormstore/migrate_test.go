package gormstore_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/adapter/gormstore"
	"github.com/refreshd/refreshd/domain"
)

// wantReady checks Ready: an error with that text, or none for "".
func wantReady(t *testing.T, s *gormstore.Store, want string) {
	t.Helper()
	err := s.Ready(t.Context())
	switch {
	case want == "" && err != nil:
		t.Errorf("Ready = %v, want nil", err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("Ready = %v, want an error that says %q", err, want)
	}
}

func TestReadySaysWhatToDoAboutTheSchema(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		s := d.open(t, gormstore.Options{})
		defer s.Close()
		wantReady(t, s, "the schema is behind (version 0, this program needs 3): run `refreshd migrate`")
		if err := s.Migrate(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		wantReady(t, s, "")

		db := d.raw(t)
		exec := func(query string) {
			t.Helper()
			if _, err := db.ExecContext(t.Context(), query); err != nil {
				t.Fatal(err)
			}
		}
		exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (7, true)`)
		if err := s.Migrate(t.Context(), nil); err != nil {
			t.Errorf("Migrate on a newer schema: %v", err)
		}
		wantReady(t, s, "")
		exec(`UPDATE schema_compatibility SET oldest_reader = 6`)
		wantReady(t, s, "run a program of version 6 or later")

		// goose has made its table, and died before the first migration.
		exec(`DROP TABLE schema_compatibility`)
		exec(`DELETE FROM goose_db_version WHERE version_id > 0`)
		wantReady(t, s, "behind (version 0")
	})
}

func TestMigrateTellsWhatItDid(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		s := d.open(t, gormstore.Options{})
		defer s.Close()
		for _, want := range []string{"applied 00001_initial.sql, applied 00002_janitor.sql, applied 00003_policy.sql", ""} {
			var got []string
			if err := s.Migrate(t.Context(), func(step string) { got = append(got, step) }); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(got, ", "); got != want {
				t.Errorf("got steps %q, want %q", got, want)
			}
		}
	})
}

// What an application may do must not change because the program that stores it is newer.
func TestMigrationsKeepPolicies(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		s := d.open(t, gormstore.Options{})
		defer s.Close()
		if err := s.MigrateTo(t.Context(), 2); err != nil {
			t.Fatal(err)
		}
		want := domain.Policy{
			Active: true, CookieOnly: true, CookieDomain: "a.example", Issuer: `https://"a".example/ü`,
			AccessTokenTTL: 7 * time.Second, Algorithm: domain.ES256, Expiration: domain.SlidingWindow,
			TTL: 8 * time.Minute, MaximumTTL: 100 * 365 * 24 * time.Hour, Usage: domain.Reusable, GracePeriod: 9 * time.Second,
			RecoveryBurst: 3, RecoveryInterval: 11, RevokeOnReplay: true, MaximumActiveTokens: 12,
		}
		db := d.raw(t)
		for _, text := range []string{
			`INSERT INTO tenants (id, name, issuer, settings, epoch, longest_ttl, deleted_at) VALUES ('acme', '', '', '{}', 0, 0, 0)`,
			`INSERT INTO applications (tenant_id, id, name, settings, active, require_authentication, cookie_only, cookie_domain, issuer,
  access_token_ttl, algorithm, expiration_policy, ttl, maximum_ttl, usage_policy, grace_period, recovery_burst, recovery_interval,
  revoke_on_replay, maximum_active_tokens, slide_window, slide_maximum)
VALUES ('acme', 'shop', '', '{}', 1, 0, 1, 'a.example', 'https://"a".example/ü',
  7000000, 'ES256', 'SlidingWindow', 480000000, 3153600000000000, 'Reusable', 9000000, 3, 11, 1, 12, 480000000, 3153600000000000)`,
		} {
			if _, err := db.ExecContext(t.Context(), text); err != nil {
				t.Fatal(err)
			}
		}
		wantReady(t, s, "the schema is behind (version 2")
		if err := s.Migrate(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, must(s.Policy(t.Context(), "acme", "shop"))(t)); diff != "" {
			t.Errorf("policy (-before +after):\n%s", diff)
		}
	})
}

// Replicas start together, and each migrates.
func TestMigrationsAtOnceAllSucceed(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		var group sync.WaitGroup
		for range 3 {
			s := d.open(t, gormstore.Options{})
			t.Cleanup(func() { s.Close() })
			group.Go(func() {
				if err := s.Migrate(t.Context(), nil); err != nil {
					t.Error(err)
				}
				wantReady(t, s, "")
			})
		}
		group.Wait()
	})
}
