package e2e_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/refreshd/refreshd/test/support/postgres"
)

const transactionMode = "pool_mode = transaction"

// behindPgBouncer returns d through a PgBouncer with these settings, and with options added to its URL.
func (d database) behindPgBouncer(t *testing.T, options string, settings ...string) database {
	t.Helper()
	u, err := url.Parse(d.url)
	if err != nil {
		t.Fatal("the DSN of the test database is malformed")
	}
	u.Host = postgres.NewBouncer(t, settings...)
	u.RawQuery += options
	d.url = u.String()
	return d
}

// forPooler sets for the database the settings that a pooler ignores.
func (d database) forPooler(t *testing.T) database {
	t.Helper()
	db := d.open(t)
	name := queryText(t, db, `SELECT current_database()`)
	for _, setting := range postgres.NotPassedOn {
		execute(t, db, `ALTER DATABASE `+name+` SET `+setting)
	}
	return d
}

// A pooler serves hundreds of replicas' connections by a few of the server's. Here there are fewer than one service
// has.
func TestTheLoadPassesBehindPgBouncer(t *testing.T) {
	const users, connections = 24, 6
	direct := newDatabase(t, postgreSQL).migrated(t).forPooler(t)
	d := direct.behindPgBouncer(t, "&default_query_exec_mode=exec", transactionMode, postgres.PassOver,
		"default_pool_size = 6")
	one, two := start(t, d, settings{}), start(t, d, settings{})
	crowd, l, stop := one.crowd(t, users)
	defer stop()
	others, m, stopOthers := two.crowd(t, users)
	defer stopOthers()
	begin := time.Now()
	l.more(one, 2000)
	m.more(two, 2000)
	took := time.Since(begin)
	shared := queryText(t, direct.open(t),
		`SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'refreshd'`)
	stop()
	stopOthers()
	one.holds(t, others, m)
	two.holds(t, crowd, l)
	for i := range 20 { // a revocation through one server connection is visible through every other
		g := one.issue(t, "bob", "shop")
		two.want(t, acme(call{method: "DELETE",
			path: []string{"/jwt/refresh?userId=bob", "/jwt/refresh/" + g.RefreshTokenID}[i%2]}), http.StatusOK)
		one.refused(t, g.RefreshToken, "[revoked]refreshToken")
	}
	for _, s := range []*service{one, two} {
		s.want(t, call{method: "GET", path: "/readyz"}, http.StatusOK)
	}
	answered := l.answered.Load() + m.answered.Load()
	if unavailable := l.unavailable.Load() + m.unavailable.Load(); unavailable > 0 {
		t.Errorf("%d calls were answered 503", unavailable)
	}
	t.Logf("2 services, %d users, PgBouncer in transaction mode: %d exchanges in %s on %s connections to PostgreSQL "+
		"(%d allowed), "+
		"none failed, no user logged out", 2*users, answered, took.Round(time.Millisecond), shared, connections)
}

// The first start tells an operator which setting is missing, by its name, before users see failures under load.
func TestAPgBouncerThatDoesNotFitIsRefusedAtTheStart(t *testing.T) {
	for name, tc := range map[string]struct {
		options  string
		settings []string
		want     []string
	}{
		"prepared statements": {
			"", []string{transactionMode, postgres.PassOver}, []string{"default_query_exec_mode=exec", "REFRESHD_DATABASE_URL"},
		},
		"settings that are refused": {
			"&default_query_exec_mode=exec", []string{transactionMode}, []string{postgres.PassOver, "pgbouncer.ini"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDatabase(t, postgreSQL).migrated(t).forPooler(t).behindPgBouncer(t, tc.options, tc.settings...)
			got := runVerb(t, d, settings{}, "serve")
			if got.Status != 1 {
				t.Errorf("serve: %s\nwant status 1", got)
			}
			for _, want := range tc.want {
				if !strings.Contains(got.Stderr, want) {
					t.Errorf("serve says %q, want it to say %q", got.Stderr, want)
				}
			}
			t.Logf("serve says: %s", strings.TrimSpace(got.Stderr))
		})
	}
}
