package adminapi

import (
	"github.com/refreshd/refreshd/adapter/manifest"
	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
)

// tenants returns the routes of tenants, whose documents are without applications. A request need not name a tenant: it
// may be about all of them, or create the first one.
func (a *API) tenants() []web.Route {
	w := writable[domain.Tenant, manifest.BareTenant]{
		resource: resource[domain.Tenant]{
			path: "/tenant", noun: "tenant", action: "tenant",
			list: a.Tenants.List, get: a.Tenants.Get,
			id:   func(t domain.Tenant) string { return t.ID },
			next: func(t domain.Tenant) string { return t.ID },
			json: func(t domain.Tenant) ([]byte, error) {
				return manifest.JSON(&manifest.BareTenant{Tenant: t})
			},
			etag: func(t domain.Tenant) string { return versionTag(t.Version) },
		},
		document: func(t domain.Tenant) manifest.BareTenant { return manifest.BareTenant{Tenant: t} },
		idIn:     func(d *manifest.BareTenant) *string { return &d.ID },
		edited: func(stored domain.Tenant, d manifest.BareTenant) (domain.Tenant, error) {
			d.Version = stored.Version
			return d.Tenant, nil
		},
		create: a.Tenants.Create, change: a.Tenants.Change, delete: a.Tenants.Delete,
	}
	return append(w.reading(), w.writing()...)
}
