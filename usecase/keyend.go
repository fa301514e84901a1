package usecase

import (
	"context"
	"slices"
	"time"

	"github.com/refreshd/refreshd/domain"
)

// Retire ends a key as planned: a signing key is not published any more, token strings of a token key are refused, and
// no API key is looked up under a key that hashes them. It returns ErrNotFound, an *Invalid, or, unless force, an
// *UnsafeStep while valid tokens or API keys need the key. A key that is retired already is not changed.
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
		return stored.signing.CheckRetire(s.Signing(domain.Secret{}), now, k.rules())
	case domain.KeyToken:
		tokens := stored.tokens()
		// Not even by force: logins would get token strings that are refused.
		if minting, _ := tokens.MintingAt(now); s.StartsAt.After(now) || minting.Number == s.Number {
			return domain.NewInvalid("", domain.Conflict, "the key mints token strings, or will: rotate first")
		}
		began, oldest, err := k.Store.OldestRotation(ctx)
		if err != nil {
			return err
		}
		return tokens.CheckRetire(s.Number, began, oldest)
	case domain.KeyAPI:
		const names = 10
		list, total, err := k.hashedWith(ctx, s.Number, names)
		if err != nil {
			return err
		}
		return stored.hashes().CheckRetire(s.Number, total, list...)
	default:
		return domain.NewInvalid("", domain.Conflict, "the check value of the master key is not retired: "+
			"`refreshd key reseal` changes the master key")
	}
}

// Revoke ends a key in an emergency. A signing key signs and verifies nothing any more; its standby signs, or a new key
// if r.NewKey, and then its standbys are revoked too. Another token key mints a few seconds later, and the token
// strings of this one are refused afterwards; the janitor's next pass ends their sessions. API keys that are stored
// under a revoked hash key are refused. It returns ErrNotFound or an *Invalid. A key that is revoked already is not
// changed, and r.NewKey does the rest: the call may be a retry, or a second thought.
//
// Revoke returns when every process has read the change, also if ctx ends meanwhile: the change itself is stored
// before.
func (k *Keys) Revoke(ctx context.Context, by domain.Origin, name string, r RevokeKey) (domain.SealedKey, error) {
	revoked, err := k.revoke(ctx, by, name, r)
	if err == nil && r.NewKey && revoked.Kind == domain.KeySigning {
		err = k.distrustStandbys(ctx, by, name)
	}
	if err != nil {
		return domain.SealedKey{}, Wrap("revoke a key", err)
	}
	wait := max(keysRead, revoked.RevokedAt.Sub(k.Clock.Now()))
	if k.Pause != nil {
		_ = k.Pause(ctx, wait)
	} else {
		sleep(ctx, wait)
	}
	if revoked.Kind == domain.KeyToken && k.TokenKeyRevoked != nil {
		k.TokenKeyRevoked()
	}
	return revoked, nil
}

// revoke stores the revocation of a key, and what replaces it.
func (k *Keys) revoke(ctx context.Context, by domain.Origin, name string, r RevokeKey) (domain.SealedKey, error) {
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
		return domain.SealedKey{}, err
	}
	i := slices.IndexFunc(revoked, func(s domain.SealedKey) bool { return s.KeyName() == name })
	return revoked[i], nil
}

// distrustStandbys has a key that was made after the revocation of a signing key sign in its place, and revokes the
// standbys that were made before. Each is a write of its own, with an event about its key; a retry does the rest.
func (k *Keys) distrustStandbys(ctx context.Context, by domain.Origin, name string) error {
	var standbys []string
	_, err := k.edit(ctx, by, func(now time.Time) (step keyStep, err error) {
		revoked, stored, err := k.named(ctx, name)
		if err != nil {
			return step, err
		}
		standbys = stored.standbysOf(revoked, now)
		signs, ok := stored.signing.SigningAt(revoked.Algorithm, now)
		if ok && !signs.CreatedAt.Before(revoked.RevokedAt) {
			return step, nil
		}
		step.kind = domain.KeyAdded
		return step, k.addSuccessor(ctx, &step, stored, revoked, now, now)
	})
	for _, standby := range standbys {
		if err == nil {
			_, err = k.revoke(ctx, by, standby, RevokeKey{})
		}
	}
	return err
}

// standbysOf returns the ids of the standbys of a revoked signing key that were made before its revocation.
func (s storedKeys) standbysOf(revoked domain.SealedKey, now time.Time) (ids []string) {
	for _, row := range s.of(domain.KeySigning, revoked.Algorithm) {
		if row.Published() && row.StartsAt.After(now) && row.CreatedAt.Before(revoked.RevokedAt) {
			ids = append(ids, row.ID)
		}
	}
	return ids
}

// revokeSigning plans the rest of the revocation of a signing key: a new key, if it is asked for, or if no other would
// be left to sign for the tenant. One that was not asked for starts when verifiers know it: it signs before only where
// there is no other key. A shared one that started now would precede the standbys of tenants.
func (k *Keys) revokeSigning(
	ctx context.Context, step *keyStep, stored storedKeys, s domain.SealedKey, now time.Time, r RevokeKey,
) error {
	others := slices.DeleteFunc(slices.Clone(stored.signing.Published()),
		func(key domain.SigningKey) bool { return key.ID == s.ID })
	switch {
	case r.NewKey:
		return k.addSuccessor(ctx, step, stored, s, now, now)
	case len(others) > 0:
		return nil
	}
	fresh := domain.SigningKey{TenantID: s.TenantID, Algorithm: s.Algorithm, CreatedAt: now}
	return k.addSuccessor(ctx, step, stored, s, now, stored.signing.SafeStart(fresh, now, k.rules()))
}

// addSuccessor plans a new key of the scope of s with that start.
func (k *Keys) addSuccessor(
	ctx context.Context, step *keyStep, stored storedKeys, s domain.SealedKey, now, start time.Time,
) error {
	next, err := k.newSigningKey(ctx, domain.SealedKey{
		Kind: domain.KeySigning, TenantID: s.TenantID, Algorithm: s.Algorithm,
		Number: stored.next(domain.KeySigning, s.Algorithm), CreatedAt: now, StartsAt: start,
	}, 0)
	step.add = append(step.add, next)
	return err
}

// revokeToken plans the revocation of a token key, which it returns. If the key mints, it also plans its successor.
func (k *Keys) revokeToken(
	step *keyStep, stored storedKeys, s domain.SealedKey, now time.Time,
) (domain.SealedKey, error) {
	tokens, needed := stored.tokens(), false
	if s.RevokedAt, needed = tokens.Revocation(s.Number, now); !needed {
		return s, nil
	}
	plain, err := k.randomKey()
	step.add = append(step.add, domain.OpenKey{Plain: plain, SealedKey: domain.SealedKey{
		Kind: domain.KeyToken, Number: tokens.NextNumber(), CreatedAt: now, StartsAt: s.RevokedAt,
	}})
	return s, err
}
