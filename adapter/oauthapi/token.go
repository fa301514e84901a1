package oauthapi

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/adapter/web/strict"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase"
)

// tokenForm is the body of the token endpoint.
type tokenForm struct {
	GrantType    *string      `json:"grant_type"`
	RefreshToken *string      `json:"refresh_token"`
	Scope        *string      `json:"scope"`
	Resource     strict.Texts `json:"resource"` // RFC 8707
	Audience     strict.Texts `json:"audience"` // RFC 8693; or the same, in clients that do not know RFC 8707
	ClientID     *string      `json:"client_id"`
	ClientSecret *string      `json:"client_secret"`
	// Of a token exchange, by RFC 8693, section 2.1.
	SubjectToken       *string `json:"subject_token"`
	SubjectTokenType   *string `json:"subject_token_type"`
	ActorToken         *string `json:"actor_token"`
	ActorTokenType     *string `json:"actor_token_type"`
	RequestedTokenType *string `json:"requested_token_type"`
	// By RFC 7521, section 4.2.
	ClientAssertionType *string `json:"client_assertion_type"`
	ClientAssertion     *string `json:"client_assertion"`
}

func (f tokenForm) client() clientParams {
	return clientParams{f.ClientID, f.ClientSecret, f.ClientAssertionType, f.ClientAssertion}
}

// tokenResponse is by RFC 6749, section 5.1. No member is ever null.
type tokenResponse struct {
	AccessToken     string `json:"access_token"`
	IssuedTokenType string `json:"issued_token_type,omitempty"` // of a token exchange (RFC 8693, section 2.2.1)

	TokenType    string `json:"token_type"`
	ExpiresIn    int64  `json:"expires_in"` // seconds
	RefreshToken string `json:"refresh_token"`
	Scope        string `json:"scope"`
}

// token handles POST /oauth2/token.
func (a *API) token(c echo.Context) error {
	form, cred, err := formOf[tokenForm](a, c)
	if err != nil {
		return err
	}
	if form.GrantType == nil {
		return domain.NewInvalid("grant_type", domain.Blank, "send grant_type=refresh_token")
	}
	var in usecase.ExchangeInput
	switch *form.GrantType {
	case grantRefreshToken:
		in, err = form.refresh()
	case grantTokenExchange:
		in, err = form.tokenExchange()
	default:
		err = errGrantType
	}
	if err != nil {
		return err
	}
	if form.Scope != nil {
		in.Scopes = strings.Fields(*form.Scope)
		in.Narrow = len(in.Scopes) > 0
	}
	return a.exchange(c, *form.GrantType, in, cred)
}

// refresh returns what a refresh asks for (RFC 6749, section 6). Of both names of an audience `resource` takes
// precedence.
func (f tokenForm) refresh() (in usecase.ExchangeInput, err error) {
	if f.RefreshToken == nil {
		return in, domain.NewInvalid("refresh_token", domain.Blank, "send the refresh token")
	}
	in.TokenString = domain.NewSecret(*f.RefreshToken)
	asked := f.Resource
	if len(asked) == 0 {
		asked = f.Audience
	}
	in.Audience, err = oneAudience(asked)
	return in, err
}

// errAudiences is the error of a request for an access token with several audiences.
var errAudiences error = domain.NewInvalid("resource", domain.TooMany,
	"an access token has one audience: send one, in resource or audience")

// oneAudience returns the audience that a request names, perhaps several times; empty if it names none.
func oneAudience(asked []string) (string, error) {
	switch asked = slices.Compact(slices.Sorted(slices.Values(asked))); len(asked) {
	case 0:
		return "", nil
	case 1:
		return asked[0], nil
	}
	return "", errAudiences
}

// exchange sends the response to a request of either grant, whose client, limits and proofs are the same.
func (a *API) exchange(
	c echo.Context, grant string, in usecase.ExchangeInput, cred usecase.ClientCredential,
) error {
	record := web.LogRecord(c)
	in.TenantID, in.ApplicationID = cred.TenantID, cred.ClientID
	in.ClientAddress, in.RequestID, in.Limit = c.RealIP(), record.RequestID, record.AdmitExchange
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
	case out.Outcome.Refused() && grant == grantTokenExchange: // RFC 8693, section 2.2.2
		return refuse(c, invalidRequest, web.ExchangeRefusal(out))
	case out.Outcome.Refused():
		return refuse(c, invalidGrant, web.ExchangeRefusal(out))
	}
	response := newTokenResponse(out.Grant)
	if grant == grantTokenExchange {
		response.IssuedTokenType = typeAccessToken
	}
	web.NoStore(c)
	return c.JSON(http.StatusOK, response)
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
