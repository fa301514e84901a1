package admin

import (
	"context"
	"errors"
	"io"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/usecase"
)

// Applications reads and writes the applications of the request's tenant.
type Applications struct {
	Tenants      port.Tenants
	Applications port.Applications
	Keys         *usecase.Keys
	Clock        usecase.Clock
	Random       io.Reader
	// ParseClientKeys returns an *Invalid of the field clientKeys if a JWK Set has a key that no assertion can be verified
	// with. If it is nil, only the form of the set is checked.
	ParseClientKeys func(keys string) error
}

// List is as [Tenants.List].
func (u *Applications) List(
	ctx context.Context, by By, after string, limit int,
) (page []domain.Application, next string, err error) {
	if err := u.check(by); err != nil {
		return nil, "", err
	}
	page, next, err = u.Applications.Applications(ctx, by.tenant(), after, limit)
	return page, next, result("list the applications", err)
}

// check returns an *Invalid if the request names no tenant: an id of an application means one only within its tenant.
func (u *Applications) check(by By) error {
	switch {
	case by.tenant() == "":
		return domain.NewInvalid("tenantId", domain.Blank, "name the tenant of the application")
	case !by.sees(by.tenant()):
		return result("read applications of another tenant", domain.ErrUnauthorized)
	default:
		return nil
	}
}

// Get returns ErrNotFound if the tenant has no such application.
func (u *Applications) Get(ctx context.Context, by By, id string) (domain.Application, error) {
	a, err := u.read(ctx, by, id, nil)
	return a, result("read the application", err)
}

func (u *Applications) read(ctx context.Context, by By, id string, expect Expect) (domain.Application, error) {
	if err := u.check(by); err != nil {
		return domain.Application{}, err
	}
	if !domain.IsApplicationID(id) {
		return domain.Application{}, domain.ErrNotFound
	}
	a, err := u.Applications.Application(ctx, by.tenant(), id)
	if err == nil {
		err = expect.check(a.Version)
	}
	return a, err
}

// Create stores a new application, with a new id if it has none. It returns ErrNotFound if the tenant does not exist,
// and an *Invalid if the id is taken or a is not valid.
func (u *Applications) Create(ctx context.Context, by By, a domain.Application) (domain.Application, error) {
	if err := u.check(by); err != nil {
		return domain.Application{}, err
	}
	e, err := newEvent(by.Origin, u.Clock, u.Random)
	if err != nil {
		return domain.Application{}, err
	}
	if a.ID == "" {
		id, err := domain.NewID(e.At, u.Random)
		if err != nil {
			return domain.Application{}, err
		}
		a.ID = id.String()
	}
	a.TenantID, a.Client.Secrets = by.tenant(), nil
	a, err = u.save(ctx, e, nil, a)
	if errors.Is(err, domain.ErrStale) {
		err = duplicate("id", "an application has this id: choose another one, or change that application")
	}
	return a, result("create the application", err)
}

// Change is as [Tenants.Change]. What edit does to the client secrets is ignored: NewSecret and EndSecrets change them.
func (u *Applications) Change(
	ctx context.Context, by By, id string, expect Expect, edit func(domain.Application) (domain.Application, error),
) (domain.Application, error) {
	a, err := u.change(ctx, by, id, expect, func(before domain.Application) (domain.Application, error) {
		secrets := before.Client.Secrets
		after, err := edit(before)
		after.Client.Secrets = secrets
		return after, err
	})
	return a, result("change the application", err)
}

func (u *Applications) change(
	ctx context.Context, by By, id string, expect Expect, edit func(domain.Application) (domain.Application, error),
) (a domain.Application, err error) {
	e, err := newEvent(by.Origin, u.Clock, u.Random)
	if err != nil {
		return domain.Application{}, err
	}
	err = retry(expect, func() error {
		before, err := u.read(ctx, by, id, expect)
		if err != nil {
			return err
		}
		after := before
		after.Settings, after.Client = before.Settings.Clone(), before.Client.Clone()
		if after, err = edit(after); err != nil {
			return err
		}
		if after.ID != id || after.TenantID != by.tenant() {
			return errID()
		}
		a, err = u.save(ctx, e, &before, after)
		return err
	})
	return a, err
}

// save stores an application, which replaces before, or is new if that is nil.
func (u *Applications) save(ctx context.Context, e domain.Event, before *domain.Application, a domain.Application) (
	domain.Application, error,
) {
	a, a.Version = tidy(a), 0
	var keys string
	if before != nil {
		a.Version, keys = before.Version, before.Client.Keys
		if sameApplication(*before, a) {
			return a, nil
		}
	}
	if err := checkClientKeys(keys, a.Client.Keys, u.ParseClientKeys); err != nil {
		return domain.Application{}, err
	}
	t, err := u.Tenants.Tenant(ctx, a.TenantID)
	if err != nil {
		return domain.Application{}, err
	}
	if err := a.Validate(t); err != nil {
		return domain.Application{}, err
	}
	if err := u.Keys.Prepare(ctx, e.Origin, policies{a.ID: combined(t, a)}.signingKeys(t.ID)); err != nil {
		return domain.Application{}, err
	}
	a.Version, err = u.Applications.SaveApplication(ctx, a, a.Version, aboutApplication(e, before, &a))
	return a, err
}

// Delete removes the application, and revokes its refresh tokens in the same step. Its errors are those of
// [Tenants.Delete].
func (u *Applications) Delete(ctx context.Context, by By, id string, expect Expect) error {
	e, err := newEvent(by.Origin, u.Clock, u.Random)
	if err != nil {
		return err
	}
	return result("delete the application", retry(expect, func() error {
		before, err := u.read(ctx, by, id, expect)
		if err != nil {
			return err
		}
		return u.Applications.DeleteApplication(ctx, before.TenantID, id, before.Version,
			aboutApplication(e, &before, nil))
	}))
}
