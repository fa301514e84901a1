package gormstore_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/refreshd/refreshd/adapter/gormstore"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/test/storagetest"
	"github.com/refreshd/refreshd/test/support/postgres"
)

func TestMain(m *testing.M) { os.Exit(postgres.Main(m)) }

// database is a new one, not migrated.
type database struct {
	// open opens another handle on it.
	open func(testing.TB, gormstore.Options) *gormstore.Store
	// raw opens it without the store.
	raw      func(testing.TB) *sql.DB
	isSQLite bool
}

func onSQLite(tb testing.TB) database {
	return sqliteAt(filepath.Join(tb.TempDir(), "data", "refreshd.db"))
}

func sqliteAt(path string) database {
	return database{
		open: func(tb testing.TB, o gormstore.Options) *gormstore.Store {
			tb.Helper()
			return must(gormstore.OpenSQLite(tb.Context(), path, o))(tb)
		},
		raw: func(tb testing.TB) *sql.DB {
			tb.Helper()
			return closing(tb, must(sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(5000)"))(tb))
		},
		isSQLite: true,
	}
}

// migratedSQLite returns the path of a database that is migrated and closed, for copyOf.
func migratedSQLite(tb testing.TB) (path string) {
	tb.Helper()
	path = filepath.Join(tb.TempDir(), "refreshd.db")
	s := must(gormstore.OpenSQLite(tb.Context(), path, gormstore.Options{}))(tb)
	if err := errors.Join(s.Migrate(tb.Context(), nil), s.Close()); err != nil {
		tb.Fatal(err)
	}
	return path
}

// copyOf returns a copy of the database at path, so that the clauses of the suite do not each run every migration.
func copyOf(tb testing.TB, path string) database {
	tb.Helper()
	copied := filepath.Join(tb.TempDir(), "refreshd.db")
	if err := os.WriteFile(copied, must(os.ReadFile(path))(tb), 0o600); err != nil {
		tb.Fatal(err)
	}
	return sqliteAt(copied)
}

func onPostgres(tb testing.TB) database {
	dsn := postgres.NewDatabase(tb)
	return database{
		open: func(tb testing.TB, o gormstore.Options) *gormstore.Store {
			tb.Helper()
			return must(gormstore.OpenPostgres(tb.Context(), domain.NewSecret(dsn), o))(tb)
		},
		raw: func(tb testing.TB) *sql.DB {
			tb.Helper()
			return closing(tb, stdlib.OpenDB(*must(pgx.ParseConfig(dsn))(tb)))
		},
	}
}

// must(f())(tb) is f's value; it ends the test on an error.
func must[T any](value T, err error) func(testing.TB) T {
	return func(tb testing.TB) T {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		return value
	}
}

func closing(tb testing.TB, db *sql.DB) *sql.DB {
	tb.Cleanup(func() { db.Close() })
	return db
}

// migrated opens a handle on d, and migrates.
func (d database) migrated(tb testing.TB, o gormstore.Options) *gormstore.Store {
	tb.Helper()
	s := d.open(tb, o)
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	if err := s.Migrate(tb.Context(), nil); err != nil {
		tb.Fatal(err)
	}
	return s
}

func onBoth(t *testing.T, test func(t *testing.T, d database)) {
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		test(t, onSQLite(t))
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		test(t, onPostgres(t))
	})
}

// holder locks what the suite names, in a session of its own.
func holder(t *testing.T, db *sql.DB) func(port.Store, storagetest.Held) (release func()) {
	return func(_ port.Store, what storagetest.Held) func() {
		switch m := what.Mark; {
		case what.Head:
			return session(t, db, `SELECT 1 FROM revocation_feed FOR UPDATE`)
		case m.TenantID != "":
			return session(t, db, `SELECT 1 FROM marks WHERE tenant_id = $1 AND application_id = $2 AND user_id = $3
				FOR UPDATE`, m.TenantID, m.ApplicationID, m.UserID)
		default:
			return session(t, db, `SELECT 1 FROM refresh_tokens WHERE id = $1 FOR UPDATE`, what.Token[:])
		}
	}
}

func TestConformance(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		migrated := migratedSQLite(t)
		storagetest.Run(t, func(t *testing.T) func() port.Store {
			d := copyOf(t, migrated)
			return func() port.Store { return d.open(t, gormstore.Options{}) }
		}, storagetest.Reopens())
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		d := onPostgres(t)
		d.migrated(t, gormstore.Options{})
		db := d.raw(t)
		storagetest.Run(t, func(t *testing.T) func() port.Store {
			// Emptying a database takes a hundredth of the time of creating one.
			if _, err := db.ExecContext(t.Context(),
				`TRUNCATE tenants, applications, refresh_tokens, marks, api_keys, keys, events, jobs, used_keys,
				feed_readers;
				UPDATE key_ring SET revision = 0, deleted_api_key_version = 0;
				UPDATE revocation_feed SET position = 0`); err != nil {
				t.Fatal(err)
			}
			return func() port.Store { return d.open(t, gormstore.Options{}) }
		}, storagetest.Reopens(), storagetest.Holds(holder(t, db)))
	})
}

// Only the service's user may read the file.
func TestSQLiteFilesAreThePrivateOnesOfTheirOwner(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made")
	path := filepath.Join(dir, "refreshd.db")
	s := must(gormstore.OpenSQLite(t.Context(), path, gormstore.Options{}))(t)
	defer s.Close()
	if err := s.Migrate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	shop(t, s)
	for name, want := range map[string]os.FileMode{
		dir: 0o700 | os.ModeDir, path: 0o600, path + "-wal": 0o600, path + "-shm": 0o600,
	} {
		if got := must(os.Stat(name))(t).Mode(); got != want {
			t.Errorf("%s has mode %v, want %v", filepath.Base(name), got, want)
		}
	}
}

// A wrong path, for example to another program's file, must not destroy that file.
func TestSQLiteRefusesAFileThatIsNoDatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "refreshd.db")
	content := bytes.Repeat([]byte("no database "), 1000)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := gormstore.OpenSQLite(t.Context(), path, gormstore.Options{})
	if err == nil {
		s.Close()
		t.Fatal("got no error, want one")
	}
	for _, want := range []string{path, "file is not a database"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got error %q, want it to say %q", err, want)
		}
	}
	if got := must(os.ReadFile(path))(t); !bytes.Equal(got, content) {
		t.Error("the file has changed")
	}
}

func TestSQLiteSaysWhichFileItCannotOpen(t *testing.T) {
	dir := t.TempDir()
	_, err := gormstore.OpenSQLite(t.Context(), dir, gormstore.Options{})
	if err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("got error %v, want one that names %s", err, dir)
	}
}

// An unusual name must not be read as options of the driver, or as another file.
func TestSQLiteTakesThePathAsItIs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b?mode=memory#c%41&_pragma=x.db")
	s := must(gormstore.OpenSQLite(t.Context(), path, gormstore.Options{}))(t)
	defer s.Close()
	if err := s.Migrate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	shop(t, s)
	if _, err := os.Stat(path + "-wal"); err != nil {
		t.Error(err)
	}
}

// Operators paste errors of a start into tickets.
func TestPostgresNeverTellsThePassword(t *testing.T) {
	const password = "hunter2secret"
	for name, dsn := range map[string]string{
		"malformed URL":       "postgres://user:" + password + "@host:notaport/db",
		"URL with a bad byte": "postgres://user:" + password + "\x7f@host/db",
		"malformed keywords":  "host=x password=" + password + " port",
		"wrong option":        "postgres://user:" + password + "@127.0.0.1:1/db?sslmode=nonsense",
		"no server":           "postgres://user:" + password + "@127.0.0.1:1/db?connect_timeout=2",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := gormstore.OpenPostgres(t.Context(), domain.NewSecret(dsn), gormstore.Options{})
			if err == nil {
				t.Fatal("got no error, want one")
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error holds the password: %v", err)
			}
		})
	}
}

// A password and every user's data would be sent in plain text over a network. Connections on the machine are exempt.
func TestPostgresWarnsOfPlainTextToAnotherMachine(t *testing.T) {
	for dsn, want := range map[string][]string{
		"postgres://u@db.example/d":                                      {"db.example"},
		"postgres://u@db.example/d?sslmode=disable":                      {"db.example"},
		"postgres://u@db.example/d?sslmode=allow":                        {"db.example"},
		"postgres://u@db.example/d?sslmode=prefer":                       {"db.example"},
		"postgres://u@db.example/d?sslmode=require":                      nil,
		"postgres://u@db.example/d?sslmode=verify-full":                  nil,
		"postgres://u@10.0.0.1:6432,127.0.0.1,[fd00::1],10.0.0.1/d":      {"10.0.0.1", "fd00::1"},
		"postgres://u@localhost,127.0.0.2,[::1]/d":                       nil,
		"postgres://u@/d?host=/run/postgresql":                           nil,
		"host=db.example user=u dbname=d sslmode=disable":                {"db.example"},
		"postgres://u@localhost.example/d":                               {"localhost.example"},
		"postgres://u@/d?host=/run/postgresql,db.example&sslmode=prefer": {"db.example"},
	} {
		if got := must(gormstore.PlainTextHosts(dsn))(t); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", dsn, got, want)
		}
	}

	for dsn, want := range map[string]int{
		"postgres://user:hunter2secret@192.0.2.1:1/d?connect_timeout=1":                     1,
		"postgres://user:hunter2secret@127.0.0.1:1/d?connect_timeout=1":                     0,
		"postgres://user:hunter2secret@192.0.2.1:1/d?connect_timeout=1&sslmode=verify-full": 0,
	} {
		var j journal
		s, err := gormstore.OpenPostgres(t.Context(), domain.NewSecret(dsn), gormstore.Options{Logger: j.logger()})
		if err == nil {
			s.Close()
			t.Fatal("opened")
		}
		text := j.text.String()
		if got := strings.Count(text, `"event":"database.plain_text"`); got != want || strings.Contains(text, "hunter2") {
			t.Errorf("%s: the log has %q, want %d warnings, and no password", dsn, text, want)
		}
	}
}

// A caller whose context is done must not keep a connection busy.
func TestACallWithAContextThatIsDoneIsAnError(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		s := d.migrated(t, gormstore.Options{})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, _, err := s.Advance(ctx, domain.ID{1}, domain.Call{Generation: 1}); err == nil {
			t.Error("Advance: got no error, want one")
		}
		if _, err := s.KeyRevision(ctx); err == nil {
			t.Error("KeyRevision: got no error, want one")
		}
		if _, err := s.RevokeScope(ctx, domain.Scope{TenantID: "acme"}, domain.ID{},
			port.Revocation{}, storagetest.NewEvent()); err == nil {
			t.Error("RevokeScope: got no error, want one")
		}
		if err := s.Ready(t.Context()); err != nil {
			t.Errorf("Ready afterwards: %v", err)
		}
	})
}
