package oauthapi

import (
	"errors"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase"
)

// The codes of errors: RFC 6749, section 5.2, RFC 7009, section 2.2.1, RFC 8707, section 2, RFC 8693, section
// 2.2.2, and RFC 9449, sections 5 and 8.
// The last two are those of section 4.1.2.1 of RFC 6749, for what section 5.2 has no code for.
const (
	invalidRequest       = "invalid_request"
	invalidClient        = "invalid_client"
	invalidGrant         = "invalid_grant"
	invalidScope         = "invalid_scope"
	invalidTarget        = "invalid_target"
	invalidProof         = "invalid_dpop_proof"
	useNonce             = "use_dpop_nonce"
	unsupportedGrantType = "unsupported_grant_type"
	unsupportedTokenType = "unsupported_token_type"
	unavailable          = "temporarily_unavailable"
	serverError          = "server_error"
)

// errGrantType is the error of a grant that the service does not have.
var errGrantType error = domain.NewInvalid("grant_type", domain.Malformed,
	"this service has the grants refresh_token and "+grantTokenExchange+" only: the login is yours")

// codes are the codes of errors with a status of 400. All others are invalid_request.
var codes = []struct {
	err  error
	code string
}{
	{usecase.ErrTarget, invalidTarget},
	{errAudiences, invalidTarget},
	{usecase.ErrScope, invalidScope},
	{domain.ErrProof, invalidProof},
	{domain.ErrProofNonce, useNonce},
	{usecase.ErrTokenType, unsupportedTokenType},
	{errGrantType, unsupportedGrantType},
}

// refusal is the body of every refusal.
type refusal struct {
	Error       string `json:"error"`
	Description string `json:"error_description,omitempty"`
	// Code is the code of the JSON API for the same refusal, which tells more than Error; empty if there is none.
	Code string `json:"refreshd_code,omitempty"`
}

// refuse responds with a 400 about one field.
func refuse(c echo.Context, code string, why domain.FieldError) error {
	return write(c, http.StatusBadRequest, refusal{Error: code, Description: why.Text(), Code: why.Code()})
}

// write sends a refusal. A description may have printable ASCII except `"` and `\` (RFC 6749, section 5.2).
func write(c echo.Context, status int, r refusal) error {
	web.NoStore(c)
	r.Description = strings.Map(func(char rune) rune {
		switch {
		case char == '"' || char == '\\':
			return '\''
		case char < ' ' || char > '~':
			return '?'
		default:
			return char
		}
	}, r.Description)
	return c.JSON(status, r)
}

// render is the [web.Renderer] of the dialect.
func render(c echo.Context, status int, err error) error {
	r := refusal{Error: invalidRequest, Description: web.Message(status, err)}
	refused := (*web.Refused)(nil)
	switch {
	case errors.As(err, &refused):
		r = refusal{
			Error: unavailable, Description: refused.Error() + ": wait for Retry-After seconds",
			Code: "[tooMany]" + refused.Reason,
		}
	case status == http.StatusUnauthorized:
		challenge(c)
		r = refusal{Error: invalidClient, Description: "the client is unknown, or did not authenticate as it must"}
	case status == http.StatusServiceUnavailable:
		r = refusal{Error: unavailable, Description: "try again after Retry-After seconds: the request may be repeated"}
	case status >= http.StatusInternalServerError:
		r = refusal{Error: serverError, Description: "the service failed: the request may be repeated"}
	case status == http.StatusBadRequest:
		field := web.FieldErrors(err)[0]
		r = refusal{Error: invalidRequest, Description: field.Text(), Code: field.Code()}
		if field.Field != "" {
			r.Description = field.Field + ": " + r.Description
		}
		for _, known := range codes {
			if errors.Is(err, known.err) {
				r.Error = known.code
			}
		}
	}
	return write(c, status, r)
}

// challenge sets WWW-Authenticate to the scheme that the client used (RFC 6749, section 5.2), or removes it: some
// clients take any challenge for the whole answer.
func challenge(c echo.Context) {
	header := c.Response().Header()
	if _, basic := basicOf(c); basic {
		header.Set(echo.HeaderWWWAuthenticate, `Basic realm="refreshd"`)
		return
	}
	header.Del(echo.HeaderWWWAuthenticate)
}
