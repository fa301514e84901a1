package port

import (
	"context"

	"github.com/refreshd/refreshd/domain"
)

// Keys keeps sealed keys. It cannot open them.
//
// Each write of a key takes the next revision of the key ring, 1 for the first, and the key carries it. Revisions are
// given one after another: when a key of some revision can be read, every key that was written under a smaller one can
// be read too, unless it was written again since. So a process that has read everything up to a revision misses nothing
// by reading only what is above it; that is how processes learn of each other's keys. A store that gave out numbers
// before it waited for others, as a sequence does, would break this: a reader would take the later of two writes for
// the end, and never see the earlier.
type Keys interface {
	// KeyRevision returns the greatest revision of a key that is stored; 0 if there are no keys.
	KeyRevision(ctx context.Context) (uint64, error)
	// KeysSince returns the keys whose revision is above the given one, by revision, at most limit (at least 1). If it
	// returns fewer, there are no more. Its cost does not depend on how many keys are stored.
	KeysSince(ctx context.Context, revision uint64, limit int) ([]domain.SealedKey, error)
	// KeysOfTenant returns the keys of that tenant, or, for an empty id, those that belong to none, in no order. Its
	// cost does not depend on how many keys other tenants have.
	KeysOfTenant(ctx context.Context, tenantID string) ([]domain.SealedKey, error)
	// KeyByID returns the key of that id, which is not empty; ErrNotFound if there is none.
	KeyByID(ctx context.Context, id string) (domain.SealedKey, error)

	// AddKeys stores these keys, at least one, in one step, all or none, each under the next revision; which revision
	// they came with does not matter. The event is stored with them. ErrDuplicate, with nothing written, if for one of
	// them there is a key of its kind, tenant, algorithm and number, or (where it has one) of its id.
	AddKeys(ctx context.Context, e domain.Event, keys ...domain.SealedKey) error
	// Reseal replaces the ciphertext of the key that before names with sealed, in one step, if it still is
	// before.Sealed; else it returns ErrConflict, with nothing written. The key takes the next revision.
	Reseal(ctx context.Context, before domain.SealedKey, sealed string) error
}
