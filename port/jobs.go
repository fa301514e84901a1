package port

import (
	"context"
	"time"
)

const (
	JobPurge      = "purge"       // of the [Janitor]
	JobRotateKeys = "rotate keys" // makes keys ahead of their use, and retires those that are not needed
)

// Jobs manages the leases of jobs, each of which one process at a time does.
type Jobs interface {
	// Lease gives the lease of l.Job to l.Holder until l.Until, or renews it. It returns ErrConflict, with nothing
	// written, while another holder has it. A lease that ends later than l.Until + l.MaxClockSkew is void, as in
	// [Janitor]. The lease of JobPurge is taken by a step of the pass instead.
	Lease(ctx context.Context, l JobLease) error
	// Release ends the lease of that job if holder has it, so that another process need not wait until it expires. The
	// progress of the job stays. It returns nil if another holder has the lease, or if it is free.
	Release(ctx context.Context, job, holder string) error
}

// JobLease is the input of [Jobs.Lease].
type JobLease struct {
	Job, Holder  string
	Now, Until   time.Time
	MaxClockSkew time.Duration
}
