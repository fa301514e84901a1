package main

import (
	"fmt"
	"slices"

	"github.com/refreshd/refreshd/test/support/figures"
)

// target is a bound of a figure of the report: the figure has to be at least, or at most, the bound.
type target struct {
	name   string // of the figure
	text   string
	bound  float64
	atMost bool
	format string // of figure and bound
}

func atLeast(name string, bound float64, format, text string) target {
	return target{name: name, text: text, bound: bound, format: format}
}

func atMost(name string, bound float64, format, text string) target {
	return target{name: name, text: text, bound: bound, format: format, atMost: true}
}

// targets are the targets of the project, in the order of the parts that measure them.
var targets = []target{
	atLeast("http/bare 32 one by one", .40, "%.2f", "PostgreSQL, 32 users, one by one: HTTP / bare update"),
	atLeast("http/bare 32 combined", .80, "%.2f", "PostgreSQL, 32 users, combined: HTTP / bare update"),
	atLeast("http/bare 64 combined", 1.0, "%.2f", "PostgreSQL, 64 users, combined: HTTP / bare update"),
	atMost("p50 combined/one by one 1", 1.05, "%.2f", "PostgreSQL, 1 user: p50 combined / one by one"),
	atMost("p99 http/bare 32", 3, "%.2f", "PostgreSQL, 32 users: p99 of HTTP / of the bare update"),
	atLeast("store/full 8 one by one", .80, "%.2f", "PostgreSQL, 8 callers, one by one: store alone / the same statement"),
	atMost("statements", 1.01, "%.3f", "PostgreSQL, one by one: transactions per exchange"),
	atLeast("hot", .98, "%.4f", "PostgreSQL: share of HOT updates"),
	atMost("not rotated", 0, "%.0f", "PostgreSQL: exchanges of the pool that did not rotate"),
	atMost("rows added", 0, "%.0f", "PostgreSQL: rows added by all exchanges"),
	atMost("objects", 300, // crypto/ecdsa makes 55 a signature, Ed25519 none
		"%.0f", "PostgreSQL, 32 users: objects allocated per exchange"),
	atMost("bytes", 32, "%.1f KiB", "PostgreSQL, 32 users: bytes allocated per exchange"),
	atMost("rss idle", 40, "%.1f MiB", "PostgreSQL: resident memory, idle"),
	atMost("rss 64", 64, "%.1f MiB", "PostgreSQL: resident memory, after 64 users"),
	atLeast("sqlite http/bare 8 one by one", .60, "%.2f", "SQLite, 8 users, one by one: HTTP / bare update"),
	atLeast("sqlite http/bare 8 combined", 1.2, "%.2f", "SQLite, 8 users, combined: HTTP / bare update"),
	atMost("sqlite second start", 150, "%.0f ms", "SQLite: second start, until ready"),
	atMost("revoke application", 10, "%.2f ms",
		"p99 of revoking an application of a million; the next exchange is refused"),
	atLeast("wide revocations", .5, "%.2f",
		"wide revocations of one tenant, one after another / bare update of one client"),
	atLeast("hot token", .5, "%.2f", "64 users retry one string / 64 users each retry their own"),
	atLeast("growth", .85, "%.2f", "throughput kept from the smallest to the largest table / what the bare update keeps"),
	atMost("list", 10, "%.2f ms", "list 100 of a user's 10 000, in the largest table: p99, first and deep page"),
	atMost("bytes per token", 2, "%.2f", "bytes per token after 200 rotations / fresh"),
	atMost("bytes per token, 1000/200", 1.02, "%.2f", "bytes per token after 1000 rotations / after 200"),
	atMost("purge", 2, "%.2f", "p99 of 32 users while a million ended rows are purged / without a purge"),
}

// apartTargets are the targets of the parts that run only if they are named.
var apartTargets = slices.Concat([]target{
	atMost("lists PostgreSQL", 50, "%.1f ms", "PostgreSQL, a million, half of them ended: worst p99 of pages and counts"),
	atMost("lists SQLite", 50, "%.1f ms", "SQLite, a million, half of them ended: worst p99 of pages and counts"),
	atLeast("oauth", .9, "%.2f", "PostgreSQL, 32 users: token endpoint, public client / JSON API"),
	atLeast("commit 8", .85, "%.2f", "PostgreSQL, a commit 5 ms longer, 8 users: HTTP / bare update"),
	atLeast("commit 32", .85, "%.2f", "PostgreSQL, a commit 5 ms longer, 32 users: HTTP / bare update"),
}, overloadTargetsOf(combined), overloadTargetsOf(narrow), reachTargets, adminTargets,
	keysTargets)

func overloadTargetsOf(m mode) []target {
	of := func(name string) string { return "overload " + name + " " + string(m) }
	what := "3 times the best, " + string(m) + ": "
	return []target{
		atLeast(of("throughput"), .8, "%.2f", what+"accepted / the best"),
		atMost(of("p99"), 250, "%.0f ms", what+"p99 of the accepted"),
		atMost(of("refused"), 300, "%.0f ms", what+"p99 of the refused, of clients that ignore Retry-After"),
		atMost(of("health"), 100, "%.0f ms", what+"p99 of health and readiness"),
		atMost(of("sick"), 0, "%.0f", what+"responses of health and readiness other than 200"),
		atLeast(of("recovery"), .8, "%.2f", what+"accepted / the best in the second after"),
	}
}

// summary compares the figures with the targets: with all of them except those of parts that run only if named, or with
// those that have a figure.
func (r *report) summary(all bool) *figures.Table {
	t := figures.NewTable("target", "bound", "measured", "")
	for i, target := range slices.Concat(targets, apartTargets) {
		bound := "≥ "
		if target.atMost {
			bound = "≤ "
		}
		bound += fmt.Sprintf(target.format, target.bound)
		value, measured := r.figures[target.name]
		switch {
		case !measured && (!all || i >= len(targets)):
		case !measured:
			t.Add(target.text, bound, figures.None, "not measured")
		case target.reached(value):
			t.Add(target.text, bound, fmt.Sprintf(target.format, value), "reached")
		default:
			t.Add(target.text, bound, fmt.Sprintf(target.format, value), "**not reached**")
		}
	}
	return t
}

func (t target) reached(value float64) bool {
	if t.atMost {
		return value <= t.bound
	}
	return value >= t.bound
}
