package main

import (
	"slices"
	"time"

	"github.com/refreshd/refreshd/test/support/figures"
)

// latencies summarize how long calls took.
type latencies struct{ p50, p95, p99 time.Duration }

func newLatencies(all []time.Duration) latencies {
	slices.Sort(all)
	return latencies{figures.Percentile(all, .50), figures.Percentile(all, .95), figures.Percentile(all, .99)}
}
