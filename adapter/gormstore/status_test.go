package gormstore_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/refreshd/refreshd/adapter/gormstore"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/support/postgres"
)

var migrationFiles = []string{
	"00001_initial.sql", "00002_key_ring.sql", "00003_lists.sql", "00004_events.sql", "00005_reach.sql",
	"00006_previous_api_keys.sql", "00007_key_changes.sql", "00008_oauth_clients.sql", "00009_first_logins.sql",
	"00010_used_keys.sql",
}

// wantSchema checks what is known of a schema without opening a store.
func wantSchema(t *testing.T, when string, got gormstore.Schema, err error, version int64, pending []string) {
	t.Helper()
	want := gormstore.Schema{Version: version, Program: 10, Pending: pending}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%s: %v (-want +got):\n%s", when, err, diff)
	}
}

// files are the files in dir with their content.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name()] = string(text)
	}
	return all
}

// An operator looks before an upgrade, at a database that he must not change, or may not.
func TestTheSchemaOfSQLiteIsReadWithoutAWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "refreshd.db")
	schema := func(when string, version int64, pending []string) {
		t.Helper()
		before := files(t, dir)
		got, err := gormstore.SchemaOfSQLite(t.Context(), path)
		wantSchema(t, when, got, err, version, pending)
		after := files(t, dir)
		delete(before, "refreshd.db-shm") // the lock table of those that have the database open
		delete(after, "refreshd.db-shm")
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("%s: it changed a file (-before +after):\n%.1000s", when, diff)
		}
	}
	schema("no file", 0, migrationFiles)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	schema("an empty file", 0, migrationFiles)
	s := must(gormstore.OpenSQLite(t.Context(), path, gormstore.Options{}))(t)
	if err := s.Migrate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	schema("open elsewhere, in the log", 10, nil)
	crashed := filepath.Join(t.TempDir(), "refreshd.db") // as a process leaves it that was killed
	for _, suffix := range []string{"", "-wal"} {
		text := must(os.ReadFile(path + suffix))(t)
		if err := os.WriteFile(crashed+suffix, text, 0o600); err != nil || len(text) == 0 {
			t.Fatalf("copy of the database%s: %d bytes, %v", suffix, len(text), err)
		}
	}
	before := files(t, filepath.Dir(crashed))
	got, err := gormstore.SchemaOfSQLite(t.Context(), crashed)
	wantSchema(t, "after a crash", got, err, 10, nil)
	after := files(t, filepath.Dir(crashed))
	delete(after, "refreshd.db-shm")
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("after a crash: it changed a file (-before +after):\n%.1000s", diff)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	schema("closed", 10, nil)
	change := func(statement string) {
		t.Helper()
		db := must(sql.Open("sqlite", "file:"+path))(t)
		execute(t, db, statement)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	change(`DELETE FROM goose_db_version WHERE version_id = 10`)
	schema("one behind", 9, migrationFiles[9:])
	change(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (10, 1), (12, 1)`)
	schema("newer", 12, nil)

	if err := os.WriteFile(path, []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = gormstore.SchemaOfSQLite(t.Context(), path)
	if err == nil || !strings.Contains(err.Error(), path) ||
		!strings.Contains(err.Error(), "this is not a SQLite database") {
		t.Errorf("no database: error %v, want one that names the file and says what it is not", err)
	}
}

func TestTheSchemaOfPostgreSQLIsReadWithoutAWrite(t *testing.T) {
	t.Parallel()
	dsn := postgres.NewDatabase(t)
	schema := func(when string, version int64, pending []string) {
		t.Helper()
		got, err := gormstore.SchemaOfPostgres(t.Context(), domain.NewSecret(dsn))
		wantSchema(t, when, got, err, version, pending)
	}
	schema("empty", 0, migrationFiles)
	db := closing(t, stdlib.OpenDB(*must(pgx.ParseConfig(dsn))(t)))
	var tables int
	if err := db.QueryRowContext(t.Context(), `SELECT count(*) FROM pg_tables WHERE schemaname = 'public'`).
		Scan(&tables); err != nil || tables != 0 {
		t.Errorf("it made %d tables (%v)", tables, err)
	}
	s := must(gormstore.OpenPostgres(t.Context(), domain.NewSecret(dsn), gormstore.Options{}))(t)
	defer s.Close()
	if err := s.Migrate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	// A role that may not write, on a server that takes no writes.
	execute(t, db, `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on',
		current_database()); END $$`)
	schema("read-only", 10, nil)

	const secret = "hunter2"
	for dsn, says := range map[string]string{
		"postgres://u:" + secret + "@h:x/d":         "write postgres://USER:PASSWORD@HOST:PORT/DATABASE",
		"postgres://u:" + secret + "@127.0.0.1:1/d": "127.0.0.1:1",
	} {
		_, err := gormstore.SchemaOfPostgres(t.Context(), domain.NewSecret(dsn))
		if err == nil || strings.Contains(err.Error(), secret) || !strings.Contains(err.Error(), says) {
			t.Errorf("error %v, want one with %q and without the password", err, says)
		}
	}
}
