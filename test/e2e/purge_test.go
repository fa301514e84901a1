package e2e_test

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/refreshd/refreshd/test/support/short"
)

var (
	noJanitor = settings{env: []string{"REFRESHD_PURGE_INTERVAL=0s"}}
	completed = regexp.MustCompile(`(?m)^the pass is complete: looked at (\d+) refresh tokens and deleted (\d+),`)
)

// The output for an operator who purges a store that serves, and whose purge is killed in the middle.
func TestAPurgeThatWasKilledGoesOnAndTheLivingNoticeNothing(t *testing.T) {
	short.LeaveOut(t, "ten seconds")
	const users = 4
	eachDatabase(t, func(t *testing.T, d database) {
		dead := 30_000
		if d.engine == sqlite {
			// another process waits for the lock on the file by polling, and the users release it only for moments
			dead = 8_000
		}
		s := start(t, d, noJanitor)
		db := d.open(t)
		expired := func() grant {
			g := s.issue(t, "old", "bulk")
			execute(t, db, `UPDATE refresh_tokens SET expires_at = 1 WHERE application_id = 'bulk'`)
			s.refused(t, g.RefreshToken, "[expired]refreshToken")
			return g
		}
		old := expired()
		revoked := s.issue(t, "revoked", "shop")
		s.want(t, acme(call{method: "DELETE", path: "/jwt/refresh/" + revoked.RefreshTokenID}), http.StatusOK)
		s.refused(t, revoked.RefreshToken, "[revoked]refreshToken")
		crowd, l, stop := s.crowd(t, users)
		defer stop()

		left := func() int {
			n, err := strconv.Atoi(queryText(t, db, `SELECT CAST(count(*) AS TEXT) FROM refresh_tokens WHERE expires_at = 1`))
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		before := 0
		for attempt := 0; before == 0; attempt++ {
			if attempt == 5 {
				t.Fatalf("a purge of %d is over before it is killed", dead)
			}
			if attempt > 0 { // on a busy machine it had finished
				dead *= 2
				execute(t, db, `DELETE FROM jobs`)
				old = expired()
			}
			copyToken(t, d, db, dead-left())
			purge := begin(t, d, settings{}, "purge")
			// The first step inserts the row, with its deletions.
			s.await("being purged", func() bool { return len(rows(t, db, `SELECT name FROM jobs`)) > 0 })
			if err := purge.Kill(); err != nil { // it may have ended
				t.Fatal(err)
			}
			if purge.State().Success() {
				continue
			}
			if before = left(); before == dead {
				t.Fatalf("all of %d are left to delete, want some", before)
			}
		}
		if got := runVerb(t, d, settings{}, "purge"); got.Status != 1 ||
			!strings.Contains(got.Stderr, "another process is purging") || left() != before {
			t.Errorf("while the lease of the one that was killed runs: %s", got)
		}
		execute(t, db, `UPDATE jobs SET lease_until = 1`) // so that the test does not wait for it
		answered := l.answered.Load()
		got := runVerb(t, d, settings{}, "purge")
		told := completed.FindStringSubmatch(got.Stdout)
		if got.Status != 0 || told == nil {
			t.Fatalf("the next purge: %s", got)
		}
		if lookedAt, _ := strconv.Atoi(told[1]); lookedAt >= dead || lookedAt < before {
			t.Errorf("it looked at %d refresh tokens, want the %d remaining and the active ones", lookedAt, before)
		}
		if told[2] != strconv.Itoa(before) || left() != 0 {
			t.Errorf("it deleted %s of %d, and %d are left", told[2], before, left())
		}
		stop()
		if failed := l.failed.Load(); failed != nil {
			t.Error(*failed)
		}
		if meanwhile := l.answered.Load() - answered; meanwhile == 0 {
			t.Error("no exchange ran meanwhile")
		}
		for _, u := range crowd {
			s.exchange(t, u.current)
		}
		s.refused(t, old.RefreshToken, "[invalid]refreshToken")
		s.refused(t, revoked.RefreshToken, "[revoked]refreshToken") // not revoked for long enough
		t.Logf("%d of %d deleted when it was killed, %d exchanges beside it; the next said:\n%s",
			dead-before, dead, l.answered.Load(), got.Stdout)
	})
}

func TestTheServicePurgesByItself(t *testing.T) {
	eachDatabase(t, func(t *testing.T, d database) {
		s := start(t, d, settings{env: []string{"REFRESHD_PURGE_INTERVAL=1s", "REFRESHD_PURGE_AFTER=5m"}})
		dead, living := s.issue(t, "one", "shop"), s.issue(t, "two", "shop")
		s.want(t, acme(call{method: "DELETE", path: "/jwt/refresh?userId=one"}), http.StatusOK)
		s.refused(t, dead.RefreshToken, "[revoked]refreshToken")
		db := d.open(t)
		execute(t, db, `UPDATE marks SET revoked_at = $1`, time.Now().Add(-6*time.Minute).UnixMicro())
		s.await("rid of the ended ones", func() bool { return s.metrics()["refreshd_purge_tokens_deleted_total"] == "1" })
		s.refused(t, dead.RefreshToken, "[invalid]refreshToken")
		s.exchange(t, living.RefreshToken)
		s.await("through with a pass", func() bool {
			at, err := strconv.ParseFloat(s.metrics()["refreshd_purge_last_pass_timestamp_seconds"], 64)
			return err == nil && time.Since(time.Unix(int64(at), 0)) < time.Minute // asked again until it is true
		})
		if got := s.metrics()["refreshd_purge_tokens_examined_total"]; got == "0" || got == "" {
			t.Errorf("looked at %q refresh tokens", got)
		}
	})
}
