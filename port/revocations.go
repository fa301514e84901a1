package port

import (
	"context"
	"time"

	"github.com/refreshd/refreshd/domain"
)

// Revocations revokes refresh tokens. When one of its methods has returned, every call on the store that starts later
// refuses the refresh tokens that it revoked. A call that started earlier may still succeed. If it rotates one of them,
// the rotated refresh token is revoked too. If it inserts a refresh token within the scope, that one may be revoked.
type Revocations interface {
	// Revoke revokes the refresh token of that tenant and id if it is active at r.At; otherwise it returns ErrNotFound.
	// The event names it.
	Revoke(ctx context.Context, tenantID string, id domain.ID, r Revocation, e domain.Event) error

	// RevokeScope revokes every refresh token in the scope that was stored before, and none that is stored later. The
	// number of its writes does not depend on how many there are: the tenant's epoch grows by one, and the scope's mark
	// takes the new epoch, r.At, r.Reason and KeepUntil. KeepUntil is the latest instant until which one of them could
	// have been active: r.At + the longest TTL that a policy of any application of the tenant has ever had in this store +
	// [domain.MarkRetention]. The epoch and KeepUntil of a mark only grow. It returns the new epoch.
	//
	// If except is not zero, that refresh token is not revoked: its IssuedEpoch becomes the new epoch, in the same
	// step. Its earlier access tokens have its earlier epoch, so the fact of the mark names it, see [domain.Fact].
	// That exception is one of this epoch only: a later revocation of the scope names its own, or none. If except is not
	// within the scope or not active at r.At, nothing is written and ErrNotFound returned.
	//
	// It returns ErrNotFound, with nothing written, if the tenant or the application of the scope does not exist. A
	// user need not exist. Revocations of one tenant happen one after another. The event has the new epoch as its
	// version, and names no refresh tokens.
	RevokeScope(
		ctx context.Context, s domain.Scope, except domain.ID, r Revocation, e domain.Event,
	) (epoch uint64, err error)

	// KeepNewest revokes the refresh tokens within the scope that are active at r.At, except the keep (at least 1) with
	// the highest (Ordinal, ID). It need only support a scope of a user in an application. If several calls run
	// concurrently, and each began after its own Insert returned, at most keep are active when all have returned, and
	// no refresh token among the keep highest of all was revoked. The event names those that the call revoked; it is
	// stored only if there are some.
	//
	// It may also set to 0 the Ordinal of refresh tokens within the scope that have ended for good and are not revoked
	// themselves, so that a store need not read them at each login: those below the epoch of a mark that covers them,
	// and those that expired at least twice [domain.MaxClockSkew] before r.At. Insert then counts them as 0. No other
	// refresh token loses its Ordinal, in particular none that a process whose clock is behind could still exchange.
	KeepNewest(ctx context.Context, s domain.Scope, keep int, r Revocation, e domain.Event) error
}

// Revocation is the instant and the reason of a revocation.
type Revocation struct {
	At     time.Time
	Reason domain.RevocationReason
}
