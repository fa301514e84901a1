package main

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// Series of 27 points, as half an hour has. Each has to be recognized.
func TestTrendTellsWhatGrows(t *testing.T) {
	const n = 27
	r := rand.New(rand.NewPCG(1, 2))
	noise := func(share float64) float64 { return 1 + share*(2*r.Float64()-1) }
	series := func(f func(i int) float64) (values []float64) {
		for i := range n {
			values = append(values, f(i))
		}
		return values
	}
	memory := bound{share: .1, least: 6}
	for name, test := range map[string]struct {
		values []float64
		bound  bound
		grows  bool
	}{
		"flat":                     {series(func(int) float64 { return 50 }), memory, false},
		"flat and noisy":           {series(func(int) float64 { return 50 * noise(.1) }), memory, false},
		"a leak of a MiB a minute": {series(func(i int) float64 { return 50*noise(.1) + float64(i) }), memory, true},
		"a leak below the bound":   {series(func(i int) float64 { return 50 + .1*float64(i) }), memory, false},
		"doubled in a step": {series(func(i int) float64 {
			return map[bool]float64{true: 100, false: 50}[i > n/2]
		}), memory, true},
		"one outlier": {series(func(i int) float64 {
			return map[bool]float64{true: 500, false: 50}[i == n-2]
		}), memory, false},
		"outliers at the end": {series(func(i int) float64 {
			return map[bool]float64{true: 500, false: 50}[i > n-4]
		}), memory, false},
		"it comes down": {series(func(i int) float64 { return 100 - float64(i) }), memory, false},
		"up, and down again": {series(func(i int) float64 {
			return 50 + 40*math.Sin(math.Pi*float64(i)/(n-1))
		}), memory, false},
		"a goroutine a minute": {series(func(i int) float64 {
			return 30 + float64(i)
		}), bound{share: .1, least: 10}, true},
		"a rate that falls": {series(func(i int) float64 {
			return 5000 - 30*float64(i)
		}), bound{share: .05, falls: true}, true},
		"a rate that rises": {series(func(i int) float64 {
			return 5000 + 30*float64(i)
		}), bound{share: .05, falls: true}, false},
		"not a number but in the start": {series(func(i int) float64 {
			return map[bool]float64{true: math.NaN(), false: 7}[i > 3]
		}), memory, false},
	} {
		if got := newTrend(test.values, test.bound); got.grows != test.grows {
			t.Errorf("%s: got %+v, want grows = %t", name, got, test.grows)
		}
	}
	if got := newTrend([]float64{1, 100, 200, 300, 400}, memory); got.judged || got.grows {
		t.Errorf("five points: got %+v, want no judgement", got)
	}
	if got := newTrend(nil, memory); got.judged || got.grows || !math.IsNaN(got.first) {
		t.Errorf("no points: got %+v, want no judgement", got)
	}
}

// grown returns a run of half an hour whose windows are the same except for what change does to each.
func grown(change func(i int, w *window)) *soak {
	s := newSoak(newPlan(30*time.Minute), "postgres", "", 1, 1000)
	s.store = &store{}
	for i := range 30 {
		w := window{rate: 1000, p50: 1, p99: 10, rss: 50, heap: 10, goroutines: 30, files: 40,
			rows: 1e5, table: 50, indexes: 20, connections: 20}
		change(i, &w)
		s.windows = append(s.windows, w)
	}
	return s
}

// The command ends with an error that names what grows. Growth before a series has settled does not count.
func TestReportFailsForEachSeriesThatGrows(t *testing.T) {
	for name, change := range map[string]func(float64, *window){
		"calls a second":              func(x float64, w *window) { w.rate /= 1 + x },
		"exchange p50, ms":            func(x float64, w *window) { w.p50 *= 1 + x },
		"exchange p99, ms":            func(x float64, w *window) { w.p99 *= 1 + x },
		"resident, MiB":               func(x float64, w *window) { w.rss *= 1 + x },
		"heap in use, MiB":            func(x float64, w *window) { w.heap *= 1 + x },
		"goroutines":                  func(x float64, w *window) { w.goroutines *= 1 + x },
		"descriptors":                 func(x float64, w *window) { w.files *= 1 + x },
		"connections to the database": func(x float64, w *window) { w.connections *= 1 + x },
		"rows":                        func(x float64, w *window) { w.rows *= 1 + x },
		"table, MiB":                  func(x float64, w *window) { w.table *= 1 + x },
		"indexes, MiB":                func(x float64, w *window) { w.indexes *= 1 + x },
	} {
		text, err := grown(func(i int, w *window) { change(float64(i)/10, w) }).report()
		if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(text, "**Failed:** "+err.Error()) {
			t.Errorf("%s grows: got %v, want an error that names it alone", name, err)
		}
		if _, err := grown(func(i int, w *window) { change(max(0, 1-float64(i)/3), w) }).report(); err != nil {
			t.Errorf("%s settles in the first three windows: got %v, want no error", name, err)
		}
	}
	text, err := grown(func(int, *window) {}).report()
	if err != nil || !strings.Contains(text, "**Passed.**") || strings.Contains(text, "too short") {
		t.Errorf("flat: got %v and\n%s", err, text)
	}
}

// A series that could not be read is not flat.
func TestReportFailsForWhatWasNotMeasured(t *testing.T) {
	_, err := grown(func(i int, w *window) {
		if i > 5 {
			w.goroutines = math.NaN()
		}
	}).report()
	if err == nil || !strings.Contains(err.Error(), "goroutines was not measured") {
		t.Errorf("got %v, want an error", err)
	}
	s := grown(func(_ int, w *window) { w.connections, w.indexes = math.NaN(), math.NaN() })
	s.engine = "sqlite"
	if text, err := s.report(); err != nil || strings.Count(text, "not known here") != 2 {
		t.Errorf("SQLite: got %v and\n%s\nwant no error", err, text)
	}
}

func TestReportFailsForFaults(t *testing.T) {
	s := grown(func(int, *window) {})
	s.faults.add(loggedOut, "generation %d", 7)
	text, err := s.report()
	if err == nil || !strings.Contains(text, "a user was logged out wrongly: generation 7") {
		t.Errorf("got %v and\n%s\nwant an error, and the fault in the report", err, text)
	}
}

// A run that is too short proves nothing, and the report has to say so.
func TestReportTellsWhatItCouldNotJudge(t *testing.T) {
	s := grown(func(int, *window) {})
	s.plan = newPlan(3 * time.Minute)
	if text, err := s.report(); err != nil || strings.Count(text, "not judged: the run was too short") != 3 {
		t.Errorf("got %v and\n%s\nwant three series not judged", err, text)
	}
}
