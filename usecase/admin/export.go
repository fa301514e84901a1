package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/usecase"
)

// Export reads the configuration of a store, or of what lists its objects as a store does.
type Export struct {
	Tenants interface {
		Tenants(ctx context.Context, after string, limit int) (page []domain.Tenant, next string, err error)
		Tenant(ctx context.Context, id string) (domain.Tenant, error)
	}
	Applications interface {
		Applications(
			ctx context.Context, tenantID, after string, limit int,
		) (page []domain.Application, next string, err error)
	}
	APIKeys apiKeyLister
	Keys    keyLister
}

type keyLister interface {
	KeysSince(ctx context.Context, revision uint64, limit int) ([]domain.SealedKey, error)
}

type apiKeyLister interface {
	APIKeys(ctx context.Context, tenantID string, after domain.ID, limit int) ([]domain.APIKey, domain.ID, error)
}

// exportAttempts is the number of attempts to read what other processes change meanwhile.
const exportAttempts = 10

// Do returns all tenants and applications by id, all API keys by name, with their hashes, and the signing keys in use
// that were imported, without their private keys. Apply changes nothing if it applies them to the same store.
//
// It reads pages while others write. What exists all the time and does not change is exact. A tenant and its
// applications are read again until the tenant did not change meanwhile, so they fit together. Another object that is
// created, changed or deleted meanwhile is exported as before, as after, or not. Do reads everything again if
// the objects exclude each other, such as two tenants of one issuer, and returns ErrBusy if that happens too often.
func (e *Export) Do(ctx context.Context) (Kickstart, error) {
	for attempt := 1; ; attempt++ {
		k, err := e.read(ctx)
		if err != nil {
			return Kickstart{}, usecase.Wrap("export", err)
		}
		switch err := k.Validate(); {
		case err == nil:
			return k, nil
		case attempt == exportAttempts:
			return Kickstart{}, fmt.Errorf("export: %w: %w", domain.ErrBusy, err)
		}
	}
}

func (e *Export) read(ctx context.Context) (k Kickstart, err error) {
	tenants := make(map[string]bool)
	for after := ""; ; {
		page, next, err := e.Tenants.Tenants(ctx, after, port.MaxListRows)
		if err != nil {
			return k, err
		}
		for _, t := range page {
			kt, err := e.tenant(ctx, t)
			if errors.Is(err, domain.ErrNotFound) { // deleted meanwhile
				continue
			}
			if err != nil {
				return k, err
			}
			tenants[t.ID] = true
			k.Tenants = append(k.Tenants, kt)
		}
		if next == "" {
			break
		}
		after = next
	}
	keys, err := allAPIKeys(ctx, e.APIKeys)
	if err != nil {
		return k, err
	}
	for _, key := range keys {
		if key.TenantID == "" || tenants[key.TenantID] { // otherwise its tenant was created or deleted meanwhile
			k.APIKeys = append(k.APIKeys, KickstartAPIKey{APIKey: key})
		}
	}
	slices.SortFunc(k.APIKeys, func(a, b KickstartAPIKey) int { return cmp.Compare(a.APIKey.Name, b.APIKey.Name) })
	signing, err := imported(ctx, e.Keys)
	for _, s := range signing {
		if s.TenantID == "" || tenants[s.TenantID] {
			k.Keys = append(k.Keys, ImportedKey{NewKey: usecase.NewKey{
				ID: s.ID, TenantID: s.TenantID, Algorithm: s.Algorithm, Name: s.Name, KnownAt: s.KnownAt,
			}})
		}
	}
	slices.SortFunc(k.Keys, func(a, b ImportedKey) int { return cmp.Compare(a.ID, b.ID) })
	return k, err
}

// tenant returns the tenant with its applications. The store accepted each application in combination with the tenant
// as it was then. So they fit together if the tenant's version is the same before and after they are read.
func (e *Export) tenant(ctx context.Context, t domain.Tenant) (KickstartTenant, error) {
	for range exportAttempts {
		kt := KickstartTenant{Tenant: t}
		for after := ""; ; {
			page, next, err := e.Applications.Applications(ctx, t.ID, after, port.MaxListRows)
			if err != nil {
				return kt, err
			}
			if kt.Applications = append(kt.Applications, page...); next == "" {
				break
			}
			after = next
		}
		now, err := e.Tenants.Tenant(ctx, t.ID)
		if err != nil || now.Version == t.Version {
			return kt, err
		}
		t = now
	}
	return KickstartTenant{}, fmt.Errorf("tenant %s: %w", t.ID, domain.ErrBusy)
}

func allAPIKeys(ctx context.Context, keys apiKeyLister) (all []domain.APIKey, err error) {
	for after := (domain.ID{}); ; {
		page, next, err := keys.APIKeys(ctx, "", after, port.MaxListRows)
		if err != nil {
			return nil, err
		}
		if all = append(all, page...); next.IsZero() {
			return all, nil
		}
		after = next
	}
}
