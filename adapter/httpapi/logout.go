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

// cookieLogout is the input of a logout by cookie.
type cookieLogout struct {
	cookieName   string
	tokenStrings []domain.Secret // empty if the browser sent none
}

// cookieLogout returns nil unless the request is a logout by cookie: a DELETE without selector, body and Authorization,
// from an own page, by a browser or with one of the two cookies. A POST is never a logout, because a form on another
// site can send a POST but no DELETE.
func (a *API) cookieLogout(c echo.Context) (*cookieLogout, error) {
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
	return &cookieLogout{name, tokenStrings}, nil
}

// logout revokes the sessions of all cookies. It deletes the cookies whatever their value, even if no session was
// active (404), because no script of the page can delete them. It keeps them if they belong to another tenant's active
// session and none was revoked, and if the request was not decided: without a tenant, if the store failed (5xx), or if
// a limit was reached (429).
func (a *API) logout(c echo.Context, l cookieLogout) error {
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
		if failed := record.CredentialFailed(); failed != nil { // unless one of them was genuine
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
		logRevocation(record, domain.Selector{TokenID: ids[0]})
		return web.Done(c, "The refresh token was revoked.", revokedData{TokenID: ids[0].String()})
	}
	record.Event, record.Kind = web.EventTokenRevoked, web.RevokedToken
	data := revokedData{TokenID: ids[0].String()}
	for _, id := range ids {
		data.TokenIDs = append(data.TokenIDs, id.String())
	}
	record.Add(slog.LevelInfo, slog.String("tokenId", strings.Join(data.TokenIDs, " ")))
	return web.Done(c, "The refresh tokens were revoked.", data)
}
