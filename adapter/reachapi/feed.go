package reachapi

import (
	"context"
	"errors"
	"time"

	"github.com/refreshd/refreshd/domain"
)

// ErrBlind is returned when the feed has had no complete read of the store for 2 seconds.
var ErrBlind = errors.New("reachapi: the feed cannot read the store")

// Feed reads the facts of all tenants from the store, once for all streams.
type Feed interface {
	// Follow returns the facts of a tenant that have no position or one above cursor, and then all new ones.
	Follow(ctx context.Context, tenantID string, cursor domain.Position) (Subscription, error)
}

// Subscription is a reader of one tenant's facts.
type Subscription interface {
	// Next returns when there are new facts, or after wait.
	Next(ctx context.Context, wait time.Duration) (View, error)
	Close()
}

// View is what is new since the last one.
type View struct {
	Ticks        []Tick
	Cursor       domain.Position
	CompleteAsOf time.Time
	Keep         time.Duration
}

// Tick has the facts that were new in one read.
type Tick struct {
	Facts   []domain.Fact
	Encoded func(encode func([]domain.Fact) []byte) []byte
}
