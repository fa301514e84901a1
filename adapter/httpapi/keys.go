package httpapi

import (
	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/web"
)

// keySetMaxAge is for how long a verifier may keep a key set.
const keySetMaxAge = "public, max-age=300"

// tenantKeys answers GET /t/:tenantId/.well-known/jwks.json.
func (a *API) tenantKeys(c echo.Context) error {
	web.AnyOrigin(c) // an error too: else a page sees no status
	keys, err := a.Publish.Tenant(c.Request().Context(), web.PathParam(c, "tenantId"))
	return keySet(c, keys, err)
}

// sharedKeys answers GET /.well-known/jwks.json.
func (a *API) sharedKeys(c echo.Context) error {
	web.AnyOrigin(c)
	keys, err := a.Publish.Shared(c.Request().Context())
	return keySet(c, keys, err)
}

func keySet(c echo.Context, keys []byte, err error) error {
	if err != nil {
		return err
	}
	return web.Cached(c, echo.MIMEApplicationJSON, keys, keySetMaxAge)
}
