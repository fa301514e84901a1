package port

import (
	"context"
	"time"

	"github.com/refreshd/refreshd/domain"
)

// Janitor deletes refresh tokens that have ended, a few at a time. A pass reads the whole store, in many calls of
// Purge. A deleted refresh token is then unknown instead of ended, and no other result of the store
// changes.
type Janitor interface {
	// Purge does the next step of the current pass, or the first of a new one, in one step: its deletions and its
	// progress are stored together. So a pass that was interrupted anywhere continues there, in any process.
	//
	// One process purges at a time. Purge returns ErrConflict, having done nothing, while another holder has the lease,
	// which lasts until the LeaseUntil of its last step. It also returns ErrConflict if the step would begin a pass, and
	// the last pass ended after s.EndedBefore, which is not zero. Otherwise s.LeaseHolder has the lease until
	// s.LeaseUntil; if this step ends the pass, no process has it. The lease saves work and protects nothing: two
	// processes that purge concurrently, because their clocks differ, do no harm. A process whose clock is ahead must
	// not block the others until that time. So a lease that ends later than s.LeaseUntil + s.MaxClockSkew is void. An
	// end of the last pass later than s.Now + s.MaxClockSkew is also void.
	//
	// A deletion cannot be undone, so a clock that is ahead must not decide what has ended. A store with its own clock,
	// such as a database server, reads it in the same step, and returns a *domain.ClockError, having done nothing, if
	// it and s.Now differ by more than s.MaxClockSkew. A store that has the clock of the process compares nothing.
	//
	// A pass reads every refresh token that is stored throughout the pass, by id from low to high, at most s.Limit in a
	// step, and deletes those that had ended at s.Before:
	//
	//   - expired at or before it;
	//   - revoked themselves at or before it, if their fact is out of use;
	//   - not revoked themselves, and below the epoch of a mark that covers them and that was written at or before it. A
	//     mark that was raised since counts as written then. A deleted application or tenant has left such a mark.
	//
	// A fact is out of use if it has a position, and that is not above s.Before - LongestAccessTTL of its tenant -
	// [domain.FactRetention] ([domain.FactFloor]). A resource server that resumes must find the fact of each session
	// whose access tokens may still be valid. The position decides instead of the instant of the revocation, which is by
	// the clock of the process that revoked, and may be long before the moment at which readers saw the fact.
	//
	// Before it deletes, a step revokes at s.Now those of these refresh tokens that are active at s.Before and were last
	// rotated within one of s.Ended, for the reason [domain.RevokedWithKey]. s.Event names them, and is stored only if
	// there are some; it is zero if s.Ended is empty. An earlier step with that event is an error.
	//
	// It deletes and revokes no others. A step does not wait for a call on a refresh token: it skips those that such a
	// call has locked, and ends within the time of a call. The next pass deletes and revokes what this one skipped.
	//
	// After the last refresh token the pass deletes, in steps of at most s.Limit, the marks whose fact is out of use, if
	// their KeepUntil is at or before s.Before, or if their tenant was deleted at or before it and has no refresh token
	// stored. Then it deletes each such tenant that has no mark. It begins at epoch 0 if it is created again, so a mark
	// of a deleted tenant is out of use later, at [domain.TraceFloor]: no resource server holds it then.
	//
	// Then it deletes, in steps of at most s.Limit, the events whose id is below s.EventsBefore; and then the keys of
	// [Once] whose instant is at or before s.OnceBefore, of which a pass may leave some to the next one.
	//
	// s.Before must be so early that no call is in progress that began before it: minutes ago at least.
	Purge(ctx context.Context, s PurgeStep) (Purged, error)
}

// PurgeStep is the input of a step of a pass.
type PurgeStep struct {
	LeaseHolder string // names the process; no other process has the same text
	Now         time.Time
	LeaseUntil  time.Time
	EndedBefore time.Time // zero to begin a pass no matter when the last one ended
	Before      time.Time
	// EventsBefore is above the ids of the events that are deleted; zero for none.
	EventsBefore domain.ID
	// OnceBefore is the last instant of the keys of Once that are deleted; zero for none. At every process it has
	// passed.
	OnceBefore   time.Time
	MaxClockSkew time.Duration // [domain.MaxClockSkew], unless Now is not the time of a clock
	Limit        int           // at least 1
	Ended        []RotationRange
	Event        domain.Event
}

// RotationRange are the refresh tokens whose current token string was made from From until before To, such as those of
// a token key that was revoked.
type RotationRange struct{ From, To time.Time }

// Holds reports whether at is within the range.
func (r RotationRange) Holds(at time.Time) bool { return !at.Before(r.From) && at.Before(r.To) }

// Purged is the result of a step.
type Purged struct {
	LookedAt int  // refresh tokens that were read
	Deleted  int  // refresh tokens that were deleted
	Revoked  int  // refresh tokens that were revoked
	Marks    int  // that were deleted
	Tenants  int  // whose last trace was deleted
	Events   int  // that were deleted
	OnceKeys int  // keys of Once that were deleted
	Done     bool // the pass is complete; the next step begins another
}
