package main

import (
	"context"
	"slices"
	"time"

	"github.com/refreshd/refreshd/test/figures"
	"github.com/refreshd/refreshd/test/rig"
)

// window is what one of them measured.
type window struct {
	rate, p50, p99       float64 // calls a second; milliseconds of an exchange
	rss, heap            float64 // MiB
	goroutines, files    float64
	rows, table, indexes float64 // MiB but for the rows
	connections          float64
	idle                 float64 // share of the machine
	notes                []string
}

// watch samples the service that stays.
type watch struct {
	service                      *rig.Service
	opened                       time.Time
	machine                      rig.Machine
	n                            float64
	rss, heap, goroutines, files float64 // sums
}

func (s *soak) newWatch() *watch {
	s.tally.window()
	return &watch{service: s.services[0], opened: time.Now(), machine: rig.ReadMachine()}
}

func (w *watch) sample(ctx context.Context) error {
	values, err := w.service.Metrics(ctx, "go_goroutines", "go_memstats_heap_inuse_bytes")
	if err != nil {
		return err
	}
	r := w.service.Resources()
	w.n++
	w.rss, w.heap, w.goroutines, w.files = w.rss+r.RSS, w.heap+values[1]/mebi, w.goroutines+values[0], w.files+float64(r.Files)
	return nil
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
	s.windows = append(s.windows, window{
		rate: float64(calls) / now.Sub(w.opened).Seconds(), p50: ms(.50), p99: ms(.99),
		rss: w.rss / w.n, heap: w.heap / w.n, goroutines: w.goroutines / w.n, files: w.files / w.n,
		rows: z.rows, table: z.table / mebi, indexes: z.indexes / mebi, connections: z.connections, notes: s.notes,
		idle: float64(machine.Idle-w.machine.Idle) / float64(machine.Total-w.machine.Total),
	})
	s.notes = nil
	*w = watch{service: w.service, opened: now, machine: machine}
	return nil
}
