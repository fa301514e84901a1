package domain

import (
	"fmt"
	"time"
)

// MaxClockSkew is the largest difference between the clocks of the processes, of the store and of callers that is
// tolerated where an irreversible decision depends on them.
const MaxClockSkew = time.Minute

// ClockError reports that the clocks of this process and of the store differ too much for the operation. Nothing was
// done. The error is operational: no input is invalid.
type ClockError struct {
	Ahead time.Duration // how far this process's clock is ahead of the store's; negative if it is behind
}

// CheckClocks returns a *ClockError if the clock of the process and that of the store, read at about the same time,
// differ by more than maxSkew.
func CheckClocks(process, store time.Time, maxSkew time.Duration) error {
	if ahead := process.Sub(store); ahead.Abs() > maxSkew {
		return &ClockError{Ahead: ahead}
	}
	return nil
}

func (e *ClockError) Error() string {
	way := "ahead of"
	if e.Ahead < 0 {
		way = "behind"
	}
	return fmt.Sprintf("the clock of this machine is %s %s that of the database: synchronize both by NTP",
		e.Ahead.Abs().Round(time.Second), way)
}
