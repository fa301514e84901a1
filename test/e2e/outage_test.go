package e2e_test

import (
	"database/sql"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// A client whose exchange is refused as invalid drops its string. So a store that is down must never be a refusal; and
// an outage must not log the password of the database.
func TestAStoreThatIsDownIsNeverARefusal(t *testing.T) {
	eachDatabase(t, func(t *testing.T, d database) {
		t.Parallel()
		s := start(t, d, settings{expectsErrors: true})
		g := s.issue(t, "alice", "shop")
		restore := breakStore(t, d)
		for _, r := range []call{
			exchangeCall(g.RefreshToken),
			issueCall("alice", "shop"),
			acme(call{method: "DELETE", path: "/jwt/refresh/" + g.RefreshTokenID}),
		} {
			if d.engine == sqlite && r.path != "/jwt/refresh" {
				continue // each would wait as long for the lock
			}
			if a := s.mustDo(t, r); a.status != http.StatusServiceUnavailable || a.body != "" ||
				a.header.Get("Retry-After") == "" {
				t.Errorf("%s %s: %s, Retry-After %q; want 503 without a body", r.method, r.path, a, a.header.Get("Retry-After"))
			}
		}
		if d.engine == postgreSQL {
			s.awaitNotReady(t)
			s.want(t, call{method: "GET", path: "/healthz"}, http.StatusOK)
		}
		restore()
		s.await("ready again", func() bool {
			a, err := s.do(call{method: "GET", path: "/readyz"})
			return err == nil && a.status == http.StatusOK
		})
		if next := s.exchange(t, g.RefreshToken); generation(next.RefreshToken) != 2 {
			t.Errorf("generation %d, want 2", generation(next.RefreshToken))
		}
		s.await("telling of the outage", func() bool { return strings.Contains(s.process.Log(), `"level":"ERROR"`) })
	})
}

// breakStore makes the database refuse writes (SQLite: a lock that is held) or everything (PostgreSQL: no connections).
func breakStore(t *testing.T, d database) (restore func()) {
	t.Helper()
	if d.engine == sqlite {
		tx, err := d.open(t).BeginTx(t.Context(), nil) // takes the write lock, because of the DSN
		if err != nil {
			t.Fatal(err)
		}
		return func() { _ = tx.Rollback() }
	}
	u, err := url.Parse(d.url)
	if err != nil {
		t.Fatal("the DSN of the test database is malformed")
	}
	name := strings.TrimPrefix(u.Path, "/")
	u.Path = "/postgres"
	admin, err := sql.Open("pgx", u.String())
	if err != nil {
		t.Fatal("the DSN of the test server is malformed")
	}
	t.Cleanup(func() { admin.Close() })
	execute(t, admin, `ALTER DATABASE `+name+` ALLOW_CONNECTIONS false`)
	execute(t, admin, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1`, name)
	return func() { execute(t, admin, `ALTER DATABASE `+name+` ALLOW_CONNECTIONS true`) }
}
