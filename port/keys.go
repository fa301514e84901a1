package port

import (
	"context"

	"github.com/refreshd/refreshd/domain"
)

// Keys stores sealed keys. It cannot open them.
//
// Each write of a key takes the next revision of the key ring, 1 for the first, and the key has that revision.
// Revisions become visible in order: when a key of some revision can be read, every key that was written with a smaller
// one can be read too, unless it was written again since. So a process that has read everything up to a revision misses
// nothing if it reads only what is above it; processes learn of each other's keys in this way. A store that drew
// numbers before it waited for other writers, as a sequence does, would break this: a reader could read the later of
// two writes first, and never see the earlier one.
type Keys interface {
	// KeyRevision returns the greatest revision of a stored key; 0 if there are no keys.
	KeyRevision(ctx context.Context) (uint64, error)
	// KeysSince returns the keys whose revision is above the given one, by revision, at most limit (at least 1). A
	// shorter result is the last. Its cost does not depend on the number of stored keys.
	KeysSince(ctx context.Context, revision uint64, limit int) ([]domain.SealedKey, error)
	// KeysOfTenant returns the keys of that tenant, or, for an empty id, the keys of no tenant, in no order. Its cost
	// does not depend on the number of keys of other tenants.
	KeysOfTenant(ctx context.Context, tenantID string) ([]domain.SealedKey, error)
	// KeyByID returns the key of that id, which is not empty; ErrNotFound if there is none.
	KeyByID(ctx context.Context, id string) (domain.SealedKey, error)

	// AddKeys is ChangeKeys of keys that are all added, at least one.
	AddKeys(ctx context.Context, e domain.Event, keys ...domain.SealedKey) error
	// Reseal replaces the ciphertext of the key that before names with sealed, and its SealedBy with sealedBy, in one
	// step, if the stored ciphertext is before.Sealed. Otherwise it returns ErrConflict, with nothing written. The key
	// takes the next revision.
	Reseal(ctx context.Context, before domain.SealedKey, sealed, sealedBy string) error
}
