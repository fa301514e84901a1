// Package tiny is the smallest HTTP dialect, for tests. In each thing that a dialect decides it differs from the API of
// tokens: the bodies and statuses of its refusals, its decoder, and the headers that browsers may read. It shows what a
// dialect has to provide, and that it needs nothing of another dialect.
package tiny

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/adapter/web/strict"
	"github.com/refreshd/refreshd/domain"
)

// Dialect returns the dialect. Its handlers call fail, and return its error if it is not nil.
func Dialect(fail func() error) (web.Dialect, error) {
	document, err := web.NewDocument("/tiny", []byte(openapi))
	if err != nil {
		return web.Dialect{}, err
	}
	return web.Dialect{
		Render: render, Document: document,
		Statuses: []web.ErrorStatus{
			{Err: domain.ErrStale, Status: http.StatusPreconditionFailed},
			{Err: domain.ErrDuplicate, Status: http.StatusConflict},
		},
		Headers: web.CORSHeaders{Expose: []string{"Tiny-Seen"}, Allow: []string{"Tiny-Proof"}},
		Decoder: strict.Options{IgnoreUnknown: true, EmptyIsAbsent: true},
		Routes: []web.Route{
			{Method: "POST", Path: "/t/:tenantId/tiny/greet", Action: domain.TokenRead, MaxBody: 100,
				Handle: func(c echo.Context) error { return greet(c, fail()) }},
			{Method: "GET", Path: "/t/:tenantId/tiny/feed", Action: domain.FeedRead, Stream: true, Handle: feed},
			{Method: "GET", Path: "/tiny/hello", Anybody: true, Kind: web.Public,
				Handle: func(c echo.Context) error { return fail() }},
		},
	}, nil
}

type greeting struct {
	Name *string `json:"name"`
}

// greet responds with the name of the request, the name of the API key and the tenant.
func greet(c echo.Context, fail error) error {
	body, err := web.Body[greeting](c, web.FormOnly)
	if err != nil {
		return err
	}
	if fail != nil {
		return fail
	}
	if body.Name == nil {
		return domain.NewInvalid("name", domain.Blank, "name whom to greet")
	}
	caller := web.LogRecord(c).Caller
	return c.String(http.StatusOK, fmt.Sprintf("%s greets %s in %s", caller.Key.Name, *body.Name, caller.TenantID))
}

// feed sends one line and keeps the connection open.
func feed(c echo.Context) error {
	c.Response().WriteHeader(http.StatusOK)
	fmt.Fprintln(c.Response(), "here is", web.LogRecord(c).Caller.TenantID)
	c.Response().Flush()
	<-c.Request().Context().Done()
	return nil
}

// render gives each refusal a body, as RFC 6749, section 5.2, requires, and a 401 the scheme that the client used.
func render(c echo.Context, status int, err error) error {
	if strings.HasPrefix(c.Request().Header.Get(echo.HeaderAuthorization), "Basic ") && status == http.StatusUnauthorized {
		c.Response().Header().Set(echo.HeaderWWWAuthenticate, `Basic realm="tiny"`)
	}
	body, err := json.Marshal(map[string]any{"error": status, "says": web.Message(status, err)})
	if err != nil {
		return err
	}
	return c.Blob(status, "application/problem+json", body)
}

const openapi = `
info: {title: Tiny, version: "1", summary: A tiny API, description: "It greets."}
tags: [{name: Greetings, description: "All of it."}]
paths:
  /t/{tenantId}/tiny/greet:
    post:
      operationId: greet
      tags: [Greetings]
      summary: Greet
      security: [{}]
      requestBody:
        content:
          application/x-www-form-urlencoded:
            schema: {type: object}
            examples: {one: {summary: One, value: {name: ada}}}
      responses:
        '200': {$ref: '#/components/responses/Done'}
components:
  responses:
    Done: {description: Done.}
`
