package httpapi

import (
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase"
)

// leaving is what a logout by cookie sends.
type leaving struct {
	cookieName   string
	tokenStrings []domain.Secret // empty if the browser has none
}

// leaving returns nil unless the request is a logout by cookie: a DELETE without a selector, a body and Authorization,
// from an own page, in a browser or with one of the two cookies. No form of another site can send a DELETE, which is
// why no POST is a logout.
func (a *API) leaving(c echo.Context) (*leaving, error) {
	browser := web.IsBrowser(c) && web.OwnPage(c)
	hasCookie := c.Request().Header.Get(echo.HeaderCookie) != ""
	if web.HasCredential(c) || web.HasBody(c) || !browser && !hasCookie {
		return nil, nil
	}
	for parameter := range c.Request().URL.Query() {
		if parameter != domain.FieldCookieName {
			return nil, nil
		}
	}
	query, err := web.Query[cookieQuery](c)
	if err != nil {
		return nil, err
	}
	name, err := cookieName(query.CookieName)
	if err != nil {
		return nil, err
	}
	tokenStrings, err := cookies.Read(c, name)
	if err != nil {
		return nil, err
	}
	has := func(name string) bool {
		return slices.ContainsFunc(c.Cookies(), func(k *http.Cookie) bool { return k.Name == name })
	}
	if !browser && !(web.OwnPage(c) && (has(name) || has(domain.AccessCookieName(name)))) {
		return nil, nil
	}
	return &leaving{name, tokenStrings}, nil
}

// logout revokes every session that the cookies name. They are deleted whatever they hold, also where no session was
// active (404): no script of the page could. They stay only where they are of another tenant's active session, and
// none was revoked; and where the request was not decided: no tenant is named, the store failed (5xx), or a limit was
// reached (429).
func (a *API) logout(c echo.Context, l leaving) error {
	tenantID, err := web.RequiredTenant(c)
	if err != nil {
		return err
	}
	record := web.LogRecord(c)
	ids, err := a.Logout.Do(c.Request().Context(), usecase.LogoutInput{
		TenantID: tenantID, Ambient: l.tokenStrings, By: web.OriginOf(c), Limit: record.AdmitLookup,
	})
	if err != nil && !errors.Is(err, domain.ErrNotFound) {
		return a.refuseCookies(c, l.cookieName, err)
	}
	if err != nil && len(l.tokenStrings) > 0 {
		if failed := record.CredentialFailed(); failed != nil { // unless one was genuine
			return failed
		}
	}
	record.ChargeExchange(err == nil)
	if !errors.Is(err, usecase.ErrOtherTenants) {
		cookies.Delete(c, l.cookieName, domain.Policy{})
	}
	if err != nil {
		return err
	}
	record.Tenant = tenantID
	if len(ids) == 1 {
		tellRevoked(record, domain.Selector{TokenID: ids[0]})
		return done(c, "The refresh token was revoked.", revokedData{TokenID: ids[0].String()})
	}
	record.Event, record.Kind = eventTokenRevoked, revokedToken
	data := revokedData{TokenID: ids[0].String()}
	for _, id := range ids {
		data.TokenIDs = append(data.TokenIDs, id.String())
	}
	record.Add(slog.LevelInfo, slog.String("tokenId", strings.Join(data.TokenIDs, " ")))
	return done(c, "The refresh tokens were revoked.", data)
}
