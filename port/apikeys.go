package port

import (
	"context"

	"github.com/refreshd/refreshd/domain"
)

// APIKeys keeps what API keys may do. Reads are never cached: a key that was replaced or deleted, or went with its
// tenant, is refused from then on.
//
// A key is known by its id, which its creator makes, and has a name and a hash that no other key has. Its version
// begins at 1, and nothing but SaveAPIKey gives it a new one.
type APIKeys interface {
	// SaveAPIKey creates the key, where expect is 0, or replaces the one of its id, where expect is that one's version,
	// and returns the version that it then has. ErrStale if its version is not expect, it exists though expect is 0, or
	// it does not exist; ErrDuplicate if another key has its name or its hash; ErrNotFound if it names a tenant that
	// does not exist. Then nothing is written. Where several are so, it may return any.
	SaveAPIKey(
		ctx context.Context, k domain.APIKey, expect domain.Version, e domain.Event,
	) (domain.Version, error)
	// DeleteAPIKey removes the key. ErrNotFound if it does not exist; ErrStale, with nothing written, if its version is
	// not expect.
	DeleteAPIKey(ctx context.Context, id domain.ID, expect domain.Version, e domain.Event) error

	// APIKey returns ErrNotFound if there is none.
	APIKey(ctx context.Context, id domain.ID) (domain.APIKey, error)
	// APIKeyByName returns ErrNotFound if there is none.
	APIKeyByName(ctx context.Context, name string) (domain.APIKey, error)
	// APIKeyByHash finds a key by [domain.HashAPIKey] of it. ErrNotFound if there is none.
	APIKeyByHash(ctx context.Context, hash string) (domain.APIKey, error)
	// APIKeys returns a page of the keys whose id is above after, by id. limit is at least 1. See [MaxListBytes].
	APIKeys(ctx context.Context, after domain.ID, limit int) (page []domain.APIKey, next domain.ID, err error)
}
