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

// keyInstants are what KeyStats is computed from, as of an instant. They change with the keys, and when one of them has
// passed. A service may have loaded 100 000 tenants, and every second keys of some of them change while all are
// rotated: so those of each tenant are kept.
type keyInstants struct {
	at                       time.Time
	since, nextStep, refusal time.Time // zero for none
}

// hold reports whether they are the same at now, as long as the keys are.
func (i keyInstants) hold(now time.Time) bool {
	passed := func(at time.Time) bool { return !at.IsZero() && !at.After(now) }
	return !now.Before(i.at) && !passed(i.nextStep) && !passed(i.refusal)
}

// include makes each of them the earlier of two.
func (i *keyInstants) include(other keyInstants) {
	for _, of := range []struct {
		to *time.Time
		at time.Time
	}{{&i.since, other.since}, {&i.nextStep, other.nextStep}, {&i.refusal, other.refusal}} {
		if !of.at.IsZero() && (of.to.IsZero() || of.at.Before(*of.to)) {
			*of.to = of.at
		}
	}
}

// statsCache holds the last keyInstants of all tenants, as of a revision of the ring.
type statsCache struct {
	mu       sync.Mutex
	last     keyInstants
	revision uint64
}

// Stats describes the signing keys now. It makes no call of the store.
func (k *Keys) Stats(ctx context.Context) KeyStats {
	k.stats.mu.Lock()
	defer k.stats.mu.Unlock()
	now, i, revision := k.Clock.Now(), k.stats.last, k.ring.Load().revision
	if k.stats.revision != revision || !recent(now, i.at, keyStatsInterval) || !i.hold(now) {
		i = k.instants(ctx, now)
		k.stats.last, k.stats.revision = i, revision
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
	all := keyInstants{at: now}
	k.held.tenants.Range(func(id, _ any) bool {
		keys, err := k.ofTenant(ctx, id.(string)) // with the shared keys of now
		if err != nil {
			return true
		}
		i := keys.instants.Load()
		if i == nil || !i.hold(now) {
			i = k.instantsOf(keys.SigningKeys, now)
			keys.instants.Store(i)
		}
		all.include(*i)
		return true
	})
	return all
}

// instantsOf returns those of one tenant.
func (k *Keys) instantsOf(keys domain.SigningKeys, now time.Time) *keyInstants {
	i := &keyInstants{at: now}
	for _, a := range domain.Algorithms {
		if !keys.Has(a) { // no policy wants it, or its key is not made yet
			continue
		}
		if key, ok := keys.SigningAt(a, now); ok {
			since := key.StartsAt
			if since.Before(key.CreatedAt) || since.After(now) {
				since = key.CreatedAt
			}
			i.include(keyInstants{since: since})
		}
	}
	if at, ok := keys.NextStep(now); ok {
		i.nextStep = at
	}
	if in, ok := keys.RefusalIn(now, k.CacheAge); ok {
		i.refusal = now.Add(in)
	}
	return i
}
