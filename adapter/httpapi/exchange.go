package httpapi

import (
	"errors"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase"
)

// maxAccessTokenTTL bounds timeToLiveInSeconds before it is converted to a duration. No policy allows more.
const maxAccessTokenTTL = 86_400

// exchange handles POST /jwt/refresh with a token string in the body or in a cookie.
func (a *API) exchange(c echo.Context, b refreshBody) error {
	in, name, err := a.exchangeInput(c, b)
	if err != nil {
		return err
	}
	if in.TokenString.IsZero() {
		if in.Ambient, err = cookies.Read(c, name); err != nil {
			return err
		}
		if len(in.Ambient) == 0 {
			return domain.NewInvalid("refreshToken", domain.Blank,
				"send the token string in refreshToken, in the cookie refresh_token, or in the one that cookieName names")
		}
	}

	out, err := a.Exchange.Do(c.Request().Context(), in)
	if err != nil {
		return a.refuseCookies(c, name, err)
	}
	if err := web.ConcludeExchange(c, out, a.Exchanged); err != nil {
		return err
	}
	if errors.Is(out.Why, domain.ErrLifetimeTooLong) {
		return domain.NewInvalid("timeToLiveInSeconds", domain.Malformed,
			"this is longer than the policy allows: send a smaller value, or omit it")
	}
	byCookie := len(in.Ambient) > 0
	switch {
	case errors.Is(out.Why, domain.ErrAuthenticationRequired):
		return domain.ErrUnauthorized
	case out.Outcome.Refused():
		if byCookie && out.Deletable {
			cookies.Delete(c, name, out.Policy)
		}
		return web.Refuse(c, "The refresh token cannot be exchanged.", []domain.FieldError{web.ExchangeRefusal(out)})
	}
	web.NoStore(c)
	data := newGrantData(out.Grant)
	if byCookie {
		cookies.Renew(c, out.Grant, name, len(in.Ambient), out.Deletable)
		if out.Policy.CookieOnly {
			data.RefreshToken = ""
		}
	}
	return web.Done(c, "The refresh token was exchanged.", data)
}

// exchangeInput reads the API key, the tenant and the body, and returns the name of the cookie.
func (a *API) exchangeInput(c echo.Context, b refreshBody) (in usecase.ExchangeInput, name string, err error) {
	caller, authenticated, err := web.OptionalCaller(c, domain.TokenExchange)
	if err != nil {
		return in, "", err
	}
	// The key of one tenant is not valid for another tenant's token strings, even if the request names no tenant.
	in.TenantID, in.Authenticated = caller.TenantID, authenticated
	query, err := web.Query[cookieQuery](c)
	if err != nil {
		return in, "", err
	}
	if name, err = cookieName(b.CookieName, query.CookieName); err != nil {
		return in, "", err
	}
	if in.Prove, err = web.ProofOf(c, in.TenantID); err != nil {
		return in, "", err
	}
	record := web.LogRecord(c)
	in.AccessToken, in.ClientAddress = domain.NewSecret(text(b.Token)), c.RealIP()
	in.RequestID, in.Limit, in.LimitRead = record.RequestID, record.AdmitExchange, record.AdmitLookup
	if ttl := b.TimeToLiveInSeconds; ttl != nil {
		if *ttl < 1 || *ttl > maxAccessTokenTTL {
			return in, "", domain.NewInvalid("timeToLiveInSeconds", domain.Malformed,
				"use at least 1, and no more than the policy allows")
		}
		in.AccessTokenTTL = time.Duration(*ttl) * time.Second
	}
	if b.RefreshToken != nil {
		if *b.RefreshToken == "" {
			return in, "", domain.NewInvalid("refreshToken", domain.Blank, "send the token string")
		}
		in.TokenString = domain.NewSecret(*b.RefreshToken)
	}
	return in, name, nil
}
