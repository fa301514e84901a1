package port

import (
	"context"
	"time"

	"github.com/refreshd/refreshd/domain"
)

// KeyChanges changes stored keys. Its writes number keys and become visible as those of [Keys] do.
type KeyChanges interface {
	// ChangeKeys adds and replaces keys in one step, all or none, each with the next revision, together with the event.
	// Of a replaced key it stores Name, KnownAt, StartsAt, RetiredAt and RevokedAt; the others name the key, or stay.
	//
	// It returns ErrStale if the stored revision of a replaced key is not its Revision; ErrDuplicate if an added key has
	// the kind, tenant, algorithm and number of a stored one, or its id if it is not empty; and ErrConflict if an added
	// key was sealed by another master key than the check value. Nothing is written then. If several of these apply, it
	// may return any.
	ChangeKeys(ctx context.Context, e domain.Event, c KeyChange) error

	// TurnCheck replaces the check value by after, together with the event. It returns ErrConflict, with nothing written,
	// if the stored check value is not before.Sealed, or if another key was not sealed by after.SealedBy.
	TurnCheck(ctx context.Context, e domain.Event, before, after domain.SealedKey) error

	// SigningKeys returns a page of the signing keys of tenants that are neither retired nor revoked, with all of each
	// tenant, by tenant, above the tenant after. It reads at least limit keys, unless there are fewer. next is the
	// parameter after of the next page; empty on the last.
	SigningKeys(ctx context.Context, after string, limit int) (page []domain.SealedKey, next string, err error)

	// OldestRotation returns when the last complete pass of the janitor began, and the smallest rotation instant of the
	// refresh tokens that it saw active; zero times if there was no pass, or if it saw none.
	OldestRotation(ctx context.Context) (began, oldest time.Time, err error)
}

// KeyChange is a write of keys.
type KeyChange struct {
	Add     []domain.SealedKey
	Replace []domain.SealedKey // each with the Revision that was read
}
