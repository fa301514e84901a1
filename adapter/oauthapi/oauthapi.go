// Package oauthapi is the dialect of OAuth 2: the token endpoint for refresh tokens (RFC 6749, section 6; RFC 8693),
// revocation (RFC 7009) and introspection (RFC 7662). Clients of OAuth 2 work with it unchanged. Requests and responses
// are described in openapi.yaml, which the API serves; a test compares the two in both directions.
//
// The endpoints are below /t/{tenantId}, and at the root for one tenant. The metadata of a tenant's issuer names them
// (RFC 8414).
//
// Decisions:
//   - The use cases are those of the JSON API: an exchange costs one write here too, and a token string that is guessed
//     here costs its client address the same.
//   - A client that authenticates is looked up only after its token string was found to be genuine. So a flood of
//     guesses reads nothing, and a client without a secret costs no reading at all.
//   - A token exchange is an exchange with another form and response: neither the rules nor the stores know of it. Its
//     subject is a refresh token only, which rotates. So the access token that it returns ends with the session.
//   - Every refusal has a JSON body with `error`, whatever its status: clients read the body before the status.
//   - The dialect reads and sets no cookie. So pages of every origin may read its responses; a page may use a client
//     only if its origin is configured, for the client or for the process.
package oauthapi

import (
	"fmt"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/adapter/web/strict"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase"
)

// API has the use cases of the endpoints, and their other dependencies.
type API struct {
	Exchange     *usecase.Exchange
	Revoke       *usecase.RevokeHeld
	Introspect   *usecase.Introspect
	Authenticate *usecase.AuthenticateClient
	Publish      *usecase.Publish
	// RootTenant is the tenant of the endpoints at the root; empty for none. It need not exist.
	RootTenant string
	// URL is where clients reach the API, and TenantID the only tenant, or empty, for the examples in openapi.yaml.
	URL, TenantID string
	// Exchanged, if set, is called for every exchange, including refused ones.
	Exchanged func(usecase.Exchanged)
}

// Dialect returns the endpoints with their documentation. It returns an error only if the embedded openapi.yaml is
// broken.
func (a *API) Dialect() (web.Dialect, error) {
	document, err := documentFor(a.URL, a.TenantID)
	if err != nil {
		return web.Dialect{}, fmt.Errorf("oauthapi: %w", err)
	}
	d := web.Dialect{
		Render: render, Document: document, AnyOrigin: true,
		Decoder: strict.Options{IgnoreUnknown: true, EmptyIsAbsent: true},
		Headers: web.CORSHeaders{
			Expose: []string{
				echo.HeaderWWWAuthenticate, web.NonceHeader, echo.HeaderRetryAfter, echo.HeaderXRequestID, web.OutcomeHeader,
				"ETag",
			},
			Allow: []string{
				echo.HeaderAuthorization, echo.HeaderContentType, domain.ProofHeader, domain.NextProofHeader,
				echo.HeaderXRequestID,
			},
		},
	}
	for _, r := range []web.Route{
		{Method: "POST", Path: "/oauth2/token", Kind: web.Exchange, Anybody: true, Handle: a.token},
		{Method: "POST", Path: "/oauth2/revoke", Kind: web.Exchange, Anybody: true, Handle: a.revoke},
		{Method: "POST", Path: "/oauth2/introspect", Asks: []domain.Action{domain.TokenIntrospect}, TenantOptional: true,
			BackendOnly: true, Handle: a.introspect},
	} {
		d.Routes = append(d.Routes, r)
		r.Path = "/t/:tenantId" + r.Path
		d.Routes = append(d.Routes, r)
	}
	d.Routes = append(d.Routes, a.metadata()...)
	return d, nil
}
