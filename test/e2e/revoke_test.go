package e2e_test

import (
	"database/sql"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/test/support/short"
)

// fingerprint returns a value that any change of a row of refresh_tokens changes: in PostgreSQL a change of a row's
// version or place, too.
func fingerprint(t *testing.T, d database, db *sql.DB) string {
	t.Helper()
	if d.engine == postgreSQL {
		return queryText(t, db,
			`SELECT count(*) || ' ' || sum(hashtextextended(r::text || r.xmin || r.xmax || r.ctid, 0)) FROM refresh_tokens AS r`)
	}
	return queryText(t, db, `SELECT printf('%d %d %d %d %d %d %d %d', count(*), sum(generation),
		sum(last_used_at & 0xffffffff), sum(expires_at & 0xffffffff), sum(revoked_at),
		sum(length(revoked_reason)), sum(issued_epoch), sum(rotated_at & 0xffffffff)) FROM refresh_tokens`)
}

// copyToken fills the application bulk of tenant acme with copies of an issued refresh token, each with an id and a
// user of its own.
func copyToken(t *testing.T, d database, db *sql.DB, copies int) {
	t.Helper()
	const columns = `generation, issued_at, rotated_at, last_used_at, expires_at, recovered_at, recovery_paid_until,
		issued_epoch, ordinal, binding, revoked_at, revoked_reason, roles, scopes, claims, device_name, device_type,
		device_description, client_address, data`
	const template = `(SELECT * FROM refresh_tokens WHERE application_id = 'bulk' LIMIT 1)`
	if d.engine == postgreSQL {
		execute(t, db, `INSERT INTO refresh_tokens (id, tenant_id, application_id, user_id, `+columns+`)
			SELECT decode(md5(n::text), 'hex'), tenant_id, application_id, 'copy ' || n, `+columns+`
			FROM generate_series(1, $1::int) AS n, `+template+` AS r`, copies)
		execute(t, db, `VACUUM ANALYZE refresh_tokens`)
		return
	}
	execute(t, db, fmt.Sprintf(`WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < %d)
		INSERT INTO refresh_tokens (id, tenant_id, application_id, user_id, `+columns+`)
		SELECT randomblob(16), tenant_id, application_id, 'copy ' || n, `+columns+` FROM s, `+template, copies))
}

func TestARevocationOf200000TokensIsOneSmallWrite(t *testing.T) {
	short.LeaveOut(t, "ten seconds")
	const many, stringsHeld = 200_000, 300
	eachDatabase(t, func(t *testing.T, d database) {
		s := start(t, d, settings{})
		var issued []grant
		for i := range stringsHeld {
			g := s.issue(t, fmt.Sprint("user ", i), "bulk")
			if i%3 == 0 {
				g = s.exchange(t, g.RefreshToken)
			}
			issued = append(issued, g)
		}
		other := s.issue(t, "user 1", "shop")
		db := d.open(t)
		copyToken(t, d, db, many-stringsHeld)
		if got := queryText(t, db,
			`SELECT CAST(count(*) AS TEXT) FROM refresh_tokens WHERE application_id = 'bulk' AND revoked_at = 0`,
		); got != fmt.Sprint(many) {
			t.Fatalf("%s tokens are stored, want %d", got, many)
		}
		// A copy is equivalent to an issued refresh token.
		copied := s.want(t, acme(call{method: "GET", path: "/jwt/refresh?userId=copy%20777"}), http.StatusOK).records(t)
		if len(copied) != 1 {
			t.Fatalf("listed %d of the user of a copy, want 1", len(copied))
		}

		before, others := fingerprint(t, d, db), otherRows(t, db)
		walBefore := startWAL(t, d, db)
		revoke := acme(call{method: "DELETE", path: "/jwt/refresh?applicationsId=bulk"})
		begin := time.Now()
		s.want(t, revoke, http.StatusOK)
		took := time.Since(begin)
		// The next request for each of them.
		s.refused(t, issued[0].RefreshToken, "[revoked]refreshToken")
		written := endWAL(t, d, db, walBefore)
		if diff := cmp.Diff(before, fingerprint(t, d, db)); diff != "" {
			t.Errorf("the revocation touched refresh tokens (-before +after):\n%s", diff)
		}
		changed := 0
		for _, row := range otherRows(t, db) {
			if !slices.Contains(others, row) {
				changed++
			}
		}
		if changed != 3 {
			t.Errorf("the revocation wrote %d rows, want 3: the tenant's, the mark and the event", changed)
		}
		if d.engine == sqlite && written > 64<<10 { // PostgreSQL's log is that of the whole server
			t.Errorf("the revocation wrote %d bytes to the database's log", written)
		}
		for _, g := range issued {
			s.refused(t, g.RefreshToken, "[revoked]refreshToken")
		}
		if got := s.want(t, acme(call{method: "GET", path: "/jwt/refresh?userId=copy%20777"}),
			http.StatusOK).records(t); len(got) != 0 {
			t.Errorf("a copy is still listed: %v", got)
		}
		s.want(t, acme(call{method: "GET", path: "/jwt/refresh/" + copied[0].ID}), http.StatusNotFound)

		fresh := s.issue(t, "user 1", "bulk")
		s.exchange(t, fresh.RefreshToken)
		s.exchange(t, other.RefreshToken)
		if got := s.want(t, acme(call{method: "GET", path: "/jwt/refresh?userId=user%201&applicationsId=bulk"}),
			http.StatusOK).records(t); len(got) != 1 {
			t.Errorf("%d listed after the new issue, want 1", len(got))
		}
		begin = time.Now()
		s.want(t, revoke, http.StatusOK)
		t.Logf("%d tokens: revoked in %s (again: %s), %d rows and %d bytes of log written", many,
			took.Round(10*time.Microsecond),
			time.Since(begin).Round(10*time.Microsecond), changed, written)
	})
}

// otherRows are the rows of the tables that a revocation may write.
func otherRows(t *testing.T, db *sql.DB) []string {
	t.Helper()
	var all []string
	for _, table := range tables {
		if table != "refresh_tokens" {
			all = append(all, rows(t, db, "SELECT '"+table+"', x.* FROM "+table+" AS x")...)
		}
	}
	return all
}

// startWAL and endWAL return how many bytes the database has written to its log between them.
func startWAL(t *testing.T, d database, db *sql.DB) string {
	t.Helper()
	if d.engine == postgreSQL {
		return queryText(t, db, `SELECT pg_current_wal_insert_lsn()::text`)
	}
	execute(t, db, `PRAGMA wal_checkpoint(TRUNCATE)`)
	return ""
}

func endWAL(t *testing.T, d database, db *sql.DB, from string) (size int64) {
	t.Helper()
	if d.engine == postgreSQL {
		if err := db.QueryRowContext(t.Context(), `SELECT (pg_current_wal_insert_lsn() - $1::pg_lsn)::bigint`,
			from).Scan(&size); err != nil {
			t.Fatal(err)
		}
		return size
	}
	info, err := os.Stat(d.path() + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// A refresh token that was issued before a revocation is refused after it, and one that was issued later is active,
// whatever ran concurrently.
func TestARevocationInTheMiddleOfALoadIsSeenByEveryLaterExchange(t *testing.T) {
	eachStore(t, func(t *testing.T, d database) {
		s := start(t, d, settings{})
		const users = 20
		crowd, loads := make([]*virtualUser, users), make([]load, users)
		var group sync.WaitGroup
		for i := range crowd {
			g := s.issue(t, fmt.Sprint("user ", i), "chain")
			crowd[i] = &virtualUser{id: g.RefreshTokenID, current: g.RefreshToken}
			group.Go(func() { loads[i].run(t.Context(), s.client, crowd[i]) })
		}
		for i := range loads {
			s.await("answering", func() bool { return loads[i].answered.Load() > 5 })
		}
		s.want(t, acme(call{method: "DELETE", path: "/jwt/refresh?applicationsId=chain"}), http.StatusOK)
		group.Wait()
		for i := range loads {
			if failed := loads[i].failed.Load(); !strings.Contains(*failed, "[revoked]refreshToken") {
				t.Errorf("a user was stopped by %s, want the revocation", *failed)
			}
		}
		for _, u := range crowd {
			s.refused(t, u.current, "[revoked]refreshToken")
		}
		s.exchange(t, s.issue(t, "user 1", "chain").RefreshToken)
	})
}
