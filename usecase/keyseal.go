package usecase

import (
	"context"
	"errors"
	"fmt"

	"github.com/refreshd/refreshd/domain"
)

// writeAttempts bounds the attempts of a write that other processes' writes overtake.
const writeAttempts = 10

// sealed seals the keys by the master key in force, has them stored, and returns them. If another master key was put in
// force meanwhile, it reads which, and seals again. Other errors are those of store.
func (k *Keys) sealed(
	ctx context.Context, add []domain.OpenKey, store func(sealed []domain.SealedKey) error,
) ([]domain.SealedKey, error) {
	for attempt := 0; ; attempt++ {
		by := &k.Master // of a store that has no check value yet
		if r := k.ring.Load(); r != nil {
			by = r.inForce
		}
		if by == nil {
			return nil, fmt.Errorf("seal a key: the master key in force is not this process's: %w", domain.ErrWrongMasterKey)
		}
		sealed := make([]domain.SealedKey, len(add))
		for i, key := range add {
			var err error
			if sealed[i], err = by.Seal(key.SealedKey, key.Plain, k.Random); err != nil {
				return nil, err
			}
		}
		err := store(sealed)
		if !errors.Is(err, domain.ErrConflict) || k.ring.Load() == nil || attempt == writeAttempts {
			return sealed, err
		}
		if err := k.Reload(ctx); err != nil {
			return nil, err
		}
	}
}

// add stores new keys with the event, and returns them sealed.
func (k *Keys) add(ctx context.Context, e domain.Event, keys []domain.OpenKey) ([]domain.SealedKey, error) {
	return k.sealed(ctx, keys, func(sealed []domain.SealedKey) error { return k.Store.AddKeys(ctx, e, sealed...) })
}

// Reseal seals all keys that the master key of this process has not sealed again, and then puts it in force, by the
// check value. It may be interrupted at any time, and repeated. Until it is complete the master key before is in force:
// processes that have both, in either order, need no restart. progress, which may be nil, gets the number of keys that
// were sealed so far. The error is ErrBusy if other processes seal with another master key.
func (k *Keys) Reseal(ctx context.Context, by domain.Origin, progress func(done int)) error {
	sealed := 0
	for round := 0; round < resealRounds; round++ {
		complete, err := k.resealOnce(ctx, by, func() {
			if sealed++; progress != nil {
				progress(sealed)
			}
		})
		if err != nil {
			return Wrap("seal the keys again", err)
		}
		if complete {
			return k.Reload(ctx)
		}
	}
	return fmt.Errorf("seal the keys again: other processes seal with another master key: %w", domain.ErrBusy)
}

// resealRounds bounds the readings of all keys. A further one is needed only for keys that were written meanwhile.
const resealRounds = 100

// resealOnce reads all keys once. It reports whether all, with the check value, are sealed by the master key.
func (k *Keys) resealOnce(ctx context.Context, by domain.Origin, did func()) (complete bool, err error) {
	var check domain.SealedKey
	for since := uint64(0); ; {
		page, err := k.Store.KeysSince(ctx, since, keyPage)
		if err != nil {
			return false, err
		}
		for _, s := range page {
			since = s.Revision
			if s.Kind == domain.KeyCheck {
				check = s
				continue
			}
			if s.SealedBy == k.masterID {
				continue
			}
			next, err := k.resealed(s)
			if err != nil {
				return false, err
			}
			switch err := k.Store.Reseal(ctx, s, next.Sealed, next.SealedBy); {
			case err == nil:
				did()
			case !errors.Is(err, domain.ErrConflict): // a conflict: another process did
				return false, err
			}
		}
		if len(page) < keyPage {
			break
		}
	}
	if check.SealedBy == k.masterID {
		return true, nil
	}
	next, err := k.resealed(check)
	if err != nil {
		return false, err
	}
	e, err := domain.NewEvent(domain.KeysResealed, by, k.Clock.Now(), k.Random)
	if err != nil {
		return false, err
	}
	e.Before = domain.EventObject(map[string]string{"masterKey": check.SealedBy})
	e.After = domain.EventObject(map[string]string{"masterKey": next.SealedBy})
	switch err := k.Store.TurnCheck(ctx, e, check, next); {
	case errors.Is(err, domain.ErrConflict): // a key was added meanwhile, or another process turned it
		return false, nil
	case err != nil:
		return false, err
	}
	did()
	return true, nil
}

// resealed returns s, sealed by the master key.
func (k *Keys) resealed(s domain.SealedKey) (domain.SealedKey, error) {
	plain, _, err := k.open(s)
	if err != nil {
		return domain.SealedKey{}, errCorrupt(s, err)
	}
	return k.Master.Seal(s, plain, k.Random)
}
