// Command prove runs the service as real processes while processes are killed and networks fail. It records every
// request and response, and checks that the rules allow what happened to each refresh token: there is an order of the
// calls, each taking effect at one instant between its request and its response, in which every response is right
// (linearizability).
//
// Start reading in model.go: the rules, written from the design and not from the code. clients.go has the clients:
// devices with several tabs, thieves with copies, operators who revoke by every selector. world.go has the processes
// and their failures. mutants.go breaks the service on purpose, in ways that the check has to find: a proof that cannot
// fail proves nothing.
//
// Rounds of another kind run resource servers too: processes with adapter/verify that check access tokens while their
// sessions are revoked. reach_check.go has the properties, reach_parts.go the rounds, reach_deeds.go their faults,
// reach_mutants.go the mistakes to find. The program of a resource server is in the folder resource.
//
// In rounds of a third kind keys change: keys.go has the services and their load, keys_caches.go the verifiers with key
// sets of every age, keys_master.go the master key, keys_ended.go revocations, keys_mutants.go the mistakes to find.
//
// approach.go has the requests that are refused whatever the state is: without the key or the secret, or for another
// tenant or client. policies.go has an application that changes its policy, and is switched off and on, meanwhile.
//
// It does not prove how refresh tokens affect each other, except by revocations that cover both and by the limit of a
// user's refresh tokens. Other tests have these: signatures, assertions of clients, and what a purge deletes on
// PostgreSQL, whose clock it asks.
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
	reach    time.Duration
	keys     time.Duration
}

func run(ctx context.Context, args []string, w io.Writer) error {
	var o options
	flags := flag.NewFlagSet("prove", flag.ContinueOnError)
	flags.DurationVar(&o.duration, "for", 10*time.Minute, "how long to run the unchanged service; 0s skips it")
	flags.Uint64Var(&o.seed, "seed", 0, "seed of all random choices; 0 chooses one and prints it")
	flags.StringVar(&o.mutants, "mutants", "", "mutants that the check has to find: all, or names separated by commas")
	flags.IntVar(&o.devices, "devices", 240, "number of devices in use at a time")
	flags.StringVar(&o.keep, "keep", ".prove", "directory for histories that are wrong")
	flags.StringVar(&o.replay, "replay", "", "check and draw the history in this file, and do nothing more")
	flags.DurationVar(&o.reach, "reach", 10*time.Minute, "how long to run the unchanged service with resource servers")
	flags.DurationVar(&o.keys, "keys", 10*time.Minute, "how long to run the unchanged service while its keys change")
	parse := rig.PartFlag(flags, "prove runs the service while processes are killed and networks fail. The parts are its "+
		"rounds with resource servers, and those in which keys change.", append(everyPart(), everyKeyScene{}), everyPart())
	chosen, err := parse(args)
	if err != nil {
		return err
	}
	parts, scenes := split(chosen)
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
	if o.reach > 0 && len(parts) > 0 {
		if len(parts) == len(reachParts) {
			parts = fitting(parts, o)
		}
		errs = append(errs, proveReach(ctx, o, parts, dir, w))
	}
	if o.keys > 0 && len(scenes) > 0 {
		errs = append(errs, proveKeys(ctx, o, scenes, dir, w))
	}
	if o.mutants != "" {
		errs = append(errs, findMutants(ctx, o, dir, w))
	}
	return errors.Join(errs...)
}

// everyPart returns the rounds with resource servers, and those in which keys change.
func everyPart() (all []rig.Part) {
	for _, s := range reachParts {
		all = append(all, s)
	}
	for _, s := range keyScenes {
		all = append(all, s)
	}
	return all
}

// split returns the parts of each kind.
func split(chosen []rig.Part) (parts []*setting, scenes []keyScene) {
	for _, p := range chosen {
		switch p := p.(type) {
		case *setting:
			parts = append(parts, p)
		case keyScene:
			scenes = append(scenes, p)
		case everyKeyScene:
			scenes = append(scenes, keyScenes...)
		}
	}
	return parts, scenes
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
	return fmt.Errorf("no order of the calls explains the responses: %s, and .html beside it", path)
}

// leastPart is how long a round with resource servers takes at least: its processes have to start.
const leastPart = 30 * time.Second

// fitting returns as many of the parts as fit, so that several short runs use all of them.
func fitting(parts []*setting, o options) (fit []*setting) {
	for i := range min(len(parts), max(1, int(o.reach/leastPart))) {
		fit = append(fit, parts[(o.seed+uint64(i))%uint64(len(parts))])
	}
	return fit
}

// rounds are the settings of the rounds of a proof, used one after another and again.
var rounds = []setting{
	{Engine: "postgres", Services: 3, Jumps: true},
	{Engine: "postgres", Services: 2, Limits: true},
	{Engine: "sqlite", Services: 1, Jumps: true, Purges: true},
	{Engine: "postgres", Services: 3, OneByOne: true},
	{Engine: "postgres", Services: 1, Jumps: true, OneByOne: true},
}

const longestRound = 100 * time.Second

// proveIt proves the unchanged service.
func proveIt(ctx context.Context, o options, dir string, w io.Writer) error {
	program, err := rig.Build(ctx, dir, mutant{}.build())
	if err != nil {
		return err
	}
	var sum result
	// As many rounds as fit, and in a long run each setting at least once.
	n := max(1, int(o.duration/longestRound))
	if o.duration >= 5*time.Minute {
		n = max(n, len(rounds))
	}
	for i := range n {
		s := rounds[(o.seed+uint64(i))%uint64(len(rounds))] // so that several short runs use all of them
		fmt.Fprintf(w, "round %d of %d: %s\n", i+1, n, s)
		r, err := round(ctx, roundOptions{
			options: o, program: program, setting: s, seed: o.seed + uint64(i), duration: o.duration / time.Duration(n),
			progress: w,
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

// roundOptions are the options of one round.
type roundOptions struct {
	options
	program  rig.Program
	setting  setting
	env      []string
	seed     uint64
	duration time.Duration
	progress io.Writer
}

// result is the result of a round.
type result struct {
	took      time.Duration
	calls     int
	lost      int
	histories int
	parts     int // calls, each counted once for each refresh token that it concerns
	longest   time.Duration
	loggedOut int64
	wrong     []string // files of the histories that no order explains
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
	fmt.Fprintf(w, "\n| what | |\n|---|---|\n| time | %s |\n| calls, of which without a response | %d, %d |\n"+
		"| histories checked, calls in them, longest check | %d, %d, %s |\n",
		r.took.Round(time.Second), r.calls, r.lost, r.histories, r.parts,
		r.longest.Round(time.Millisecond))
	for _, k := range slices.Sorted(maps.Keys(r.words)) {
		fmt.Fprintf(w, "| %s | %d |\n", k, r.words[k])
	}
	for _, k := range slices.Sorted(maps.Keys(r.befallen)) {
		fmt.Fprintf(w, "| %s | %d |\n", k, r.befallen[k])
	}
	fmt.Fprintf(w, "| histories that no order explains | %d |\n| undecided | %d |\n"+
		"| responses wrong in any history | %d |\n| honest users logged out | %d |\n",
		len(r.wrong), r.undecided, len(r.faults), r.loggedOut)
	for _, f := range r.faults {
		fmt.Fprintln(w, "wrong in any history:", f)
	}
	for _, path := range r.wrong {
		fmt.Fprintf(w, "no order explains %s (drawn in .html beside it; go run ./test/system/prove -replay %[1]s)\n", path)
	}
}

// round runs one world for its duration, or until something is wrong.
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
		dialects: true,
		limits:   o.setting.Limits,
	}
	if err := c.makeChanging(ctx, world.members[0].settings.Listen); err != nil {
		return r, err
	}
	random := func(n int) *rand.Rand { return rand.New(rand.NewPCG(o.seed, uint64(n))) }
	var callers sync.WaitGroup
	const perDevice = intrusion + 1 // its tabs, a thief, and an intruder
	for i := range o.devices {
		callers.Go(func() { c.devices(running, random(i), i*perDevice) })
	}
	for i := range 3 {
		callers.Go(func() { c.operator(running, random(1000+i), o.devices*perDevice+i) })
	}
	for n := range tenants {
		callers.Go(func() { c.changer(running, random(1100+n), o.devices*perDevice+10+n, tenantName(n)) })
	}
	var befallen words
	var befalls sync.WaitGroup
	var nemesisErrs [2]error
	for i := range nemesisErrs {
		befalls.Go(func() {
			n := &nemesis{world: world, random: random(2000 + i), counts: &befallen}
			if nemesisErrs[i] = n.run(running, n.deeds()); nemesisErrs[i] != nil {
				fmt.Fprintln(o.progress, "the round ends before its time:", nemesisErrs[i])
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

// checker checks histories during their round, and ends the round at the first one that is wrong.
type checker struct {
	keep     string
	complete chan *history
	end      func()

	mu     sync.Mutex
	result result
}

// run checks complete histories until the channel is closed.
func (k *checker) run() {
	m := model(applications)
	for h := range k.complete {
		if k.result.failed() {
			continue // one wrong history is enough, and the others may take long
		}
		began := time.Now()
		v := h.check(m, 2*time.Minute) // milliseconds on an idle machine
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

// watch prints the progress of the round until running is done, and ends the round at the first fault.
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
			fmt.Fprintf(w, "  %4.0f s: %d calls, %d histories checked, %d running\n",
				time.Since(begin).Seconds(), calls, k.result.histories, open)
			k.mu.Unlock()
		}
	}
}
