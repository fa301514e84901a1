package domain

import (
	"fmt"
	"time"
)

// MaxClockSkew is how far apart the clocks of the processes, of the store and of callers may be where something that cannot be
// undone depends on them.
const MaxClockSkew = time.Minute

// ClockError says that the clocks of this process and of the store are too far apart for what was asked. Nothing was done. It is
// operational: nobody's input is wrong.
type ClockError struct {
	Ahead time.Duration // of this process before the store; below zero if it is behind
}

// CheckClocks returns a *ClockError if the two clocks, read at about the same time, are further apart than they may be.
func CheckClocks(ours, stores time.Time, maxSkew time.Duration) error {
	if ahead := ours.Sub(stores); ahead.Abs() > maxSkew {
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
