package oauthapi

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase"
)

// introspection is by RFC 7662, section 2.2. Of a token that is not active only Active is sent.
type introspection struct {
	Active       bool          `json:"active"`
	Scope        string        `json:"scope,omitempty"`
	ClientID     string        `json:"client_id,omitempty"`
	TokenType    string        `json:"token_type,omitempty"` // of an access token
	ExpiresAt    int64         `json:"exp,omitempty"`        // seconds since 1970
	IssuedAt     int64         `json:"iat,omitempty"`
	Subject      string        `json:"sub,omitempty"`
	Audience     string        `json:"aud,omitempty"` // of an access token
	Issuer       string        `json:"iss,omitempty"`
	ID           string        `json:"jti,omitempty"` // of an access token
	SessionID    string        `json:"sid,omitempty"`
	TenantID     string        `json:"tid,omitempty"`
	Actor        *actor        `json:"act,omitempty"`
	Confirmation *confirmation `json:"cnf,omitempty"`
}

type actor struct {
	Subject  string `json:"sub"`
	ClientID string `json:"client_id,omitempty"`
	Actor    *actor `json:"act,omitempty"` // that acts for this one
}

type confirmation struct {
	Thumbprint string `json:"jkt"`
}

// introspect handles POST /oauth2/introspect (RFC 7662).
func (a *API) introspect(c echo.Context) error {
	in, form, err := a.introspector(c)
	if err != nil {
		return err
	}
	if form.Token == nil {
		return errNoToken
	}
	in.Token = domain.NewSecret(*form.Token)
	out, err := a.Introspect.Do(c.Request().Context(), in)
	if err != nil {
		return err
	}
	web.NoStore(c)
	return c.JSON(http.StatusOK, newIntrospection(out))
}

// introspector authenticates the caller: an API key, or a client that can prove who it is. A public client may not ask
// (RFC 7662, section 2.1): anyone could pretend to be it.
func (a *API) introspector(c echo.Context) (in usecase.IntrospectInput, form heldForm, err error) {
	var caller usecase.Caller
	byKey := web.HasAPIKey(c)
	if byKey { // before anything about the tenant is said
		if caller, err = web.Identify(c, domain.TokenIntrospect); err != nil {
			return in, form, err
		}
	}
	if in.TenantID, err = a.tenantOf(c); err != nil {
		return in, form, err
	}
	if byKey {
		if caller.TenantID != "" && caller.TenantID != in.TenantID {
			err = fmt.Errorf("the API key is for another tenant: %w", domain.ErrUnauthorized)
		}
		if err == nil {
			form, err = web.Body[heldForm](c, web.FormOnly)
		}
		return in, form, err
	}
	if form, err = web.Body[heldForm](c, web.FormOnly); err != nil {
		return in, form, err
	}
	cred, err := credentialOf(c, in.TenantID, form.client())
	if err != nil && !errors.Is(err, errNoClient) {
		return in, form, err
	}
	if err != nil || cred.Public() {
		return in, form, fmt.Errorf("the client sent no proof: %w", domain.ErrUnauthorized)
	}
	record := web.LogRecord(c)
	auth, err := a.client(c.Request().Context(), record, cred)
	if err == nil {
		record.Tenant, in.ApplicationID = in.TenantID, auth.Application.ID
	}
	return in, form, err
}

func newIntrospection(in usecase.Introspected) introspection {
	if !in.Active {
		return introspection{}
	}
	out := introspection{
		Active: true, Scope: strings.Join(in.Scopes, " "), ClientID: in.ApplicationID, Subject: in.Subject,
		ExpiresAt: in.ExpiresAt.Unix(), IssuedAt: in.IssuedAt.Unix(), Audience: in.Audience, Issuer: in.Issuer, ID: in.ID,
		SessionID: in.SessionID, TenantID: in.TenantID,
	}
	if in.Kind == usecase.KindAccessToken {
		out.TokenType = tokenType(in.Confirmation)
	}
	if in.Confirmation != "" {
		out.Confirmation = &confirmation{in.Confirmation}
	}
	for _, a := range slices.Backward(in.Actors) {
		out.Actor = &actor{a.Subject, a.ApplicationID, out.Actor}
	}
	return out
}
