package main

import (
	"fmt"
	"time"

	"github.com/refreshd/refreshd/test/support/figures"
)

// variant is one side of a comparison: what n callers do concurrently.
type variant struct {
	name string
	run  func(n int) (run, error)
	only int // the only number of callers with which it runs; 0 for every number
}

// noisy is the share of the machine that other processes may take during a run.
const noisy = .10

// turns runs the variants alternately, round by round. A round that other processes disturbed is repeated; at most half
// as many repeats as there are rounds. After that a disturbed round counts, and the report says so.
func (b *bench) turns(what string, rounds int, variants []variant, populations ...int) (*series, error) {
	var s series
	for _, n := range populations {
		again := 0
		if b.plan.retakes {
			again = (rounds + 1) / 2
		}
		for round := 0; round < rounds; {
			b.progress("%s: %d callers, round %d of %d", what, n, round+1, rounds)
			runs, err := oneRound(variants, n)
			if err != nil {
				return nil, err
			}
			loudest := 0.0
			for _, r := range runs {
				loudest = max(loudest, r.others)
			}
			if loudest > noisy && again > 0 {
				b.progress("something else took %.0f %% of the machine: once more", 100*loudest)
				again--
				continue
			}
			if loudest > noisy {
				b.disturbed++
			}
			b.counted++
			for name, r := range runs {
				s.add(name, n, r)
			}
			round++
		}
	}
	return &s, nil
}

func oneRound(variants []variant, n int) (map[string]run, error) {
	runs := map[string]run{}
	for _, v := range variants {
		if v.only != 0 && v.only != n {
			continue
		}
		r, err := v.run(n)
		if err != nil {
			return nil, fmt.Errorf("%s, %d callers: %w", v.name, n, err)
		}
		runs[v.name] = r
	}
	return runs, nil
}

// series are the runs of several variants, each at several numbers of users, in rounds.
type series struct {
	runs map[string]map[int][]run
}

func (s *series) add(variant string, users int, r run) {
	if s.runs == nil {
		s.runs = map[string]map[int][]run{}
	}
	if s.runs[variant] == nil {
		s.runs[variant] = map[int][]run{}
	}
	s.runs[variant][users] = append(s.runs[variant][users], r)
}

// of returns the median over the rounds.
func (s *series) of(variant string, users int, value func(run) float64) float64 {
	var values []float64
	for _, r := range s.runs[variant][users] {
		values = append(values, value(r))
	}
	return figures.Median(values)
}

// ratio returns the median of the ratios of the rounds, because the speed of the machine changes from round to round.
func (s *series) ratio(variant, to string, users int, value func(run) float64) float64 {
	var ratios []float64
	for i, r := range s.runs[variant][users] {
		if others := s.runs[to][users]; i < len(others) {
			ratios = append(ratios, value(r)/value(others[i]))
		}
	}
	return figures.Median(ratios)
}

func perSecond(r run) float64 { return r.rate }

func p50(r run) float64 { return r.latency.p50.Seconds() * 1e3 }
func p95(r run) float64 { return r.latency.p95.Seconds() * 1e3 }
func p99(r run) float64 { return r.latency.p99.Seconds() * 1e3 }

func microseconds(of func(run) time.Duration) func(run) float64 {
	return func(r run) float64 { return float64(of(r).Nanoseconds()) / 1e3 }
}

var (
	driverCPU   = microseconds(func(r run) time.Duration { return r.driver })
	serviceCPU  = microseconds(func(r run) time.Duration { return r.service })
	databaseCPU = microseconds(func(r run) time.Duration { return r.database })
)

func objects(r run) float64 { return r.objects }

func kibibytes(r run) float64 { return r.bytes / 1024 }

func idlePercent(r run) float64 { return 100 * r.idle }

func othersPercent(r run) float64 { return 100 * r.others }

func written(r run) float64 { return r.written }

// column is a column of the table: a figure of a run.
type column struct {
	head, format string
	value        func(run) float64
}

var columns = []column{
	{"p50 ms", "%.2f", p50}, {"p95 ms", "%.2f", p95}, {"p99 ms", "%.2f", p99},
	{"CPU µs: driver", "%.0f", driverCPU}, {"service", "%.0f", serviceCPU}, {"database", "%.0f", databaseCPU},
	{"idle %", "%.0f", idlePercent}, {"others %", "%.0f", othersPercent},
	{"objects", "%.0f", objects}, {"KiB", "%.1f", kibibytes}, {"WAL bytes", "%.0f", written},
}

// table returns a row for each variant and number of users, with the ratio to the limit, if there is one.
func (s *series) table(variants []variant, limit string, users ...int) *figures.Table {
	t := figures.NewTable("", "users", "per second")
	if limit != "" {
		t.Head = append(t.Head, "/ "+limit)
	}
	for _, c := range columns {
		t.Head = append(t.Head, c.head)
	}
	for _, n := range users {
		for _, v := range variants {
			if len(s.runs[v.name][n]) == 0 {
				continue
			}
			row := []string{v.name, fmt.Sprint(n), figures.Format(s.of(v.name, n, perSecond), "%.0f")}
			if limit != "" {
				row = append(row, figures.Format(s.ratio(v.name, limit, n, perSecond), "%.2f"))
			}
			for _, c := range columns {
				if m := s.of(v.name, n, c.value); m == 0 { // it was not, or could not be, measured
					row = append(row, figures.None)
				} else {
					row = append(row, figures.Format(m, c.format))
				}
			}
			t.Add(row...)
		}
	}
	return t
}
