package adminapi

import (
	"encoding/json"
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/manifest"
	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
)

type writableApplication = writable[domain.Application, manifest.StoredApplication]

// applications returns the routes of the applications of the request's tenant.
func (a *API) applications() []web.Route {
	w := writableApplication{
		resource: resource[domain.Application]{
			path: "/application", noun: "application", action: "application", inside: true,
			list: a.Applications.List, get: a.Applications.Get,
			id:   func(app domain.Application) string { return app.ID },
			next: func(app domain.Application) string { return app.ID },
			json: func(app domain.Application) ([]byte, error) {
				d := applicationDocument(app)
				return manifest.JSON(&d)
			},
			more: effective(a.Keys.ApplicationAlgorithm),
			etag: func(app domain.Application) string { return versionTag(app.Version) },
		},
		document: applicationDocument,
		idIn:     func(d *manifest.StoredApplication) *string { return &d.ID },
		edited:   editedApplication,
		create:   a.Applications.Create, change: a.Applications.Change, delete: a.Applications.Delete,
	}
	return slices.Concat(w.reading(), w.writing(), []web.Route{
		w.route(http.MethodPost, "/:id/secret", "change.one", a.handleSecret(w)),
		w.route(http.MethodDelete, "/:id/secret", "change.one", a.handleSecretEnd(w)),
	})
}

func applicationDocument(app domain.Application) manifest.StoredApplication {
	d := manifest.StoredApplication{Application: app}
	for _, s := range app.Client.Secrets {
		d.Secrets = append(d.Secrets, manifest.StoredSecret{CreatedMS: s.CreatedAt.UnixMilli()})
	}
	return d
}

// editedApplication returns the application with all that the document has. A document without client secrets changes
// none.
func editedApplication(stored domain.Application, d manifest.StoredApplication) (domain.Application, error) {
	if d.Secrets != nil && !slices.Equal(d.Secrets, applicationDocument(stored).Secrets) {
		return stored, domain.NewInvalid(domain.FieldClientSecrets, domain.Conflict, "only the service sets this: omit it. "+
			"To make a client secret send POST /application/:id/secret, to end one DELETE /application/:id/secret")
	}
	d.TenantID, d.Version, d.Client.Secrets = stored.TenantID, stored.Version, stored.Client.Secrets
	return d.Application, nil
}

// handleSecret makes a client secret, which only this response shows.
func (a *API) handleSecret(w writableApplication) echo.HandlerFunc {
	return func(c echo.Context) error {
		force, err := isForced(c)
		if err != nil {
			return err
		}
		expect, err := ifMatch(c)
		if err != nil {
			return err
		}
		id := web.PathParam(c, "id")
		app, secret, err := a.Applications.NewSecret(c.Request().Context(), by(c), id, expect, force)
		if err != nil {
			return err
		}
		first, err := json.Marshal(map[string]string{"clientSecret": secret.Reveal()})
		if err != nil {
			return err
		}
		logObject(c, id)
		web.NoStore(c)
		message := "The client secret was made. The application is a confidential client now."
		if len(app.Client.Secrets) > 1 {
			message = "The client secret was made. The previous one is valid until it is ended."
		}
		return w.send(c, http.StatusOK, message, app, first)
	}
}

// endQuery is the query of a request that ends client secrets.
type endQuery struct {
	All *bool `json:"all"`
}

// handleSecretEnd ends the previous client secret, or all.
func (a *API) handleSecretEnd(w writableApplication) echo.HandlerFunc {
	return func(c echo.Context) error {
		q, err := web.Query[endQuery](c)
		if err != nil {
			return err
		}
		if err := noBody(c); err != nil {
			return err
		}
		expect, err := ifMatch(c)
		if err != nil {
			return err
		}
		id, all := web.PathParam(c, "id"), q.All != nil && *q.All
		app, ended, err := a.Applications.EndSecrets(c.Request().Context(), by(c), id, expect, all)
		if err != nil {
			return err
		}
		message := "The previous client secret has ended."
		switch {
		case ended == 0:
			message = "There is no client secret to end: nothing was done."
		case all:
			message = "The application has no client secret any more."
		}
		first, err := json.Marshal(map[string]int{"endedSecrets": ended})
		if err != nil {
			return err
		}
		logObject(c, id)
		return w.send(c, http.StatusOK, message, app, first)
	}
}
