package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/refreshd/refreshd/test/support/figures"
	"github.com/refreshd/refreshd/test/support/rig"
)

const (
	// overloadUsers is the number of connections: more than the service's bound of concurrent requests.
	overloadUsers = 2048
	// overloadWindow is how long each load is offered; the first overloadWarm of it does not count.
	overloadWindow, overloadWarm = 4 * time.Second, time.Second
	overloadRounds               = 2
	// healthPause is the time between two health requests.
	healthPause = 20 * time.Millisecond
)

var overloadFactors = []int{1, 2, 3}

// overloadPart offers exchanges in an open loop at up to three times the best rate of the service, and then none: to
// the service with its defaults, and to one that has only two connections to its database.
//
// The best rate is measured first, by closed loops of several numbers of users. In the open loop a request is due at
// its instant, whether or not earlier ones have responses, and its latency counts from then. It takes an idle user. A
// user whose request gets 503 presents the same string at its next request, and ignores Retry-After. A request without
// an idle user is not sent, but counted.
//
// Driver, service and database share the machine. With its defaults the service uses all of the machine at its best
// rate, so the time that driver and service spend on refused requests reduces the throughput. With two connections the
// database is the bottleneck, as it is on a machine of its own.
func overloadPart(ctx context.Context, b *bench) error {
	for _, m := range []mode{asItComes, narrow} {
		if err := b.overload(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) overload(ctx context.Context, m mode) error {
	b.report.section("Overload, PostgreSQL, " + string(m))
	how := b.setup(m, noGrace)
	dsn, err := b.newDatabase(ctx, how)
	if err != nil {
		return err
	}
	s, err := how.serve(ctx, dsn)
	if err != nil {
		return err
	}
	b.later(s.Stop)
	users, err := s.users(ctx, overloadUsers)
	if err != nil {
		return err
	}
	measured := meter{driver: rig.OwnCPU, service: s, server: b.server}
	best, at, err := b.capacity(ctx, measured, users)
	if err != nil {
		return err
	}
	b.report.say("The best rate of a closed loop: %.0f exchanges a second, of %d users, without a grace period. "+
		"Offered in an open loop of %d users, medians of %d rounds of %s:", best, at, overloadUsers, overloadRounds,
		overloadWindow-overloadWarm)
	t := figures.NewTable("offered", "a second", "accepted", "of the best", "p50, ms", "p99, ms",
		"refused", "p50, ms", "p99, ms", "not sent",
		"health p99, ms", "not green", "afterwards", "CPU a call, µs: driver", "service", "PostgreSQL", "others' CPU")
	for _, factor := range overloadFactors {
		var rounds []offered
		for round := range overloadRounds {
			b.progress("overload, %s: %d times the best, round %d of %d", m, factor, round+1, overloadRounds)
			o, err := offer(ctx, measured, users, best*float64(factor))
			if err != nil {
				return s.Explain(err)
			}
			after, err := exchanges(ctx, window{0, time.Second}, meter{}, users[:at]) // the second that begins now
			if err != nil {
				return s.Explain(err)
			}
			o.recovered = after.rate / best
			rounds = append(rounds, o)
			if err := s.Forget(); err != nil {
				return err
			}
		}
		cells, targets := overloadRow(rounds, best)
		t.Add(append([]string{fmt.Sprintf("%d × the best", factor)}, cells...)...)
		if factor == overloadFactors[len(overloadFactors)-1] {
			for name, value := range targets {
				b.report.figure("overload "+name+" "+string(m), value)
			}
		}
	}
	b.report.table(t)
	return s.Stop()
}

// overloadRow returns the medians of the rounds at one rate as cells of the table, and the ones that have a target.
func overloadRow(rounds []offered, best float64) (cells []string, targets map[string]float64) {
	of := func(f func(offered) float64) float64 {
		var all []float64
		for _, o := range rounds {
			all = append(all, f(o))
		}
		return figures.Median(all)
	}
	ms := func(f func(offered) time.Duration) float64 {
		return of(func(o offered) float64 { return milliseconds(f(o)) })
	}
	targets = map[string]float64{
		"throughput": of(func(o offered) float64 { return o.accepted.rate / best }),
		"p99":        ms(func(o offered) time.Duration { return o.accepted.latency.p99 }),
		"refused":    ms(func(o offered) time.Duration { return o.refused.latency.p99 }),
		"health":     ms(func(o offered) time.Duration { return o.health.p99 }),
		"sick":       of(func(o offered) float64 { return float64(o.sick) }),
		"recovery":   of(func(o offered) float64 { return o.recovered }),
	}
	for _, cell := range []struct {
		value  float64
		format string
	}{
		{of(func(o offered) float64 { return o.rate }), "%.0f"},
		{of(func(o offered) float64 { return o.accepted.rate }), "%.0f"},
		{targets["throughput"], "%.2f"},
		{ms(func(o offered) time.Duration { return o.accepted.latency.p50 }), "%.1f"},
		{targets["p99"], "%.1f"},
		{of(func(o offered) float64 { return o.refused.rate }), "%.0f"},
		{ms(func(o offered) time.Duration { return o.refused.latency.p50 }), "%.1f"},
		{targets["refused"], "%.1f"},
		{of(func(o offered) float64 { return o.missed }), "%.0f"},
		{targets["health"], "%.1f"},
		{targets["sick"], "%.0f"},
		{targets["recovery"], "%.2f"},
		{1e3 * ms(func(o offered) time.Duration { return o.all.driver }), "%.0f"},
		{1e3 * ms(func(o offered) time.Duration { return o.all.service }), "%.0f"},
		{1e3 * ms(func(o offered) time.Duration { return o.all.database }), "%.0f"},
		{100 * of(func(o offered) float64 { return o.all.others }), "%.0f %%"},
	} {
		cells = append(cells, figures.Format(cell.value, cell.format))
	}
	return cells, targets
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// capacity returns the best rate of a closed loop, and its number of users: at most as many as are never refused.
func (b *bench) capacity(ctx context.Context, m meter, users []*user) (best float64, at int, err error) {
	for _, n := range []int{32, 64, 128} {
		var rates []float64
		for range 3 {
			b.progress("overload: the best, %d users", n)
			r, err := exchanges(ctx, window{200 * time.Millisecond, 600 * time.Millisecond}, m, users[:n])
			if err != nil {
				return 0, 0, err
			}
			rates = append(rates, r.rate)
		}
		if rate := figures.Median(rates); rate > best {
			best, at = rate, n
		}
	}
	return best, at, m.service.Forget()
}

// offered is the result of a load.
type offered struct {
	rate                   float64 // calls a second that were due
	accepted, refused, all run
	missed                 float64 // calls a second that were not sent, because no user was idle
	health                 latencies
	sick                   int     // health responses other than 200
	recovered              float64 // in the second after, as a share of the best
}

// offer sends requests at a rate, whatever the responses are.
func offer(ctx context.Context, m meter, users []*user, rate float64) (o offered, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	disconnect, err := connect(ctx, users, overloadWindow)
	defer disconnect()
	if err != nil {
		return o, err
	}
	begin := time.Now()
	l := newOpenLoop(users, begin)
	var group sync.WaitGroup
	for i := range users {
		group.Go(func() {
			if err := l.serve(i); err != nil {
				cancel(err)
			}
		})
	}
	group.Go(func() { l.dispatch(ctx, rate) })
	var asked []time.Duration
	group.Go(func() { asked, o.sick = watchHealth(ctx, m.service, l.closes) })

	from, err := m.open(ctx, l.opens)
	if err == nil {
		err = rig.Sleep(ctx, time.Until(l.closes))
	}
	to := reading{driver: m.driver(), at: time.Now()}
	m.readCPU(&to)
	group.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return o, cause
	}
	if err != nil {
		return o, err
	}
	from.at, to.at = l.opens, l.closes
	to.objects, to.bytes, to.written = from.objects, from.bytes, from.written // not measured
	yes, no := slices.Concat(l.accepted...), slices.Concat(l.refused...)
	o.rate, o.all = rate, between(from, to, slices.Concat(yes, no))
	o.accepted, o.refused = between(from, to, yes), between(from, to, no)
	o.missed, o.health = float64(l.missed.Load())/l.closes.Sub(l.opens).Seconds(), newLatencies(asked)
	return o, nil
}

// openLoop gives each request, when it is due, to an idle user.
type openLoop struct {
	users                []*user
	begin, opens, closes time.Time // requests that are due between the last two count
	idle                 chan int
	due                  []chan time.Time
	accepted, refused    [][]time.Duration // by user
	missed               atomic.Int64
}

func newOpenLoop(users []*user, begin time.Time) *openLoop {
	l := &openLoop{
		users: users, begin: begin, opens: begin.Add(overloadWarm), closes: begin.Add(overloadWindow),
		idle: make(chan int, len(users)), due: make([]chan time.Time, len(users)),
		accepted: make([][]time.Duration, len(users)), refused: make([][]time.Duration, len(users)),
	}
	for i := range users {
		l.due[i] = make(chan time.Time, 1)
		l.idle <- i
	}
	return l
}

// serve makes the calls of one user until there are no more.
func (l *openLoop) serve(i int) error {
	for at := range l.due[i] {
		done, err := l.users[i].attempt()
		if err != nil {
			return err
		}
		if end := time.Now(); !at.Before(l.opens) && at.Before(l.closes) {
			if done {
				l.accepted[i] = append(l.accepted[i], end.Sub(at))
			} else {
				l.refused[i] = append(l.refused[i], end.Sub(at))
			}
		}
		l.idle <- i
	}
	return nil
}

// dispatch hands out the calls that are due, and ends the users when that is over.
func (l *openLoop) dispatch(ctx context.Context, rate float64) {
	defer func() {
		for _, due := range l.due {
			close(due)
		}
	}()
	for sent := 0; ctx.Err() == nil; time.Sleep(500 * time.Microsecond) {
		now := time.Now()
		if !now.Before(l.closes) {
			return
		}
		for ; sent < int(now.Sub(l.begin).Seconds()*rate); sent++ {
			at := l.begin.Add(time.Duration(float64(sent) / rate * float64(time.Second)))
			select {
			case i := <-l.idle:
				l.due[i] <- at
			default:
				if at.After(l.opens) {
					l.missed.Add(1)
				}
			}
		}
	}
}

// attempt is exchange for a user who may be refused for overload, and then keeps the string.
func (u *user) attempt() (done bool, err error) {
	status, err := u.call(u.request)
	switch {
	case err != nil:
		return false, err
	case status == http.StatusServiceUnavailable && len(u.body) == 0:
		return false, nil
	}
	return true, u.take(status)
}

// watchHealth requests health and readiness alternately, on connections of their own. It returns how long the responses
// took, and how many were not 200.
func watchHealth(ctx context.Context, s *service, until time.Time) (took []time.Duration, sick int) {
	paths := []struct{ address, path string }{{s.API, "/healthz"}, {s.API, "/readyz"}, {s.Admin, "/healthz"}}
	for i := 0; time.Now().Before(until) && ctx.Err() == nil; i++ {
		begin := time.Now()
		at := paths[i%len(paths)]
		a, err := call(ctx, http.MethodGet, at.address, at.path, "")
		if errors.Is(err, context.Canceled) {
			return took, sick
		}
		if err != nil || a.Status != http.StatusOK {
			sick++
		}
		took = append(took, time.Since(begin))
		_ = rig.Sleep(ctx, time.Until(begin.Add(healthPause)))
	}
	return took, sick
}
