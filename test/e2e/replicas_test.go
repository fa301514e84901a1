package e2e_test

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A client whose requests a balancer distributes must not notice that there are several replicas.
func TestReplicasOnOneDatabaseAreOneService(t *testing.T) {
	eachDatabase(t, func(t *testing.T, d database) {
		const clients = 100
		const rounds, step = 14, 250 * time.Millisecond // three grace periods
		together := settings{env: []string{"REFRESHD_PUBLIC_URL=https://auth.example.com",
			"REFRESHD_PURGE_INTERVAL=0s"}}
		clock := newClock(t, &together, 0)
		replicas := []*service{start(t, d, together), start(t, d, together)}
		clock.stand()
		issue := call{method: "POST", path: "/jwt/issue", body: object("userId", "alice", "applicationsId", "quick")}
		issued := replicas[0].granted(t, rival(issue))

		// One token: every client sends the newest string that it has, to one process after the other.
		var (
			newest atomic.Pointer[string]
			failed atomic.Pointer[string]
			group  sync.WaitGroup
			mu     sync.Mutex
			seen   = map[uint32]string{}
			calls  atomic.Int64
			began  = clock.now()
		)
		newest.Store(&issued.RefreshToken)
		for n := range rounds {
			for i := range clients {
				group.Go(func() {
					calls.Add(1)
					sent := *newest.Load()
					a, err := replicas[(i+n)%2].do(exchangeCall(sent))
					g, _ := a.grant()
					if err != nil || a.status != http.StatusOK {
						message := fmt.Sprintf("generation %d: %v %s", generation(sent), err, a)
						failed.CompareAndSwap(nil, &message)
						return
					}
					mu.Lock()
					if was, again := seen[generation(g.RefreshToken)]; again && was != g.RefreshToken {
						message := fmt.Sprintf("generation %d has two token strings", generation(g.RefreshToken))
						failed.CompareAndSwap(nil, &message)
					}
					seen[generation(g.RefreshToken)] = g.RefreshToken
					mu.Unlock()
					for {
						was := newest.Load()
						if generation(*was) >= generation(g.RefreshToken) || newest.CompareAndSwap(was, &g.RefreshToken) {
							break
						}
					}
				})
			}
			clock.advance(step) // while they are running
			group.Wait()
		}
		if message := failed.Load(); message != nil {
			t.Fatal(*message)
		}
		last, took := generation(*newest.Load()), clock.now().Sub(began)
		if most := uint32(2 + took/time.Second); last < 4 || last > most {
			t.Errorf("%d generations in %s, want 4 to %d: one rotation in each grace period", last, took, most)
		}
		for g := uint32(2); g <= last; g++ {
			if seen[g] == "" {
				t.Errorf("generation %d of %d was never given out", g, last)
			}
		}
		one := rival(call{method: "GET", path: "/jwt/refresh/" + issued.RefreshTokenID})
		for i, r := range replicas {
			if got := r.want(t, one, http.StatusOK).record(t).Generation; got != last {
				t.Errorf("replica %d: generation %d is stored, %d was given out last", i, got, last)
			}
		}

		// A retry at the other replica gets the same response.
		current := *newest.Load()
		body := replicas[0].want(t, exchangeCall(current), http.StatusOK).steady()
		if got := replicas[1].want(t, exchangeCall(current), http.StatusOK).steady(); got != body {
			t.Errorf("a retry at the other replica: %s\nwant %s", got, body)
		}
		t.Logf("%d exchanges through two processes: %d generations, no gap, no error", calls.Load(), last)

		// A revocation by one is visible to the other's next request.
		for i := range 50 {
			g := replicas[i%2].issue(t, "bob", "shop")
			to, from := replicas[i%2], replicas[(i+1)%2]
			path := "/jwt/refresh/" + g.RefreshTokenID
			if i%3 > 0 {
				path = []string{"/jwt/refresh?userId=bob", "/jwt/refresh?applicationsId=shop"}[i%3-1]
			}
			to.want(t, acme(call{method: "DELETE", path: path}), http.StatusOK)
			from.refused(t, g.RefreshToken, "[revoked]refreshToken")
		}
	})
}
