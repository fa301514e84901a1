package main

import "time"

// plan is how long a run takes.
type plan struct {
	name           string
	window         window
	rounds         int
	pool           int   // sessions that are exchanged under the default policy
	exchangeRounds int   // of the part that most targets are about
	costRounds     int   // of what an exchange and a retry cost
	retakes        bool  // a disturbed round is taken again
	callers        []int // at once, of calls other than an exchange
	fullOnly       int   // with how many clients pgbench runs the store's whole statement; 0 for with each number
	// stages are how many refresh tokens there are as a table grows. Those of the second are also what one application has, and what
	// is dead when purging is measured.
	stages    []int
	rotated   int   // how many refresh tokens are rotated to see how the table grows
	rotations []int // how often, in steps
}

var (
	quickPlan = plan{
		name: "quick", window: window{200 * time.Millisecond, 450 * time.Millisecond}, pool: 1_000_000,
		rounds: 3, exchangeRounds: 3, costRounds: 1, callers: []int{8}, fullOnly: 8,
		stages: []int{10_000, 200_000}, rotated: 200, rotations: []int{200},
	}
	normalPlan = plan{
		name: "normal", window: window{500 * time.Millisecond, time.Second}, pool: 1_000_000,
		rounds: 3, exchangeRounds: 5, costRounds: 3, retakes: true, callers: []int{1, 8},
		stages: []int{10_000, 1_000_000, 5_000_000}, rotated: 500, rotations: []int{200, 1_000},
	}
	fullPlan = plan{
		name: "full", window: window{time.Second, 4 * time.Second}, pool: 2_000_000,
		rounds: 5, exchangeRounds: 5, costRounds: 5, retakes: true, callers: []int{1, 8},
		stages: []int{10_000, 1_000_000, 5_000_000}, rotated: 10_000, rotations: []int{200, 1_000},
	}
)
