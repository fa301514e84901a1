// Package httpapi is the JSON API. A handler decodes a request strictly, calls one use case, and writes the response.
// The requests and responses are described in openapi.yaml, which the API serves; a test compares the two in both
// directions.
//
// It makes no decisions about tokens. POST /jwt/refresh is the exchange, which is public, and also has forms for
// clients that can only POST, which need an API key. [API.postRefresh] distinguishes them, and refuses ambiguous
// requests.
//
// Package web has what all dialects share: limits, strict decoding, the log line, the table from errors to statuses.
package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase"
)

// API has the use cases of the endpoints, and their other dependencies.
type API struct {
	Issue    *usecase.Issue
	Exchange *usecase.Exchange
	List     *usecase.List
	Patch    *usecase.Patch
	Revoke   *usecase.Revoke
	Logout   *usecase.Logout
	Publish  *usecase.Publish
	// Ready returns nil if the service can accept requests. It logs the reason if not, because the endpoint is public.
	Ready    func(context.Context) error
	Examples Examples // in openapi.yaml and its page
	// Exchanged, if set, is called for every exchange, including refused ones.
	Exchanged func(usecase.Exchanged)
}

// Dialect returns the endpoints with their documentation. It returns an error only if the embedded openapi.yaml is
// broken.
func (a *API) Dialect() (web.Dialect, error) {
	document, err := documentFor(a.Examples)
	if err != nil {
		return web.Dialect{}, fmt.Errorf("httpapi: %w", err)
	}
	d := a.Undocumented()
	d.Document = document
	return d, nil
}

// Undocumented returns the endpoints without their documentation, for requests of this process itself: to make the page
// takes longer than most requests.
func (a *API) Undocumented() web.Dialect {
	return web.Dialect{
		Render: web.RenderEnvelope,
		Headers: web.CORSHeaders{
			Expose: []string{
				web.OutcomeHeader, echo.HeaderXRequestID, "Link", "X-Total-Count", echo.HeaderRetryAfter, web.NonceHeader,
			},
			Allow: slices.Concat([]string{echo.HeaderAuthorization, echo.HeaderContentType}, web.TenantHeaders,
				[]string{echo.HeaderXRequestID, domain.ProofHeader, domain.NextProofHeader}),
		},
		Routes: []web.Route{
			{Method: "POST", Path: "/jwt/issue", Action: domain.TokenIssue, BackendOnly: true, Handle: a.issue},

			// The exchange, and the forms for clients that can only POST.
			{Method: "POST", Path: "/jwt/refresh", Kind: web.Exchange, BackendOnly: true, Handle: a.postRefresh,
				Asks: []domain.Action{
					domain.TokenExchange, domain.TokenRead, domain.TokenList, domain.TokenRevokeMany,
				}},
			{Method: "POST", Path: "/jwt/refresh/:id", BackendOnly: true, Handle: a.postOne,
				Asks: []domain.Action{domain.TokenRead, domain.TokenRevoke}},

			{Method: "GET", Path: "/jwt/refresh", Handle: a.listTokens,
				Asks: []domain.Action{domain.TokenList, domain.TokenListWide, domain.TokenListAny}},
			{Method: "GET", Path: "/jwt/refresh/:id", Action: domain.TokenRead, Handle: a.retrieve},
			{Method: "PATCH", Path: "/jwt/refresh", Action: domain.TokenChangeMany, BackendOnly: true,
				Handle: a.patchTokens},
			{Method: "PATCH", Path: "/jwt/refresh/:id", Action: domain.TokenChange, BackendOnly: true,
				Handle: a.patchOne},
			{Method: "DELETE", Path: "/jwt/refresh", Kind: web.Logout, Handle: a.revokeTokens,
				Asks: []domain.Action{domain.TokenRevokeMany}},
			{Method: "DELETE", Path: "/jwt/refresh/:id", Action: domain.TokenRevoke, Handle: a.revokeOne},

			{Method: "GET", Path: "/t/:tenantId/.well-known/jwks.json", Anybody: true, Kind: web.Public,
				Handle: a.tenantKeys},
			{Method: "GET", Path: "/.well-known/jwks.json", Anybody: true, Kind: web.Public, Handle: a.rootKeys},
			{Method: "GET", Path: "/healthz", Anybody: true, Kind: web.Health, Handle: health},
			{Method: "GET", Path: "/readyz", Anybody: true, Kind: web.Health, Handle: a.ready},
		},
	}
}

func health(c echo.Context) error {
	web.LogRecord(c).Routine = true
	return web.Done(c, "The process is running.", nil)
}

func (a *API) ready(c echo.Context) error {
	web.LogRecord(c).Routine = true
	if err := a.Ready(c.Request().Context()); err != nil {
		web.LogRecord(c).Logged = true
		return echo.NewHTTPError(http.StatusServiceUnavailable).SetInternal(err)
	}
	return web.Done(c, "The service is ready.", nil)
}
