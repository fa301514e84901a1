// Package httpapi is the JSON API: it reads a request, strictly, calls one use case, and writes the answer. What each endpoint
// takes and gives is in openapi.yaml, beside this file and served by the API; a test holds the two to each other.
//
// It decides nothing about tokens. The one thing to know is POST /jwt/refresh: it is the exchange, which is public, and beside
// it a handful of forms for clients that can only POST, which need an API key. [API.postRefresh] tells them apart, and what
// could be read in two ways is refused.
//
// What every dialect shares (limits, strict decoding, the log line, the table from errors to statuses) is in adapter/web.
package httpapi

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/usecase"
)

// API is the use cases that the endpoints call, and what they need besides.
type API struct {
	Issue        *usecase.Issue
	Exchange     *usecase.Exchange
	List         *usecase.List
	Patch        *usecase.Patch
	Revoke       *usecase.Revoke
	Logout       *usecase.Logout
	Authenticate *usecase.Authenticate
	Publish      *usecase.Publish
	// Ready returns nil while the service can take requests. It logs why it does not: anybody may ask.
	Ready func(context.Context) error

	Log *slog.Logger
	// PublicURL is where clients reach the API.
	PublicURL string
	public    *url.URL // PublicURL, from Handler on
	// ExampleTenantID and ExampleApplicationID are for the documents, see [Examples].
	ExampleTenantID, ExampleApplicationID string

	Origins        web.Origins
	TrustedProxies []netip.Prefix
	// Guard, if set, stands before everything.
	Guard *web.Guard
	// Observe and Exchanged, if set, are told of every request and of every exchange, refused ones too.
	Observe   func(web.Response)
	Exchanged func(usecase.Exchanged)
}

// Handler is the API with its documentation. An error means that PublicURL is none, or that openapi.yaml, which is part
// of the program, is broken.
func (a *API) Handler() (http.Handler, error) {
	var err error
	if a.public, err = url.Parse(a.PublicURL); err != nil {
		return nil, fmt.Errorf("httpapi: the public URL: %w", err)
	}
	e := web.New(web.Options{
		Log: a.Log, Render: renderRefusal, TrustedProxies: a.TrustedProxies, Origins: a.Origins, Observe: a.Observe,
		Guard: a.Guard, APIKey: offeredKey,
		Kinds: map[string]web.Kind{
			"/jwt/refresh":                       web.Exchange,
			"/t/:tenantId/.well-known/jwks.json": web.Public,
			"/.well-known/jwks.json":             web.Public,
			"/openapi.yaml":                      web.Document,
			"/docs":                              web.Document,
			"/docs/style.css":                    web.Document,
			"/docs/script.js":                    web.Document,
			"/healthz":                           web.Health,
			"/readyz":                            web.Health,
		},
	})
	d, err := documentFor(Examples{a.PublicURL, a.ExampleTenantID, a.ExampleApplicationID})
	if err != nil {
		return nil, fmt.Errorf("httpapi: openapi.yaml: %w", err)
	}

	get := func(path string, handle echo.HandlerFunc) {
		e.GET(path, handle)
		e.HEAD(path, handle)
	}
	e.POST("/jwt/issue", a.issue)
	e.POST("/jwt/refresh", a.postRefresh)
	get("/jwt/refresh", a.listTokens)
	e.PATCH("/jwt/refresh", a.patchTokens)
	e.DELETE("/jwt/refresh", a.revokeTokens)
	get("/jwt/refresh/:id", a.retrieve)
	e.POST("/jwt/refresh/:id", a.postOne)
	e.PATCH("/jwt/refresh/:id", a.patchOne)
	e.DELETE("/jwt/refresh/:id", a.revokeOne)

	get("/t/:tenantId/.well-known/jwks.json", a.tenantKeys)
	get("/.well-known/jwks.json", a.sharedKeys)
	get("/healthz", health)
	get("/readyz", a.ready)
	get("/openapi.yaml", d.serveYAML)
	get("/docs", d.servePage)
	get("/docs/style.css", d.serveStyle)
	get("/docs/script.js", d.serveScript)
	return e, nil
}

func health(c echo.Context) error {
	web.Note(c).Routine = true
	return done(c, "The process is running.", nil)
}

func (a *API) ready(c echo.Context) error {
	web.Note(c).Routine = true
	if err := a.Ready(c.Request().Context()); err != nil {
		web.Note(c).Logged = true
		return echo.NewHTTPError(http.StatusServiceUnavailable).SetInternal(err)
	}
	return done(c, "The service is ready.", nil)
}
