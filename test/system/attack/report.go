package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/refreshd/refreshd/test/support/figures"
)

// verdict is a figure, with its target if it has one.
type verdict struct {
	part, text, program string
	bound, seen         string // bound is empty if there is no target
	met                 bool
	decides             bool // whether it decides the exit status: it is of this source's program
}

// report is the figures of all parts, in order.
type report struct {
	begun    time.Time
	mu       sync.Mutex
	verdicts []verdict
}

func (r *report) add(v verdict) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.verdicts = append(r.verdicts, v)
}

// atMost checks a figure against an upper bound. The format is for both.
func (a *attack) atMost(text string, seen, bound float64, format string) {
	a.judge(text, seen <= bound, "≤ "+fmt.Sprintf(format, bound), fmt.Sprintf(format, seen))
}

// atLeast checks a figure against a lower bound.
func (a *attack) atLeast(text string, seen, bound float64, format string) {
	a.judge(text, seen >= bound, "≥ "+fmt.Sprintf(format, bound), fmt.Sprintf(format, seen))
}

func (a *attack) judge(text string, met bool, bound, seen string) {
	a.report.add(verdict{part: a.part, text: text, program: a.name, decides: !a.base, bound: bound, seen: seen, met: met})
	word := "met"
	if !met {
		word = "MISSED"
	}
	a.progress("%s: %s (%s): %s", text, seen, bound, word)
}

// figure reports a figure without a target.
func (a *attack) figure(text, format string, args ...any) {
	seen := fmt.Sprintf(format, args...)
	a.report.add(verdict{part: a.part, text: text, program: a.name, seen: seen, met: true})
	a.progress("%s: %s", text, seen)
}

// missed counts the targets that the program of this source missed.
func (r *report) missed() (n int) {
	for _, v := range r.verdicts {
		if v.decides && !v.met {
			n++
		}
	}
	return n
}

// text returns the report in Markdown: a row for each figure, with a column for each program.
func (r *report) text(version string) string {
	type key struct{ part, text string }
	var (
		programs []string
		keys     []key
		rows     = map[key]map[string]verdict{}
		bounds   = map[key]string{}
	)
	for _, v := range r.verdicts {
		k := key{v.part, v.text}
		if rows[k] == nil {
			rows[k] = map[string]verdict{}
			keys = append(keys, k)
		}
		rows[k][v.program] = v
		bounds[k] = cmp.Or(bounds[k], v.bound)
		if !slices.Contains(programs, v.program) {
			programs = append(programs, v.program)
		}
	}
	// The second program may have a figure that the first lacks: rows are grouped by part in any case.
	order := map[string]int{}
	for i, k := range keys {
		if _, ok := order[k.part]; !ok {
			order[k.part] = i
		}
	}
	slices.SortStableFunc(keys, func(a, b key) int { return cmp.Compare(order[a.part], order[b.part]) })

	head := []string{"part: figure", "target"}
	for _, p := range programs {
		head = append(head, p+": seen", p+": met")
	}
	t := figures.NewTable(head...)
	for _, k := range keys {
		row := []string{k.part + ": " + k.text, cmp.Or(bounds[k], figures.None)}
		for _, p := range programs {
			v, ok := rows[k][p]
			switch {
			case !ok:
				row = append(row, figures.None, "")
			case v.bound == "":
				row = append(row, v.seen, "")
			case v.met:
				row = append(row, v.seen, "met")
			default:
				row = append(row, v.seen, "**missed**")
			}
		}
		t.Add(row...)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# Attacked %s\n\n%s.\n\n", r.begun.UTC().Format(time.DateOnly), version)
	b.WriteString(t.String())
	return b.String()
}
