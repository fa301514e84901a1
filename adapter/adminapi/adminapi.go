// Package adminapi is the API of administration: tenants, applications, API keys, keys, and the audit trail. The API
// serves openapi.yaml, which describes its requests and responses. A test compares the two in both directions.
//
// An object in a request or a response is its document of package manifest, so that a client can read it, change it and
// send it back. resource.go has what all kinds of objects share; each kind has a file, with its documents and its use
// case. No handler decides anything about objects: package usecase/admin does.
//
// The version of an object is its ETag. A request with If-Match is refused with 412 if the object has another version,
// so two operators cannot overwrite each other's change.
package adminapi

import (
	"fmt"
	"net/http"
	"slices"

	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase/admin"
)

// API has the use cases of the endpoints.
type API struct {
	Tenants      *admin.Tenants
	Applications *admin.Applications
	APIKeys      *admin.APIKeys
	Keys         *admin.Keys
	Audit        *admin.Audit
	// URL is where clients reach the API, and TenantID the only tenant, or empty, for the examples in openapi.yaml.
	URL, TenantID string
}

// Dialect returns the endpoints with their documentation. It returns an error only if the embedded openapi.yaml is
// broken.
func (a *API) Dialect() (web.Dialect, error) {
	document, err := documentFor(a.URL, a.TenantID)
	if err != nil {
		return web.Dialect{}, fmt.Errorf("adminapi: %w", err)
	}
	d := a.Undocumented()
	d.Document = document
	return d, nil
}

// Undocumented returns the endpoints without their documentation, for requests of this process itself: to make the page
// takes longer than most requests.
func (a *API) Undocumented() web.Dialect {
	return web.Dialect{
		Render: web.RenderEnvelope, BackendOnly: true,
		Statuses: []web.ErrorStatus{
			{Err: domain.ErrStale, Status: http.StatusPreconditionFailed},
			{Err: admin.ErrPreviousKey, Status: http.StatusConflict},
			{Err: admin.ErrTwoSecrets, Status: http.StatusConflict},
			{Err: domain.ErrUnsafe, Status: http.StatusConflict},
		},
		Routes: slices.Concat(a.tenants(), a.applications(), a.apiKeys(), a.keys(), a.audit()),
	}
}
