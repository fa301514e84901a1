package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/refreshd/refreshd/test/support/figures"
	"github.com/refreshd/refreshd/test/support/rig"
)

// reachParts are the parts of reachPart. Each of them can be run alone.
var reachParts = []part{
	{name: "reach-postgres", about: "from a revocation to its refusal by 20 resource servers, behind 3 replicas on " +
		"PostgreSQL; of millions of sessions; while the network is cut; only if it is named",
		run: reachPostgresPart, apart: true},
	{name: "reach-sqlite", about: "from a revocation to its refusal by 20 resource servers, on SQLite; only if it is " +
		"named",
		run: reachSQLitePart, apart: true},
	{name: "reach-check", about: "a check in the resource server, and its memory; only if it is named",
		run: reachCheckPart, apart: true},
	{name: "reach-streams", about: "memory and processor time of 2 500 streams on one replica; only if it is named",
		run: reachStreamsPart, apart: true},
	{name: "reach-restart", about: "restart of a resource server with 1.2 million revoked sessions; only if it is named",
		run: reachRestartPart, apart: true},
	{name: "reach-before", about: "exchanges and single revocations, beside the program before the stream; only if it " +
		"is named", run: reachBeforePart, apart: true},
}

// reachPart runs all of them.
func reachPart(ctx context.Context, b *bench) error {
	for _, p := range reachParts {
		begun := time.Now()
		if err := b.one(ctx, p); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		b.progress("%s took %s", p.name, time.Since(begun).Round(time.Second))
	}
	return nil
}

const (
	reachReplicas = 3
	reachMaxAge   = 10 * time.Second // instead of a minute, so that the cut is short
	reachStrict   = 2 * time.Second
	// reachPoll is the time between two checks of a token by a resource server. A delay is too long by up to as much.
	reachPoll = 5 * time.Millisecond
	// watchedRate is how many of the revoked tokens are watched a second at most. The others are load: a check of every
	// one of them by every server would use most of the machine.
	watchedRate = 25
	// watchLead is how long before its revocation a token is watched.
	watchLead = 500 * time.Millisecond
)

// reachRate is a rate of revocations.
type reachRate struct {
	perSecond int
	length    time.Duration
}

// reachRates are a usual rate and a storm.
func (b *bench) reachRates() []reachRate {
	if b.plan.retakes {
		return []reachRate{{10, 20 * time.Second}, {500, 10 * time.Second}}
	}
	return []reachRate{{10, 8 * time.Second}, {500, 4 * time.Second}}
}

// withFeed is the setup of this source with the stream.
func (b *bench) withFeed() setup {
	return setup{program: b.program, mode: asItComes, policy: defaults, feed: true}
}

// replicas starts n services on a store.
func (b *bench) replicas(ctx context.Context, n int, url string) (services []*service, addresses []string, err error) {
	for range n {
		s, err := b.withFeed().serve(ctx, url)
		if err != nil {
			return nil, nil, err
		}
		b.later(s.Stop)
		services, addresses = append(services, s), append(addresses, s.API)
	}
	return services, addresses, nil
}

// reachPostgresPart measures on three replicas, with a table of many sessions.
func reachPostgresPart(ctx context.Context, b *bench) error {
	b.report.section("Reach, PostgreSQL")
	k, err := b.newBulk(ctx, b.withFeed(), never)
	if err != nil {
		return err
	}
	if err := b.grow(ctx, k, b.plan.reachSessions, rested); err != nil {
		return err
	}
	services, addresses, err := b.replicas(ctx, reachReplicas, k.dsn)
	if err != nil {
		return err
	}
	if err := b.reach(ctx, "reach", services, addresses); err != nil {
		return err
	}
	if err := b.wideReach(ctx, k, services, addresses); err != nil {
		return err
	}
	return b.cutReach(ctx, services, addresses)
}

// reachSQLitePart measures the same on one process.
func reachSQLitePart(ctx context.Context, b *bench) error {
	b.report.section("Reach, SQLite")
	services, addresses, err := b.replicas(ctx, 1, "sqlite:"+filepath.Join(b.dir, "reach.db"))
	if err != nil {
		return err
	}
	return b.reach(ctx, "reach sqlite", services, addresses)
}

// reach measures single revocations at each rate.
func (b *bench) reach(ctx context.Context, name string, services []*service, addresses []string) error {
	t := figures.NewTable("revocations a second", "were revoked", "a second", "delays", "p50 ms", "p99 ms", "max ms",
		"accepted above MaxAge", "with a view of after", "after a refusal", "idle %", "others %")
	worst := 0
	for _, rate := range b.reachRates() {
		r, n, achieved, err := b.reachAt(ctx, name, services, addresses, rate)
		if err != nil {
			return fmt.Errorf("%d revocations a second: %w", rate.perSecond, err)
		}
		t.Add(fmt.Sprint(rate.perSecond), fmt.Sprint(n), fmt.Sprintf("%.0f", achieved), fmt.Sprint(len(r.delays)),
			ms(r.p50), ms(r.p99), ms(r.max), fmt.Sprint(r.late), fmt.Sprint(r.unsound), fmt.Sprint(r.again),
			fmt.Sprintf("%.0f", 100*r.load.idle), fmt.Sprintf("%.0f", 100*r.load.others))
		b.report.figure(fmt.Sprintf("%s p50 %d", name, rate.perSecond), r.p50.Seconds()*1e3)
		b.report.figure(fmt.Sprintf("%s p99 %d", name, rate.perSecond), r.p99.Seconds()*1e3)
		worst += r.late + r.unsound + r.again
	}
	b.report.figure(name+" wrong", float64(worst))
	b.report.say("From the response to a revocation to the first refusal at each of %d resource servers, in %d "+
		"processes, behind %d replicas. A server checks a token every %s. MaxAge is %s.",
		reachServers, reachProcesses, len(services), reachPoll, reachMaxAge)
	b.report.table(t)
	return nil
}

// reachAt revokes sessions at a rate, in an open loop, through all services.
func (b *bench) reachAt(
	ctx context.Context, name string, services []*service, addresses []string, rate reachRate,
) (r reached, n int, achieved float64, err error) {
	n = int(rate.length.Seconds() * float64(rate.perSecond))
	b.progress("%s: issuing %d sessions", name, n)
	grants, err := issueAll(ctx, services, n)
	if err != nil {
		return r, n, 0, err
	}
	f, err := b.startFleet(ctx, reachServers, reachProcesses, addresses, serverSetup{MaxAge: reachMaxAge, Poll: reachPoll})
	if err != nil {
		return r, n, 0, err
	}
	b.progress("%s: %d revocations a second for %s", name, rate.perSecond, rate.length)
	stride := max(1, rate.perSecond/watchedRate)
	ours := func() time.Duration { return b.cpuOf(services, f) }
	cpu, machine := ours(), rig.ReadMachine()
	answered, achieved, all, err := revokeAll(ctx, services, f, grants, rate.perSecond, stride)
	if err != nil {
		return r, n, achieved, err
	}
	used := newLoad(machine, rig.ReadMachine(), ours()-cpu)
	last, err := f.end()
	if err != nil {
		return r, n, achieved, err
	}
	r, err = newReached(answered, append(all, last...), f.checks, reachMaxAge)
	r.load = used
	return r, n, achieved, err
}

// load is how busy the machine was: the shares of its processors that were idle, and that other processes used.
type load struct{ idle, others float64 }

func newLoad(from, to rig.Machine, ours time.Duration) load {
	total, idle := to.Total-from.Total, to.Idle-from.Idle
	if total <= 0 {
		return load{}
	}
	return load{float64(idle) / float64(total), float64(max(0, total-idle-ours)) / float64(total)}
}

// cpuOf returns the processor time of this process, the services, the database and the resource servers.
func (b *bench) cpuOf(services []*service, f *fleet) time.Duration {
	sum := rig.OwnCPU() + b.server.cpu()
	for _, s := range services {
		p, _ := rig.ReadProcess(s.PID())
		sum += p.CPU
	}
	for _, p := range f.processes {
		p, _ := rig.ReadProcess(p.command.Process.Pid)
		sum += p.CPU
	}
	return sum
}

// issueAll issues n sessions, each of a user of its own, through all services.
func issueAll(ctx context.Context, services []*service, n int) ([]grant, error) {
	grants := make([]grant, n)
	const callers = 8
	err := concurrently(ctx, services, callers, n, 2*time.Minute, func(c *caller, i int) error {
		g, err := c.issue(application, fmt.Sprint("reached-", i))
		grants[i] = g.clone()
		return err
	})
	return grants, err
}

// concurrently has callers, spread over the services, call f once for each number below n, in order.
func concurrently(
	ctx context.Context, services []*service, callers, n int, atMost time.Duration, f func(c *caller, i int) error,
) error {
	var all []*caller
	for i := range callers {
		all = append(all, newCallers(services[i%len(services)], 1)...)
	}
	disconnect, err := connect(ctx, all, atMost)
	defer disconnect()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var (
		next  atomic.Int64
		group sync.WaitGroup
	)
	for _, c := range all {
		group.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := f(c, i); err != nil {
					cancel(err)
				}
			}
		})
	}
	group.Wait()
	return context.Cause(ctx)
}

// revokeAll revokes all sessions at a rate, and has the servers watch each stride-th. It returns when the response to
// the revocation of each watched one came, the rate, and all sightings.
func revokeAll(
	ctx context.Context, services []*service, f *fleet, grants []grant, perSecond, stride int,
) (answered map[int]time.Time, achieved float64, all []sighting, err error) {
	answered = map[int]time.Time{}
	var (
		mu     sync.Mutex
		begin  = time.Now().Add(2 * watchLead)
		due    = func(i int) time.Time { return begin.Add(time.Duration(i) * time.Second / time.Duration(perSecond)) }
		latest time.Time
		group  sync.WaitGroup
		failed error
	)
	for i := 0; i < len(grants); i += stride {
		answered[i] = time.Time{}
	}
	want := len(answered) * f.checks
	length := due(len(grants)).Sub(begin)
	ctx, cancel := context.WithTimeoutCause(ctx, 3*length+30*time.Second, errors.New("the revocations take too long"))
	defer cancel()
	group.Go(func() {
		for i := 0; i < len(grants); i += stride {
			err := sleepUntil(ctx, due(i).Add(-watchLead))
			if err == nil {
				err = f.watch(watch{ID: i, Token: string(grants[i].accessToken)})
			}
			if err != nil {
				failed = err
				cancel()
				return
			}
		}
	})
	group.Go(func() {
		for len(all) < want {
			s, err := f.next(ctx, time.Minute)
			if err != nil {
				return // newReached counts what is missing
			}
			all = append(all, s)
		}
	})
	err = concurrently(ctx, services, min(32, max(4, perSecond/8)), len(grants), 3*length+time.Minute,
		func(c *caller, i int) error {
			if err := sleepUntil(ctx, due(i)); err != nil {
				return err
			}
			if err := c.expect(http.StatusOK, http.MethodDelete, "/jwt/refresh/"+string(grants[i].id), ""); err != nil {
				return err
			}
			now := time.Now()
			mu.Lock()
			defer mu.Unlock()
			latest = now
			if i%stride == 0 {
				answered[i] = now
			}
			return nil
		})
	if err != nil {
		cancel()
	}
	group.Wait()
	return answered, float64(len(grants)) / latest.Sub(begin).Seconds(), all, errors.Join(failed, err)
}

func sleepUntil(ctx context.Context, at time.Time) error {
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// wideSample is how many of the sessions of a wide revocation are watched.
const wideSample = 25

// wideReach revokes all sessions of the application by one request.
func (b *bench) wideReach(ctx context.Context, k *bulk, services []*service, addresses []string) error {
	f, err := b.startFleet(ctx, reachServers, reachProcesses, addresses, serverSetup{MaxAge: reachMaxAge, Poll: reachPoll})
	if err != nil {
		return err
	}
	p, err := newPool(k, services[0], 1)
	if err != nil {
		return err
	}
	disconnect, err := connect(ctx, p.users, time.Minute)
	defer disconnect()
	if err != nil {
		return err
	}
	answered := map[int]time.Time{}
	for i := range wideSample {
		if err := p.exchange(0); err != nil {
			return err
		}
		g, err := p.users[0].granted(p.users[0].status)
		if err != nil {
			return err
		}
		if err := f.watch(watch{ID: i, Token: string(g.accessToken)}); err != nil {
			return err
		}
		answered[i] = time.Time{}
	}
	// One stream that counts facts, the earlier ones too.
	counter, err := followStream(addresses[0], true)
	if err != nil {
		return err
	}
	defer counter.close()
	if err := sleepUntil(ctx, time.Now().Add(3*time.Second)); err != nil { // the earlier facts are stamped, and sent
		return err
	}
	before := counter.facts.Load()
	b.progress("reach: revoking %d sessions by one request", k.rows)
	c := newCallers(services[0], 1)
	hangUp, err := connect(ctx, c, time.Minute)
	defer hangUp()
	if err != nil {
		return err
	}
	began := time.Now()
	if err := c[0].expect(http.StatusOK, http.MethodDelete, "/jwt/refresh?applicationsId="+application, ""); err != nil {
		return err
	}
	now := time.Now()
	for i := range answered {
		answered[i] = now
	}
	var all []sighting
	for len(all) < len(answered)*f.checks {
		s, err := f.next(ctx, 30*time.Second)
		if err != nil {
			return err
		}
		all = append(all, s)
	}
	// A fact is sent again with its position, so the stream is read on until after the next stamp.
	if err := sleepUntil(ctx, now.Add(3*time.Second)); err != nil {
		return err
	}
	facts := counter.facts.Load() - before
	if err := counter.failure(); err != nil {
		return err
	}
	last, err := f.end()
	if err != nil {
		return err
	}
	r, err := newReached(answered, append(all, last...), f.checks, reachMaxAge)
	if err != nil {
		return err
	}
	b.report.say("One revocation of the %d sessions of an application: its response took %s ms. From it to the refusal "+
		"of %d of these sessions at each of %d resource servers: p50 %s ms, max %s ms. A stream carried %d facts in the "+
		"%d s after it.", k.rows, ms(now.Sub(began)), wideSample, reachServers, ms(r.p50), ms(r.max), facts, 3)
	b.report.figure("reach wide", r.max.Seconds()*1e3)
	b.report.figure("reach wide facts", float64(facts))
	return nil
}

// cutReach cuts the network between the resource servers and all replicas, and revokes a session. The servers
// cannot learn of that.
func (b *bench) cutReach(ctx context.Context, services []*service, addresses []string) error {
	var networks []*network
	var through []string
	for _, a := range addresses {
		n, err := newNetwork(a)
		if err != nil {
			return err
		}
		b.later(n.close)
		networks, through = append(networks, n), append(through, n.address())
	}
	grants, err := issueAll(ctx, services, 2)
	if err != nil {
		return err
	}
	f, err := b.startFleet(ctx, reachServers, reachProcesses, through,
		serverSetup{MaxAge: reachMaxAge, Strict: reachStrict, Poll: reachPoll})
	if err != nil {
		return err
	}
	for i, g := range grants {
		if err := f.watch(watch{ID: i, Token: string(g.accessToken)}); err != nil {
			return err
		}
	}
	if err := sleepUntil(ctx, time.Now().Add(2*time.Second)); err != nil {
		return err
	}
	b.progress("reach: cutting the network")
	cut := time.Now()
	for _, n := range networks {
		n.cut()
	}
	if a, err := call(ctx, http.MethodDelete, services[0].API, "/jwt/refresh/"+string(grants[0].id), ""); err != nil ||
		a.Status != http.StatusOK {
		return fmt.Errorf("revoke: %w: %s", err, a)
	}
	var all []sighting
	for len(all) < len(grants)*f.checks {
		s, err := f.next(ctx, 2*reachMaxAge)
		if err != nil {
			return err
		}
		all = append(all, s)
	}
	again, err := f.end()
	if err != nil {
		return err
	}
	last, err := lastAccepted(append(all, again...), cut)
	if err != nil {
		return err
	}
	b.report.say("The network between %d resource servers and all replicas is cut, and a session is revoked. The last "+
		"acceptance of its token, or of that of another session, began %.2f s after the cut with MaxAge %s, and %.2f s "+
		"with Require(%s). %d tokens were accepted again.", reachServers, last.normal.Seconds(), reachMaxAge,
		last.strict.Seconds(), reachStrict, last.again)
	b.report.figure("reach cut", last.normal.Seconds()/reachMaxAge.Seconds())
	b.report.figure("reach cut strict", last.strict.Seconds()/reachStrict.Seconds())
	b.report.figure("reach cut again", float64(last.again))
	return nil
}

// lastAcceptance is how long after the cut the last acceptances began.
type lastAcceptance struct {
	normal, strict time.Duration
	again          int
}

// lastAccepted requires that each server accepted each token until its view was stale.
func lastAccepted(sightings []sighting, cut time.Time) (last lastAcceptance, err error) {
	for _, s := range sightings {
		if s.Again > 0 {
			last.again += s.Again
			continue
		}
		if s.Reason != becauseStale || s.Acceptances == 0 {
			return last, fmt.Errorf("resource server %d refused token %d after %d acceptances: %s", s.Server, s.ID,
				s.Acceptances, s.Reason)
		}
		after := time.Duration(s.Last - cut.UnixNano())
		if s.Strict {
			last.strict = max(last.strict, after)
		} else {
			last.normal = max(last.normal, after)
		}
	}
	return last, nil
}

var reachTargets = []target{
	atMost("reach p50 10", 150, "%.0f ms", "PostgreSQL, 10 revocations/s: p50 to the refusal at 20 resource servers"),
	atMost("reach p99 10", 1000, "%.0f ms", "PostgreSQL, 10 revocations/s: p99"),
	atMost("reach p50 500", 150, "%.0f ms", "PostgreSQL, 500 revocations/s: p50"),
	atMost("reach p99 500", 1000, "%.0f ms", "PostgreSQL, 500 revocations/s: p99"),
	atMost("reach wrong", 0, "%.0f", "PostgreSQL: accepted above MaxAge, with a view of after, or after a refusal"),
	atMost("reach wide", 1000, "%.0f ms", "one revocation of an application: max to the refusal at all resource servers"),
	atMost("reach wide facts", 1, "%.0f", "one revocation of an application: facts that a stream carries"),
	atMost("reach cut", 1, "%.3f", "all replicas cut off: last acceptance / MaxAge"),
	atMost("reach cut strict", 1, "%.3f", "all replicas cut off: last acceptance / Require"),
	atMost("reach cut again", 0, "%.0f", "all replicas cut off: accepted after a refusal"),
	atMost("reach sqlite p99 10", 300, "%.0f ms", "SQLite, 10 revocations/s: p99"),
	atMost("reach sqlite p99 500", 300, "%.0f ms", "SQLite, 500 revocations/s: p99"),
	atMost("reach sqlite wrong", 0, "%.0f", "SQLite: accepted above MaxAge, with a view of after, or after a refusal"),
	atMost("reach check few", 100, "%.0f ns", "check, 12 000 revoked sessions"),
	atMost("reach check many", 400, "%.0f ns", "check, 1.2 million revoked sessions and 100 000 marks"),
	atMost("reach check allocations", 0, "%.0f", "check: allocations"),
	atMost("reach session", 32, "%.1f bytes", "memory of a revoked session in the resource server, at rest"),
	atMost("reach session rebuilt", 64, "%.1f bytes", "memory of a revoked session, while the table is rebuilt"),
	atMost("reach streams memory", 100, "%.1f MiB", "2 500 streams: memory more"),
	atMost("reach streams idle", .1, "%.3f cores", "2 500 streams: processor when idle"),
	atMost("reach streams busy", .4, "%.3f cores", "2 500 streams: processor with 10 revocations/s of one tenant"),
	atMost("reach restart", 1000, "%.0f ms", "restart of a resource server with its state: first accepted request"),
	atMost("reach restart early", 0, "%.0f", "restart: accepted before the first `fresh`"),
	atLeast("reach before exchange", .92, "%.2f", "PostgreSQL: exchanges / of the program before the stream"),
	atLeast("reach before sqlite exchange", .92, "%.2f", "SQLite: exchanges / of the program before the stream"),
	atLeast("reach before revoke", .8, "%.2f", "PostgreSQL: single revocations / of the program before the stream"),
	atLeast("reach before sqlite revoke", .8, "%.2f", "SQLite: single revocations / of the program before the stream"),
	atMost("reach before objects", 2, "%.1f", "PostgreSQL: objects allocated per exchange more than before the stream"),
	atLeast("reach before hot", .99, "%.4f", "PostgreSQL: share of HOT updates of exchanges"),
}
