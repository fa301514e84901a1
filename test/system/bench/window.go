package main

import (
	"context"
	"sync"
	"time"

	"github.com/refreshd/refreshd/test/support/rig"
)

// window is the part of a run that counts. The time before it warms up connections, plans and caches.
type window struct{ warm, length time.Duration }

// run is the figures of a run, each per call.
type run struct {
	calls          int
	rate           float64 // calls a second
	latency        latencies
	driver         time.Duration // CPU of the process that makes the calls
	service        time.Duration // CPU
	database       time.Duration // CPU of PostgreSQL
	objects, bytes float64       // allocated by the service
	written        float64       // bytes of WAL
	idle, others   float64       // shares of the machine's CPU: idle, and used by processes outside of the run
}

// meter reads what a run uses. Parts of it may be missing.
type meter struct {
	driver  func() time.Duration
	service *service
	server  *server
}

// reading is the values of the counters at one instant.
type reading struct {
	at                        time.Time
	driver, service, database time.Duration
	objects, bytes, written   float64
	machine                   rig.Machine
}

// open reads when a window opens, and shut when it closes. Both read the CPU next to the window, because the other
// readings use CPU too.
func (m meter) open(ctx context.Context, at time.Time) (r reading, err error) {
	if err := rig.Sleep(ctx, time.Until(at)); err != nil {
		return r, err
	}
	if err := m.ask(ctx, &r); err != nil {
		return r, err
	}
	m.readCPU(&r)
	r.driver, r.at = m.driver(), time.Now()
	return r, nil
}

func (m meter) shut(ctx context.Context) (r reading, err error) {
	r.driver, r.at = m.driver(), time.Now()
	m.readCPU(&r)
	return r, m.ask(ctx, &r)
}

func (m meter) ask(ctx context.Context, r *reading) (err error) {
	if m.service != nil {
		if r.objects, r.bytes, err = m.service.allocations(ctx); err != nil {
			return err
		}
	}
	if m.server != nil {
		r.written, err = m.server.written(ctx)
	}
	return err
}

func (m meter) readCPU(r *reading) {
	if m.service != nil {
		s, _ := rig.ReadProcess(m.service.PID())
		r.service = s.CPU
	}
	if m.server != nil {
		r.database = m.server.cpu()
	}
	r.machine = rig.ReadMachine()
}

// between returns the run of two readings and the calls that ended between them.
func between(from, to reading, took []time.Duration) run {
	n := len(took)
	r := run{calls: n, rate: float64(n) / to.at.Sub(from.at).Seconds()}
	if n == 0 {
		return r
	}
	if total := to.machine.Total - from.machine.Total; total > 0 {
		ours := to.driver - from.driver + to.service - from.service + to.database - from.database
		idle := to.machine.Idle - from.machine.Idle
		r.idle, r.others = float64(idle)/float64(total), float64(max(0, total-idle-ours))/float64(total)
	}
	calls := time.Duration(n)
	r.driver, r.service = (to.driver-from.driver)/calls, (to.service-from.service)/calls
	r.database = (to.database - from.database) / calls
	r.objects, r.bytes = (to.objects-from.objects)/float64(n), (to.bytes-from.bytes)/float64(n)
	r.written = (to.written - from.written) / float64(n)
	r.latency = newLatencies(took)
	return r
}

// closedLoop has n callers call concurrently, each again as soon as it has a response, until the window closes. The
// first error ends it.
func closedLoop(ctx context.Context, w window, m meter, n int, call func(i int) error) (run, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	opens := time.Now().Add(w.warm)
	closes := opens.Add(w.length)
	took := make([][]time.Duration, n)
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			for begin := time.Now(); begin.Before(closes) && ctx.Err() == nil; {
				if err := call(i); err != nil {
					cancel(err)
					return
				}
				end := time.Now()
				if end.After(opens) && end.Before(closes) {
					took[i] = append(took[i], end.Sub(begin))
				}
				begin = end
			}
		})
	}
	from, err := m.open(ctx, opens)
	group.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return run{}, cause
	}
	if err != nil {
		return run{}, err
	}
	to, err := m.shut(ctx)
	if err != nil {
		return run{}, err
	}
	from.at, to.at = opens, closes
	var all []time.Duration
	for _, t := range took {
		all = append(all, t...)
	}
	return between(from, to, all), nil
}

// exchanges has users exchange in a closed loop.
func exchanges(ctx context.Context, w window, m meter, users []*user) (run, error) {
	disconnect, err := connect(ctx, users, w.warm+w.length)
	defer disconnect()
	if err != nil {
		return run{}, err
	}
	m.driver = rig.OwnCPU
	r, err := closedLoop(ctx, w, m, len(users), func(i int) error { return users[i].exchange() })
	if err != nil && m.service != nil {
		err = m.service.Explain(err)
	}
	return r, err
}
