package usecase

import (
	"context"
	"fmt"

	"github.com/refreshd/refreshd/domain"
)

// HashClientSecret is HashAPIKey for a secret of that application.
func (k *Keys) HashClientSecret(tenantID, applicationID string, secret domain.Secret) (hash string, number uint32) {
	keys, now := k.ring.Load().api, k.Clock.Now()
	for i, h := range keys {
		if !h.key.IsZero() && (!h.startsAt.After(now) || i == len(keys)-1) {
			return domain.HashClientSecret(h.key, tenantID, applicationID, secret), h.number
		}
	}
	return "", 0
}

// HashesOfClientSecret is HashesOfAPIKey for a secret of that application.
func (k *Keys) HashesOfClientSecret(
	ctx context.Context, tenantID, applicationID string, secret domain.Secret,
) ([]string, error) {
	if err := k.fresh(ctx); err != nil {
		return nil, err
	}
	keys := k.ring.Load().api
	hashes := make([]string, 0, len(keys))
	for _, h := range keys {
		if h.key.IsZero() {
			return nil, fmt.Errorf("hash key %d: %w: %w", h.number, domain.ErrUnavailable, errUnopened)
		}
		hashes = append(hashes, domain.HashClientSecret(h.key, tenantID, applicationID, secret))
	}
	return hashes, nil
}
