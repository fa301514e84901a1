package httpapi

import (
	"errors"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase"
)

// cookieQuery is the query of an exchange or a logout by cookie.
type cookieQuery struct {
	CookieName *string `json:"cookieName"`
}

// cookieName returns the name of the refresh token's cookie, which a request may send in several places, or the
// default.
func cookieName(places ...*string) (string, error) {
	var named *string
	for _, name := range places {
		switch {
		case name == nil:
		case named != nil && *named != *name:
			return "", domain.NewInvalid(domain.FieldCookieName, domain.Conflict,
				"body and query name two different cookies: send one")
		default:
			named = name
		}
	}
	if named == nil {
		return domain.DefaultCookieName, nil
	}
	var p domain.Problems
	domain.CheckCookieName(&p, domain.FieldCookieName, *named)
	return *named, p.Err()
}

// cookies are sent on the path of the exchange, and below it.
var cookies = web.Cookies{Path: "/jwt/refresh"}

// refuseCookies deletes the cookies if err means that they belong to several sessions, of which none can be chosen. The
// next login then succeeds. After a proof that was refused they are kept. It returns err, or the error of the guard.
func (a *API) refuseCookies(c echo.Context, name string, err error) error {
	record := web.LogRecord(c)
	switch {
	case errors.Is(err, usecase.ErrTooManySessions):
		if refused := record.AdmitWithoutLookup(); refused != nil {
			return refused
		}
	case errors.Is(err, usecase.ErrSeveralSessions):
		record.ChargeExchange(false)
	case errors.Is(err, domain.ErrProof), errors.Is(err, domain.ErrProofNonce):
		record.ChargeExchange(false)
		return err
	default:
		return err
	}
	cookies.Delete(c, name, domain.Policy{})
	return err
}
