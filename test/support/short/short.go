// Package short leaves tests out of `go test -short`: those that need what a fresh clone may lack (PostgreSQL,
// PgBouncer, strace), and those that take long.
//
// It is the only place where a test is skipped, which test/arch checks, and it skips nothing without -short: in `make
// test` a server that is missing is a failure, because a skip would hide what was not tested.
package short

import "testing"

// LeaveOut skips the test, or the benchmark, under -short, and says what it needs.
func LeaveOut(tb testing.TB, needs string) {
	tb.Helper()
	if testing.Short() {
		tb.Skipf("left out by -short: it needs %s", needs)
	}
}
