package adminapi

import (
	"github.com/refreshd/refreshd/adapter/manifest"
	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
)

// applications returns the routes of the applications of the request's tenant.
func (a *API) applications() []web.Route {
	document := func(app domain.Application) manifest.StoredApplication {
		return manifest.StoredApplication{Application: manifest.Application{Application: app}}
	}
	w := writable[domain.Application, manifest.StoredApplication]{
		resource: resource[domain.Application]{
			path: "/application", noun: "application", action: "application", inside: true,
			list: a.Applications.List, get: a.Applications.Get,
			id:   func(app domain.Application) string { return app.ID },
			next: func(app domain.Application) string { return app.ID },
			json: func(app domain.Application) ([]byte, error) {
				d := document(app)
				return manifest.JSON(&d)
			},
			more: effective(a.Keys.ApplicationAlgorithm),
			etag: func(app domain.Application) string { return versionTag(app.Version) },
		},
		document: document,
		idIn:     func(d *manifest.StoredApplication) *string { return &d.ID },
		edited: func(stored domain.Application, d manifest.StoredApplication) (domain.Application, error) {
			d.TenantID, d.Version = stored.TenantID, stored.Version
			return d.Application.Application, nil
		},
		create: a.Applications.Create, change: a.Applications.Change, delete: a.Applications.Delete,
	}
	return append(w.reading(), w.writing()...)
}
