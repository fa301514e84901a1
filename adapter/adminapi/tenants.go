package adminapi

import (
	"context"
	"encoding/json"

	"github.com/refreshd/refreshd/adapter/manifest"
	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase/admin"
)

// tenants returns the routes of tenants, whose documents are without applications. A request need not name a tenant: it
// may be about all of them, or create the first one.
func (a *API) tenants() []web.Route {
	w := writable[domain.Tenant, manifest.StoredTenant]{
		resource: resource[domain.Tenant]{
			path: "/tenant", noun: "tenant", action: "tenant",
			list: a.Tenants.List, get: a.Tenants.Get,
			id:   func(t domain.Tenant) string { return t.ID },
			next: func(t domain.Tenant) string { return t.ID },
			json: func(t domain.Tenant) ([]byte, error) {
				return manifest.JSON(&manifest.BareTenant{Tenant: t})
			},
			more: effective(a.Keys.TenantAlgorithm),
			etag: func(t domain.Tenant) string { return versionTag(t.Version) },
		},
		document: func(t domain.Tenant) manifest.StoredTenant {
			return manifest.StoredTenant{BareTenant: manifest.BareTenant{Tenant: t}}
		},
		idIn: func(d *manifest.StoredTenant) *string { return &d.ID },
		edited: func(stored domain.Tenant, d manifest.StoredTenant) (domain.Tenant, error) {
			d.Version = stored.Version
			return d.Tenant, nil
		},
		create: a.Tenants.Create, change: a.Tenants.Change, delete: a.Tenants.Delete,
	}
	return append(w.reading(), w.writing()...)
}

// effective returns the members of a response that say what signs instead of the algorithm of the policy.
func effective[T any](of func(context.Context, T) (admin.Effective, error)) func(context.Context, T) ([]byte, error) {
	return func(ctx context.Context, object T) ([]byte, error) {
		e, err := of(ctx, object)
		if err != nil || e.Algorithm == e.Wanted {
			return nil, err
		}
		return json.Marshal(struct {
			Algorithm domain.Algorithm `json:"effectiveAlgorithm"`
			Starts    int64            `json:"algorithmStartsInstant,omitempty"`
		}{e.Algorithm, milliseconds(e.Until)})
	}
}
