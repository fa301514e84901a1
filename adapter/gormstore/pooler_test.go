package gormstore_test

import (
	"database/sql"
	"errors"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/refreshd/refreshd/adapter/gormstore"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/test/storagetest"
	"github.com/refreshd/refreshd/test/support/postgres"
)

const transactionMode = "pool_mode = transaction"

// behind returns d through a PgBouncer with these settings. Options are added to its DSN.
func behind(tb testing.TB, dsn, options string, settings ...string) domain.Secret {
	tb.Helper()
	u := must(url.Parse(dsn))(tb)
	u.Host = postgres.NewBouncer(tb, settings...)
	q := must(url.ParseQuery(options))(tb)
	for name, values := range u.Query() {
		q[name] = values
	}
	u.RawQuery = q.Encode()
	return domain.NewSecret(u.String())
}

// asRole sets the settings that a pooler ignores for the database or the role, as OPERATING.md tells an administrator.
func asRole(tb testing.TB, dsn string) *sql.DB {
	tb.Helper()
	db := closing(tb, stdlib.OpenDB(*must(pgx.ParseConfig(dsn))(tb)))
	name := strings.TrimPrefix(must(url.Parse(dsn))(tb).Path, "/")
	for setting, value := range gormstore.SessionSettings {
		if _, err := db.ExecContext(tb.Context(), `ALTER DATABASE `+name+` SET `+setting+` = '`+value+`'`); err != nil {
			tb.Fatal(err)
		}
	}
	return db
}

// A pooler in transaction mode gives each transaction any free server connection, and in this mode the driver sends
// types that it infers from Go's. Every statement has to work with both.
func TestConformanceBehindPgBouncer(t *testing.T) {
	t.Parallel()
	dsn := postgres.NewDatabase(t)
	db := asRole(t, dsn)
	pooled := behind(t, dsn, "default_query_exec_mode=exec", transactionMode, postgres.PassOver)
	open := func() *gormstore.Store {
		return must(gormstore.OpenPostgres(t.Context(), pooled, gormstore.Options{}))(t)
	}
	s := open()
	defer s.Close()
	if err := s.Migrate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	storagetest.Run(t, func(t *testing.T) func() port.Store {
		if _, err := db.ExecContext(t.Context(),
			`TRUNCATE tenants, applications, refresh_tokens, marks, api_keys, keys, events, jobs, used_keys,
				feed_readers;
				UPDATE key_ring SET revision = 0, deleted_api_key_version = 0;
				UPDATE revocation_feed SET position = 0`); err != nil {
			t.Fatal(err)
		}
		return func() port.Store { return open() }
	})
	if err := s.Ready(t.Context()); err != nil {
		t.Errorf("ready after it: %v", err)
	}
}

// With an unsuitable pooler, calls fail now and then, under load, and with the driver's errors. So the service does not
// start, and its error names the setting and the file.
func TestAPoolerThatDoesNotFitIsRefusedByTheNameOfItsSetting(t *testing.T) {
	for name, tc := range map[string]struct {
		options  string
		settings []string
		role     bool
		want     []string
	}{
		"prepared statements in transaction mode": {
			"", []string{transactionMode, postgres.PassOver}, true,
			[]string{"default_query_exec_mode=exec", "REFRESHD_DATABASE_URL"},
		},
		"settings that PgBouncer refuses": {
			"default_query_exec_mode=exec", []string{transactionMode}, true,
			[]string{"ignore_startup_parameters", "pgbouncer.ini", postgres.PassOver, "ALTER ROLE"},
		},
		"settings that are missing": {
			"default_query_exec_mode=exec", []string{transactionMode, postgres.PassOver}, false,
			[]string{"lock_timeout", "ALTER ROLE", "'1s'", "RECONNECT"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := postgres.NewDatabase(t)
			if tc.role {
				asRole(t, dsn)
			}
			s, err := gormstore.OpenPostgres(t.Context(), behind(t, dsn, tc.options, tc.settings...), gormstore.Options{})
			if err == nil {
				s.Close()
				t.Fatal("opened")
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want it to say %q", err, want)
				}
			}
		})
	}
}

// A pooler in session mode is like none: prepared statements exist as long as the client's connection.
func TestAPoolerInSessionModeTakesPreparedStatements(t *testing.T) {
	dsn := postgres.NewDatabase(t)
	asRole(t, dsn)
	s, err := gormstore.OpenPostgres(t.Context(), behind(t, dsn, "", "pool_mode = session", postgres.PassOver),
		gormstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Migrate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	shop(t, s)
	if err := s.Ready(t.Context()); err != nil {
		t.Error(err)
	}
}

// While other clients use the pooler, the start may not detect that it loses prepared statements. Then the first
// statement that fails makes the service not ready permanently, and says why.
func TestPreparedStatementsThatGetLostMakeTheServiceNotReady(t *testing.T) {
	dsn := postgres.NewDatabase(t)
	asRole(t, dsn)
	pooled := behind(t, dsn, "", transactionMode, postgres.PassOver, "server_round_robin = 1")
	direct := must(gormstore.OpenPostgres(t.Context(), domain.NewSecret(dsn), gormstore.Options{}))(t)
	defer direct.Close()
	if err := direct.Migrate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	// Many server connections, used in rotation: the two of the probe differ.
	others := stdlib.OpenDB(*must(pgx.ParseConfig(pooled.Reveal() + "&default_query_exec_mode=exec"))(t))
	var held []*sql.Tx
	for range 8 {
		held = append(held, must(others.BeginTx(t.Context(), nil))(t))
		if _, err := held[len(held)-1].ExecContext(t.Context(), "SELECT 1"); err != nil {
			t.Fatal(err)
		}
	}
	for _, tx := range held {
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
	}
	closing(t, others)

	s := must(gormstore.OpenPostgres(t.Context(), pooled, gormstore.Options{MaxConnections: 1}))(t)
	defer s.Close()
	var err error
	for range 100 {
		if _, err = s.KeyRevision(t.Context()); err != nil {
			break
		}
	}
	if ready := s.Ready(t.Context()); err == nil || ready == nil {
		t.Fatalf("a call: %v, ready: %v; want errors", err, ready)
	} else if err = errors.Join(err, ready); strings.Count(err.Error(), "default_query_exec_mode=exec") != 2 {
		t.Errorf("got %q, want that both name the setting", err)
	}
}

// An unlimited wait lets an exchange outlast a revocation; a wait that is shorter than the required one does not.
func TestSettingsBehindAPoolerMayBeStricterAndNotLooser(t *testing.T) {
	for _, tc := range []struct {
		got, want string
		within    bool
	}{
		{"1s", "1s", true}, {"1000", "1s", true}, {"999ms", "1s", true}, {"500us", "1s", true}, {"10s", "10s", true},
		{"0", "1s", false}, {"1001ms", "1s", false}, {"1min", "10s", false}, {"1h", "10s", false}, {"1d", "10s", false},
		{"", "1s", false}, {"soon", "1s", false}, {"99999999999", "1s", false},
		{"read committed", "read committed", true}, {"serializable", "read committed", false},
	} {
		if got := gormstore.Within(tc.got, tc.want); got != tc.within {
			t.Errorf("%q for %q: got %t, want %t", tc.got, tc.want, got, tc.within)
		}
	}
}

// An administrator pastes what OPERATING.md has for PgBouncer: what our statements are written for, and nothing else.
func TestTheDocumentHasTheSettingsOfASessionForAPooler(t *testing.T) {
	document := string(must(os.ReadFile("../../OPERATING.md"))(t))
	if !strings.Contains(document, postgres.PassOver+"\n") {
		t.Errorf("OPERATING.md does not have %q", postgres.PassOver)
	}
	setting := regexp.MustCompile(`(?m)^ *ALTER ROLE refreshd SET ([a-z_]+) = '?([^';]+)'?;$`)
	got := map[string]string{}
	for _, m := range setting.FindAllStringSubmatch(document, -1) {
		got[m[1]] = m[2]
	}
	if diff := cmp.Diff(gormstore.SessionSettings, got); diff != "" {
		t.Errorf("settings of the role (-want +OPERATING.md):\n%s", diff)
	}
}
