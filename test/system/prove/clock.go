package main

import (
	"fmt"
	"time"
)

// clock is what time it is for a service: it runs faster than the world, so that minutes of a policy pass in seconds, and it may move in
// jumps, so that calls happen at the very instant of a deadline.
type clock struct {
	base         time.Time // when all clocks showed the true time: a whole second, as an expiry is
	every        time.Duration
	jump, offset instant
}

// environment tells the clock to the program that clockPatch made.
func (c clock) environment() string {
	return fmt.Sprintf("PROVE_CLOCK=%d %d %d %d", c.base.UnixMicro(), c.every.Microseconds(), c.jump, c.offset)
}

// at is what the clock shows at an instant of the world.
func (c clock) at(t time.Time) instant {
	return c.base.UnixMicro() + (t.UnixMicro()-c.base.UnixMicro())/c.every.Microseconds()*c.jump + c.offset
}

// when is the first instant of the world at which the clock shows t or more.
func (c clock) when(t instant) time.Time {
	steps := (t - c.offset - c.base.UnixMicro() + c.jump - 1) / c.jump
	return time.UnixMicro(c.base.UnixMicro() + steps*c.every.Microseconds())
}

// clockSource goes into the program under test, and into no other: it replaces time.Now in the composition root.
const clockSource = `package run

import (
	"fmt"
	"os"
	"time"
)

func provedClock(world func() time.Time) func() time.Time {
	var base, every, jump, offset int64
	if told := os.Getenv("PROVE_CLOCK"); told == "" {
		return world // a verb that is run beside
	} else if _, err := fmt.Sscanf(told, "%d %d %d %d", &base, &every, &jump, &offset); err != nil {
		panic("PROVE_CLOCK: " + err.Error())
	}
	return func() time.Time { return time.UnixMicro(base + (world().UnixMicro()-base)/every*jump + offset) }
}
`
