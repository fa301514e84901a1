package main

import (
	"math"

	"github.com/refreshd/refreshd/test/support/figures"
)

// bound is how much a series may grow from its first third to its last: by a share of the first, or by least, whichever
// is more.
type bound struct {
	share, least float64
	falls        bool // whether it must not fall, rather than not rise
}

// leastPoints is how many points a trend needs.
const leastPoints = 6

// trend is the trend of a series.
type trend struct {
	points      int
	first, last float64 // the median of its first third, and of its last
	rise        float64 // of the line that fits it best, from the first point to the last
	allowed     float64
	judged      bool // whether there were enough points
	grows       bool
}

// newTrend decides that a series grows if both measures exceed its bound: the thirds, which a few outliers do not move,
// and the line, which a single step between two plateaus moves less than a steady climb of the same height.
func newTrend(values []float64, b bound) (t trend) {
	var known []float64
	for _, v := range values {
		if !math.IsNaN(v) {
			known = append(known, v)
		}
	}
	t.points = len(known)
	third := max(1, len(known)/3)
	if len(known) > 0 {
		t.first, t.last = figures.Median(known[:third]), figures.Median(known[len(known)-third:])
	} else {
		t.first, t.last = math.NaN(), math.NaN()
	}
	t.rise = slope(known) * float64(len(known)-1)
	t.allowed = max(b.share*math.Abs(t.first), b.least)
	t.judged = len(known) >= leastPoints
	change, rise := t.last-t.first, t.rise
	if b.falls {
		change, rise = -change, -rise
	}
	t.grows = t.judged && change > t.allowed && rise > t.allowed
	return t
}

// slope returns the slope of the line by least squares, for points with a distance of one.
func slope(values []float64) float64 {
	n := float64(len(values))
	if n < 2 {
		return math.NaN()
	}
	var x, y, xy, xx float64
	for i, v := range values {
		x, y, xy, xx = x+float64(i), y+v, xy+float64(i)*v, xx+float64(i)*float64(i)
	}
	return (n*xy - x*y) / (n*xx - x*x)
}
