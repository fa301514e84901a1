package port

import (
	"context"
	"time"

	"github.com/refreshd/refreshd/domain"
)

// Janitor deletes what is dead, a little at a time: in passes over everything that is stored, each of which is many
// calls of Purge. What it deleted is then unknown instead of dead, and nothing else that is asked of the store is
// answered differently.
type Janitor interface {
	// Purge takes the next step of the pass that is under way, or of a new one, in one step: what it deletes and where
	// it has got to are stored together. So a pass that was cut off anywhere goes on where it was, whoever takes the
	// next step.
	//
	// One janitor works at a time: Purge returns ErrConflict, having done nothing, while the lease is another holder's,
	// that is before the LeaseUntil of that one's last step; or if it would begin a pass, s.EndedBefore is not zero,
	// and the last pass ended after it. Else the lease is s.LeaseHolder's until s.LeaseUntil, or free if this step ends the
	// pass. The lease saves work, and nothing depends on it: two that purge at once, because their clocks differ, do no
	// harm. What a wrong clock has left must not stop everybody until it is right: a lease that ends later than
	// s.LeaseUntil + s.MaxClockSkew, and an end of the last pass that lies later than s.Now + s.MaxClockSkew, are void.
	//
	// What was deleted cannot be brought back, so a clock that is ahead must not decide what was dead. A store that has
	// a clock of its own, as a database server has, reads it in the same step, and returns a *domain.ClockError, having
	// done nothing, if it and s.Now are further apart than s.MaxClockSkew. A store that has the process' own clock
	// compares nothing.
	//
	// A pass looks at every refresh token that is stored while it goes on, by id from low to high, a step at no more
	// than s.Limit, and deletes those that were dead at s.Before:
	//
	//   - revoked themselves at or before it;
	//   - expired at or before it;
	//   - below the epoch of a mark that covers them and that was written at or before it. A mark that was raised since
	//     counts as written then. An application or a tenant that is gone has left such a mark.
	//
	// It deletes no other. A step waits for no call on a refresh token, passes over those that such a call holds, and
	// is over within the time of a call; the next pass finds them.
	//
	// After the last refresh token the pass deletes, in steps of no more than s.Limit, the marks whose KeepUntil is at
	// or before s.Before; then each tenant that was deleted at or before it and has no refresh token stored, after all
	// of its marks: it begins at epoch 0 if it is created again.
	//
	// Then it deletes, in steps of no more than s.Limit, the events whose id is below s.EventsBefore.
	//
	// s.Before must lie so far back that no call is still under way which began before it, minutes at least.
	Purge(ctx context.Context, s PurgeStep) (Purged, error)
}

// PurgeStep is what a step of the janitor needs to know.
type PurgeStep struct {
	LeaseHolder string // who asks: a text that no other process uses
	Now         time.Time
	LeaseUntil  time.Time
	EndedBefore time.Time // zero to begin a pass whenever the last one ended
	Before      time.Time
	// EventsBefore is above the ids of the events that are deleted; zero for none.
	EventsBefore domain.ID
	MaxClockSkew time.Duration // how far apart clocks may be; [domain.MaxClockSkew] but where Now is made up
	Limit        int           // at least 1
}

// Purged is what a step did.
type Purged struct {
	LookedAt int  // refresh tokens
	Deleted  int  // refresh tokens, of those
	Marks    int  // that were deleted
	Tenants  int  // whose last trace was deleted
	Events   int  // that were deleted
	Done     bool // the pass is at its end; the next step begins another
}
