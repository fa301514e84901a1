package port

import "context"

// JobPurge is the job of the janitor.
const JobPurge = "purge"

// Jobs are pieces of work that one process at a time does, for as long as its lease runs.
type Jobs interface {
	// Release ends the lease of that job, if it is holder's: another process need not wait until it runs out. Where
	// the job has got to stays. It is no error if the lease is another holder's, or there is none.
	Release(ctx context.Context, job, holder string) error
}
