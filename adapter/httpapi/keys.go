package httpapi

import (
	"fmt"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/web"
)

// keySetMaxAge is how long a cache may use a key set without a request. A planned key is published hours before it
// signs, so the time matters after an emergency: a verifier without the stream of revocations uses a revoked key for as
// long. A longer time would save nothing, because a response to If-None-Match has no body. It is never longer than the
// cache age by which starts are planned.
const keySetMaxAge = 5 * time.Minute

// tenantKeys handles GET /t/:tenantId/.well-known/jwks.json.
func (a *API) tenantKeys(c echo.Context) error {
	web.AnyOrigin(c) // for errors too, otherwise a page cannot read their status
	keys, err := a.Publish.Tenant(c.Request().Context(), web.PathParam(c, "tenantId"))
	return a.keySet(c, keys, err)
}

// rootKeys handles GET /.well-known/jwks.json.
func (a *API) rootKeys(c echo.Context) error {
	web.AnyOrigin(c)
	keys, err := a.Publish.Root(c.Request().Context())
	return a.keySet(c, keys, err)
}

func (a *API) keySet(c echo.Context, keys []byte, err error) error {
	if err != nil {
		return err
	}
	age := min(keySetMaxAge, a.Publish.Keys.CacheAge)
	return web.Cached(c, echo.MIMEApplicationJSON, keys, fmt.Sprintf("public, max-age=%d", int(age.Seconds())))
}
