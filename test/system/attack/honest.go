package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/refreshd/refreshd/test/support/figures"
	"github.com/refreshd/refreshd/test/support/rig"
)

const (
	honestUsers    = 4
	honestRate     = 40 // exchanges a second, of all users together
	honestSessions = 60 // of a user: each rests for 6 s between two exchanges, longer than the grace period
	honestGrace    = 5  // seconds
)

// user is an honest user, with an address of its own.
type user struct {
	client   *http.Client
	sessions []session
	next     int
}

// seen is the responses to the honest users in a window.
type seen struct {
	due       int           // exchanges
	answered  int           // with success
	refused   int           // for overload, or because the store was unavailable: 503
	limited   int           // for a limit: 429
	other     int           // another status
	lost      int           // without a response in time, or never sent because the one before had no response
	p50, p99  time.Duration // of those that were sent: from when they were due to the response or its time-out
	latencies []time.Duration
}

func (s seen) String() string {
	return fmt.Sprintf("p50 %s ms, p99 %s ms, %d of %d answered; %d 503, %d 429, %d other, %d lost",
		ms(s.p50), ms(s.p99), s.answered, s.due, s.refused, s.limited, s.other, s.lost)
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f", milliseconds(d)) }

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// unanswered returns how many did not succeed, for any reason.
func (s seen) unanswered() int { return s.due - s.answered }

// honest has the users exchange at the rate for a while.
func honest(ctx context.Context, host string, users []*user, rate float64, window time.Duration) (seen, error) {
	var (
		group sync.WaitGroup
		mu    sync.Mutex
		all   seen
		wrong error
	)
	begin := time.Now()
	pause := time.Duration(float64(len(users)) / rate * float64(time.Second))
	for i, u := range users {
		group.Go(func() {
			offset := pause * time.Duration(i) / time.Duration(len(users))
			s, err := u.load(ctx, host, begin.Add(offset), pause, begin.Add(window))
			mu.Lock()
			defer mu.Unlock()
			all = all.and(s)
			wrong = errors.Join(wrong, err)
		})
	}
	group.Wait()
	return all.summed(), wrong
}

func (s seen) and(o seen) seen {
	return seen{
		due: s.due + o.due, answered: s.answered + o.answered, refused: s.refused + o.refused, limited: s.limited + o.limited,
		other: s.other + o.other, lost: s.lost + o.lost, latencies: slices.Concat(s.latencies, o.latencies),
	}
}

func (s seen) summed() seen {
	slices.Sort(s.latencies)
	s.p50, s.p99 = figures.Percentile(s.latencies, .50), figures.Percentile(s.latencies, .99)
	return s
}

// afterwards is for how long after a window exchanges are sent that were due within it.
const afterwards = 2 * time.Second

// load exchanges whenever an exchange is due, and counts those as lost that could not be sent soon after the window.
func (u *user) load(
	ctx context.Context, host string, first time.Time, pause time.Duration, end time.Time,
) (s seen, err error) {
	for at := first; at.Before(end); at = at.Add(pause) {
		s.due++
		if time.Now().After(end.Add(afterwards)) {
			s.lost++
			continue
		}
		if err := rig.Sleep(ctx, time.Until(at)); err != nil {
			return s, err
		}
		status := u.exchange(ctx, host)
		switch took := time.Since(at); status {
		case 0:
			s.lost++
			s.latencies = append(s.latencies, took)
		case http.StatusOK:
			s.answered++
			s.latencies = append(s.latencies, took)
		case http.StatusServiceUnavailable:
			s.refused++
			s.latencies = append(s.latencies, took)
		case http.StatusTooManyRequests:
			s.limited++
			s.latencies = append(s.latencies, took)
		default:
			s.other++
		}
	}
	return s, nil
}

// exchange presents the string of the next session. If it gets no response, or is refused for a limit, the session is
// next again: its client repeats the request with the same string.
func (u *user) exchange(ctx context.Context, host string) (status int) {
	s := &u.sessions[u.next%len(u.sessions)]
	a, err := do(ctx, u.client, host, exchangeOf(s.current))
	if err != nil {
		return 0
	}
	if g, err := granted(a); err == nil {
		s.current = g.current
	}
	if a.Status != http.StatusServiceUnavailable && a.Status != http.StatusTooManyRequests {
		u.next++
	}
	return a.Status
}

// pair is a run: a window without the attack, and one with it.
type pair struct{ before, during seen }

// ratios returns the latency under attack divided by the latency without. Without responses it is infinite.
func (p pair) ratios() (p50, p99 float64) {
	ratio := func(during, before time.Duration) float64 {
		if before <= 0 || len(p.during.latencies) == 0 {
			return math.Inf(1)
		}
		return float64(during) / float64(before)
	}
	return ratio(p.during.p50, p.before.p50), ratio(p.during.p99, p.before.p99)
}

// slowdown is the greatest ratio of a good run.
const slowdown = 2

// worst returns the greater of the two ratios, or the ratio of the p99 alone. It is infinite if the window without the
// attack was disturbed.
func (p pair) worst(median bool) float64 {
	p50, p99 := p.ratios()
	switch {
	case p.before.unanswered() > 0:
		return math.Inf(1)
	case median:
		return max(p50, p99)
	default:
		return p99
	}
}

// good reports whether no exchange failed and the slowdown is within its bound.
func (p pair) good(median bool) bool {
	return p.during.unanswered() == 0 && p.worst(median) <= slowdown
}

// better reports whether p is better than q: by the number of failed exchanges, then by the slowdown.
func (p pair) better(q pair, median bool) bool {
	if n, m := p.during.unanswered(), q.during.unanswered(); n != m {
		return n < m
	}
	return p.worst(median) < q.worst(median)
}

// best repeats runs until one is good, at most as often as the plan says, and checks the best one against the targets,
// with or without the median. during is the attack. Its context ends with the window; it must not end before.
func (a *attack) best(
	ctx context.Context, what, host string, users []*user, median bool, during func(context.Context) error,
) error {
	var best pair
	for run := range a.plan.runs {
		p, err := a.pair(ctx, host, users, during)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		a.progress("%s: run %d: without %s; with %s", what, run+1, p.before, p.during)
		if run == 0 || p.better(best, median) {
			best = p
		}
		if best.good(median) {
			break
		}
	}
	p50, p99 := best.ratios()
	a.figure(what+": without the attack", "%s", best.before)
	a.figure(what+": with it", "%s", best.during)
	a.atMost(what+": exchanges that were not answered", float64(best.during.unanswered()), 0, "%.0f")
	if median {
		a.atMost(what+": p50 with / without", p50, slowdown, "%.2f")
	} else {
		a.figure(what+": p50 with / without", "%.2f", p50)
	}
	a.atMost(what+": p99 with / without", p99, slowdown, "%.2f")
	return nil
}

// settle is how long an attack runs before its window.
const settle = time.Second

// quiet waits until the service has recovered from the last run, but only for a bounded time: a window without an
// attack must not be slow because of one.
func quiet(ctx context.Context, host string) error {
	for calm, until := 0, time.Now().Add(20*time.Second); calm < 5 && time.Now().Before(until); {
		if err := rig.Sleep(ctx, 200*time.Millisecond); err != nil {
			return err
		}
		begin := time.Now()
		a, err := do(ctx, backend, host, rig.Request{Method: http.MethodGet, Path: "/readyz"})
		if calm++; err != nil || a.Status != http.StatusOK || time.Since(begin) > 50*time.Millisecond {
			calm = 0
		}
	}
	return nil
}

func (a *attack) pair(
	ctx context.Context, host string, users []*user, during func(context.Context) error,
) (p pair, err error) {
	if err := quiet(ctx, host); err != nil {
		return p, err
	}
	if p.before, err = honest(ctx, host, users, honestRate, a.plan.window); err != nil {
		return p, err
	}
	attacking, end := context.WithCancel(ctx)
	defer end()
	ended := make(chan error, 1)
	go func() { ended <- during(attacking) }()
	if err := rig.Sleep(ctx, settle); err != nil {
		return p, err
	}
	if p.during, err = honest(ctx, host, users, honestRate, a.plan.window); err != nil {
		return p, err
	}
	select {
	case err := <-ended:
		return p, fmt.Errorf("the attack ended early: %w", err)
	default:
	}
	end()
	select {
	case <-ended:
		return p, nil
	case <-time.After(2 * answerTimeout):
		return p, errors.New("the attack did not end")
	}
}
