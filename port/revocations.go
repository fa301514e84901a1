package port

import (
	"context"
	"time"

	"github.com/refreshd/refreshd/domain"
)

// Revocations ends refresh tokens. What one of its methods revoked is refused to every call on the store that starts
// after it returned. A call that had started may still succeed; what it then stored is dead all the same, where it is a
// rotation, and may be dead where it is an issue.
type Revocations interface {
	// Revoke revokes the refresh token of that tenant and id if it is alive at r.At, else it returns ErrNotFound.
	// The event names it.
	Revoke(ctx context.Context, tenantID string, id domain.ID, r Revocation, e domain.Event) error

	// RevokeScope revokes every refresh token in the scope that was stored before, and none that is stored later, in a
	// number of writes that does not depend on how many there are: the tenant's epoch grows by one, and the scope's
	// mark takes the new epoch, r.At, r.Reason and, as KeepUntil, the latest instant that one of them could have lived
	// to: r.At + the longest TTL that a policy of any application of the tenant has ever had in this store +
	// [domain.MarkRetention]. A mark's epoch and KeepUntil only grow. It returns the new epoch.
	//
	// If except is not zero, that refresh token is spared: its IssuedEpoch becomes the new epoch, in the same step. If
	// it is not within the scope and alive at r.At, nothing is written and ErrNotFound returned.
	//
	// It returns ErrNotFound, with nothing written, if the tenant does not exist or the scope names an application that
	// does not. A user needs no existence. Revocations of one tenant happen one after another. The event has the new
	// epoch as its version, and names no refresh tokens.
	RevokeScope(
		ctx context.Context, s domain.Scope, except domain.ID, r Revocation, e domain.Event,
	) (epoch uint64, err error)

	// KeepNewest revokes, of the refresh tokens within the scope that are alive at r.At, all but the keep (at least 1)
	// with the highest (Ordinal, ID). A scope of a user in an application is all that it has to serve. When several
	// calls run at once, and each began after its own Insert returned, at most keep are alive when all have returned,
	// and no token that is among the keep highest of all was revoked. The event names those that the call revoked; it
	// is stored only if there are some.
	//
	// It may also set to 0 the Ordinal of refresh tokens within the scope that have ended for good and are not revoked
	// themselves, so that a store need not read them at each login: those below the epoch of a mark that covers them,
	// and those that expired at least twice [domain.MaxClockSkew] before r.At. They then count as 0 in what Insert
	// sets. No other loses its Ordinal, above all none that a process whose clock is behind could still exchange.
	KeepNewest(ctx context.Context, s domain.Scope, keep int, r Revocation, e domain.Event) error
}

// Revocation is when and why.
type Revocation struct {
	At     time.Time
	Reason domain.RevocationReason
}
