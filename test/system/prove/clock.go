package main

import (
	"time"

	"github.com/refreshd/refreshd/test/support/rig"
)

// clock is what time it is for a service: it runs faster than the world, so that minutes of a policy pass in seconds, and it may move in
// jumps, so that calls happen at the very instant of a deadline.
type clock struct {
	base         time.Time // when all clocks showed the true time: a whole second, as an expiry is
	every        time.Duration
	jump, offset instant
}

// environment tells the clock to a service.
func (c clock) environment() string {
	return rig.Clock{
		Base: c.base, Every: c.every,
		Jump: time.Duration(c.jump) * time.Microsecond, Offset: time.Duration(c.offset) * time.Microsecond,
	}.Env()
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
