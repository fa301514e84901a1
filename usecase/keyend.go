package usecase

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/refreshd/refreshd/domain"
)

// Retire ends a key as planned: a signing key is not published any more, token strings of a token key are refused, and
// no API key is looked up under a key that hashes them. It returns ErrNotFound, an *Invalid, or, unless force, an
// *UnsafeStep while valid tokens or API keys need the key. A key that is retired already stays as it is.
func (k *Keys) Retire(ctx context.Context, by domain.Origin, name string, force bool) (domain.SealedKey, error) {
	retired, err := k.edit(ctx, by, func(now time.Time) (step keyStep, err error) {
		before, stored, err := k.named(ctx, name)
		if err != nil {
			return step, err
		}
		step.kind, step.before = domain.KeyRetired, []domain.SealedKey{before}
		if !before.RetiredAt.IsZero() {
			return step, nil
		}
		if !before.RevokedAt.IsZero() {
			return step, domain.NewInvalid("", domain.Conflict, "the key is revoked")
		}
		if err := step.unsafe(k.checkRetire(ctx, stored, before, now), force); err != nil {
			return step, err
		}
		after := before
		after.RetiredAt = now
		step.after = []domain.SealedKey{after}
		return step, nil
	})
	if err != nil {
		return domain.SealedKey{}, Wrap("retire a key", err)
	}
	return retired[0], nil
}

// checkRetire returns an *Invalid for a key that is never retired, and an *UnsafeStep for one that is needed.
func (k *Keys) checkRetire(ctx context.Context, stored storedKeys, s domain.SealedKey, now time.Time) error {
	switch s.Kind {
	case domain.KeySigning:
		return stored.signing.CheckRetire(s.Signing(domain.Secret{}), now, time.Time{}, k.rules())
	case domain.KeyToken:
		if _, ok := stored.successor(s); !ok {
			return domain.NewInvalid("", domain.Conflict, "it mints the token strings: rotate first")
		}
		began, oldest, err := k.Store.OldestRotation(ctx)
		if err != nil {
			return err
		}
		return stored.checkRetireToken(s, began, oldest)
	case domain.KeyAPI:
		return k.checkRetireHash(ctx, stored, s)
	default:
		return domain.NewInvalid("", domain.Conflict, "the check value of the master key is not retired: "+
			"`refreshd key reseal` changes the master key")
	}
}

// successor returns the token key that mints after s: the one that starts next, and is not revoked.
func (s storedKeys) successor(of domain.SealedKey) (next domain.SealedKey, ok bool) {
	for _, row := range s.of(domain.KeyToken, "") {
		follows := row.StartsAt.After(of.StartsAt) || row.StartsAt.Equal(of.StartsAt) && row.Number > of.Number
		if follows && row.StartsAt.Before(domain.Never) && (!ok || row.StartsAt.Before(next.StartsAt)) {
			next, ok = row, true
		}
	}
	return next, ok
}

// checkRetireToken returns an *UnsafeStep unless the last pass of the janitor has shown that no active refresh token has
// a token string of s: all were rotated since its successor started. began and oldest are those of
// [port.Janitor.OldestRotation].
func (s storedKeys) checkRetireToken(key domain.SealedKey, began, oldest time.Time) error {
	next, _ := s.successor(key)
	step := fmt.Sprintf("retire key %q", key.KeyName())
	switch {
	case began.IsZero() || !next.StartsAt.Before(began):
		return &domain.UnsafeStep{Step: step, Why: "no pass of the janitor has begun since its successor started: wait for " +
			"one, or run `refreshd purge`"}
	case !oldest.IsZero() && !next.StartsAt.Before(oldest):
		return &domain.UnsafeStep{Step: step, Why: fmt.Sprintf("it minted token strings that are in use: the oldest is of "+
			"%s; they are replaced when they are used, and expire otherwise", oldest.UTC().Format(time.RFC3339))}
	}
	return nil
}

// checkRetireHash returns an *UnsafeStep if API keys are stored under the key.
func (k *Keys) checkRetireHash(ctx context.Context, stored storedKeys, s domain.SealedKey) error {
	rows := stored.of(domain.KeyAPI, "")
	if i := slices.IndexFunc(rows, func(r domain.SealedKey) bool { return r.Published() && r.Number > s.Number }); i < 0 {
		return domain.NewInvalid("", domain.Conflict, "it hashes API keys: rotate first")
	}
	const names = 10
	some, total, err := k.Store.APIKeysHashedWith(ctx, s.Number, names)
	if err != nil || total == 0 {
		return err
	}
	var list []string
	for _, key := range some {
		list = append(list, fmt.Sprintf("%q", key.Name))
	}
	text := strings.Join(list, ", ")
	if total > len(some) {
		text += ", …"
	}
	return &domain.UnsafeStep{Step: fmt.Sprintf("retire key %q", s.KeyName()), Why: fmt.Sprintf(
		"%d API keys are stored under it, and would be refused: %s; each is stored under the newer one when it is used",
		total, text)}
}

// Revoke ends a key in an emergency. A signing key signs and verifies nothing any more; its standby signs, or a new key
// if r.NewKey. Another token key mints a few seconds later, and the token strings of this one are refused from then on;
// the janitor's next pass ends their sessions. API keys that are stored under a revoked hash key are refused. It
// returns ErrNotFound or an *Invalid. A key that is revoked already stays as it is.
//
// Revoke returns when every process has read the change, also if ctx ends meanwhile: the change itself is stored before.
func (k *Keys) Revoke(ctx context.Context, by domain.Origin, name string, r RevokeKey) (domain.SealedKey, error) {
	revoked, err := k.edit(ctx, by, func(now time.Time) (step keyStep, err error) {
		before, stored, err := k.named(ctx, name)
		if err != nil {
			return step, err
		}
		step.kind, step.before = domain.KeyRevoked, []domain.SealedKey{before}
		if !before.RevokedAt.IsZero() {
			return step, nil
		}
		after := before
		after.RevokedAt = now
		switch before.Kind {
		case domain.KeySigning:
			err = k.revokeSigning(ctx, &step, stored, before, now, r)
		case domain.KeyToken:
			after, err = k.revokeToken(&step, stored, before, now)
		case domain.KeyAPI:
			if !slices.ContainsFunc(stored.of(domain.KeyAPI, ""),
				func(s domain.SealedKey) bool { return s.Published() && s.Number != before.Number }) {
				err = domain.NewInvalid("", domain.Conflict, "there is no other key that hashes API keys: rotate first")
			}
		default:
			err = domain.NewInvalid("", domain.Conflict, "the check value of the master key is not revoked")
		}
		step.after = append([]domain.SealedKey{after}, step.after...)
		return step, err
	})
	if err != nil {
		return domain.SealedKey{}, Wrap("revoke a key", err)
	}
	i := slices.IndexFunc(revoked, func(s domain.SealedKey) bool { return s.KeyName() == name })
	wait := max(keysRead, revoked[i].RevokedAt.Sub(k.Clock.Now()))
	_ = k.pause(ctx, wait)
	if revoked[i].Kind == domain.KeyToken && k.TokenKeyRevoked != nil {
		k.TokenKeyRevoked()
	}
	return revoked[i], nil
}

// revokeSigning plans the rest of the revocation of a signing key: a new key, if it is asked for, or if no other would
// be left to sign for the tenant.
func (k *Keys) revokeSigning(
	ctx context.Context, step *keyStep, stored storedKeys, s domain.SealedKey, now time.Time, r RevokeKey,
) error {
	others := slices.DeleteFunc(slices.Clone(stored.signing.Published()),
		func(key domain.SigningKey) bool { return key.ID == s.ID })
	if !r.NewKey && len(others) > 0 {
		return nil
	}
	next, err := k.newSigningKey(ctx, domain.SealedKey{
		Kind: domain.KeySigning, TenantID: s.TenantID, Algorithm: s.Algorithm,
		Number: stored.next(domain.KeySigning, s.Algorithm), CreatedAt: now, StartsAt: now,
	}, 0)
	step.add = append(step.add, next)
	return err
}

// revokeToken plans the revocation of a token key, which it returns. It also plans the start of its successor, with the
// successor itself if there is none. A key that has not started never does.
func (k *Keys) revokeToken(
	step *keyStep, stored storedKeys, s domain.SealedKey, now time.Time,
) (domain.SealedKey, error) {
	s.RevokedAt = now.Add(keyLead)
	if s.StartsAt.After(s.RevokedAt) {
		s.StartsAt = domain.Never
		return s, nil
	}
	next, ok := stored.successor(s)
	switch {
	case !ok:
		plain, err := k.randomKey()
		if err != nil {
			return s, err
		}
		step.add = append(step.add, domain.OpenKey{Plain: plain, SealedKey: domain.SealedKey{
			Kind: domain.KeyToken, Number: stored.next(domain.KeyToken, ""), CreatedAt: now, StartsAt: s.RevokedAt,
		}})
	case next.StartsAt.After(s.RevokedAt):
		started := next
		started.StartsAt = s.RevokedAt
		step.before, step.after = append(step.before, next), append(step.after, started)
	}
	return s, nil
}

// pause returns nil after d, or an error when ctx is done.
func (k *Keys) pause(ctx context.Context, d time.Duration) error {
	if k.Pause != nil {
		return k.Pause(ctx, d)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
