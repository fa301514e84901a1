package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/usecase"
)

// APIKeys reads and writes API keys. A caller with an API key writes only keys that are not wider than its own, before
// and after the change: it gets ErrUnauthorized for a stored key that is wider, because another text for that key would
// be one for itself, and an *Invalid ([domain.APIKey.CheckManages]) for a key that it wants to be wider.
type APIKeys struct {
	APIKeys port.APIKeys
	Tenants port.Tenants
	Keys    *usecase.Keys
	Clock   usecase.Clock
	Random  io.Reader
}

// List returns a page of the API keys whose id is above after, by id. limit is at least 1. next is the parameter after
// of the next page; zero on the last.
func (u *APIKeys) List(
	ctx context.Context, by By, after domain.ID, limit int,
) (page []domain.APIKey, next domain.ID, err error) {
	if !by.sees(by.tenant()) {
		return nil, domain.ID{}, nil
	}
	page, next, err = u.APIKeys.APIKeys(ctx, by.tenant(), after, limit)
	return page, next, result("list the API keys", err)
}

// Get returns ErrNotFound if the API key does not exist.
func (u *APIKeys) Get(ctx context.Context, by By, id domain.ID) (domain.APIKey, error) {
	k, err := u.read(ctx, by, id)
	return k, result("read the API key", err)
}

func (u *APIKeys) read(ctx context.Context, by By, id domain.ID) (domain.APIKey, error) {
	k, err := u.APIKeys.APIKey(ctx, id)
	if err == nil && !by.sees(k.TenantID) {
		err = domain.ErrNotFound
	}
	if err != nil {
		return domain.APIKey{}, err
	}
	return k, nil
}

// readManaged returns a key that the caller may write.
func (u *APIKeys) readManaged(ctx context.Context, by By, id domain.ID, expect Expect) (domain.APIKey, error) {
	k, err := u.read(ctx, by, id)
	if err != nil {
		return domain.APIKey{}, err
	}
	if !by.Operator {
		if err := by.Key.CheckManages(k); err != nil {
			return domain.APIKey{}, fmt.Errorf("API key %q is wider than API key %q: %w", k.Name, by.Key.Name,
				domain.ErrUnauthorized)
		}
	}
	return k, expect.check(k.Version)
}

// Create stores a new API key, with a new id if it has none. If key is zero, a key is made and returned. It returns an
// *Invalid if the id, the name or the key is taken, if k is not valid, or if it is wider than the caller.
func (u *APIKeys) Create(
	ctx context.Context, by By, k domain.APIKey, key domain.Secret,
) (created domain.APIKey, made domain.Secret, err error) {
	e, err := newEvent(by.Origin, u.Clock, u.Random)
	if err != nil {
		return domain.APIKey{}, domain.Secret{}, err
	}
	if k.ID.IsZero() {
		if k.ID, err = domain.NewID(e.At, u.Random); err != nil {
			return domain.APIKey{}, domain.Secret{}, err
		}
	}
	if key.IsZero() {
		if key, err = domain.NewAPIKey(u.Random); err != nil {
			return domain.APIKey{}, domain.Secret{}, err
		}
		made = key
	}
	created, err = u.save(ctx, by, e, nil, k, key)
	if errors.Is(err, domain.ErrStale) {
		err = duplicate("id", "an API key has this id: choose another one, or change that key")
	}
	if err != nil {
		return domain.APIKey{}, domain.Secret{}, result("create the API key", err)
	}
	return created, made, nil
}

// ErrPreviousKey says that a previous key is still valid, and that another replacement of the present one would end it.
// It is wrapped with an *Invalid.
var ErrPreviousKey = errors.New("a previous key is valid")

func errPreviousKey() error {
	return fmt.Errorf("%w: %w", ErrPreviousKey, domain.NewInvalid("key", domain.Conflict, "the previous key is still "+
		"valid, and would end: end it first (DELETE /api-key/:id/key, or `refreshd apikey end-previous`), or make the "+
		"new key with \"force\": true or --force"))
}

// Change stores what edit makes of the API key. If edit returns a key, it replaces the present one, which stays valid
// as the previous one; while there is a previous one Change returns ErrPreviousKey. What edit does to the hashes is
// ignored. Otherwise Change is as [Tenants.Change].
func (u *APIKeys) Change(
	ctx context.Context, by By, id domain.ID, expect Expect,
	edit func(domain.APIKey) (domain.APIKey, domain.Secret, error),
) (domain.APIKey, error) {
	k, err := u.change(ctx, by, id, expect, func(before domain.APIKey) (domain.APIKey, domain.Secret, error) {
		after, key, err := edit(clone(before))
		after.PreviousHash, after.PreviousHashKey = before.PreviousHash, before.PreviousHashKey
		if err == nil && !key.IsZero() && u.endsPrevious(before, key) {
			err = errPreviousKey()
		}
		return after, key, err
	})
	return k, result("change the API key", err)
}

// NewKey makes a new key, which replaces the present one. That one stays valid as the previous one. While there is a
// previous one already, NewKey returns ErrPreviousKey, or ends it if force is true: two replacements in a row would
// otherwise end the key that is in use.
func (u *APIKeys) NewKey(
	ctx context.Context, by By, id domain.ID, expect Expect, force bool,
) (domain.APIKey, domain.Secret, error) {
	made, err := domain.NewAPIKey(u.Random)
	if err != nil {
		return domain.APIKey{}, domain.Secret{}, err
	}
	k, err := u.change(ctx, by, id, expect, func(k domain.APIKey) (domain.APIKey, domain.Secret, error) {
		if !force && u.endsPrevious(k, made) {
			return k, made, errPreviousKey()
		}
		return k, made, nil
	})
	if err != nil {
		return domain.APIKey{}, domain.Secret{}, result("make a new key", err)
	}
	return k, made, nil
}

// EndPrevious ends the previous key. If there is none, ended is false and nothing is written.
func (u *APIKeys) EndPrevious(
	ctx context.Context, by By, id domain.ID, expect Expect,
) (k domain.APIKey, ended bool, err error) {
	k, err = u.change(ctx, by, id, expect, func(k domain.APIKey) (domain.APIKey, domain.Secret, error) {
		ended = k.PreviousHash != ""
		k.PreviousHash, k.PreviousHashKey = "", 0
		return k, domain.Secret{}, nil
	})
	return k, ended && err == nil, result("end the previous key", err)
}

func (u *APIKeys) change(
	ctx context.Context, by By, id domain.ID, expect Expect,
	edit func(domain.APIKey) (domain.APIKey, domain.Secret, error),
) (k domain.APIKey, err error) {
	e, err := newEvent(by.Origin, u.Clock, u.Random)
	if err != nil {
		return domain.APIKey{}, err
	}
	err = retry(expect, func() error {
		before, err := u.readManaged(ctx, by, id, expect)
		if err != nil {
			return err
		}
		after, key, err := edit(before)
		if err != nil {
			return err
		}
		if after.ID != id {
			return errID()
		}
		k, err = u.save(ctx, by, e, &before, after, key)
		return err
	})
	return k, err
}

// save stores an API key, which replaces before, or is new if that is nil. The key text, if it is not zero, replaces
// the one that before has.
func (u *APIKeys) save(
	ctx context.Context, by By, e domain.Event, before *domain.APIKey, k domain.APIKey, key domain.Secret,
) (domain.APIKey, error) {
	k.Version, k.Hash, k.HashKey = 0, "", 0
	if before != nil {
		k.Version, k.Hash, k.HashKey = before.Version, before.Hash, before.HashKey
	}
	if !key.IsZero() {
		k = u.withKey(k, key)
	}
	if before != nil && reflect.DeepEqual(*before, k) {
		return k, nil
	}
	if err := u.check(ctx, by, k, key); err != nil {
		return domain.APIKey{}, err
	}
	var err error
	k.Version, err = u.APIKeys.SaveAPIKey(ctx, k, k.Version, aboutAPIKey(e, before, &k))
	switch {
	case errors.Is(err, domain.ErrDuplicate):
		return domain.APIKey{}, u.errTaken(ctx, k)
	case errors.Is(err, domain.ErrNotFound):
		return domain.APIKey{}, errNoTenant() // deleted meanwhile
	case err != nil:
		return domain.APIKey{}, err
	}
	return k, nil
}

// withKey returns k with another key. The former one becomes the previous one, and a previous one ends. If k has that
// key already, withKey returns k unchanged.
func (u *APIKeys) withKey(k domain.APIKey, key domain.Secret) domain.APIKey {
	if hash, number := u.Keys.HashFor(k, key); hash != k.Hash {
		k.Hash, k.HashKey, k.PreviousHash, k.PreviousHashKey = hash, number, k.Hash, k.HashKey
	}
	return k
}

// endsPrevious reports whether key would end a previous key. The previous key itself does not: the two change places.
func (u *APIKeys) endsPrevious(before domain.APIKey, key domain.Secret) bool {
	hash, _ := u.Keys.HashFor(before, key)
	return before.PreviousHash != "" && hash != before.Hash && hash != before.PreviousHash
}

// check returns an *Invalid if k may not be stored by this caller.
func (u *APIKeys) check(ctx context.Context, by By, k domain.APIKey, key domain.Secret) error {
	var p domain.Problems
	p.Merge("", k.Validate())
	if !key.IsZero() && !domain.IsAPIKey(key.Reveal()) {
		p.Add("key", domain.Malformed, keyForm)
	}
	if err := p.Err(); err != nil {
		return err
	}
	if !by.Operator {
		if by.Key == nil {
			return fmt.Errorf("no caller: %w", domain.ErrUnauthorized)
		}
		if err := by.Key.CheckManages(k); err != nil {
			return err
		}
	}
	if !by.sees(k.TenantID) {
		return domain.NewInvalid("tenantId", domain.Forbidden, "the request is for one tenant: name that one")
	}
	if k.TenantID == "" {
		return nil
	}
	_, err := u.Tenants.Tenant(ctx, k.TenantID)
	if errors.Is(err, domain.ErrNotFound) {
		return errNoTenant()
	}
	return err
}

const keyForm = "an API key is ak_ and at least 24 characters of A-Z a-z 0-9 _ -"

func errNoTenant() error {
	return domain.NewInvalid("tenantId", domain.Malformed, "no tenant has this id")
}

// errTaken is the error of an API key whose name or key another one has.
func (u *APIKeys) errTaken(ctx context.Context, k domain.APIKey) error {
	other, err := u.APIKeys.APIKeyByName(ctx, k.Name)
	switch {
	case err == nil && other.ID != k.ID:
		return duplicate("name", "an API key has this name: every key needs its own")
	case err == nil || errors.Is(err, domain.ErrNotFound):
		return duplicate("key", "another API key has this key, or had it until it was replaced: use another one")
	default:
		return err
	}
}

// Delete removes the API key: the next request with it is refused. Its errors are those of [Tenants.Delete], and
// ErrUnauthorized for a wider key.
func (u *APIKeys) Delete(ctx context.Context, by By, id domain.ID, expect Expect) error {
	e, err := newEvent(by.Origin, u.Clock, u.Random)
	if err != nil {
		return err
	}
	return result("delete the API key", retry(expect, func() error {
		before, err := u.readManaged(ctx, by, id, expect)
		if err != nil {
			return err
		}
		return u.APIKeys.DeleteAPIKey(ctx, id, before.Version, aboutAPIKey(e, &before, nil))
	}))
}

// clone returns a deep copy of k.
func clone(k domain.APIKey) domain.APIKey {
	if k.Permissions == nil {
		return k
	}
	p := make(domain.Permissions, len(k.Permissions))
	for endpoint, methods := range k.Permissions {
		p[endpoint] = append([]string(nil), methods...)
	}
	k.Permissions = p
	return k
}
