package e2e_test

import (
	"testing"
)

// A clean stop returns the lease of the purge. Otherwise the next process would wait until it expires, as after a kill.
func TestAPurgeThatWasStoppedLeavesTheRestToTheNext(t *testing.T) {
	eachDatabase(t, func(t *testing.T, d database) {
		issuer := start(t, d, noJanitor)
		db := d.open(t)
		isUnderWay := func() bool { return len(rows(t, db, `SELECT name FROM jobs WHERE name = 'purge'`)) > 0 }
		for name, stopIn := range map[string]func(t *testing.T){
			"serve": func(t *testing.T) {
				s := start(t, d, settings{env: []string{"REFRESHD_PURGE_INTERVAL=1s"}})
				s.await("purging", isUnderWay)
				s.Stop()
			},
			"purge": func(t *testing.T) {
				purge := begin(t, d, settings{}, "purge")
				issuer.await("purging", isUnderWay)
				_ = purge.Terminate() // it may have ended
				_ = purge.Wait()
			},
		} {
			t.Run(name, func(t *testing.T) {
				left := func() string {
					return queryText(t, db, `SELECT CAST(count(*) AS TEXT) FROM refresh_tokens WHERE expires_at = 1`)
				}
				ended := 4_000 // a pass takes some hundred milliseconds
				for attempt := 0; left() == "0"; attempt++ {
					if attempt == 5 {
						t.Fatalf("a pass over %d is over before it is stopped", ended)
					}
					issuer.issue(t, "old", "bulk")
					execute(t, db, `UPDATE refresh_tokens SET expires_at = 1 WHERE application_id = 'bulk'`)
					execute(t, db, `DELETE FROM jobs`)
					copyToken(t, d, db, ended)
					stopIn(t)
					ended *= 2 // if a busy machine finished it
				}
				got := runVerb(t, d, settings{}, "purge")
				if completed.FindString(got.Stdout) == "" || got.Status != 0 || left() != "0" {
					t.Errorf("the next purge, with %s left: %s", left(), got)
				}
			})
		}
	})
}
