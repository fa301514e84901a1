package oauthapi

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase"
)

// heldForm is the body of revocation and introspection. `token_type_hint` is ignored: the two kinds of token differ in
// their form.
type heldForm struct {
	Token               *string `json:"token"`
	ClientID            *string `json:"client_id"`
	ClientSecret        *string `json:"client_secret"`
	ClientAssertionType *string `json:"client_assertion_type"`
	ClientAssertion     *string `json:"client_assertion"`
}

func (f heldForm) client() clientParams {
	return clientParams{f.ClientID, f.ClientSecret, f.ClientAssertionType, f.ClientAssertion}
}

var errNoToken error = domain.NewInvalid("token", domain.Blank, "send a refresh token or an access token")

// revoke handles POST /oauth2/revoke (RFC 7009).
func (a *API) revoke(c echo.Context) error {
	form, cred, err := formOf[heldForm](a, c)
	if err != nil {
		return err
	}
	if form.Token == nil {
		return errNoToken
	}
	record := web.LogRecord(c)
	if !domain.IsTokenStringForm(*form.Token) {
		if err := record.Turn(); err != nil {
			return err
		}
	}
	looked := false
	id, err := a.Revoke.Do(c.Request().Context(), usecase.RevokeHeldInput{
		TenantID: cred.TenantID, Token: domain.NewSecret(*form.Token), By: web.OriginOf(c),
		Limit: func(t domain.PresentedToken) error {
			looked = true
			return record.AdmitLookup(t)
		},
		NotGenuine: record.CredentialFailed,
		Authenticate: func(ctx context.Context) (usecase.ClientAuth, error) {
			return a.client(ctx, record, cred)
		},
	})
	if looked && (err == nil || errors.Is(err, domain.ErrUnauthorized)) {
		record.ChargeExchange(err == nil && !id.IsZero())
	}
	if err != nil {
		return err
	}
	if !id.IsZero() {
		record.Tenant, record.Event, record.Kind = cred.TenantID, web.EventTokenRevoked, web.RevokedToken
		record.Add(slog.LevelInfo, slog.String("tokenId", id.String()))
	}
	web.NoStore(c)
	return web.NoBody(c, http.StatusOK)
}
