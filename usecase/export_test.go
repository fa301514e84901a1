package usecase

import (
	"context"
	"time"

	"github.com/refreshd/refreshd/domain"
)

// Grant is grant, for tests.
func (m Minter) Grant(
	ctx context.Context, t domain.RefreshToken, p domain.Policy, from, now time.Time, life time.Duration,
) (Grant, error) {
	return m.grant(ctx, t, p, from, now, life)
}
