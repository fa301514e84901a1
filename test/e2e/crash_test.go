package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/refreshd/refreshd/test/support/short"
)

// virtualUser is a client that does what a client should: it continues with the last string that it received, or sends
// one again that it got no response to.
type virtualUser struct {
	id      string // of its refresh token
	current string
}

// load counts what the users do.
type load struct {
	answered    atomic.Int64
	cutOff      atomic.Int64 // requests that the service had accepted when it ended
	unavailable atomic.Int64 // responses with status 503
	visits      atomic.Int64
	failed      atomic.Pointer[string]

	mu     sync.Mutex
	last   time.Time     // the time of the last response
	silent time.Duration // the longest time without one
}

func (l *load) fail(format string, args ...any) {
	message := fmt.Sprintf(format, args...)
	l.failed.CompareAndSwap(nil, &message)
}

// answer sends r until there is a response, or ctx is done, or something is wrong: then ok is false.
func (l *load) answer(ctx context.Context, c *client, r call) (a answer, ok bool) {
	pause := time.Millisecond
	for ctx.Err() == nil && l.failed.Load() == nil {
		a, err := c.do(r)
		switch {
		case err == nil && a.status != http.StatusServiceUnavailable:
			return a, true
		case err == nil:
			l.unavailable.Add(1)
		case !errors.Is(err, syscall.ECONNREFUSED):
			l.cutOff.Add(1)
		}
		pauseFor(ctx, pause+rand.N(pause)) // the service is being restarted
		pause = min(2*pause, 50*time.Millisecond)
	}
	return a, false
}

// run exchanges until ctx is done or something is wrong.
func (l *load) run(ctx context.Context, c *client, u *virtualUser) {
	for {
		a, ok := l.answer(ctx, c, exchangeCall(u.current))
		if !ok || !l.accept(u, a) {
			return
		}
	}
}

// visit logs a user in, rotates, and sends both strings again, one session after another. By the default policy, a
// repeated request within the grace period must be a retry, whatever was lost.
func (l *load) visit(ctx context.Context, c *client, user string) {
	for {
		a, ok := l.answer(ctx, c, issueCall(user, "shop"))
		issued, _ := a.grant()
		if !ok {
			return
		}
		a, ok = l.answer(ctx, c, exchangeCall(issued.RefreshToken))
		first, _ := a.grant()
		for _, sent := range []grant{issued, first} {
			again := answer{}
			if ok {
				again, ok = l.answer(ctx, c, exchangeCall(sent.RefreshToken))
			}
			if !ok {
				return
			}
			g, _ := again.grant()
			if generation(first.RefreshToken) != 2 || g.RefreshToken != first.RefreshToken || g.Token != first.Token ||
				again.header.Get("Refreshd-Outcome") != "retried" {
				l.fail("a retry is answered otherwise than the rotation to generation %d: %s %s",
					generation(first.RefreshToken), again.header.Get("Refreshd-Outcome"), again)
				return
			}
		}
		l.visits.Add(1)
	}
}

// accept updates the user by a response. It returns false if no user should get that response.
func (l *load) accept(u *virtualUser, a answer) bool {
	g, err := a.grant()
	if err != nil || a.status != http.StatusOK {
		l.fail("a user was logged out at generation %d: %s", generation(u.current), a)
		return false
	}
	if got, want := generation(g.RefreshToken), generation(u.current)+1; got != want {
		l.fail("generation %d follows %d", got, want-1)
		return false
	}
	u.current = g.RefreshToken
	l.answered.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if !l.last.IsZero() {
		l.silent = max(l.silent, now.Sub(l.last))
	}
	l.last = now
	return true
}

// quiet returns the longest time without a response since its last call.
func (l *load) quiet() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	silent := l.silent
	l.silent = 0
	return silent
}

// more waits for n more responses. v has to keep running meanwhile.
func (l *load) more(v *service, n int64) {
	v.t.Helper()
	target := l.answered.Load() + n
	v.await("answering", func() bool { return l.answered.Load() >= target || l.failed.Load() != nil })
	if failed := l.failed.Load(); failed != nil {
		v.t.Fatal(*failed)
	}
}

// crowd returns n users with a refresh token each, who exchange until they are stopped.
func (v *service) crowd(t *testing.T, n int) (users []*virtualUser, l *load, stop func()) {
	t.Helper()
	l = &load{}
	users, stop = v.crowdOf(t, n, func(ctx context.Context, u *virtualUser) { l.run(ctx, v.client, u) })
	return users, l, stop
}

// crowdOf returns n users with a refresh token each, who run do until ctx is done. Each of their exchanges rotates, and
// a repeated one after a lost response is a recovery; visit is for retries.
func (v *service) crowdOf(
	t *testing.T, n int, do func(ctx context.Context, u *virtualUser),
) (users []*virtualUser, stop func()) {
	t.Helper()
	for i := range n {
		g := v.issue(t, fmt.Sprint("user ", i), "chain")
		users = append(users, &virtualUser{id: g.RefreshTokenID, current: g.RefreshToken})
	}
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	for _, u := range users {
		group.Go(func() { do(ctx, u) })
	}
	return users, func() {
		cancel()
		group.Wait()
	}
}

func TestKill9LogsNobodyOut(t *testing.T) {
	short.LeaveOut(t, "ten seconds")
	const users, visitors, kills, between = 16, 4, 20, 100
	eachDatabase(t, func(t *testing.T, d database) {
		s := start(t, d, settings{})
		crowd, l, stopCrowd := s.crowd(t, users)
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		for i := range visitors {
			group.Go(func() { l.visit(ctx, s.client, fmt.Sprint("visitor ", i)) })
		}
		stop := func() {
			cancel()
			stopCrowd()
			group.Wait()
		}
		defer stop()
		var slowest time.Duration
		for range kills {
			l.more(s, between)
			s.Kill9()
			begin := time.Now()
			s.run()
			slowest = max(slowest, time.Since(begin))
		}
		l.more(s, between)
		stop()
		s.holds(t, crowd, l)
		if l.cutOff.Load() == 0 {
			t.Error("the service was never killed in the middle of a call")
		}
		if l.visits.Load() == 0 {
			t.Error("no visitor got through")
		}
		t.Logf("%d users, %d kills, %d exchanges answered, %d visits with retries, %d calls cut off, slowest restart %s",
			users, kills, l.answered.Load(), l.visits.Load(), l.cutOff.Load(), slowest.Round(time.Millisecond))
	})
}

// holds checks that no response to a user is lost, and that all users can continue.
func (v *service) holds(t *testing.T, crowd []*virtualUser, l *load) {
	t.Helper()
	if failed := l.failed.Load(); failed != nil {
		t.Fatal(*failed)
	}
	for _, u := range crowd {
		got := v.want(t, acme(call{method: "GET", path: "/jwt/refresh/" + u.id}), http.StatusOK).record(t).Generation
		// The end of the test may have cut off a user's last call, after it was done.
		if want := generation(u.current); got != want && got != want+1 {
			t.Errorf("stored generation %d, the user was given %d", got, want)
		}
		if got := generation(v.exchange(t, u.current).RefreshToken); got != generation(u.current)+1 {
			t.Errorf("generation %d follows %d", got, generation(u.current))
		}
	}
}
