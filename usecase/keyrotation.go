package usecase

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

const (
	// KeyRotationInterval is how often keys are looked at. A standby is made a day or more before it starts.
	KeyRotationInterval = time.Hour
	// keyRotationDelay is how long after its start a process looks for the first time.
	keyRotationDelay = time.Minute
	// keyRotationPage is the number of keys that are read in one step.
	keyRotationPage = 500
	// keyLeaseAge is the age at which a pass renews its lease, which lasts as long as the interval.
	keyLeaseAge = time.Minute
	// hashKeyIdle is how long after its successor a key that hashes API keys is retired, if no API key needs it.
	hashKeyIdle = time.Hour
)

// KeyRotation makes the standby keys of each tenant and algorithm, and retires the keys that are not needed any more.
// The start of a standby is the schedule: nothing has to happen at that instant.
type KeyRotation struct {
	Keys    *Keys
	Tenants port.Tenants
	Jobs    port.Jobs
	Clock   Clock
	// Pause is as in [Purge].
	Pause func(ctx context.Context, d time.Duration) error
	// LeaseHolder names this process; no other process has the same text.
	LeaseHolder string
}

// KeyPass is the result of a pass over all keys.
type KeyPass struct {
	Made    int // standbys
	Retired int // keys
}

// Run makes a pass every KeyRotationInterval until ctx is done. It reports each pass that this process made to passed.
// Keys that could not be rotated now are rotated by a later pass.
func (r *KeyRotation) Run(ctx context.Context, passed func(KeyPass, error)) {
	for wait := keyRotationDelay; r.Pause(ctx, wait) == nil; wait = KeyRotationInterval {
		did, err := r.Pass(ctx)
		if !errors.Is(err, domain.ErrConflict) && ctx.Err() == nil {
			passed(did, err)
		}
	}
}

// Pass looks at all keys once. It returns what it did also with an error, which is ErrConflict if another process makes
// a pass or has made one within the interval.
func (r *KeyRotation) Pass(ctx context.Context) (did KeyPass, err error) {
	leased := r.Clock()
	if err := r.lease(ctx); err != nil {
		return did, err
	}
	renew := func() error { // not for each tenant: that would be one write more for each key
		if recent(r.Clock(), leased, keyLeaseAge) {
			return nil
		}
		leased = r.Clock()
		return r.lease(ctx)
	}
	defer func() {
		if err != nil && !errors.Is(err, domain.ErrConflict) {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), purgeEndTimeout)
			defer cancel()
			_ = r.Jobs.Release(ctx, port.JobRotateKeys, r.LeaseHolder) // otherwise it expires
		}
	}()
	if err := r.visit(ctx, dueTenant{standby: true, reschedule: true, retire: true}, &did); err != nil {
		return did, Wrap("rotate keys", err)
	}
	if err := r.retireOthers(ctx, &did); err != nil {
		return did, Wrap("rotate keys", err)
	}
	shared, err := r.Keys.stored(ctx, "")
	if err != nil {
		return did, Wrap("rotate keys", err)
	}
	for after := ""; ; {
		began := r.Clock()
		page, next, err := r.Keys.Store.SigningKeys(ctx, after, keyRotationPage)
		if err != nil {
			return did, Wrap("rotate keys", err)
		}
		for _, due := range r.due(page, shared.signing.All()) {
			began := r.Clock()
			if err := renew(); err != nil {
				return did, err
			}
			if err := r.visit(ctx, due, &did); err != nil {
				return did, Wrap("rotate keys", err)
			}
			if err := r.rest(ctx, began); err != nil {
				return did, err
			}
		}
		if next == "" {
			break
		}
		after = next
		if err := r.rest(ctx, began); err != nil {
			return did, err
		}
		if err := renew(); err != nil {
			return did, err
		}
	}
	return did, nil
}

// lease takes the lease, or renews it. It is not released after a pass: no other process needs to look until the next
// pass is due. That a process which was killed in a pass has it as long does no harm.
func (r *KeyRotation) lease(ctx context.Context) error {
	now := r.Clock.Now()
	return r.Jobs.Lease(ctx, port.JobLease{
		Job: port.JobRotateKeys, Holder: r.LeaseHolder, Now: now, Until: now.Add(KeyRotationInterval),
		MaxClockSkew: domain.MaxClockSkew,
	})
}

// rest pauses after a piece of work that began then, as a pass of the janitor does: many tenants whose keys are due
// together take their time.
func (r *KeyRotation) rest(ctx context.Context, began time.Time) error {
	return r.Pause(ctx, min(max(purgeRest*r.Clock().Sub(began), purgeMinPause), purgeMaxPause))
}

// dueTenant is a tenant for which something may have to be done; with an empty id all tenants together.
type dueTenant struct {
	id                          string
	standby, reschedule, retire bool
}

// due returns the tenants of a page for which something may have to be done, in order. The page lacks revoked keys, so
// a tenant whose only key of an algorithm has not started may need a standby too: that one may sign already.
func (r *KeyRotation) due(page []domain.SealedKey, shared []domain.SigningKey) (tenants []dueTenant) {
	now, rules := r.Clock.Now(), r.Keys.rules()
	for from, to := 0, 0; from < len(page); from = to {
		tenantID := page[from].TenantID
		own := slices.Clone(shared)
		started := make(map[domain.Algorithm]int)
		for to = from; to < len(page) && page[to].TenantID == tenantID; to++ {
			own = append(own, page[to].Signing(domain.Secret{}))
			started[page[to].Algorithm] += 0 // an algorithm without a started key is in the map, too
			if !page[to].StartsAt.After(now) {
				started[page[to].Algorithm]++
			}
		}
		keys := domain.NewSigningKeys(own...)
		due := dueTenant{
			id: tenantID, retire: len(keys.DueToRetire(tenantID, now, rules)) > 0,
			reschedule: len(keys.Rescheduled(tenantID, now, rules)) > 0,
		}
		for a, n := range started {
			due.standby = due.standby || n == 0 || keys.NeedsStandby(tenantID, a, now)
		}
		if due.standby || due.reschedule || due.retire {
			tenants = append(tenants, due)
		}
	}
	return tenants
}

// visit makes the standbys of a tenant, gives those that it has the starts that the setting of the rotation asks for,
// and retires its keys, as far as that is due.
func (r *KeyRotation) visit(ctx context.Context, due dueTenant, did *KeyPass) error {
	if due.id != "" {
		_, err := r.Tenants.Tenant(ctx, due.id)
		if errors.Is(err, domain.ErrNotFound) { // deleted
			return nil
		}
		if err != nil {
			return err
		}
	}
	if due.standby {
		made := make(map[domain.Algorithm]domain.OpenKey)
		added, err := r.Keys.edit(ctx, domain.Service(), func(now time.Time) (keyStep, error) {
			return r.Keys.standbys(ctx, due.id, now, made)
		})
		did.Made += len(added)
		if err != nil {
			return err
		}
	}
	if due.reschedule {
		_, err := r.Keys.edit(ctx, domain.Service(), func(now time.Time) (keyStep, error) {
			stored, err := r.Keys.stored(ctx, due.id)
			if err != nil {
				return keyStep{}, err
			}
			starts := make(map[string]time.Time)
			for _, key := range stored.signing.Rescheduled(due.id, now, r.Keys.rules()) {
				starts[key.ID] = key.StartsAt
			}
			return changing(domain.KeyChanged, stored.rows, func(s *domain.SealedKey) {
				if start, is := starts[s.ID]; is && s.Kind == domain.KeySigning {
					s.StartsAt = start
				}
			}), nil
		})
		if err != nil {
			return err
		}
	}
	if !due.retire {
		return nil
	}
	retired, err := r.Keys.edit(ctx, domain.Service(), func(now time.Time) (keyStep, error) {
		stored, err := r.Keys.stored(ctx, due.id)
		if err != nil {
			return keyStep{}, err
		}
		ids := make(map[string]bool)
		for _, key := range stored.signing.DueToRetire(due.id, now, r.Keys.rules()) {
			ids[key.ID] = true
		}
		return retiring(stored.rows, now, func(s domain.SealedKey) bool { return s.Kind == domain.KeySigning && ids[s.ID] }),
			nil
	})
	did.Retired += len(retired)
	return err
}

// changing plans to replace those of rows that change changes.
func changing(kind domain.EventKind, rows []domain.SealedKey, change func(*domain.SealedKey)) keyStep {
	step := keyStep{kind: kind}
	for _, before := range rows {
		after := before
		if change(&after); after != before {
			step.before, step.after = append(step.before, before), append(step.after, after)
		}
	}
	return step
}

// retiring plans to retire those of rows that are due.
func retiring(rows []domain.SealedKey, now time.Time, due func(domain.SealedKey) bool) keyStep {
	return changing(domain.KeyRetired, rows, func(s *domain.SealedKey) {
		if due(*s) {
			s.RetiredAt = now
		}
	})
}

// standbys plans the standbys that a tenant lacks. made holds those of earlier attempts.
func (k *Keys) standbys(
	ctx context.Context, tenantID string, now time.Time, made map[domain.Algorithm]domain.OpenKey,
) (keyStep, error) {
	step := keyStep{kind: domain.KeyAdded}
	stored, err := k.stored(ctx, tenantID)
	if err != nil {
		return step, err
	}
	for _, a := range domain.Algorithms {
		if !stored.signing.NeedsStandby(tenantID, a, now) {
			continue
		}
		s := domain.SealedKey{
			Kind: domain.KeySigning, TenantID: tenantID, Algorithm: a, Number: stored.next(domain.KeySigning, a),
			CreatedAt: now, StartsAt: stored.signing.ScheduledStart(tenantID, a, now, k.rules()),
		}
		key, ok := made[a]
		if !ok {
			if key, err = k.newSigningKey(ctx, s, 0); err != nil {
				return step, err
			}
			made[a] = key
		}
		s.ID = key.ID
		step.add = append(step.add, domain.OpenKey{SealedKey: s, Plain: key.Plain})
	}
	return step, nil
}

// retireOthers retires the token keys and the keys that hash API keys which nothing needs any more, and notes of token
// keys since when no current token string is of them.
func (r *KeyRotation) retireOthers(ctx context.Context, did *KeyPass) error {
	began, oldest, err := r.Keys.Store.OldestRotation(ctx)
	if err != nil {
		return err
	}
	if _, err := r.Keys.edit(ctx, domain.Service(), func(now time.Time) (keyStep, error) {
		stored, err := r.Keys.stored(ctx, "")
		if err != nil {
			return keyStep{}, err
		}
		unused := stored.tokens().FoundUnused(began, oldest)
		return changing(domain.KeyChanged, stored.rows, func(s *domain.SealedKey) {
			if _, is := unused.ByNumber(s.Number); is && s.Kind == domain.KeyToken {
				s.UnusedAt = now
			}
		}), nil
	}); err != nil {
		return err
	}
	retired, err := r.Keys.edit(ctx, domain.Service(), func(now time.Time) (keyStep, error) {
		stored, err := r.Keys.stored(ctx, "")
		if err != nil {
			return keyStep{}, err
		}
		idle, err := r.Keys.idleHashKey(ctx, stored, now)
		if err != nil {
			return keyStep{}, err
		}
		due := stored.tokens().DueToRetire(began, oldest)
		return retiring(stored.rows, now, func(s domain.SealedKey) bool {
			_, dueToken := due.ByNumber(s.Number)
			return s.Kind == domain.KeyToken && dueToken || s.Kind == domain.KeyAPI && s.Number == idle
		}), nil
	})
	did.Retired += len(retired)
	return err
}

// idleHashKey returns the number of the older of two keys that hash API keys, if neither an API key nor a client
// secret is stored under it any more; 0 for none.
func (k *Keys) idleHashKey(ctx context.Context, stored storedKeys, now time.Time) (uint32, error) {
	inUse := slices.DeleteFunc(stored.of(domain.KeyAPI, ""), func(s domain.SealedKey) bool { return !s.Published() })
	if len(inUse) < 2 || now.Before(inUse[1].StartsAt.Add(hashKeyIdle)) {
		return 0, nil
	}
	_, total, err := k.hashedWith(ctx, inUse[0].Number, 1)
	if err != nil || total > 0 {
		return 0, err
	}
	return inUse[0].Number, nil
}
