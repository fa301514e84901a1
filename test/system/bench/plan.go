package main

import "time"

// plan is the size of a run.
type plan struct {
	name           string
	window         window
	rounds         int
	pool           int   // sessions that are exchanged under the default policy
	exchangeRounds int   // of the part exchange, which has most of the targets
	costRounds     int   // of the part cost
	retakes        bool  // whether a disturbed round is repeated
	callers        []int // concurrent callers, for calls other than an exchange
	fullOnly       int   // with how many clients pgbench runs the store's whole statement; 0 for every number
	// stages are the sizes of the growing table. The second one is also the number of refresh tokens of one
	// application, and of ended ones when purging is measured.
	stages    []int
	rotated   int   // how many refresh tokens are rotated to measure the growth of the table
	rotations []int // how often each, in steps
	// reachSessions are revoked by one request, in the part reach.
	reachSessions int
	reachRounds   int
	// The part admin: how much there is, how many pages lead to a deep one, and how many requests are measured.
	adminSessions, adminObjects, adminEvents, adminDeleted int
	adminPages, adminCalls                                 int
	// The part keys: tenants with keys of their own, key sets that are requested, and rounds of a pass over all keys.
	keyTenants, keySets, keyRounds int
}

var (
	quickPlan = plan{
		name: "quick", window: window{200 * time.Millisecond, 450 * time.Millisecond}, pool: 1_000_000,
		rounds: 3, exchangeRounds: 3, costRounds: 1, callers: []int{8}, fullOnly: 8,
		stages: []int{10_000, 200_000}, rotated: 200, rotations: []int{200},
		reachSessions: 200_000, reachRounds: 3,
		adminSessions: 500_000, adminObjects: 2_000, adminEvents: 100_000, adminDeleted: 200_000,
		adminPages: 10, adminCalls: 100,
		keyTenants: 10_000, keySets: 1_000, keyRounds: 5,
	}
	normalPlan = plan{
		name: "normal", window: window{500 * time.Millisecond, time.Second}, pool: 1_000_000,
		rounds: 3, exchangeRounds: 5, costRounds: 3, retakes: true, callers: []int{1, 8},
		stages: []int{10_000, 1_000_000, 5_000_000}, rotated: 500, rotations: []int{200, 1_000},
		reachSessions: 1_000_000, reachRounds: 10,
		adminSessions: 5_000_000, adminObjects: 10_000, adminEvents: 1_000_000, adminDeleted: 1_000_000,
		adminPages: 30, adminCalls: 300,
		keyTenants: 100_000, keySets: 5_000, keyRounds: 10,
	}
	fullPlan = plan{
		name: "full", window: window{time.Second, 4 * time.Second}, pool: 2_000_000,
		rounds: 5, exchangeRounds: 5, costRounds: 5, retakes: true, callers: []int{1, 8},
		stages: []int{10_000, 1_000_000, 5_000_000}, rotated: 10_000, rotations: []int{200, 1_000},
		reachSessions: 10_000_000, reachRounds: 10,
		adminSessions: 5_000_000, adminObjects: 10_000, adminEvents: 1_000_000, adminDeleted: 1_000_000,
		adminPages: 100, adminCalls: 1_000,
		keyTenants: 100_000, keySets: 10_000, keyRounds: 20,
	}
)
