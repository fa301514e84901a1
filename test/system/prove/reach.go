package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/refreshd/refreshd/adapter/gormstore"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/support/rig"
	"github.com/refreshd/refreshd/test/system/prove/observe"
)

// reachResult is the result of a round with resource servers.
type reachResult struct {
	took       time.Duration
	calls      int
	lost       int
	sessions   int // of which a token was checked
	inModel    int // of these, those that the model checked too
	ofRevoked  int // checks that began after a revocation of the session had returned
	checks     map[observe.Result]int
	invalid    []string
	violations []violation
	faults     []string
	reached    []time.Duration // see P4
	words      map[string]int
	befallen   map[string]int
}

func (r *reachResult) failed() bool { return len(r.violations) > 0 || len(r.faults) > 0 }

func (r *reachResult) add(o reachResult) {
	r.took += o.took
	r.calls += o.calls
	r.lost += o.lost
	r.sessions += o.sessions
	r.inModel += o.inModel
	r.ofRevoked += o.ofRevoked
	r.invalid = append(r.invalid, o.invalid...)
	r.violations = append(r.violations, o.violations...)
	r.faults = append(r.faults, o.faults...)
	r.reached = append(r.reached, o.reached...)
	r.checks, r.words, r.befallen = sum(r.checks, o.checks), sum(r.words, o.words), sum(r.befallen, o.befallen)
}

func sum[K comparable](a, b map[K]int) map[K]int {
	all := maps.Clone(a)
	if all == nil {
		all = map[K]int{}
	}
	for k, n := range b {
		all[k] += n
	}
	return all
}

// quantile returns the value below which that share of the sorted values lies.
func quantile(sorted []time.Duration, share float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(share*float64(len(sorted))))]
}

func (r *reachResult) print(w io.Writer) {
	fmt.Fprintf(w, "\n| reach | |\n|---|---|\n| time | %s |\n| calls, of which without a response | %d, %d |\n"+
		"| sessions, of which the model checked too | %d, %d |\n",
		r.took.Round(time.Second), r.calls, r.lost, r.sessions, r.inModel)
	fmt.Fprintf(w, "| checks | %d |\n", total(r.checks))
	for _, result := range []struct {
		result observe.Result
		name   string
	}{
		{observe.Accepted, "accepted"}, {observe.Revoked, "refused as revoked"}, {observe.Stale, "refused on a stale view"},
		{observe.Expired, "refused as expired"}, {observe.Invalid, "refused as not valid"},
	} {
		fmt.Fprintf(w, "| - %s | %d |\n", result.name, r.checks[result.result])
	}
	fmt.Fprintf(w, "| checks of revoked tokens | %d |\n", r.ofRevoked)
	for _, p := range properties {
		n := 0
		for _, v := range r.violations {
			if v.Property == p {
				n++
			}
		}
		fmt.Fprintf(w, "| violations of %s | %d |\n", p, n)
	}
	slices.Sort(r.reached)
	var text []string
	for _, share := range []float64{0.5, 0.9, 0.99, 1} {
		text = append(text, fmt.Sprint(quantile(r.reached, share).Round(time.Millisecond)))
	}
	fmt.Fprintf(w, "| P4: first refusal after a revocation's return, %d without faults: p50, p90, p99, most | %s |\n",
		len(r.reached), strings.Join(text, ", "))
	for _, m := range []map[string]int{r.words, r.befallen} {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			fmt.Fprintf(w, "| %s | %d |\n", k, m[k])
		}
	}
	for _, text := range r.invalid {
		fmt.Fprintln(w, "refused as not valid:", text)
	}
	for _, f := range r.faults {
		fmt.Fprintln(w, "wrong in any history:", f)
	}
	for _, v := range r.violations[:min(10, len(r.violations))] {
		fmt.Fprintln(w, v)
		for _, line := range v.Story {
			fmt.Fprintln(w, "   ", line)
		}
	}
}

// buildChecker builds the resource server, with the same changes as the service.
func buildChecker(ctx context.Context, dir string, m mutant) (rig.Program, error) {
	o := m.build()
	o.Name, o.Package, o.Clock = "resource-"+m.name, "test/system/prove/resource", false
	o.ClockIn = "adapter/verify"
	return rig.Build(ctx, dir, o)
}

// buildBefore builds the program of the commit before the one that added the migration of the stream.
func buildBefore(ctx context.Context, dir string) (*rig.Program, error) {
	const migration = "adapter/gormstore/migrations/postgres/00005_reach.sql"
	out, err := exec.CommandContext(ctx, "git", "log", "--diff-filter=A", "--format=%H", "--", ":/"+migration).Output()
	added := strings.Fields(string(out))
	if err != nil || len(added) == 0 {
		return nil, fmt.Errorf("find the commit that added %s: %w", migration, errors.Join(err, errors.New("no history")))
	}
	program, _, err := rig.BuildCommit(ctx, dir, added[len(added)-1]+"~1")
	return &program, err
}

// proveReach runs each part, the unchanged service, for the same time.
func proveReach(ctx context.Context, o options, parts []*setting, dir string, w io.Writer) error {
	program, err := rig.Build(ctx, dir, mutant{}.build())
	if err != nil {
		return err
	}
	checker, err := buildChecker(ctx, dir, mutant{})
	if err != nil {
		return err
	}
	var sum reachResult
	for i, part := range parts {
		s := *part
		if s.Upgrade {
			if s.first, err = buildBefore(ctx, dir); err != nil {
				return err
			}
		}
		fmt.Fprintf(w, "round %d of %d: %s\n", i+1, len(parts), s)
		r, err := reachRound(ctx, roundOptions{
			options: o, program: program, setting: s, seed: o.seed + uint64(i),
			duration: o.reach / time.Duration(len(parts)), progress: w,
		}, checker)
		sum.add(r)
		if err != nil {
			sum.print(w)
			return err
		}
		if r.failed() {
			break
		}
	}
	sum.print(w)
	if sum.failed() {
		return fmt.Errorf("a promise of the revocation stream was broken; seed %d", o.seed)
	}
	return ctx.Err()
}

// reachRound runs one world with resource servers for its duration, or until something is wrong.
func reachRound(ctx context.Context, o roundOptions, checker rig.Program) (r reachResult, err error) {
	begin := time.Now()
	defer func() { r.took = time.Since(begin) }()
	world, err := newReachWorld(ctx, o, checker)
	closed := false
	shut := func() error {
		if closed {
			return nil
		}
		closed = true
		return world.close(context.WithoutCancel(ctx))
	}
	defer func() { err = errors.Join(err, shut()) }()
	if err != nil {
		return r, err
	}
	running, end := context.WithTimeout(ctx, o.duration)
	defer end()

	found := newFaults()
	var mu sync.Mutex
	var complete []*history
	c := &reachCrowd{pool: world.pool, crowd: &crowd{
		caller: newCaller(backendKey, found),
		recorder: newRecorder(func(h *history) {
			mu.Lock()
			defer mu.Unlock()
			complete = append(complete, h)
		}),
		replicas: world.replicas(),
	}}
	c.granted = world.pool.add
	if o.setting.Engine == "postgres" && !o.setting.Standby {
		store, err := gormstore.OpenPostgres(ctx, domain.NewSecret(world.database), gormstore.Options{})
		if err != nil {
			return r, err
		}
		defer store.Close()
		c.store = store
	}
	random := func(n int) *rand.Rand { return rand.New(rand.NewPCG(o.seed, uint64(n))) }
	var callers sync.WaitGroup
	const sessions = 24
	for i := range sessions {
		callers.Go(func() { c.sessions(running, random(i), i) })
	}
	for i := range 2 {
		callers.Go(func() { c.operator(running, random(1000+i), sessions+i) })
	}
	if c.store != nil {
		callers.Go(func() { c.deleter(running, random(1100), sessions+2, o.duration/2) })
	}
	var befallen words
	var befalls sync.WaitGroup
	var nemesisErrs [3]error
	for i := range nemesisErrs {
		if o.setting.Deeds == nil || i > 0 && o.setting.Standby { // a fail-over is alone
			break
		}
		befalls.Go(func() {
			n := &nemesis{world: world.world, random: random(2000 + i), counts: &befallen}
			if nemesisErrs[i] = n.run(running, o.setting.Deeds(world, n)); nemesisErrs[i] != nil {
				fmt.Fprintln(o.progress, "the round ends before its time:", nemesisErrs[i])
				end()
			}
		})
	}
	verdict := func() {
		r.violations, r.reached, r.ofRevoked, r.sessions = nil, nil, 0, 0
		seen := world.pool.seen()
		c.recorder.mu.Lock()
		defer c.recorder.mu.Unlock()
		for h, all := range seen {
			l := lifeOf(h, c.begin)
			l.Forgets = o.setting.Standby
			broken := l.check(h.ID, all)
			if len(broken) > 0 {
				broken[0].Story = h.story(c.begin, all)
			}
			r.violations = append(r.violations, broken...)
			r.ofRevoked += l.checksOfRevoked(all)
			r.sessions++
			if o.setting.Deeds == nil {
				r.reached = append(r.reached, reachTimes(l, all)...)
			}
		}
	}
	ticker := time.NewTicker(3 * time.Second)
	defer ticker.Stop()
	for n := 1; running.Err() == nil; n++ {
		select {
		case <-running.Done():
		case <-found.first:
			end()
		case <-ticker.C:
			verdict()
			if len(r.violations) > 0 {
				end()
			}
			if n%4 == 0 {
				fmt.Fprintf(o.progress, "  %4.0f s: %d sessions, %d checks of revoked tokens, %v\n",
					time.Since(begin).Seconds(), r.sessions, r.ofRevoked, world.pool.counts())
			}
		}
	}
	befalls.Wait()
	callers.Wait()
	c.closeAll()
	err = errors.Join(errors.Join(nemesisErrs[:]...), shut()) // what the resource servers say last is read
	verdict()
	if len(r.violations) == 0 && o.setting.fitsTheModel() {
		seen := world.pool.seen()
		for _, h := range complete {
			if applications[h.Application].access == 0 || len(seen[h]) == 0 {
				continue
			}
			r.inModel++
			checks := slices.DeleteFunc(seen[h], lifeOf(h, c.begin).isUnstated)
			broken, wrong := h.reachInModel(model(applications), c.begin, checks, time.Minute)
			if wrong != nil {
				r.faults = append(r.faults, wrong.Error())
			}
			if broken != "" {
				r.violations = append(r.violations, violation{
					Property: broken, Session: h.ID, Text: "no order of the calls explains the checks",
					Story: h.story(c.begin, seen[h]),
				})
			}
		}
	}
	r.calls, r.lost, r.faults = c.calls, c.lost, found.list()
	r.words, r.befallen = c.words.n, befallen.n
	r.checks, r.invalid = world.pool.results, world.pool.invalid
	for _, member := range world.members {
		if log := member.service.Log(); strings.Contains(log, "panic") {
			r.faults = append(r.faults, "a panic in "+member.service.LogTail())
		}
	}
	if r.checks[observe.Accepted] == 0 && ctx.Err() == nil {
		err = errors.Join(err, errors.New("no resource server accepted a token: the round says nothing"))
	}
	return r, err
}

// reachTimes returns the times of reach of each resource server.
func reachTimes(l life, all []observed) (times []time.Duration) {
	by := map[string][]observed{}
	for _, o := range all {
		by[o.Server] = append(by[o.Server], o)
	}
	for _, name := range slices.Sorted(maps.Keys(by)) {
		if after, ok := l.reachTime(by[name]); ok {
			times = append(times, after)
		}
	}
	return times
}
