// Command prove runs the service as real processes among machines that die and networks that lie, records every call and its answer,
// and checks that what happened to each refresh token is one that the rules allow: that there is an order of the calls, each taking
// effect at one instant between its call and its answer, in which every answer is right (linearizability).
//
// Begin with model.go: the rules, written from the design and not from the code. clients.go is who calls: devices with several tabs,
// thieves with copies, operators who revoke by every selector. world.go is the processes and what befalls them. mutants.go breaks the
// service on purpose, in ways that the check has to find: a proof that cannot fail proves nothing.
//
// It does not prove what one refresh token has to do with another, but for the revocations that cover both and the
// limit of a user's. It leaves to tests of their own: signatures, purging, rate limits, applications that are switched
// off or change their policy, bindings other than an API key, and calls that name another tenant.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/refreshd/refreshd/test/support/rig"
)

func main() {
	rig.Main("prove", func(ctx context.Context, args []string) error { return run(ctx, args, os.Stdout) })
}

type options struct {
	duration time.Duration
	seed     uint64
	mutants  string
	devices  int
	keep     string
	replay   string
}

func run(ctx context.Context, args []string, w io.Writer) error {
	var o options
	flags := flag.NewFlagSet("prove", flag.ContinueOnError)
	flags.DurationVar(&o.duration, "for", 10*time.Minute, "how long to run the service as it is; 0s for not at all")
	flags.Uint64Var(&o.seed, "seed", 0, "of everything that is drawn; 0 for one of its own, which is printed")
	flags.StringVar(&o.mutants, "mutants", "", "all, or the names of some, separated by commas: see that they are found")
	flags.IntVar(&o.devices, "devices", 240, "that are in use at once")
	flags.StringVar(&o.keep, "keep", ".prove", "the directory for histories that are wrong")
	flags.StringVar(&o.replay, "replay", "", "check and draw the history in this file, and do nothing else")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if o.replay != "" {
		return replay(o, w)
	}
	if o.seed == 0 {
		o.seed = rand.Uint64()
	}
	fmt.Fprintf(w, "seed %d\n", o.seed)
	dir, err := os.MkdirTemp("", "refreshd-prove-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var errs []error
	if o.duration > 0 {
		errs = append(errs, proveIt(ctx, o, dir, w))
	}
	if o.mutants != "" {
		errs = append(errs, findMutants(ctx, o, dir, w))
	}
	return errors.Join(errs...)
}

// replay checks a history again.
func replay(o options, w io.Writer) error {
	f, err := os.Open(o.replay)
	if err != nil {
		return err
	}
	defer f.Close()
	h, err := readHistory(f)
	if err != nil {
		return fmt.Errorf("%s: %w", o.replay, err)
	}
	m := model(applications)
	v := h.check(m, time.Minute)
	fmt.Fprintf(w, "%s of application %s: %d calls: %s\n", h.ID, h.Application, len(h.Operations), v.CheckResult)
	if v.CheckResult == porcupine.Ok {
		return nil
	}
	path, err := h.keep(o.keep, m, v)
	if err != nil {
		return err
	}
	return fmt.Errorf("no order of the calls explains the answers: %s, and .html beside it", path)
}

// rounds are the settings that a proof goes through, one after another and again.
var rounds = []setting{
	{Engine: "postgres", Services: 3, Jumps: true},
	{Engine: "postgres", Services: 2},
	{Engine: "sqlite", Services: 1, Jumps: true},
	{Engine: "postgres", Services: 3, OneByOne: true},
	{Engine: "postgres", Services: 1, Jumps: true, OneByOne: true},
}

const longestRound = 100 * time.Second

// proveIt is the proof of the service as it is.
func proveIt(ctx context.Context, o options, dir string, w io.Writer) error {
	program, err := rig.Build(ctx, dir, mutant{}.build())
	if err != nil {
		return err
	}
	var sum result
	// As many rounds as fit, but each setting once in a long run.
	n := max(1, int(o.duration/longestRound))
	if o.duration >= 5*time.Minute {
		n = max(n, len(rounds))
	}
	for i := range n {
		s := rounds[(o.seed+uint64(i))%uint64(len(rounds))] // so that short runs come to all of them, in their turn
		fmt.Fprintf(w, "round %d of %d: %s\n", i+1, n, s)
		r, err := round(ctx, roundOptions{
			options: o, program: program, setting: s, seed: o.seed + uint64(i), duration: o.duration / time.Duration(n), progress: w,
		})
		sum.add(r)
		if err != nil {
			return err
		}
		if r.failed() {
			break
		}
	}
	sum.print(w)
	if sum.failed() {
		return fmt.Errorf("the service broke a promise; seed %d", o.seed)
	}
	return ctx.Err()
}

// roundOptions are those of one world.
type roundOptions struct {
	options
	program  rig.Program
	setting  setting
	env      []string
	seed     uint64
	duration time.Duration
	progress io.Writer
}

// result is what a round came to.
type result struct {
	took      time.Duration
	calls     int
	lost      int
	histories int
	parts     int // calls, counted once for each refresh token that they concern
	longest   time.Duration
	loggedOut int64
	wrong     []string // where the histories are that no order explains
	undecided int
	faults    []string
	words     map[string]int
	befallen  map[string]int
}

func (r *result) failed() bool {
	return len(r.wrong) > 0 || len(r.faults) > 0 || r.loggedOut > 0 || r.undecided > 0
}

func (r *result) add(o result) {
	r.took += o.took
	r.calls += o.calls
	r.lost += o.lost
	r.histories += o.histories
	r.parts += o.parts
	r.longest = max(r.longest, o.longest)
	r.loggedOut += o.loggedOut
	r.wrong = append(r.wrong, o.wrong...)
	r.undecided += o.undecided
	r.faults = append(r.faults, o.faults...)
	for _, m := range []struct{ to, from *map[string]int }{{&r.words, &o.words}, {&r.befallen, &o.befallen}} {
		if *m.to == nil {
			*m.to = map[string]int{}
		}
		for k, n := range *m.from {
			(*m.to)[k] += n
		}
	}
}

func (r *result) print(w io.Writer) {
	fmt.Fprintf(w, "\n| what | |\n|---|---|\n| time | %s |\n| calls, of which without an answer | %d, %d |\n"+
		"| histories checked, calls in them, longest check | %d, %d, %s |\n", r.took.Round(time.Second), r.calls, r.lost, r.histories, r.parts,
		r.longest.Round(time.Millisecond))
	for _, k := range slices.Sorted(maps.Keys(r.words)) {
		fmt.Fprintf(w, "| %s | %d |\n", k, r.words[k])
	}
	for _, k := range slices.Sorted(maps.Keys(r.befallen)) {
		fmt.Fprintf(w, "| %s | %d |\n", k, r.befallen[k])
	}
	fmt.Fprintf(w, "| histories that no order explains | %d |\n| undecided | %d |\n| answers wrong by themselves | %d |\n| honest users logged out | %d |\n",
		len(r.wrong), r.undecided, len(r.faults), r.loggedOut)
	for _, f := range r.faults {
		fmt.Fprintln(w, "wrong by itself:", f)
	}
	for _, path := range r.wrong {
		fmt.Fprintf(w, "no order explains %s (drawn in .html beside it; go run ./test/system/prove -replay %[1]s)\n", path)
	}
}

// round runs one world for as long as it is told, or until something is found to be wrong.
func round(ctx context.Context, o roundOptions) (r result, err error) {
	begin := time.Now()
	defer func() { r.took = time.Since(begin) }()
	world, err := newWorld(ctx, o.program, o.setting, o.env)
	defer func() { err = errors.Join(err, world.close(context.WithoutCancel(ctx))) }()
	if err != nil {
		return r, err
	}

	running, end := context.WithTimeout(ctx, o.duration)
	defer end()
	k := &checker{keep: o.keep, complete: make(chan *history, 1000), end: end}
	var checking sync.WaitGroup
	checking.Go(k.run)

	found := newFaults()
	c := &crowd{
		caller:   newCaller(backendKey, found),
		recorder: newRecorder(func(h *history) { k.complete <- h }),
		replicas: world.replicas(),
	}
	random := func(n int) *rand.Rand { return rand.New(rand.NewPCG(o.seed, uint64(n))) }
	var callers sync.WaitGroup
	const perDevice = 4 // its tabs, and a thief
	for i := range o.devices {
		callers.Go(func() { c.devices(running, random(i), i*perDevice) })
	}
	for i := range 3 {
		callers.Go(func() { c.operator(running, random(1000+i), o.devices*perDevice+i) })
	}
	var befallen words
	var befalls sync.WaitGroup
	var nemesisErrs [2]error
	for i := range nemesisErrs {
		befalls.Go(func() {
			n := &nemesis{world: world, random: random(2000 + i), counts: &befallen}
			if nemesisErrs[i] = n.run(running); nemesisErrs[i] != nil {
				fmt.Fprintln(o.progress, "the round ends early:", nemesisErrs[i])
				end()
			}
		})
	}
	watch(running, begin, o.progress, c, k, found)
	befalls.Wait()
	callers.Wait()
	close(k.complete)
	checking.Wait()
	r = k.result
	r.calls, r.lost, r.loggedOut, r.faults = c.calls, c.lost, c.out.Load(), found.list()
	r.words, r.befallen = c.words.n, befallen.n
	for _, member := range world.members {
		if log := member.service.Log(); strings.Contains(log, "panic") {
			r.faults = append(r.faults, "a panic in "+member.service.LogTail())
		}
	}
	return r, errors.Join(nemesisErrs[:]...)
}

// checker checks histories while the round goes on that they are of, and ends it at the first that is wrong.
type checker struct {
	keep     string
	complete chan *history
	end      func()

	mu     sync.Mutex
	result result
}

// run checks what is complete until that is closed.
func (k *checker) run() {
	m := model(applications)
	for h := range k.complete {
		if k.result.failed() {
			continue // one is enough, and the others may take long
		}
		began := time.Now()
		v := h.check(m, 2*time.Minute) // milliseconds where nothing else runs
		k.mu.Lock()
		r := &k.result
		r.histories++
		r.parts += len(h.Operations)
		r.longest = max(r.longest, time.Since(began))
		if v.CheckResult != porcupine.Ok {
			k.end()
			if v.CheckResult == porcupine.Unknown {
				r.undecided++
			}
			path, err := h.keep(k.keep, m, v)
			if err != nil {
				path = err.Error()
			}
			r.wrong = append(r.wrong, path)
		}
		k.mu.Unlock()
	}
}

// watch prints how far the round is until running is done, and ends it at the first fault.
func watch(running context.Context, begin time.Time, w io.Writer, c *crowd, k *checker, found *faults) {
	ticker := time.NewTicker(10 * time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-running.Done():
			return
		case <-found.first:
			k.end()
			return
		case <-ticker.C:
			c.mu.Lock()
			calls, open := c.calls, len(c.histories)
			c.mu.Unlock()
			k.mu.Lock()
			fmt.Fprintf(w, "  %4.0f s: %d calls, %d histories checked, %d under way\n",
				time.Since(begin).Seconds(), calls, k.result.histories, open)
			k.mu.Unlock()
		}
	}
}
