package httpapi

import (
	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/web"
)

// keySetMaxAge is the time for which a verifier may cache a key set.
const keySetMaxAge = "public, max-age=300"

// tenantKeys handles GET /t/:tenantId/.well-known/jwks.json.
func (a *API) tenantKeys(c echo.Context) error {
	web.AnyOrigin(c) // for errors too, otherwise a page cannot read their status
	keys, err := a.Publish.Tenant(c.Request().Context(), web.PathParam(c, "tenantId"))
	return keySet(c, keys, err)
}

// rootKeys handles GET /.well-known/jwks.json.
func (a *API) rootKeys(c echo.Context) error {
	web.AnyOrigin(c)
	keys, err := a.Publish.Root(c.Request().Context())
	return keySet(c, keys, err)
}

func keySet(c echo.Context, keys []byte, err error) error {
	if err != nil {
		return err
	}
	return web.Cached(c, echo.MIMEApplicationJSON, keys, keySetMaxAge)
}
