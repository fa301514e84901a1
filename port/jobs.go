package port

import "context"

// JobPurge is the job of the [Janitor].
const JobPurge = "purge"

// Jobs manages the leases of jobs, each of which one process at a time does.
type Jobs interface {
	// Release ends the lease of that job if holder has it, so that another process need not wait until it expires. The
	// progress of the job stays. It returns nil if another holder has the lease, or if it is free.
	Release(ctx context.Context, job, holder string) error
}
