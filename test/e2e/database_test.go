package e2e_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"

	"github.com/refreshd/refreshd/test/support/postgres"
)

const (
	memory     = "memory"
	sqlite     = "SQLite"
	postgreSQL = "PostgreSQL"
)

// database is an empty store for one test.
type database struct {
	engine    string
	dir       string // the working directory of the process, with SQLite's file
	url       string // REFRESHD_DATABASE_URL
	masterKey string // REFRESHD_MASTER_KEY; empty: a file beside SQLite's
}

func newDatabase(t *testing.T, engine string) database {
	t.Helper()
	ran.add(engine)
	d := database{engine: engine, dir: t.TempDir()}
	switch engine {
	case memory:
		d.url = "memory:"
	case sqlite:
		d.url = "sqlite:" + filepath.Join(d.dir, "data", "refreshd.db")
	case postgreSQL:
		d.url, d.masterKey = withPassword(t, postgres.NewDatabase(t)), newMasterKey()
	}
	return d
}

// withPassword adds a password to dsn, so that the logs can be searched for it. The test's server accepts any.
func withPassword(t *testing.T, dsn string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal("the DSN of the test database is malformed")
	}
	password, set := u.User.Password()
	if !set {
		password = rand.Text()
		u.User = url.UserPassword(u.User.Username(), password)
	}
	remember("password of the database", password)
	return u.String()
}

// migrated returns d with its schema: on PostgreSQL, the operator migrates.
func (d database) migrated(t *testing.T) database {
	t.Helper()
	if d.engine == postgreSQL {
		if got := runVerb(t, d, settings{}, "migrate"); got.Status != 0 {
			t.Fatalf("refreshd migrate: %s", got)
		}
	}
	return d
}

func (d database) path() string { return strings.TrimPrefix(d.url, "sqlite:") }

// eachStore runs test on every store, each with a migrated database of its own.
func eachStore(t *testing.T, test func(t *testing.T, d database)) {
	t.Helper()
	onStores(t, []string{memory, sqlite, postgreSQL}, test)
}

// eachDatabase is eachStore without memory, for tests that need a store that outlives a process or that two share.
func eachDatabase(t *testing.T, test func(t *testing.T, d database)) {
	t.Helper()
	onStores(t, []string{sqlite, postgreSQL}, test)
}

func onStores(t *testing.T, engines []string, test func(t *testing.T, d database)) {
	t.Helper()
	for _, engine := range engines {
		t.Run(engine, func(t *testing.T) { test(t, newDatabase(t, engine).migrated(t)) })
	}
}

// open connects to d, beside the service.
func (d database) open(t *testing.T) *sql.DB {
	t.Helper()
	driver, dsn := "pgx", d.url
	if d.engine == sqlite {
		driver, dsn = "sqlite", "file:"+d.path()+"?_pragma=busy_timeout(5000)&_txlock=immediate"
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

var tables = []string{
	"tenants", "applications", "refresh_tokens", "marks", "api_keys", "keys", "events", "schema_compatibility",
}

// dump returns every row of every table but the named ones; nothing for a store in memory. It leaves out the events of
// refused API keys: a background worker stores them after the response.
func (d database) dump(t *testing.T, but ...string) string {
	t.Helper()
	if d.engine == memory {
		return ""
	}
	db := d.open(t)
	defer db.Close()
	var out strings.Builder
	for _, table := range tables {
		if !slices.Contains(but, table) {
			stored := slices.DeleteFunc(rows(t, db, "SELECT * FROM "+table), func(row string) bool {
				return table == "events" && strings.Contains(row, "apiKey.refused")
			})
			fmt.Fprintf(&out, "%s\n%s\n", table, strings.Join(stored, "\n"))
		}
	}
	return out.String()
}

// rows returns the rows of a query as text, sorted.
func rows(t *testing.T, db *sql.DB, query string, args ...any) []string {
	t.Helper()
	r, err := db.QueryContext(t.Context(), query, args...)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	columns, err := r.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for r.Next() {
		values, dest := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			dest[i] = &values[i]
		}
		if err := r.Scan(dest...); err != nil {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprintf("%q", fmt.Sprint(values...)))
	}
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

func execute(t *testing.T, db *sql.DB, statement string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(context.Background(), statement, args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func queryText(t *testing.T, db *sql.DB, query string, args ...any) (text string) {
	t.Helper()
	if err := db.QueryRowContext(t.Context(), query, args...).Scan(&text); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return text
}
