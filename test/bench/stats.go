package main

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// median of an even number of values is the mean of the two in the middle; of none it is not a number.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(values))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// percentile is the smallest value that at least a share p of sorted does not exceed; of none it is zero.
func percentile[T cmp.Ordered](sorted []T, p float64) (v T) {
	if len(sorted) == 0 {
		return v
	}
	rank := int(math.Ceil(p * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// latencies are how long calls took.
type latencies struct{ p50, p95, p99 time.Duration }

func newLatencies(all []time.Duration) latencies {
	slices.Sort(all)
	return latencies{percentile(all, .50), percentile(all, .95), percentile(all, .99)}
}
