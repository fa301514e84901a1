package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/refreshd/refreshd/test/support/rig"
)

// soak is the state of a run.
type soak struct {
	plan            plan
	engine, version string
	seed            uint64
	rate            float64  // the wanted number of calls a second
	counted         *counted // nil for a run that is paced by the clock
	capacity        float64  // calls a second; 0 if it was not measured

	dir      string
	program  rig.Program // built if it is empty
	store    *store
	settings [2]rig.Settings
	services [2]*rig.Service // the first one is never restarted
	tally    *tally
	faults   *faults
	crowd    *crowd
	users    atomic.Uint64 // how many of a thousand have arrived

	begun    time.Time
	progress io.Writer

	mu                       sync.Mutex
	notes                    []string // of the current window
	windows                  []window
	comparisons              []comparison
	purged, stopped, killed  int
	behind                   atomic.Int64 // how often a worker skipped calls
	before, after            rig.Resources
	listed, exchanged, stale int // at the end, by the API
}

func newSoak(p plan, engine, version string, seed uint64, rate float64) *soak {
	s := &soak{plan: p, engine: engine, version: version, seed: seed, rate: rate, tally: newTally(), faults: newFaults()}
	s.crowd = &crowd{
		tenants: []*tenant{newTenant("acme", mostUsers, shop, mobile, kiosk), newTenant("rival", mostUsers/10, site)},
		faults:  s.faults, arrived: func() float64 { return float64(s.users.Load()) / 1000 },
	}
	return s
}

func (s *soak) say(format string, args ...any) {
	fmt.Fprintf(s.progress, "%5.0fs  %s\n", time.Since(s.begun).Seconds(), fmt.Sprintf(format, args...))
}

// note adds an event to the current window.
func (s *soak) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notes = append(s.notes, fmt.Sprintf(format, args...))
}

// run runs the soak and cleans up. An error means that it could not run; the findings are in s.
func (s *soak) run(ctx context.Context, progress io.Writer) (err error) {
	s.begun, s.progress = time.Now(), progress
	if s.dir, err = os.MkdirTemp("", "refreshd-soak-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(s.dir)) }()
	if s.program.Path == "" {
		s.say("building the service")
		if s.program, err = rig.Build(ctx, s.dir, rig.BuildOptions{Version: s.version}); err != nil {
			return err
		}
	}
	s.say("starting the database")
	s.store, err = openStore(ctx, s.engine, s.dir)
	defer func() { err = errors.Join(err, s.store.close()) }()
	if err != nil {
		return err
	}
	if err := s.serve(ctx); err != nil {
		return err
	}
	defer func() {
		for _, service := range s.services {
			if service != nil {
				err = errors.Join(err, service.Stop())
			}
		}
	}()
	if err := s.load(ctx); err != nil {
		return s.explained(err)
	}
	if err := s.verify(ctx); err != nil {
		return s.explained(err)
	}
	return s.end(ctx)
}

func (s *soak) explained(err error) error {
	for _, service := range s.services {
		if service != nil {
			err = service.Explain(err)
		}
	}
	return err
}

// serve starts both services, each on an address that it keeps after a restart.
func (s *soak) serve(ctx context.Context) error {
	addresses, err := rig.FreeAddresses(2 * len(s.services))
	if err != nil {
		return err
	}
	for i := range s.settings {
		s.settings[i] = rig.Settings{
			Database: s.store.url, Kickstart: kickstart(), Listen: addresses[2*i], AdminListen: addresses[2*i+1],
			Env: []string{"REFRESHD_PUBLIC_URL=https://auth.example.com", "REFRESHD_LOG_LEVEL=warn",
				"REFRESHD_PURGE_INTERVAL=20s",
				fmt.Sprintf("REFRESHD_PURGE_AFTER=%s", purgeAfter)},
		}
	}
	if _, err := s.program.Run(ctx, s.settings[0], "migrate"); err != nil {
		return err
	}
	for i := range s.services {
		if s.services[i], err = s.program.Serve(ctx, s.settings[i]); err != nil {
			return err
		}
	}
	s.crowd.client = newClient([]string{s.settings[0].Listen, s.settings[1].Listen}, workers, s.tally)
	return nil
}

// load measures the capacity, if no rate is given, and then has users call for the planned time.
func (s *soak) load(ctx context.Context) error {
	if s.rate == 0 {
		s.say("measuring the capacity for %s", s.plan.capacity)
		s.users.Store(1000) // with fewer users most of the calls would be retries
		var counted int
		half := s.plan.capacity / 2
		err := s.work(ctx, 0, s.plan.capacity, func(ctx context.Context) error {
			_ = rig.Sleep(ctx, half)
			s.tally.window()
			_ = rig.Sleep(ctx, half)
			counted, _ = s.tally.window()
			return ctx.Err()
		})
		if err != nil {
			return err
		}
		s.users.Store(100)
		s.capacity = float64(counted) / half.Seconds()
		s.rate = part * s.capacity
	}
	s.say("%.0f calls a second for %s, seed %d", s.rate, s.plan.length, s.seed)
	s.before = s.services[0].Resources()
	return s.work(ctx, s.rate, s.plan.length, s.operate)
}

// work has workers send requests for length, at rate a second or, if rate is 0, each as soon as it has a response. It
// runs meanwhile beside them. The first error ends everything. A counted run lasts until meanwhile returns.
func (s *soak) work(
	ctx context.Context, rate float64, length time.Duration, meanwhile func(context.Context) error,
) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	begin := time.Now()
	end := begin.Add(length)
	over := make(chan struct{})
	var group sync.WaitGroup
	for i := range workers {
		group.Go(func() {
			r := rand.New(rand.NewPCG(s.seed, uint64(i)))
			interval := time.Duration(0)
			if rate > 0 {
				interval = time.Duration(workers / rate * float64(time.Second))
			}
			for next := begin.Add(interval * time.Duration(i) / workers); ; next = next.Add(interval) {
				if s.counted != nil {
					select {
					case <-s.counted.turns:
					case <-over:
						return
					case <-ctx.Done():
						return
					}
				} else if rate > 0 {
					if late := time.Since(next); late > 100*time.Millisecond {
						s.behind.Add(1)
						next = time.Now()
					}
					_ = rig.Sleep(ctx, time.Until(next))
				}
				if ctx.Err() != nil || s.counted == nil && time.Now().After(end) {
					return
				}
				if err := s.crowd.step(ctx, r); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	err := meanwhile(ctx)
	if err != nil {
		cancel(err)
	}
	close(over)
	group.Wait()
	return errors.Join(context.Cause(ctx), err)
}

// counted paces a run by requests and not by time: between the planned events it makes as many requests as the plan has
// at the wanted rate, however long they take. Then it makes more, until enough reports true.
//
// A short run that is paced by the clock shows nothing on a busy machine, because too little happens. A run of half an
// hour is long enough for the clock, and has to show how the service behaves at a rate.
type counted struct {
	turns  chan struct{} // one for each request; unbuffered, so that no more requests run than there are workers
	given  int
	enough func() bool
}

// to has requests made until as many have begun as the plan has by that time.
func (c *counted) to(ctx context.Context, moment time.Duration, rate float64) {
	for ; float64(c.given) < moment.Seconds()*rate && ctx.Err() == nil; c.given++ {
		c.turn(ctx, rate)
	}
}

// turn has one request made, and then waits for the shortest time between two requests.
func (c *counted) turn(ctx context.Context, rate float64) {
	select {
	case c.turns <- struct{}{}:
		_ = rig.Sleep(ctx, time.Duration(float64(time.Second)/rate))
	case <-ctx.Done():
	}
}

// event is an action at regular intervals.
type event struct {
	every, next time.Duration
	do          func(context.Context) error
}

// operate runs the events beside the load: it watches, restarts, revokes, compares.
func (s *soak) operate(ctx context.Context) error {
	begin := time.Now()
	acme, rival := s.crowd.tenants[0], s.crowd.tenants[1]
	moment := func() time.Duration { return time.Since(begin) }
	if c := s.counted; c != nil {
		moment = func() time.Duration { return time.Duration(float64(c.given) / s.rate * float64(time.Second)) }
	}
	from, goal := float64(s.users.Load()), 1000*min(1, s.rate*userSeconds/mostUsers)
	goal = max(goal, from, 1)
	w := s.newWatch()
	// Each event is a little later than the one before it in this list, so that they do not coincide.
	events := []*event{
		{every: s.plan.window / 10, do: func(ctx context.Context) error {
			s.users.Store(uint64(from + (goal-from)*min(1, float64(moment())/float64(s.plan.arrival))))
			w.sample(ctx)
			return nil
		}},
		{every: s.plan.window, do: func(ctx context.Context) error { return s.closeWindow(ctx, w) }},
		{every: max(s.plan.window/3, min(15*time.Second, s.plan.length/4)), do: s.tell},
		{every: s.plan.restarts, do: s.restart},
		{every: s.plan.kiosk, do: func(ctx context.Context) error { return s.crowd.revokeAll(ctx, acme, kiosk.id) }},
		{every: s.plan.shop, do: func(ctx context.Context) error {
			s.note("shop revoked")
			return s.crowd.revokeAll(ctx, acme, shop.id)
		}},
		{every: s.plan.tenant, do: func(ctx context.Context) error {
			s.note("rival revoked")
			return s.crowd.revokeAll(ctx, rival, "")
		}},
		{every: s.plan.compare, do: s.checkPoint},
	}
	for i, e := range events {
		e.next = e.every
		if i > 1 {
			e.next += time.Duration(i) * s.plan.window / 15
		}
	}
	for {
		e := slices.MinFunc(events, func(a, b *event) int { return int(a.next - b.next) })
		if e.next > s.plan.length {
			for c := s.counted; c != nil && !c.enough() && ctx.Err() == nil; {
				c.turn(ctx, s.rate)
			}
			return ctx.Err()
		}
		if s.counted != nil {
			s.counted.to(ctx, e.next, s.rate)
		} else {
			_ = rig.Sleep(ctx, time.Until(begin.Add(e.next)))
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		e.next += e.every
		if err := e.do(ctx); err != nil {
			return err
		}
	}
}

func (s *soak) tell(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	line := "the first window is open"
	if n := len(s.windows); n > 0 {
		w := s.windows[n-1]
		line = fmt.Sprintf("window %d: %.0f calls a second, p50 %.2f ms, p99 %.1f ms, %.0f MiB, %.0f goroutines, "+
			"%.0f rows in %.1f MiB",
			n, w.rate, w.p50, w.p99, w.rss, w.goroutines, w.rows, w.table)
	}
	s.say("%s; %d stopped, %d killed; %d faults", line, s.stopped, s.killed, s.faults.sum())
	return nil
}

// restart stops or kills the second service, alternately, and starts it again.
func (s *soak) restart(ctx context.Context) error {
	service := s.services[1]
	s.mu.Lock()
	gracefully := s.stopped <= s.killed
	if gracefully {
		s.stopped++
	} else {
		s.killed++
	}
	s.mu.Unlock()
	if gracefully {
		s.note("stopped")
		if err := service.Stop(); err != nil {
			return err
		}
	} else {
		s.note("killed")
		if err := service.Kill(); err != nil {
			return err
		}
	}
	s.readLog(service)
	_ = rig.Sleep(ctx, s.plan.down)
	var err error
	s.services[1], err = s.program.Serve(ctx, s.settings[1])
	return err
}

// readLog checks the log of a service that has ended.
func (s *soak) readLog(service *rig.Service) {
	for _, line := range service.ErrorsLogged() {
		s.faults.add(logged, "%s", line)
	}
}
