package storagetest

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// The functions of this file are for tests that need stored objects, and test something else: they read the current
// version, and write over it. Their events have setup as the name of the actor. Their ids are above those of all other
// events, so that no clause about events or their deletion finds them.
const setup = "setup of a test"

var setupAt = time.Date(2200, time.January, 1, 0, 0, 0, 0, time.UTC)

// SaveTenant creates or replaces the tenant and these of its applications.
func SaveTenant(ctx context.Context, s port.Store, t domain.Tenant, with ...domain.Application) error {
	return over(func() error {
		before, err := s.Tenant(ctx, t.ID)
		exists, err := found(err)
		if err != nil {
			return err
		}
		writes := make([]port.ApplicationWrite, len(with))
		for i, a := range with {
			writes[i] = port.ApplicationWrite{Application: a, Event: setupEvent(domain.ApplicationUpdated, t.ID, setupAt)}
			if !exists {
				continue
			}
			stored, err := s.Application(ctx, t.ID, a.ID)
			if _, err := found(err); err != nil {
				return err
			}
			writes[i].Expect = stored.Version
		}
		_, err = s.SaveTenant(ctx, t, before.Version, setupEvent(domain.TenantUpdated, t.ID, setupAt), writes...)
		return err
	})
}

// SaveApplication creates or replaces the application.
func SaveApplication(ctx context.Context, s port.Store, a domain.Application) error {
	return over(func() error {
		before, err := s.Application(ctx, a.TenantID, a.ID)
		if _, err := found(err); err != nil {
			return err
		}
		_, err = s.SaveApplication(ctx, a, before.Version, setupEvent(domain.ApplicationUpdated, a.TenantID, setupAt))
		return err
	})
}

// SaveAPIKey creates or replaces the API key of that name.
func SaveAPIKey(ctx context.Context, s port.Store, k domain.APIKey) error {
	return over(func() error {
		before, err := s.APIKeyByName(ctx, k.Name)
		exists, err := found(err)
		if err != nil {
			return err
		}
		e := setupEvent(domain.APIKeyUpdated, k.TenantID, setupAt)
		if k.ID = before.ID; !exists {
			k.ID = e.ID
		}
		_, err = s.SaveAPIKey(ctx, k, before.Version, e)
		return err
	})
}

// DeleteTenant deletes the tenant at that instant.
func DeleteTenant(ctx context.Context, s port.Store, id string, at time.Time) error {
	return over(func() error {
		before, err := s.Tenant(ctx, id)
		if _, err := found(err); err != nil {
			return err
		}
		return s.DeleteTenant(ctx, id, before.Version, setupEvent(domain.TenantDeleted, id, at))
	})
}

// DeleteApplication deletes the application at that instant.
func DeleteApplication(ctx context.Context, s port.Store, tenantID, id string, at time.Time) error {
	return over(func() error {
		before, err := s.Application(ctx, tenantID, id)
		if _, err := found(err); err != nil {
			return err
		}
		return s.DeleteApplication(ctx, tenantID, id, before.Version, setupEvent(domain.ApplicationDeleted, tenantID, at))
	})
}

// found reports whether the object exists. It returns an error if that is unknown.
func found(err error) (bool, error) {
	if errors.Is(err, domain.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// over calls write again while others write the same object. A store that finds everything stale must not block a test.
func over(write func() error) (err error) {
	for range 100 {
		if err = write(); !errors.Is(err, domain.ErrStale) {
			return err
		}
	}
	return err
}

// OfSetup reports whether e was stored by one of these functions.
func OfSetup(e domain.Event) bool { return e.Actor.Name == setup }

func setupEvent(kind domain.EventKind, tenantID string, at time.Time) domain.Event {
	by := domain.Origin{Actor: domain.Actor{Kind: domain.ActorService, Name: setup}}
	e, err := domain.NewEvent(kind, by, setupAt, rand.Reader)
	if err != nil {
		panic(err) // the machine has no randomness
	}
	e.At, e.TenantID = at, tenantID
	return e
}
