package port

import (
	"context"

	"github.com/refreshd/refreshd/domain"
)

// APIKeys keeps what API keys may do. Reads are never cached: a key that was replaced, or went with its tenant, is dead at once.
type APIKeys interface {
	// SaveAPIKey creates or replaces the key of that name. ErrDuplicate, with nothing written, if another name has its hash;
	// ErrNotFound if it names a tenant that does not exist.
	SaveAPIKey(ctx context.Context, k domain.APIKey) error
	// APIKeyByName returns ErrNotFound if there is none.
	APIKeyByName(ctx context.Context, name string) (domain.APIKey, error)
	// APIKeyByHash finds a key by [domain.HashAPIKey] of it. ErrNotFound if there is none.
	APIKeyByHash(ctx context.Context, hash string) (domain.APIKey, error)
}
