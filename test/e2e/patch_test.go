package e2e_test

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

func patchCall(target, body string) call {
	return acme(call{method: "PATCH", path: "/jwt/refresh" + target, body: body})
}

// rolesIn returns the roles in an access token.
func rolesIn(t *testing.T, accessToken string) []string {
	t.Helper()
	var c struct{ Roles []string }
	readClaims(t, accessToken, &c)
	return c.Roles
}

// claimIn returns one of the caller's claims in an access token; nil if it is absent.
func claimIn(t *testing.T, accessToken, name string) any {
	t.Helper()
	var c map[string]any
	readClaims(t, accessToken, &c)
	return c[name]
}

// A role that a PATCH removed is in no later access token, whatever the outcome of the exchange. A client that lost a
// response continues with its old token string.
func TestTheNextExchangeCarriesAPatch(t *testing.T) {
	eachStore(t, func(t *testing.T, d database) {
		v, clock := startStopped(t, d, settings{})
		var id string
		round := 0
		// patched is the response to sent after a PATCH to other roles; tokenString is its string, or empty for a new
		// one.
		patched := func(outcome, sent, tokenString string) grant {
			t.Helper()
			round++
			role := fmt.Sprint("role ", round)
			target := "/" + id
			if round%2 == 0 {
				target = "?userId=patched&applicationsId=quick"
			}
			v.want(t, patchCall(target, `{"roles":["`+role+`"]}`), http.StatusOK)
			got, g := v.outcome(t, sent)
			if roles := rolesIn(t, g.Token); got != outcome || !slices.Equal(roles, []string{role}) {
				t.Errorf("exchange %d: %s with roles %v, want %s with %q", round, got, roles, outcome, role)
			}
			if tokenString != "" && g.RefreshToken != tokenString {
				t.Errorf("exchange %d, %s: another token string than before", round, got)
			}
			return g
		}
		first := v.issue(t, "patched", "quick")
		id = first.RefreshTokenID
		second := patched("rotated", first.RefreshToken, "")
		patched("retried", first.RefreshToken, second.RefreshToken)
		patched("retried", second.RefreshToken, second.RefreshToken)
		clock.afterGrace()
		patched("recovered", first.RefreshToken, second.RefreshToken)
		clock.afterGrace()
		patched("recovered", first.RefreshToken, second.RefreshToken)
		third := patched("rotated", second.RefreshToken, "")
		clock.afterGrace()
		v.refused(t, first.RefreshToken, "[reused]refreshToken") // a PATCH does not change what a replay is
		v.refused(t, third.RefreshToken, "[revoked]refreshToken")
		v.want(t, patchCall("/"+id, `{"roles":[]}`), http.StatusNotFound)

		kiosk := v.issue(t, "patched", "reusable")
		v.want(t, patchCall("/"+kiosk.RefreshTokenID, `{"roles":["kiosk"]}`), http.StatusOK)
		outcome, g := v.outcome(t, kiosk.RefreshToken)
		if roles := rolesIn(t, g.Token); outcome != "unchanged" || !slices.Equal(roles, []string{"kiosk"}) {
			t.Errorf("%s with roles %v, want unchanged with kiosk", outcome, roles)
		}
	})
}

// Two backends change different claims of the same sessions, through different processes, while their device exchanges:
// each change is in the next access token, and in the end all of them are stored.
func TestConcurrentPatchesLoseNothing(t *testing.T) {
	eachDatabase(t, func(t *testing.T, d database) {
		// A PATCH whose attempts all meet changed sessions is a 503, and an error in the log.
		together := settings{env: []string{"REFRESHD_PUBLIC_URL=https://auth.example.com"}, expectsErrors: true}
		replicas := []*service{start(t, d, together), start(t, d, together)}
		chain, other := replicas[0].issue(t, "patched", "chain"), replicas[0].issue(t, "patched", "chain")
		const rounds = 20
		var all sync.WaitGroup
		for n, r := range replicas {
			all.Go(func() {
				for i := 1; i <= rounds; i++ {
					body := fmt.Sprintf(`{"claims":{"counter%d":%d}}`, n, i)
					target := "?userId=patched"
					if i%3 == 0 {
						target = "/" + chain.RefreshTokenID
					}
					a, err := r.do(patchCall(target, body))
					for try := 0; err == nil && a.status == http.StatusServiceUnavailable && try < 100; try++ {
						a, err = r.do(patchCall(target, body)) // safe to repeat: it changes the remaining sessions
					}
					if err != nil || a.status != http.StatusOK {
						t.Errorf("PATCH: %v %s", err, a)
						return
					}
				}
			})
		}
		current := chain.RefreshToken
		all.Go(func() {
			for i := range rounds {
				a, err := replicas[i%2].do(exchangeCall(current))
				g, _ := a.grant()
				if current = g.RefreshToken; err != nil || a.status != http.StatusOK {
					t.Errorf("exchange: %v %s", err, a)
					return
				}
			}
		})
		all.Wait()
		if t.Failed() {
			return
		}
		if got := generation(current); got != rounds+1 {
			t.Errorf("generation = %d, want %d", got, rounds+1)
		}
		for _, tokenString := range []string{current, other.RefreshToken} {
			access := replicas[0].exchange(t, tokenString).Token
			for n := range replicas {
				name := fmt.Sprint("counter", n)
				if got := claimIn(t, access, name); got != float64(rounds) {
					t.Errorf("%s = %v, want %d", name, got, rounds)
				}
			}
		}
	})
}

// Backends that change the same user through one process wait for each other, and none has to retry. A 503 would be an
// error in the log, which start refuses.
func TestConcurrentPatchesInAProcessAllSucceed(t *testing.T) {
	eachDatabase(t, func(t *testing.T, d database) {
		v := start(t, d, settings{})
		g := v.issue(t, "patched", "chain")
		for range 19 {
			v.issue(t, "patched", "chain")
		}
		const backends, rounds = 4, 25
		var all sync.WaitGroup
		for n := range backends {
			all.Go(func() {
				for i := range rounds {
					a, err := v.do(patchCall("?userId=patched", fmt.Sprintf(`{"claims":{"c%d_%d":1}}`, n, i)))
					if err != nil || a.status != http.StatusOK {
						t.Errorf("PATCH %d of backend %d: %v %s", i, n, err, a)
						return
					}
				}
			})
		}
		all.Wait()
		if t.Failed() {
			return
		}
		access := v.exchange(t, g.RefreshToken).Token
		for n := range backends {
			for i := range rounds {
				if name := fmt.Sprintf("c%d_%d", n, i); claimIn(t, access, name) == nil {
					t.Errorf("%s is lost", name)
				}
			}
		}
	})
}

// A request changes the roles of a user with a thousand sessions, and refuses a user with more.
func TestAThousandSessionsArePatchedTogether(t *testing.T) {
	eachDatabase(t, func(t *testing.T, d database) {
		v := start(t, d, settings{env: []string{"REFRESHD_PURGE_INTERVAL=0s"}})
		issued := v.issue(t, "many", "bulk")
		db := d.open(t)
		copyToken(t, d, db, 999)
		execute(t, db, `UPDATE refresh_tokens SET user_id = 'many' WHERE application_id = 'bulk'`)
		began := time.Now()
		a := v.want(t, patchCall("?userId=many", `{"roles":["viewer"],"claims":{"plan":"gold"}}`), http.StatusOK)
		t.Logf("1000 sessions in %s", time.Since(began).Round(time.Millisecond))
		want := `{"success":true,"message":"The refresh tokens were changed.","data":{"changed":1000}}` + "\n"
		if a.body != want {
			t.Errorf("got %s, want %s", a.body, want)
		}
		if got := queryText(t, db,
			`SELECT count(*) || '' FROM refresh_tokens WHERE claims = '{"plan":"gold"}'`); got != "1000" {
			t.Errorf("%s sessions were changed", got)
		}
		v.issue(t, "many", "shop")
		v.want(t, patchCall("?userId=many", `{"claims":{"plan":"silver"}}`), http.StatusBadRequest, "[tooMany]userId")
		if plan := claimIn(t, v.exchange(t, issued.RefreshToken).Token, "plan"); plan != "gold" {
			t.Errorf("plan = %v after a PATCH that was refused", plan)
		}
		v.want(t, patchCall("?userId=many&applicationsId=bulk", `{"claims":{"plan":"silver"}}`), http.StatusOK)
	})
}
