package port

import (
	"context"
	"time"

	"github.com/refreshd/refreshd/domain"
)

// KeyChanges changes stored keys. Its writes number keys and become visible as those of [Keys] do.
type KeyChanges interface {
	// ChangeKeys adds and replaces keys in one step, all or none, each with the next revision, together with the event.
	// Of a replaced key it stores Name, KnownAt, StartsAt, UnusedAt, RetiredAt and RevokedAt; the others name the key, or
	// stay.
	// The Revision of an added key is ignored.
	//
	// It returns ErrStale if the stored revision of a replaced key is not its Revision; ErrDuplicate if an added key has
	// the kind, tenant, algorithm and number of another one, or its id if it is not empty; and ErrConflict if an added
	// key has another SealedBy than the check value, which may be among the added keys. A check value without a SealedBy,
	// and a store without a check value, refuse none. Nothing is written if there is an error. If several of these
	// apply, it may return any.
	ChangeKeys(ctx context.Context, e domain.Event, c KeyChange) error

	// TurnCheck replaces ciphertext and SealedBy of the check value by those of after, together with the event. The check
	// value takes the next revision. It returns ErrConflict, with nothing written, if the stored ciphertext is not
	// before.Sealed, or if the SealedBy of another key is not after.SealedBy. No key is added or sealed again meanwhile.
	TurnCheck(ctx context.Context, e domain.Event, before, after domain.SealedKey) error

	// SigningKeys returns a page of the signing keys of tenants that are neither retired nor revoked, with all of each
	// tenant, by tenant in byte order, above the tenant after. It reads at least limit keys, unless there are fewer; those
	// that are retired or revoked count. next is the parameter after of the next page; empty on the last. A page with a
	// next may be empty, and may be the last one. Its cost depends on limit and on the keys of one tenant only.
	SigningKeys(ctx context.Context, after string, limit int) (page []domain.SealedKey, next string, err error)

	// OldestRotation returns when the last complete pass of the janitor began, by the Now of its first step, and the
	// smallest rotation instant of the refresh tokens that were active at Before of the step that read them, and were
	// not revoked by it. began is zero if there was no such pass, and oldest if the pass saw none. A pass of which
	// another program that does not know this made a step is not complete.
	OldestRotation(ctx context.Context) (began, oldest time.Time, err error)
}

// KeyChange is a write of keys.
type KeyChange struct {
	Add     []domain.SealedKey
	Replace []domain.SealedKey // each with the Revision that was read
}
