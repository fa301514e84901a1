package main

import (
	"testing"
	"time"
)

// A device that returns exactly at a deadline finds an expiry that is off by one.
func TestWhenIsTheBeginningOfWhatTheClockShows(t *testing.T) {
	base := time.Unix(1_700_000_000, 0)
	for _, c := range []clock{
		{base: base, every: 200 * time.Millisecond, jump: second},
		{base: base, every: 200 * time.Millisecond, jump: second, offset: 2 * second},
		{base: base, every: time.Millisecond, jump: 5000, offset: second},
	} {
		for _, ahead := range []instant{5, 7, 60} {
			want := base.Unix()*second + ahead*second
			at := c.when(want)
			if got := c.at(at); got != want {
				t.Errorf("the clock shows %d at when(%d)", got, want)
			}
			if got := c.at(at.Add(-time.Microsecond)); got >= want {
				t.Errorf("the clock shows %d, and no less, before when(%d)", got, want)
			}
		}
	}
}
