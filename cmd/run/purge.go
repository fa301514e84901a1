package run

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/refreshd/refreshd/config"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/usecase"
)

// janitor returns the use case that purges store for this process.
func janitor(store port.Store, clock usecase.Clock, c config.Config) *usecase.Purge {
	return &usecase.Purge{
		Janitor: store, Events: store, Jobs: store, Clock: clock, Pause: pause, LeaseHolder: rand.Text(),
		After: c.PurgeAfter, KeepEvents: c.AuditRetention, Random: rand.Reader, Keys: store,
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// runJanitor makes passes until ctx is done.
func (s *service) runJanitor(ctx context.Context, c config.Config) error {
	j := janitor(s.store, s.clock, c)
	j.Asked = s.purgeAsked
	j.Run(ctx, c.PurgeInterval,
		func(p port.Purged) {
			s.metrics.Purged(p.LookedAt, p.Deleted, p.Done)
			if p.Deleted+p.Revoked+p.Marks+p.Tenants+p.Events+p.OnceKeys > 0 {
				s.log.Debug("purged", "event", eventPurgePass, "refreshTokens", p.Deleted, "revoked", p.Revoked,
					"marks", p.Marks, "tenants", p.Tenants, "events", p.Events, "assertions", p.OnceKeys)
			}
		},
		func(err error) {
			s.log.Warn("purge failed, will retry", "event", eventPurgeFailed, "error", err)
		})
	return nil
}

// purge makes one pass. It stamps first, because a fact without a position is never purged, and there may be no service
// that does. A later pass deletes those facts, when their access tokens have expired.
func (p process) purge(ctx context.Context, c config.Config) (err error) {
	kind := p.storeOf(c)
	if err := placeOf(kind, c.Database).refuses("purge"); err != nil {
		return err
	}
	store, err := kind.Open(ctx, c.Database, p.logger(c))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if err := store.Ready(ctx); err != nil {
		return err
	}
	if err := usecase.StampAll(ctx, store, time.Now); err != nil {
		return err
	}
	return purgeOnce(ctx, janitor(store, time.Now, c), p.stdout, time.Now)
}

// purgeOnce makes one pass, and prints its progress and its result.
func purgeOnce(ctx context.Context, pass *usecase.Purge, to io.Writer, clock func() time.Time) error {
	var (
		sum   port.Purged
		begin = clock()
		shown = begin
	)
	total, err := pass.Pass(ctx, func(p port.Purged) {
		sum.LookedAt, sum.Deleted = sum.LookedAt+p.LookedAt, sum.Deleted+p.Deleted
		if now := clock(); now.Sub(shown) >= time.Second && !p.Done {
			shown = now
			fmt.Fprintf(to, "looked at %d refresh tokens (%.0f a second), deleted %d\n",
				sum.LookedAt, float64(sum.LookedAt)/now.Sub(begin).Seconds(), sum.Deleted)
		}
	})
	var clocks *domain.ClockError
	switch did := fmt.Sprintf("looked at %d refresh tokens and deleted %d, %d marks, %d tenants and %d events in %s",
		total.LookedAt, total.Deleted, total.Marks, total.Tenants, total.Events,
		clock().Sub(begin).Round(time.Millisecond)); {
	case err == nil:
		fmt.Fprintln(to, "the pass is complete:", did)
		return nil
	case errors.Is(err, usecase.ErrPassUnrecorded):
		return fmt.Errorf("the pass was not recorded as an event: it %s: %w", did, err)
	case errors.Is(err, domain.ErrConflict):
		return fmt.Errorf("another process is purging this database, or was killed less than %s ago: try again after that. "+
			"This one %s", usecase.PurgeLease, did)
	case errors.As(err, &clocks):
		return fmt.Errorf("%w. Until then nothing is purged, because an active refresh token could be taken for an expired "+
			"one. This pass %s", clocks, did)
	case ctx.Err() != nil:
		return fmt.Errorf("the pass was interrupted: it %s. The next one continues from there", did)
	default:
		return fmt.Errorf("the pass failed: it %s. The next one continues from there: %w", did, err)
	}
}
