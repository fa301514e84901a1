package main

import (
	"time"

	"github.com/refreshd/refreshd/test/support/rig"
)

// clock is the clock of a service. It runs faster than the true time, so that minutes of a policy pass in seconds. It
// may move in jumps, so that calls happen exactly at a deadline.
type clock struct {
	base         time.Time // when all clocks showed the true time: a whole second, as an expiry is
	every        time.Duration
	jump, offset instant
}

// environment returns the environment variable that sets the clock of a service.
func (c clock) environment() string { return c.rigged().Env() }

func (c clock) rigged() rig.Clock {
	return rig.Clock{
		Base: c.base, Every: c.every,
		Jump: time.Duration(c.jump) * time.Microsecond, Offset: time.Duration(c.offset) * time.Microsecond,
	}
}

// at returns what the clock shows at a true time.
func (c clock) at(t time.Time) instant {
	return c.base.UnixMicro() + (t.UnixMicro()-c.base.UnixMicro())/c.every.Microseconds()*c.jump + c.offset
}

// when returns the first true time at which the clock shows t or more.
func (c clock) when(t instant) time.Time {
	steps := (t - c.offset - c.base.UnixMicro() + c.jump - 1) / c.jump
	return time.UnixMicro(c.base.UnixMicro() + steps*c.every.Microseconds())
}
