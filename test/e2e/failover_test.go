package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/refreshd/refreshd/test/support/postgres"
)

// victim is a refresh token that is revoked.
type victim struct {
	tokenString string
	wide        bool
}

// revokers issue to users of their own, and revoke immediately, alternately the refresh token and all of the user,
// until ctx is done. They record what got a response.
type revokers struct {
	mu       sync.Mutex
	answered []victim
}

func (r *revokers) run(ctx context.Context, c *client, name string, l *load) {
	for n := 0; ctx.Err() == nil && l.failed.Load() == nil; n++ {
		user, wide := fmt.Sprintf("%s %d", name, n), n%2 == 1
		a, err := c.do(issueCall(user, "shop"))
		g, broken := a.grant()
		if err != nil || broken != nil || a.status != http.StatusOK {
			pauseFor(ctx, 20*time.Millisecond)
			continue
		}
		path := "/jwt/refresh/" + g.RefreshTokenID
		if wide {
			path = "/jwt/refresh?" + url.Values{"userId": {user}}.Encode()
		}
		for again := false; ctx.Err() == nil; again = true {
			a, err := c.do(acme(call{method: "DELETE", path: path}))
			// The previous request, whose response was lost, may have done it.
			if err == nil && (a.status == http.StatusOK || again && a.status == http.StatusNotFound) {
				r.mu.Lock()
				r.answered = append(r.answered, victim{g.RefreshToken, wide})
				r.mu.Unlock()
				break
			}
			if err == nil && a.status != http.StatusServiceUnavailable {
				l.fail("revoke %s: %s", path, a)
				return
			}
			pauseFor(ctx, 20*time.Millisecond)
		}
	}
}

// pauseFor waits between two attempts.
func pauseFor(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d): // no result depends on it
	}
}

// A fail-over may cost a moment of service, and no response that was sent. The test fails over and back: the old
// primary returns at its address as a standby, which accepts no writes, and becomes the primary again.
func TestFailOverLosesNothingThatWasAnswered(t *testing.T) {
	const users, services = 12, 2
	postgres.LeaveOut(t)
	ran.add(postgreSQL)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	primary, err := postgres.StartServer(ctx, postgres.Options{Durable: true, Own: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { primary.Stop() })
	dsn, err := primary.NewDatabase(ctx)
	if err != nil {
		t.Fatal(err)
	}
	standby, err := postgres.StartStandby(ctx, primary)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { standby.Stop() })
	d := database{engine: postgreSQL, dir: t.TempDir(), url: withPassword(t, dsn), masterKey: newMasterKey()}
	d.url = strings.Replace(d.url, primary.Address(), primary.Address()+","+standby.Address(), 1) +
		"&target_session_attrs=read-write"
	d.migrated(t)

	var (
		all      []*service
		crowd    []*virtualUser
		stops    []func()
		group    sync.WaitGroup
		revoking revokers
		l        = &load{}
	)
	loading, stopRevoking := context.WithCancel(t.Context())
	for range services {
		s := start(t, d, settings{expectsErrors: true})
		all = append(all, s)
		name := fmt.Sprint("victim of ", len(all))
		mine, stop := s.crowdOf(t, users, func(ctx context.Context, u *virtualUser) { l.run(ctx, s.client, u) })
		crowd = append(crowd, mine...)
		group.Go(func() { revoking.run(loading, s.client, name, l) })
		stops = append(stops, stop)
	}
	stop := func() {
		stopRevoking()
		group.Wait()
		for _, s := range stops {
			s()
		}
	}
	defer stop()

	s := all[0]
	failOver := func(from, to *postgres.Server) {
		t.Helper()
		l.more(s, 1500)
		before, revokedBefore := l.answered.Load(), revoking.count()
		cutOff, unavailable := l.cutOff.Load(), l.unavailable.Load()
		l.quiet()
		begin := time.Now()
		if err := from.Kill(); err != nil {
			t.Fatal(err)
		}
		killed := time.Now()
		if err := to.Promote(); err != nil {
			t.Fatal(err)
		}
		promoted := time.Now()
		l.more(s, 1)
		back := time.Now()
		l.more(s, 500)
		revoked := revoking.count()
		s.await("revoking", func() bool { return revoking.count() >= revoked+10 })
		silent := l.quiet()
		t.Logf("from %s to %s, after %d exchanges and %d revocations: kill -9 took %s, promotion %s, the first exchange "+
			"was answered %s after "+
			"that; without service: %s; %d calls cut off, %d answered 503", from.Address(), to.Address(), before, revokedBefore,
			killed.Sub(begin).Round(time.Millisecond), promoted.Sub(killed).Round(time.Millisecond),
			back.Sub(promoted).Round(time.Millisecond),
			silent.Round(time.Millisecond), l.cutOff.Load()-cutOff, l.unavailable.Load()-unavailable)
		// The operator promotes. After that it takes a second on an idle machine; the rest is for a busy one. A service
		// that kept its connections to the old primary would be silent for half an hour, their maximum lifetime.
		if own := silent - promoted.Sub(begin); own > time.Minute {
			t.Errorf("%s without service after the promotion, want a minute at most", own)
		}
		if l.unavailable.Load() == unavailable {
			t.Error("no call met the outage")
		}
	}
	failOver(primary, standby)
	if err := primary.Rejoin(ctx, standby); err != nil {
		t.Fatal(err)
	}
	failOver(standby, primary)
	stop()

	s.holds(t, crowd, l)
	wide := 0
	for _, v := range revoking.answered {
		all[1].refused(t, v.tokenString, "[revoked]refreshToken")
		if v.wide {
			wide++
		}
	}
	for _, v := range all {
		v.want(t, call{method: "GET", path: "/readyz"}, http.StatusOK)
	}
	t.Logf("%d services, %d users: %d exchanges and %d revocations answered, %d of these of a whole user; all of them "+
		"held, no user logged out",
		services, len(crowd), l.answered.Load(), len(revoking.answered), wide)
}

func (r *revokers) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.answered)
}
