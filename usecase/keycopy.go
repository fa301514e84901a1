package usecase

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/refreshd/refreshd/domain"
)

// ErrOtherKeys reports that a store has other keys than those that it is to get.
var ErrOtherKeys = errors.New("the store has other keys: the keys of another store can only be put into one that has " +
	"none yet; use a new database. Nothing was changed")

// CopiedKeys are the keys of another store.
type CopiedKeys struct {
	By   domain.Origin // of the event
	Keys []domain.OpenKey
}

// Copy returns all keys of the store with their content, except the check value of its master key, by kind, tenant,
// algorithm and number. Each must open.
func (k *Keys) Copy(ctx context.Context) ([]domain.OpenKey, error) {
	all, err := k.copied(ctx)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b domain.OpenKey) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.TenantID, b.TenantID),
			cmp.Compare(a.Algorithm, b.Algorithm), cmp.Compare(a.Number, b.Number))
	})
	return all, nil
}

// copied returns the keys by revision.
func (k *Keys) copied(ctx context.Context) (all []domain.OpenKey, err error) {
	for since := uint64(0); ; {
		page, err := k.Store.KeysSince(ctx, since, keyPage)
		if err != nil {
			return nil, Wrap("copy the keys", err)
		}
		for _, s := range page {
			since = s.Revision
			if s.Kind == domain.KeyCheck {
				continue
			}
			plain, _, err := k.open(s)
			if err != nil {
				return nil, errCorrupt(s, err)
			}
			s.Sealed, s.SealedBy, s.Revision = "", "", 0
			all = append(all, domain.OpenKey{SealedKey: s, Plain: plain})
		}
		if len(page) < keyPage {
			return all, nil
		}
	}
}

// putCopied stores the keys of another store with the check value in one step, so that an interrupted start leaves none
// of them. It succeeds too if another process stored keys first: holdsCopied compares them.
func (k *Keys) putCopied(ctx context.Context) error {
	now := k.Clock.Now()
	check := domain.OpenKey{
		SealedKey: domain.SealedKey{Kind: domain.KeyCheck, Number: 1, CreatedAt: now}, Plain: domain.NewSecret(checkText),
	}
	var sealed []domain.SealedKey
	for _, key := range append([]domain.OpenKey{check}, k.Copied.Keys...) {
		s, err := k.Master.Seal(key.SealedKey, key.Plain, k.Random)
		if err != nil {
			return err
		}
		sealed = append(sealed, s)
	}
	event, err := domain.KeysEvent(k.Copied.By, now, k.Random, sealed...)
	if err != nil {
		return err
	}
	err = k.Store.AddKeys(ctx, event, sealed...)
	if err != nil && !errors.Is(err, domain.ErrDuplicate) && !errors.Is(err, domain.ErrConflict) {
		return Wrap("put the keys of another store", err)
	}
	return nil
}

// holdsCopied returns ErrOtherKeys unless the store has each of the keys that are to be put into it. It may have
// further keys, which were made since.
func (k *Keys) holdsCopied(ctx context.Context) error {
	stored, err := k.copied(ctx)
	if err != nil {
		return err
	}
	name := func(key domain.OpenKey) string {
		return fmt.Sprintf("%s %q %s %d %s", key.Kind, key.TenantID, key.Algorithm, key.Number, key.ID)
	}
	held := make(map[string]domain.Secret)
	for _, key := range stored {
		held[name(key)] = key.Plain
	}
	for _, key := range k.Copied.Keys {
		if plain, ok := held[name(key)]; !ok || !plain.Equal(key.Plain) {
			return ErrOtherKeys
		}
	}
	return nil
}
