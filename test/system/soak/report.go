package main

import (
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/refreshd/refreshd/test/support/figures"
)

// series are the series that are watched, and how much each may grow.
var series = []struct {
	name, format string
	of           func(window) float64
	stored       bool // whether it is settled only when purges keep up
	postgres     bool // whether only PostgreSQL has it
	bound        bound
}{
	{"calls a second", "%.0f", func(w window) float64 { return w.rate }, false, false, bound{share: .05, falls: true}},
	{"exchange p50, ms", "%.2f", func(w window) float64 { return w.p50 }, false, false, bound{share: .25, least: .5}},
	{"exchange p99, ms", "%.1f", func(w window) float64 { return w.p99 }, false, false, bound{share: .5, least: 5}},
	{"resident, MiB", "%.1f", func(w window) float64 { return w.rss }, false, false, bound{share: .1, least: 6}},
	{"heap in use, MiB", "%.1f", func(w window) float64 { return w.heap }, false, false, bound{share: .15, least: 6}},
	{"goroutines", "%.0f", func(w window) float64 { return w.goroutines }, false, false, bound{share: .1, least: 10}},
	{"descriptors", "%.0f", func(w window) float64 { return w.files }, false, false, bound{share: .1, least: 10}},
	{"connections to the database", "%.0f", func(w window) float64 { return w.connections }, false, true, bound{least: 8}},
	{"rows", "%.0f", func(w window) float64 { return w.rows }, true, false, bound{share: .1}},
	{"table, MiB", "%.1f", func(w window) float64 { return w.table }, true, false, bound{share: .15, least: 2}},
	{"indexes, MiB", "%.1f", func(w window) float64 { return w.indexes }, true, true, bound{share: .15, least: 2}},
}

// report returns the report in Markdown, and an error if anything grew or was wrong.
func (s *soak) report() (text string, verdict error) {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n\n", args...) }
	say("# Soaked %s", s.begun.UTC().Format(time.DateOnly))
	say("%s, on %d processors, %s/%s, %s; %s. Two processes, %s of load, seed %d.", s.program.Version, runtime.NumCPU(),
		runtime.GOOS, runtime.GOARCH,
		runtime.Version(), s.store.about, s.plan.length, s.seed)
	measured := "as it was asked for"
	if s.capacity > 0 {
		measured = fmt.Sprintf("%.0f %% of the %.0f that the same calls reach without pauses", 100*part, s.capacity)
	}
	say("Load: %.0f calls a second, %s. One process was stopped %d times and killed %d times, for %s each. The figures "+
		"of a process are those of the other one: %.0f MiB, %d descriptors and %d threads before the load, %.0f, %d and %d "+
		"after it.", s.rate, measured, s.stopped, s.killed,
		s.plan.down, s.before.RSS, s.before.Files, s.before.Threads, s.after.RSS, s.after.Files, s.after.Threads)

	var wrong []string
	say("## Trends")
	say("Of a process the lowest of ten samples in each window: what load adds comes and goes, what leaks stays.")
	b.WriteString(s.trends(&wrong).String() + "\n")
	say("## Store and model")
	b.WriteString(s.compared().String() + "\n")
	say("%d refresh tokens were issued and %d of them purged. At the end %d users' lists were read, %d active refresh "+
		"tokens exchanged and %d ended ones presented. The last row is after the processes ended and `refreshd purge` made "+
		"a pass.", s.tally.calls["issue"], s.purged, s.listed, s.exchanged, s.stale)
	if n := s.undecided(); n > 0 {
		say("Undecided refresh tokens expired about that instant, or may have been revoked by a request without a response.")
	}
	say("## Calls")
	b.WriteString(counts("call", s.tally.calls).String() + "\n")
	b.WriteString(counts("outcome of an exchange", s.tally.outcomes).String() + "\n")
	say("%d answers were lost on purpose. Calls that had to be sent again:", s.tally.lostCalls)
	b.WriteString(counts("what went wrong on the way", s.tally.failures).String() + "\n")
	if n := s.behind.Load(); n > 0 {
		say("%d times one of the %d workers was late by more than 100 ms, and left out what it had missed.", n, workers)
	}
	say("## Faults")
	for _, kind := range []string{loggedOut, answeredOff, wrongAnswer, wrongStore, logged} {
		s.faults.counts[kind] += 0 // each kind is reported, even without a fault
	}
	b.WriteString(counts("what was wrong", s.faults.counts).String() + "\n")
	for _, text := range s.faults.first {
		b.WriteString("- " + text + "\n")
	}
	say("\n## Windows of %s", s.plan.window.Round(time.Millisecond))
	b.WriteString(s.table().String() + "\n")

	if n := s.faults.sum(); n > 0 {
		wrong = append(wrong, fmt.Sprintf("%d faults", n))
	}
	if len(wrong) > 0 {
		verdict = errors.New(strings.Join(wrong, "; "))
		say("**Failed:** %s.", verdict)
	} else {
		say("**Passed.**")
	}
	return b.String(), verdict
}

// values returns the values of a series from where it is settled.
func (s *soak) values(of func(window) float64, stored bool) (values []float64) {
	settled := s.plan.settled
	if stored {
		settled = s.plan.purging
	}
	for i, w := range s.windows {
		if time.Duration(i)*s.plan.window >= settled {
			values = append(values, of(w))
		}
	}
	return values
}

func (s *soak) trends(wrong *[]string) *figures.Table {
	t := figures.NewTable("", "windows", "first third", "last third", "line, over all", "allowed", "")
	for _, each := range series {
		values := s.values(each.of, each.stored)
		trend := newTrend(values, each.bound)
		verdict := "flat"
		switch {
		case trend.grows && each.bound.falls:
			verdict = "**falls**"
			*wrong = append(*wrong, each.name+" falls")
		case trend.grows:
			verdict = "**grows**"
			*wrong = append(*wrong, each.name+" grows")
		case trend.points == 0 && each.postgres && s.engine != "postgres":
			verdict = "not known here"
		case !trend.judged && len(values) >= leastPoints:
			verdict = "**not measured**"
			*wrong = append(*wrong, each.name+" was not measured")
		case !trend.judged:
			verdict = "not judged: the run was too short"
		}
		f := func(v float64, format string) string { return figures.Format(v, format) }
		sign := "+"
		if each.bound.falls {
			sign = "-"
		}
		t.Add(each.name, fmt.Sprint(trend.points), f(trend.first, each.format), f(trend.last, each.format),
			f(trend.rise, strings.Replace(each.format, "%", "%+", 1)), sign+f(trend.allowed, each.format), verdict)
	}
	return t
}

func (s *soak) compared() *figures.Table {
	t := figures.NewTable("minute", "rows: model", "store", "active: model", "store", "undecided", "generations equal",
		"marks: model", "store", "differences")
	for _, c := range s.comparisons {
		t.Add(fmt.Sprintf("%.1f", c.at.Sub(s.begun).Minutes()), fmt.Sprint(c.sessions), fmt.Sprint(c.rows),
			fmt.Sprint(c.modelLive), fmt.Sprint(c.storeLive), fmt.Sprint(c.undecided), fmt.Sprint(c.generations),
			fmt.Sprint(c.modelMarks), fmt.Sprint(c.marks),
			fmt.Sprint(len(c.differences)))
	}
	return t
}

func (s *soak) undecided() (n int) {
	for _, c := range s.comparisons {
		n += c.undecided
	}
	return n
}

func (s *soak) table() *figures.Table {
	head := []string{"window"}
	for _, each := range series {
		head = append(head, each.name)
	}
	t := figures.NewTable(append(head, "machine idle, %", "what happened")...)
	for i, w := range s.windows {
		row := []string{fmt.Sprint(i + 1)}
		for _, each := range series {
			row = append(row, figures.Format(each.of(w), each.format))
		}
		t.Add(append(row, figures.Format(100*w.idle, "%.0f"), strings.Join(w.notes, ", "))...)
	}
	return t
}

func counts(what string, of map[string]int) *figures.Table {
	t := figures.NewTable(what, "times")
	for _, name := range slices.Sorted(maps.Keys(of)) {
		t.Add(name, fmt.Sprint(of[name]))
	}
	return t
}
