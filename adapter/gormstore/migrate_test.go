package gormstore_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/refreshd/refreshd/adapter/gormstore"
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
		wantReady(t, s, "the schema is older (version 0) than this program needs (version 10): run `refreshd migrate`")
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
		exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (12, true)`)
		if err := s.Migrate(t.Context(), nil); err != nil {
			t.Errorf("Migrate on a newer schema: %v", err)
		}
		wantReady(t, s, "")
		exec(`UPDATE schema_compatibility SET oldest_reader = 11`)
		wantReady(t, s, "run a program of version 11 or later")

		// goose has created its table, and the process was killed before the first migration.
		exec(`DROP TABLE schema_compatibility`)
		exec(`DELETE FROM goose_db_version WHERE version_id > 0`)
		wantReady(t, s, "older (version 0)")
	})
}

func TestMigrateTellsWhatItDid(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		s := d.open(t, gormstore.Options{})
		defer s.Close()
		for _, want := range []string{"applied 00001_initial.sql, applied 00002_key_ring.sql, applied 00003_lists.sql, " +
			"applied 00004_events.sql, applied 00005_reach.sql, applied 00006_previous_api_keys.sql, " +
			"applied 00007_key_changes.sql, applied 00008_oauth_clients.sql, applied 00009_first_logins.sql, " +
			"applied 00010_used_keys.sql", ""} {
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

// Replicas start concurrently, and each migrates.
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
