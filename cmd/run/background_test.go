package run

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// A stop waits for what ends soon, and for nothing beyond its grace: a call of the store may end long after its
// context.
func TestAStopWaitsForTheBackgroundWithinItsGrace(t *testing.T) {
	for name, test := range map[string]struct{ takes, want time.Duration }{
		"ends in time": {time.Second, time.Second}, "a silent database": {12 * time.Second, 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				grace, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				b := begin(t.Context(), func(ctx context.Context) {
					<-ctx.Done()
					time.Sleep(test.takes)
				})
				begun := time.Now()
				b.cancel()
				if b.wait(grace); time.Since(begun) != test.want {
					t.Errorf("waited %s, want %s", time.Since(begun), test.want)
				}
				<-b.done
			})
		})
	}
}
