package storagetest

import (
	"strings"
	"testing"

	"github.com/refreshd/refreshd/port"
)

// locking returns a database in memory of which records can be held, and how to hold them.
func locking(spoil func(*ledger)) (open func() port.Store, hold func(port.Store, Held) (release func())) {
	var l *ledger
	open = mutant{inject: func(f *faulty) { l = newLedger(f); spoil(l) }}.database()
	return open, func(_ port.Store, what Held) func() { return l.hold(what) }
}

// TestAStoreThatSkipsWhatIsLockedPassesEveryClauseOfHolds: a mutant must fail because of its fault alone.
func TestAStoreThatSkipsWhatIsLockedPassesEveryClauseOfHolds(t *testing.T) {
	for i := range holding(nil) {
		open, hold := locking(func(*ledger) {})
		c := holding(hold)[i]
		if got := failuresOf(t.Context(), c, open); len(got) > 0 {
			t.Errorf("%s: %s", c.name, strings.Join(got, "\n"))
		}
	}
}

// TestAStoreThatWaitsForALockFailsTheClausesOfHolds: nor may it stamp what is locked.
func TestAStoreThatWaitsForALockFailsTheClausesOfHolds(t *testing.T) {
	for fault, spoil := range map[string]func(*ledger){
		"a stamp waits for what is locked":   func(l *ledger) { l.waits = true },
		"a stamp stamps what is locked, too": func(l *ledger) { l.ignoresHeld = true },
	} {
		for i := range holding(nil) {
			open, hold := locking(spoil)
			c := holding(hold)[i]
			if len(failuresOf(t.Context(), c, open)) == 0 {
				t.Errorf("a store where %s passes %q", fault, c.name)
			}
		}
	}
}
