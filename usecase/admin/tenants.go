package admin

import (
	"context"
	"errors"
	"io"
	"reflect"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/usecase"
)

// Tenants reads and writes tenants.
type Tenants struct {
	Tenants      port.Tenants
	Applications port.Applications
	Keys         *usecase.Keys
	Clock        usecase.Clock
	Random       io.Reader
}

// List returns a page of the tenants whose id is above after, by id. limit is at least 1. next is the parameter after
// of the next page; empty on the last.
func (u *Tenants) List(
	ctx context.Context, by By, after string, limit int,
) (page []domain.Tenant, next string, err error) {
	if by.tenant() == "" && by.sees("") {
		page, next, err = u.Tenants.Tenants(ctx, after, limit)
		return page, next, result("list the tenants", err)
	}
	t, err := u.Get(ctx, by, by.tenant())
	if errors.Is(err, domain.ErrNotFound) || err == nil && t.ID <= after {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	return []domain.Tenant{t}, "", nil
}

// Get returns ErrNotFound if the tenant does not exist.
func (u *Tenants) Get(ctx context.Context, by By, id string) (domain.Tenant, error) {
	t, err := u.read(ctx, by, id, nil)
	return t, result("read the tenant", err)
}

func (u *Tenants) read(ctx context.Context, by By, id string, expect Expect) (domain.Tenant, error) {
	if !domain.IsTenantID(id) || !by.sees(id) {
		return domain.Tenant{}, domain.ErrNotFound
	}
	t, err := u.Tenants.Tenant(ctx, id)
	if err == nil {
		err = expect.check(t.Version)
	}
	return t, err
}

// Create stores a new tenant, with a new id if it has none. It returns ErrUnauthorized to a caller that is limited to
// another tenant, and an *Invalid if the id is taken or t is not valid.
func (u *Tenants) Create(ctx context.Context, by By, t domain.Tenant) (domain.Tenant, error) {
	e, err := newEvent(by.Origin, u.Clock, u.Random)
	if err != nil {
		return domain.Tenant{}, err
	}
	if t.ID == "" {
		id, err := domain.NewID(e.At, u.Random)
		if err != nil {
			return domain.Tenant{}, err
		}
		t.ID = id.String()
	}
	if !by.sees(t.ID) {
		return domain.Tenant{}, result("create a tenant beside that of the request", domain.ErrUnauthorized)
	}
	t, err = u.save(ctx, e, nil, t)
	if errors.Is(err, domain.ErrStale) {
		err = duplicate("id", "a tenant has this id: choose another one, or change that tenant")
	}
	return t, result("create the tenant", err)
}

// Change stores what edit makes of the tenant. It returns ErrNotFound, ErrStale if expect does not hold, ErrBusy, or an
// *Invalid if the result is not valid, by itself or with a stored application. A tenant that edit leaves as it was is
// not written. edit may be called several times.
func (u *Tenants) Change(
	ctx context.Context, by By, id string, expect Expect, edit func(domain.Tenant) (domain.Tenant, error),
) (t domain.Tenant, err error) {
	e, err := newEvent(by.Origin, u.Clock, u.Random)
	if err != nil {
		return domain.Tenant{}, err
	}
	err = retry(expect, func() error {
		before, err := u.read(ctx, by, id, expect)
		if err != nil {
			return err
		}
		after := before
		after.Settings = before.Settings.Clone()
		if after, err = edit(after); err != nil {
			return err
		}
		if after.ID != id {
			return errID()
		}
		t, err = u.save(ctx, e, &before, after)
		return err
	})
	return t, result("change the tenant", err)
}

// save stores a tenant, which replaces before, or is new if that is nil.
func (u *Tenants) save(ctx context.Context, e domain.Event, before *domain.Tenant, t domain.Tenant) (
	domain.Tenant, error,
) {
	t.Version = 0
	if before != nil {
		t.Version = before.Version
		if reflect.DeepEqual(*before, t) {
			return t, nil
		}
	}
	if err := t.Validate(); err != nil {
		return domain.Tenant{}, err
	}
	if err := checkIssuer(ctx, u.Tenants, t); err != nil {
		return domain.Tenant{}, err
	}
	applications, err := applicationsOf(ctx, u.Applications, t.ID)
	if err != nil {
		return domain.Tenant{}, err
	}
	all, err := domain.CombineAll(t, applications)
	if err != nil {
		return domain.Tenant{}, err
	}
	if err := u.Keys.Prepare(ctx, e.Origin, policies(all).signingKeys(t.ID)); err != nil {
		return domain.Tenant{}, err
	}
	t.Version, err = u.Tenants.SaveTenant(ctx, t, t.Version, aboutTenant(e, before, &t))
	if errors.Is(err, domain.ErrDuplicate) {
		err = errIssuer() // another process took it meanwhile
	}
	return t, err
}

// Delete removes the tenant with its applications and API keys, and revokes its refresh tokens in the same step. It
// returns ErrNotFound, ErrStale if expect does not hold, or ErrBusy.
func (u *Tenants) Delete(ctx context.Context, by By, id string, expect Expect) error {
	e, err := newEvent(by.Origin, u.Clock, u.Random)
	if err != nil {
		return err
	}
	return result("delete the tenant", retry(expect, func() error {
		before, err := u.read(ctx, by, id, expect)
		if err != nil {
			return err
		}
		return u.Tenants.DeleteTenant(ctx, id, before.Version, aboutTenant(e, &before, nil))
	}))
}
