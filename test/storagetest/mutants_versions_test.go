package storagetest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// eachVersionedWrite is the part of eachWrite for methods with a version.
func (f *faulty) eachVersionedWrite(
	happens func(ctx context.Context, e domain.Event, within func(domain.Event) error) error,
) {
	f.saveTenant = func(ctx context.Context, w tenantSave) (v domain.Version, err error) {
		err = happens(ctx, w.e, func(e domain.Event) error {
			w.e = e
			v, err = w.in(ctx, f.within)
			return err
		})
		return v, err
	}
	f.saveApplication = func(ctx context.Context, w applicationSave) (v domain.Version, err error) {
		err = happens(ctx, w.e, func(e domain.Event) error {
			w.e = e
			v, err = w.in(ctx, f.within)
			return err
		})
		return v, err
	}
	f.saveAPIKey = func(ctx context.Context, w apiKeySave) (v domain.Version, err error) {
		err = happens(ctx, w.e, func(e domain.Event) error {
			w.e = e
			v, err = w.in(ctx, f.within)
			return err
		})
		return v, err
	}
	f.deleteTenant = func(ctx context.Context, id string, v domain.Version, e domain.Event) error {
		return happens(ctx, e, func(e domain.Event) error { return f.within.DeleteTenant(ctx, id, v, e) })
	}
	f.deleteApplication = func(ctx context.Context, tenantID, id string, v domain.Version, e domain.Event) error {
		return happens(ctx, e, func(e domain.Event) error { return f.within.DeleteApplication(ctx, tenantID, id, v, e) })
	}
	f.deleteAPIKey = func(ctx context.Context, id domain.ID, v domain.Version, e domain.Event) error {
		return happens(ctx, e, func(e domain.Event) error { return f.within.DeleteAPIKey(ctx, id, v, e) })
	}
}

// current gives a save the stored version, whatever it expects: it reads that first, and writes later.
func (w tenantSave) current(ctx context.Context, s port.Store) tenantSave {
	stored, _ := s.Tenant(ctx, w.t.ID)
	w.expect = stored.Version
	for i := range w.with {
		a, _ := s.Application(ctx, w.t.ID, w.with[i].Application.ID)
		w.with[i].Expect = a.Version
	}
	return w
}

// ignoringVersions writes whatever the stored version is.
func ignoringVersions(f *faulty) {
	f.saveTenant = func(ctx context.Context, w tenantSave) (v domain.Version, err error) {
		err = over(func() error {
			v, err = w.current(ctx, f.within).in(ctx, f.within)
			return err
		})
		return v, err
	}
	f.saveApplication = func(ctx context.Context, w applicationSave) (v domain.Version, err error) {
		err = over(func() error {
			stored, _ := f.within.Application(ctx, w.a.TenantID, w.a.ID)
			w.expect = stored.Version
			v, err = w.in(ctx, f.within)
			return err
		})
		return v, err
	}
	f.saveAPIKey = func(ctx context.Context, w apiKeySave) (v domain.Version, err error) {
		err = over(func() error {
			stored, _ := f.within.APIKey(ctx, w.k.ID)
			w.expect = stored.Version
			v, err = w.in(ctx, f.within)
			return err
		})
		return v, err
	}
	f.deleteTenant = func(ctx context.Context, id string, _ domain.Version, e domain.Event) error {
		stored, _ := f.within.Tenant(ctx, id)
		return f.within.DeleteTenant(ctx, id, stored.Version, e)
	}
	f.deleteApplication = func(ctx context.Context, tenantID, id string, _ domain.Version, e domain.Event) error {
		stored, _ := f.within.Application(ctx, tenantID, id)
		return f.within.DeleteApplication(ctx, tenantID, id, stored.Version, e)
	}
	f.deleteAPIKey = func(ctx context.Context, id domain.ID, _ domain.Version, e domain.Event) error {
		stored, _ := f.within.APIKey(ctx, id)
		return f.within.DeleteAPIKey(ctx, id, stored.Version, e)
	}
}

// comparingFirst compares the version, and writes later, whatever the version is then.
func comparingFirst(f *faulty) {
	meanwhile := func() { time.Sleep(time.Millisecond) } // so that another one compares, too
	ignoringVersions(f)
	saveTenant, saveApplication, saveAPIKey := f.saveTenant, f.saveApplication, f.saveAPIKey
	f.saveTenant = func(ctx context.Context, w tenantSave) (domain.Version, error) {
		if stored, _ := f.within.Tenant(ctx, w.t.ID); stored.Version != w.expect {
			return 0, domain.ErrStale
		}
		meanwhile()
		return saveTenant(ctx, w)
	}
	f.saveApplication = func(ctx context.Context, w applicationSave) (domain.Version, error) {
		if stored, _ := f.within.Application(ctx, w.a.TenantID, w.a.ID); stored.Version != w.expect {
			return 0, domain.ErrStale
		}
		meanwhile()
		return saveApplication(ctx, w)
	}
	f.saveAPIKey = func(ctx context.Context, w apiKeySave) (domain.Version, error) {
		if stored, _ := f.within.APIKey(ctx, w.k.ID); stored.Version != w.expect {
			return 0, domain.ErrStale
		}
		meanwhile()
		return saveAPIKey(ctx, w)
	}
}

var versionMutants = []mutant{
	{versionsCount, "each application counts for itself", func(f *faulty) {
		var mu sync.Mutex
		own := make(map[string]domain.Version)
		f.saveApplication = func(ctx context.Context, w applicationSave) (domain.Version, error) {
			_, err := w.in(ctx, f.within)
			mu.Lock()
			defer mu.Unlock()
			own[w.a.ID]++
			return own[w.a.ID], err
		}
	}, false},
	{versionsCount, "a tenant is found by its issuer without its version", func(f *faulty) {
		f.tenantByIssuer = func(ctx context.Context, issuer string) (domain.Tenant, error) {
			t, err := f.within.TenantByIssuer(ctx, issuer)
			t.Version = 0
			return t, err
		}
	}, false},
	{versionsOutlive, "what is created again begins at 1", func(f *faulty) {
		f.saveTenant = func(ctx context.Context, w tenantSave) (domain.Version, error) {
			v, err := w.in(ctx, f.within)
			if w.expect == 0 && err == nil {
				v = 1
			}
			return v, err
		}
	}, false},
	{versionsStay, "a tenant's save is one of its applications", func(f *faulty) {
		f.saveTenant = func(ctx context.Context, w tenantSave) (domain.Version, error) {
			v, err := w.in(ctx, f.within)
			all, _, _ := f.within.Applications(ctx, w.t.ID, "", 99)
			for _, a := range all {
				err = errors.Join(err, SaveApplication(ctx, f.within, a))
			}
			return v, err
		}
	}, false},
	{versionsStay, "a revocation is a save of the tenant", func(f *faulty) {
		f.revokeScope = func(
			ctx context.Context, s domain.Scope, except domain.ID, r port.Revocation, e domain.Event,
		) (uint64, error) {
			epoch, err := f.within.RevokeScope(ctx, s, except, r, e)
			t, _ := f.within.Tenant(ctx, s.TenantID)
			return epoch, errors.Join(err, SaveTenant(ctx, f.within, t))
		}
	}, false},
	{versionsStale, "a save of a tenant ignores its version", ignoringVersions, false},
	{versionsStale, "a tenant's save ignores the versions of its applications", func(f *faulty) {
		f.saveTenant = func(ctx context.Context, w tenantSave) (domain.Version, error) {
			own := w.expect
			w = w.current(ctx, f.within)
			w.expect = own
			return w.in(ctx, f.within)
		}
	}, false},
	{versionsStale, "a refused save takes a version", func(f *faulty) {
		f.saveTenant = func(ctx context.Context, w tenantSave) (domain.Version, error) {
			v, err := w.in(ctx, f.within)
			if t, found := f.within.Tenant(ctx, w.t.ID); found == nil && errors.Is(err, domain.ErrStale) {
				_ = SaveTenant(ctx, f.within, t)
			}
			return v, err
		}
	}, false},
	{versionsRace, "a tenant's version is compared first", comparingFirst, false},
	{eventsWith, "the events of applications are forgotten", func(f *faulty) {
		hidden := f.hide()
		f.saveTenant = func(ctx context.Context, w tenantSave) (domain.Version, error) {
			for i := range w.with {
				w.with[i].Event = hidden(w.with[i].Event)
			}
			return w.in(ctx, f.within)
		}
	}, false},
	{eventsWith, "the events of applications have the caller's refresh tokens", func(f *faulty) {
		given := f.asGiven(callersTokens)
		f.saveTenant = func(ctx context.Context, w tenantSave) (domain.Version, error) {
			for _, one := range w.with {
				given(one.Event)
			}
			return w.in(ctx, f.within)
		}
	}, false},
	{applicationsStale, "a save of an application ignores its version", ignoringVersions, false},
	{applicationsRace, "an application's version is compared first", comparingFirst, false},
	{applicationsKept, "a deletion of an application ignores its version", ignoringVersions, false},
	{tenantsKept, "a deletion of a tenant ignores its version", ignoringVersions, false},
	{tenantsKept, "a deletion of another version revokes anyway", func(f *faulty) {
		f.deleteTenant = func(ctx context.Context, id string, v domain.Version, e domain.Event) error {
			err := f.within.DeleteTenant(ctx, id, v, e)
			if errors.Is(err, domain.ErrStale) {
				_, _ = f.within.RevokeScope(ctx, domain.Scope{TenantID: id}, domain.ID{}, byRequest(t0), NewEvent())
			}
			return err
		}
	}, false},
	{apiKeysVersion, "API keys count together", func(f *faulty) {
		var mu sync.Mutex
		var saved domain.Version
		f.saveAPIKey = func(ctx context.Context, w apiKeySave) (domain.Version, error) {
			_, err := w.in(ctx, f.within)
			mu.Lock()
			defer mu.Unlock()
			saved++
			return saved, err
		}
	}, false},
	{apiKeysVersion, "an id that is used again counts from 1", func(f *faulty) {
		var mu sync.Mutex
		begun := make(map[domain.ID]domain.Version)
		f.saveAPIKey = func(ctx context.Context, w apiKeySave) (domain.Version, error) {
			v, err := w.in(ctx, f.within)
			mu.Lock()
			defer mu.Unlock()
			if w.expect == 0 && err == nil {
				begun[w.k.ID] = v - 1
			}
			return v - begun[w.k.ID], err
		}
	}, false},
	{apiKeysStale, "a save of an API key ignores its version", ignoringVersions, false},
	{apiKeysRace, "an API key's version is compared first", comparingFirst, false},
	{apiKeysName, "two keys have one name", func(f *faulty) {
		f.saveAPIKey = func(ctx context.Context, w apiKeySave) (domain.Version, error) {
			v, err := w.in(ctx, f.within)
			return v, instead(err, domain.ErrDuplicate)
		}
	}, false},
	{apiKeysDelete, "a deleted key is found by its hash", func(f *faulty) {
		var mu sync.Mutex
		saved := make(map[string]domain.APIKey)
		f.saveAPIKey = func(ctx context.Context, w apiKeySave) (domain.Version, error) {
			mu.Lock()
			defer mu.Unlock()
			saved[w.k.Hash] = w.k
			return w.in(ctx, f.within)
		}
		f.apiKeyByHash = func(_ context.Context, hashes ...string) (domain.APIKey, error) {
			mu.Lock()
			defer mu.Unlock()
			return saved[hashes[0]], nil
		}
	}, false},
	{apiKeysKept, "a deletion of an API key ignores its version", ignoringVersions, false},
	{apiKeysKept, "no key is deleted", func(f *faulty) {
		f.deleteAPIKey = func(ctx context.Context, id domain.ID, v domain.Version, e domain.Event) error {
			return instead(f.within.DeleteAPIKey(ctx, id, v, e), domain.ErrNotFound)
		}
	}, false},
	{apiKeysByID, "an unknown id is an empty key", func(f *faulty) {
		f.apiKey = func(ctx context.Context, id domain.ID) (domain.APIKey, error) {
			k, err := f.within.APIKey(ctx, id)
			return k, instead(err, domain.ErrNotFound)
		}
	}, false},
	{apiKeysPages, "a page of API keys begins with the last one of the previous page", func(f *faulty) {
		f.apiKeys = func(
			ctx context.Context, tenantID string, after domain.ID, limit int,
		) ([]domain.APIKey, domain.ID, error) {
			page, next, err := f.within.APIKeys(ctx, tenantID, after, limit)
			if last, lastErr := f.within.APIKey(ctx, after); lastErr == nil {
				page = append([]domain.APIKey{last}, page...)[:min(limit, 1+len(page))]
			}
			return page, next, err
		}
	}, false},
	{apiKeysPages, "a list of a tenant's API keys has those of all tenants too", func(f *faulty) {
		f.apiKeys = func(
			ctx context.Context, tenantID string, after domain.ID, limit int,
		) ([]domain.APIKey, domain.ID, error) {
			page, next, err := f.within.APIKeys(ctx, "", after, limit)
			return slices.DeleteFunc(page, func(k domain.APIKey) bool {
				return tenantID != "" && k.TenantID != "" && k.TenantID != tenantID
			}), next, err
		}
	}, false},
	{apiKeysPages, "the empty id is that of the keys of no tenant", func(f *faulty) {
		f.apiKeys = func(
			ctx context.Context, tenantID string, after domain.ID, limit int,
		) ([]domain.APIKey, domain.ID, error) {
			page, next, err := f.within.APIKeys(ctx, tenantID, after, limit)
			return slices.DeleteFunc(page, func(k domain.APIKey) bool { return k.TenantID != tenantID }), next, err
		}
	}, false},
	{apiKeysSize, "a page of API keys has any size", func(f *faulty) {
		f.apiKeys = func(
			ctx context.Context, tenantID string, after domain.ID, limit int,
		) (all []domain.APIKey, next domain.ID, err error) {
			for next = after; len(all) < limit; {
				var page []domain.APIKey
				page, next, err = f.within.APIKeys(ctx, tenantID, next, limit-len(all))
				if err != nil || next.IsZero() {
					return append(all, page...), domain.ID{}, err
				}
				all = append(all, page...)
			}
			return all, next, nil
		}
	}, false},
}
