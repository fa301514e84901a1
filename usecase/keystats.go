package usecase

import (
	"context"
	"sync"
	"time"

	"github.com/refreshd/refreshd/domain"
)

// keyStatsInterval is how often the stored starts of all loaded tenants are checked. A change of a key is seen sooner.
const keyStatsInterval = time.Minute

// KeyStats describes the signing keys of the tenants that a process has loaded.
type KeyStats struct {
	// Age is how long the oldest key that signs has signed; 0 if no key does.
	Age time.Duration
	// NextStep is how long it is until another key signs for one of the tenants; nil if no start is stored.
	NextStep *time.Duration
	// Refusal is how long it is until a verifier may refuse new access tokens of one of the tenants, see
	// [domain.SigningKeys.RefusalIn]; 0 if it may refuse those of now, nil if that never happens.
	Refusal *time.Duration
}

// keyInstants are what KeyStats is computed from, as of a revision of the ring. They change with the keys, and when one
// of them has passed; a service may have loaded 100 000 tenants.
type keyInstants struct {
	at                       time.Time
	revision                 uint64
	since, nextStep, refusal time.Time // zero for none
}

// statsCache holds the last keyInstants.
type statsCache struct {
	mu   sync.Mutex
	last keyInstants
}

// Stats describes the signing keys now. It makes no call of the store.
func (k *Keys) Stats(ctx context.Context) KeyStats {
	k.stats.mu.Lock()
	defer k.stats.mu.Unlock()
	now, i := k.Clock.Now(), k.stats.last
	passed := func(at time.Time) bool { return !at.IsZero() && !at.After(now) && at.After(i.at) }
	if i.revision != k.ring.Load().revision || !recent(now, i.at, keyStatsInterval) || passed(i.nextStep) ||
		passed(i.refusal) {
		i = k.instants(ctx, now)
		k.stats.last = i
	}
	var s KeyStats
	until := func(at time.Time) *time.Duration {
		if at.IsZero() {
			return nil
		}
		return new(max(0, at.Sub(now)))
	}
	s.NextStep, s.Refusal = until(i.nextStep), until(i.refusal)
	if !i.since.IsZero() {
		s.Age = max(0, now.Sub(i.since))
	}
	return s
}

// instants goes through the tenants that are loaded.
func (k *Keys) instants(ctx context.Context, now time.Time) keyInstants {
	i := keyInstants{at: now, revision: k.ring.Load().revision}
	earlier := func(a *time.Time, b time.Time) {
		if a.IsZero() || b.Before(*a) {
			*a = b
		}
	}
	k.held.tenants.Range(func(id, _ any) bool {
		keys, err := k.ofTenant(ctx, id.(string)) // with the shared keys of now
		if err != nil {
			return true
		}
		for _, a := range domain.Algorithms {
			if !keys.Has(a) { // no policy wants it, or its key is not made yet
				continue
			}
			if key, ok := keys.SigningAt(a, now); ok {
				since := key.StartsAt
				if since.Before(key.CreatedAt) || since.After(now) {
					since = key.CreatedAt
				}
				earlier(&i.since, since)
			}
		}
		if at, ok := keys.NextStep(now); ok {
			earlier(&i.nextStep, at)
		}
		if in, ok := keys.RefusalIn(now, k.CacheAge); ok {
			earlier(&i.refusal, now.Add(in))
		}
		return true
	})
	return i
}
