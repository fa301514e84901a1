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
)

// virtualUser is a client that does what a client should: it goes on with the last string it was given, or sends again the
// one it had no answer to.
type virtualUser struct {
	id      string // of its refresh token
	current string
}

// load is the users' doings.
type load struct {
	answered    atomic.Int64
	cutOff      atomic.Int64 // calls that the service had taken when it ended
	unavailable atomic.Int64 // calls that were answered 503
	failed      atomic.Pointer[string]
}

func (l *load) fail(format string, args ...any) {
	message := fmt.Sprintf(format, args...)
	l.failed.CompareAndSwap(nil, &message)
}

// run exchanges until ctx is done or something is wrong.
func (l *load) run(ctx context.Context, c *client, u *virtualUser) {
	for pause := time.Millisecond; ctx.Err() == nil && l.failed.Load() == nil; {
		a, err := c.do(exchangeCall(u.current))
		if err != nil || a.status == http.StatusServiceUnavailable {
			if err == nil {
				l.unavailable.Add(1)
			} else if !errors.Is(err, syscall.ECONNREFUSED) {
				l.cutOff.Add(1)
			}
			select { // it is being started anew
			case <-ctx.Done():
			case <-time.After(pause + rand.N(pause)):
			}
			pause = min(2*pause, 50*time.Millisecond)
			continue
		}
		pause = time.Millisecond
		g, err := a.grant()
		if err != nil || a.status != http.StatusOK {
			l.fail("a user was logged out at generation %d: %s", generation(u.current), a)
			return
		}
		if got, want := generation(g.RefreshToken), generation(u.current)+1; got != want {
			l.fail("generation %d follows %d", got, want-1)
			return
		}
		u.current = g.RefreshToken
		l.answered.Add(1)
	}
}

// crowd are n users with a refresh token each, who exchange until they are told to stop.
func (v *service) crowd(t *testing.T, n int) (users []*virtualUser, l *load, stop func()) {
	t.Helper()
	for i := range n {
		g := v.issue(t, fmt.Sprint("user ", i), "shop")
		users = append(users, &virtualUser{id: g.RefreshTokenID, current: g.RefreshToken})
	}
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	l = &load{}
	for _, u := range users {
		group.Go(func() { l.run(ctx, v.client, u) })
	}
	return users, l, func() {
		cancel()
		group.Wait()
	}
}

func TestKill9LogsNobodyOut(t *testing.T) {
	const users, kills, between = 16, 20, 100
	eachDatabase(t, func(t *testing.T, d database) {
		s := start(t, d, settings{})
		crowd, l, stop := s.crowd(t, users)
		defer stop()
		var slowest time.Duration
		for range kills {
			target := l.answered.Load() + between
			s.await("answering", func() bool { return l.answered.Load() >= target || l.failed.Load() != nil })
			s.Kill9()
			begin := time.Now()
			s.run()
			slowest = max(slowest, time.Since(begin))
		}
		target := l.answered.Load() + between
		s.await("answering", func() bool { return l.answered.Load() >= target || l.failed.Load() != nil })
		stop()
		if failed := l.failed.Load(); failed != nil {
			t.Fatal(*failed)
		}
		for _, u := range crowd {
			got := s.want(t, acme(call{method: "GET", path: "/jwt/refresh/" + u.id}), http.StatusOK).record(t).Generation
			// The last call of a user may have been cut off by the end of the test, after it was done.
			if want := generation(u.current); got != want && got != want+1 {
				t.Errorf("stored generation %d, the user was given %d", got, want)
			}
			if got := generation(s.exchange(t, u.current).RefreshToken); got != generation(u.current)+1 {
				t.Errorf("generation %d follows %d", got, generation(u.current))
			}
		}
		if l.cutOff.Load() == 0 {
			t.Error("the service was never killed in the middle of a call")
		}
		t.Logf("%d users, %d kills, %d exchanges answered, %d calls cut off, slowest restart %s",
			users, kills, l.answered.Load(), l.cutOff.Load(), slowest.Round(time.Millisecond))
	})
}
