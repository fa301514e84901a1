package oauthapi

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase"
)

// tokenForm is the body of the token endpoint.
type tokenForm struct {
	GrantType    *string `json:"grant_type"`
	RefreshToken *string `json:"refresh_token"`
	Scope        *string `json:"scope"`
	Resource     *string `json:"resource"` // RFC 8707
	Audience     *string `json:"audience"` // the same, in clients that do not know RFC 8707
	ClientID     *string `json:"client_id"`
	ClientSecret *string `json:"client_secret"`
	// By RFC 7521, section 4.2.
	ClientAssertionType *string `json:"client_assertion_type"`
	ClientAssertion     *string `json:"client_assertion"`
}

func (f tokenForm) client() clientParams {
	return clientParams{f.ClientID, f.ClientSecret, f.ClientAssertionType, f.ClientAssertion}
}

// tokenResponse is by RFC 6749, section 5.1. No member is ever null.
type tokenResponse struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int64  `json:"expires_in"` // seconds
	RefreshToken string `json:"refresh_token"`
	Scope        string `json:"scope"`
}

// token handles POST /oauth2/token.
func (a *API) token(c echo.Context) error {
	tenantID, err := a.tenantOf(c)
	if err != nil {
		return err
	}
	form, err := web.Body[tokenForm](c, web.FormOnly)
	if err != nil {
		return err
	}
	cred, err := credentialOf(c, tenantID, form.client())
	if err != nil {
		return err
	}
	if err := a.allowPage(c, cred); err != nil {
		return err
	}
	switch {
	case form.GrantType == nil:
		return domain.NewInvalid("grant_type", domain.Blank, "send grant_type=refresh_token")
	case *form.GrantType != "refresh_token":
		return errGrantType
	case form.RefreshToken == nil:
		return domain.NewInvalid("refresh_token", domain.Blank, "send the refresh token")
	}
	return a.exchange(c, form, cred)
}

func (a *API) exchange(c echo.Context, form tokenForm, cred usecase.ClientCredential) error {
	record := web.LogRecord(c)
	in := usecase.ExchangeInput{
		TokenString: domain.NewSecret(*form.RefreshToken), TenantID: cred.TenantID, ApplicationID: cred.ClientID,
		ClientAddress: c.RealIP(), RequestID: record.RequestID, Limit: record.AdmitExchange,
	}
	if form.Scope != nil {
		in.Scopes = strings.Fields(*form.Scope)
		in.Narrow = len(in.Scopes) > 0
	}
	if form.Audience != nil {
		in.Audience = *form.Audience
	}
	if form.Resource != nil {
		in.Audience = *form.Resource
	}
	var err error
	if in.Prove, err = web.ProofOf(c, cred.TenantID); err != nil {
		return err
	}
	asked := false
	if !cred.Public() {
		in.Authenticate = func(ctx context.Context) (usecase.ClientAuth, error) {
			asked = true
			return a.client(ctx, record, cred)
		}
	}
	ctx := c.Request().Context()
	out, err := a.Exchange.Do(ctx, in)
	if err != nil {
		// A refusal after the token string was admitted counts as a token string that was rejected.
		if limited := (*web.Refused)(nil); !errors.As(err, &limited) && web.Status(c, err) < http.StatusInternalServerError {
			record.ChargeExchange(false)
		}
		return err
	}
	if err := web.ConcludeExchange(c, out, a.Exchanged); err != nil {
		return err
	}
	if out.Outcome == domain.RefusedInvalid && out.Why == nil && !asked {
		// The token string says nothing about a client that does not exist, or cannot prove who it is.
		if err := a.refusedClient(ctx, record, cred); err != nil {
			return err
		}
	}
	switch {
	case errors.Is(out.Why, domain.ErrAuthenticationRequired):
		return domain.ErrUnauthorized
	case errors.Is(out.Why, domain.ErrProofRequired):
		return refuse(c, invalidProof, web.ExchangeRefusal(out))
	case out.Outcome.Refused():
		return refuse(c, invalidGrant, web.ExchangeRefusal(out))
	}
	web.NoStore(c)
	return c.JSON(http.StatusOK, newTokenResponse(out.Grant))
}

func newTokenResponse(g usecase.Grant) tokenResponse {
	return tokenResponse{
		AccessToken: g.AccessToken.Reveal(), TokenType: tokenType(g.Confirmation),
		ExpiresIn:    int64(g.ExpiresIn / time.Second),
		RefreshToken: g.TokenString.Reveal(), Scope: strings.Join(g.Scopes, " "),
	}
}

// tokenType returns the type of an access token (RFC 6749, section 7.1): DPoP if it is bound to a key (RFC 9449,
// section 5).
func tokenType(confirmation string) string {
	if confirmation != "" {
		return "DPoP"
	}
	return "Bearer"
}
