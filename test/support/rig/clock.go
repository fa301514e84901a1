package rig

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"time"
)

// Clock is what time it is for a process of a program that was built with one. At the world's instant t it shows Base +
// (t-Base)/Every*Jump + Offset, where the division is of whole numbers: it may run faster than the world, move in
// jumps, be ahead, and, with a Jump of 0, stand.
type Clock struct {
	Base                time.Time
	Every, Jump, Offset time.Duration
}

// Ahead is a clock that goes as the world does, and is ahead of it.
func Ahead(by time.Duration) Clock {
	return Clock{Base: time.Unix(0, 0), Every: time.Microsecond, Jump: time.Microsecond, Offset: by}
}

// Standing is a clock that stands at an instant.
func Standing(at time.Time) Clock { return Clock{Base: at, Every: time.Microsecond} }

func (c Clock) String() string {
	return fmt.Sprintf("%d %d %d %d",
		c.Base.UnixMicro(), c.Every.Microseconds(), c.Jump.Microseconds(), c.Offset.Microseconds())
}

// Env tells the clock to a process for its whole life.
func (c Clock) Env() string { return "RIG_CLOCK=" + c.String() }

// ClockFile has a process look for its clock in a file at each look at the time. Set writes such a file.
func ClockFile(path string) string { return "RIG_CLOCK_FILE=" + path }

// Set has every process whose clock is in that file go by c from now on.
func (c Clock) Set(path string) error {
	next := path + ".next"
	if err := os.WriteFile(next, []byte(c.String()), 0o600); err != nil {
		return err
	}
	return os.Rename(next, path)
}

// clockSource goes into a program with a clock, and into no other: it replaces time.Now in the composition root. A
// process that is told no clock goes by the world's.
const clockSource = `package run

import (
	"fmt"
	"os"
	"time"
)

func riggedClock(world func() time.Time) func() time.Time {
	told, file := os.Getenv("RIG_CLOCK"), os.Getenv("RIG_CLOCK_FILE")
	if told == "" && file == "" {
		return world
	}
	read := func(told string) func() time.Time {
		var base, every, jump, offset int64
		if _, err := fmt.Sscanf(told, "%d %d %d %d", &base, &every, &jump, &offset); err != nil {
			panic("the rig's clock: " + err.Error())
		}
		return func() time.Time { return time.UnixMicro(base + (world().UnixMicro()-base)/every*jump + offset) }
	}
	if file == "" {
		return read(told)
	}
	return func() time.Time {
		text, err := os.ReadFile(file)
		if err != nil {
			panic("the rig's clock: " + err.Error())
		}
		return read(string(text))()
	}
}
`

// withClock is o with what makes a program take its time from a Clock.
func (o BuildOptions) withClock() BuildOptions {
	o.Clock, o.Files = false, maps.Clone(o.Files)
	if o.Files == nil {
		o.Files = map[string]string{}
	}
	o.Files["cmd/run/rig_clock.go"] = clockSource
	// First, so that a change may be of what stands in its place.
	put := Change{"cmd/run/wire.go", "clock: time.Now,\n", "clock: riggedClock(time.Now),\n"}
	o.Changes = slices.Concat([]Change{put}, o.Changes)
	return o
}
