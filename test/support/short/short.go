// Package short skips tests under `go test -short`: slow tests, and tests that need PostgreSQL, PgBouncer or strace,
// which a fresh clone may lack.
//
// No other package skips a test; test/arch checks that. Without -short nothing is skipped: in `make test` a missing
// server is a failure, because a skip would hide what was not tested.
package short

import "testing"

// LeaveOut skips the test or benchmark under -short. needs says what it needs, in a noun.
func LeaveOut(tb testing.TB, needs string) {
	tb.Helper()
	if testing.Short() {
		tb.Skipf("left out by -short: it needs %s", needs)
	}
}
