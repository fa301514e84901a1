package main

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/refreshd/refreshd/test/support/figures"
	"github.com/refreshd/refreshd/test/support/rig"
)

// window is the measurements of one window.
type window struct {
	rate, p50, p99       float64 // calls a second; milliseconds of an exchange
	rss, heap            float64 // memory, MiB
	goroutines, files    float64
	rows, table, indexes float64 // MiB, except the number of rows
	connections          float64
	idle                 float64 // idle share of the machine
	notes                []string
}

// watch samples the service that is not restarted, and keeps the lowest value of each window: load adds memory for a
// time, a leak adds it forever.
type watch struct {
	service *rig.Service
	opened  time.Time
	machine rig.Machine
	lowest  window
	sampled bool
}

func (s *soak) newWatch() *watch {
	s.tally.window()
	return &watch{service: s.services[0], opened: time.Now(), machine: rig.ReadMachine()}
}

func (w *watch) sample(ctx context.Context) {
	values, err := w.service.Metrics(ctx, "go_goroutines", "go_memstats_heap_inuse_bytes")
	if err != nil {
		return // a window has nine other samples
	}
	r := w.service.Resources()
	now := window{rss: r.RSS, heap: values[1] / mebi, goroutines: values[0], files: float64(r.Files)}
	if !w.sampled {
		w.lowest, w.sampled = now, true
	}
	l := &w.lowest
	l.rss, l.heap = min(l.rss, now.rss), min(l.heap, now.heap)
	l.goroutines, l.files = min(l.goroutines, now.goroutines), min(l.files, now.files)
}

const mebi = 1 << 20

func (s *soak) closeWindow(ctx context.Context, w *watch) error {
	calls, exchanges := s.tally.window()
	now, machine := time.Now(), rig.ReadMachine()
	z, err := s.store.sizes(ctx)
	if err != nil {
		return err
	}
	slices.Sort(exchanges)
	ms := func(p float64) float64 { return figures.Percentile(exchanges, p).Seconds() * 1000 }
	s.mu.Lock()
	defer s.mu.Unlock()
	closed := w.lowest
	if !w.sampled {
		closed.rss, closed.heap, closed.goroutines, closed.files = math.NaN(), math.NaN(), math.NaN(), math.NaN()
	}
	closed.rate, closed.p50, closed.p99 = float64(calls)/now.Sub(w.opened).Seconds(), ms(.50), ms(.99)
	closed.rows, closed.table, closed.indexes, closed.connections = z.rows, z.table/mebi, z.indexes/mebi, z.connections
	closed.idle, closed.notes = float64(machine.Idle-w.machine.Idle)/float64(machine.Total-w.machine.Total), s.notes
	s.windows = append(s.windows, closed)
	s.notes = nil
	*w = watch{service: w.service, opened: now, machine: machine}
	return nil
}
