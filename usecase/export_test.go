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
	return m.grant(ctx, t, p, from, now, accessRequest{lifetime: life})
}

// ReadOnce is one reading of the reader, for tests.
func (f *Feed) ReadOnce(ctx context.Context) {
	if f.asleep() == nil && f.unconfirmed() == nil {
		f.read(ctx, feedCallTimeout)
	}
}

// StampOnce is one stamp of the stamper, for tests.
func (f *Feed) StampOnce(ctx context.Context) bool { return f.stamp(ctx, f.Clock()) }

// BeatOnce is one beat of the stamper, for tests.
func (f *Feed) BeatOnce(ctx context.Context) {
	if _, is := f.isAwake(); is {
		f.beat(ctx, f.Clock())
	}
}

// Sweep is the sweep of the reader, for tests.
func (f *Feed) Sweep() { f.sweep(f.Clock()) }

// TickSizes returns the numbers of facts of the ticks that a tenant has.
func (f *Feed) TickSizes(tenantID string) (sizes []int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, k := range f.tenant(tenantID).ticks {
		sizes = append(sizes, k.len())
	}
	return sizes
}

// HoldsContent reports whether the process holds the content of the signing key.
func (k *Keys) HoldsContent(id string) bool {
	key, ok := k.held.byID.Load(id)
	return ok && !key.(domain.SigningKey).Private.IsZero()
}
