package rig

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"time"
)

// Clock is the clock of a process whose program was built with BuildOptions.Clock. At the true time t it shows Base +
// (t-Base)/Every*Jump + Offset, with integer division. It can run faster than the true time, move in jumps, be ahead,
// and, with a Jump of 0, stand still.
type Clock struct {
	Base                time.Time
	Every, Jump, Offset time.Duration
}

// Ahead returns a clock that is ahead of the true time and runs at its speed.
func Ahead(by time.Duration) Clock {
	return Clock{Base: time.Unix(0, 0), Every: time.Microsecond, Jump: time.Microsecond, Offset: by}
}

// Standing returns a clock that stands still.
func Standing(at time.Time) Clock { return Clock{Base: at, Every: time.Microsecond} }

func (c Clock) String() string {
	return fmt.Sprintf("%d %d %d %d",
		c.Base.UnixMicro(), c.Every.Microseconds(), c.Jump.Microseconds(), c.Offset.Microseconds())
}

// Env returns the environment variable that sets the clock of a process until it ends.
func (c Clock) Env() string { return "RIG_CLOCK=" + c.String() }

// ClockFile returns the environment variable that has a process read its clock from a file each time it reads the time.
// Set writes such a file.
func ClockFile(path string) string { return "RIG_CLOCK_FILE=" + path }

// Set sets the clock of every process that reads it from that file.
func (c Clock) Set(path string) error {
	next := path + ".next"
	if err := os.WriteFile(next, []byte(c.String()), 0o600); err != nil {
		return err
	}
	return os.Rename(next, path)
}

// clockSource is added to a program that is built with a clock. It replaces time.Now in the composition root. A process
// without a clock in its environment uses the true time.
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

// withClock returns o with the changes that make a program take its time from a Clock.
func (o BuildOptions) withClock() BuildOptions {
	o.Clock, o.Files = false, maps.Clone(o.Files)
	if o.Files == nil {
		o.Files = map[string]string{}
	}
	o.Files["cmd/run/rig_clock.go"] = clockSource
	// It comes first, so that later changes may change its result.
	put := Change{"cmd/run/wire.go", "clock: time.Now,\n", "clock: riggedClock(time.Now),\n"}
	o.Changes = slices.Concat([]Change{put}, o.Changes)
	return o
}
