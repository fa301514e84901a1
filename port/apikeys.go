package port

import (
	"context"

	"github.com/refreshd/refreshd/domain"
)

// APIKeys stores API keys and their permissions. Reads are never cached: a key that was replaced or deleted, or whose
// tenant was deleted, is refused by every later call.
//
// A key is identified by its id, which its creator makes. It has a hash, and perhaps a previous one. No other key has
// its name, or one of its hashes as either of them, also when several are saved concurrently. Its version begins
// at 1, or above those of all deleted keys, so a key under the id of a deleted one has none of its versions. SaveAPIKey
// and RehashAPIKey change it.
type APIKeys interface {
	// SaveAPIKey creates the key if expect is 0, or replaces the key of its id if expect is that key's version, and
	// returns its new version. It returns ErrStale if its version is not expect, if it exists and expect is 0, or if it
	// does not exist; ErrDuplicate if another key has its name or one of its hashes; and ErrNotFound if it names a tenant
	// that does not exist. Nothing is written then. If several of these apply, it may return any.
	SaveAPIKey(
		ctx context.Context, k domain.APIKey, expect domain.Version, e domain.Event,
	) (domain.Version, error)
	// DeleteAPIKey removes the key. It returns ErrNotFound if it does not exist, and ErrStale, with nothing written, if
	// its version is not expect.
	DeleteAPIKey(ctx context.Context, id domain.ID, expect domain.Version, e domain.Event) error

	// APIKey returns ErrNotFound if the key does not exist.
	APIKey(ctx context.Context, id domain.ID) (domain.APIKey, error)
	// APIKeyByName returns ErrNotFound if the key does not exist.
	APIKeyByName(ctx context.Context, name string) (domain.APIKey, error)
	// APIKeyByHash returns the key that has one of these hashes ([domain.HashAPIKey]), at least one, as its hash or its
	// previous one: that of the first hash that some key has; ErrNotFound if there is none. The empty text is the hash of
	// none.
	APIKeyByHash(ctx context.Context, hashes ...string) (domain.APIKey, error)
	// RehashAPIKey replaces Hash, PreviousHash and the numbers of their keys by those of after, in one step, if the key
	// with the id before.ID still has the hashes that before has; otherwise it returns ErrConflict. It returns
	// ErrDuplicate if another key has one of the new hashes. Nothing is written then. The key gets the next version: a
	// concurrent SaveAPIKey, which has the former hashes, must not put them back.
	RehashAPIKey(ctx context.Context, before, after domain.APIKey) error
	// APIKeysHashedWith returns the number of the keys of which one hash was made by the hash key of that number, and the
	// first of them by name in byte order, at most limit (at least 1).
	APIKeysHashedWith(ctx context.Context, number uint32, limit int) (first []domain.APIKey, total int, err error)
	// APIKeys returns a page of the keys of that tenant, or for an empty id of all keys, whose id is above after, by
	// id. limit is at least 1. See [MaxListBytes]. Its cost does not depend on the number of keys of other tenants.
	APIKeys(
		ctx context.Context, tenantID string, after domain.ID, limit int,
	) (page []domain.APIKey, next domain.ID, err error)
}
