package httpapi

import (
	"errors"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase"
)

// leaving returns the cookies of a logout: a DELETE without a selector, a body and Authorization, from an own page. It
// returns none for any other request. No form of another site can send a DELETE, which is why no POST is a logout.
func (a *API) leaving(c echo.Context) (name string, tokenStrings []domain.Secret, err error) {
	credential, err := credential(c)
	if err != nil || !credential.IsZero() || web.HasBody(c) || c.Request().Header.Get(echo.HeaderCookie) == "" {
		return "", nil, nil
	}
	for parameter := range c.Request().URL.Query() {
		if parameter != domain.FieldCookieName {
			return "", nil, nil
		}
	}
	query, err := web.Query[cookieQuery](c)
	if err != nil {
		return "", nil, err
	}
	if name, err = cookieName(query.CookieName); err != nil {
		return "", nil, err
	}
	tokenStrings, err = a.cookies(c, name)
	return name, tokenStrings, err
}

// logout revokes the session that the cookies name. They are deleted whatever they hold, once the store has answered:
// who logs out of a session that has ended, or was never there, is logged out.
func (a *API) logout(c echo.Context, name string, tokenStrings []domain.Secret) error {
	tenantID, err := namedTenant(c)
	if err != nil {
		return err
	}
	if tenantID == "" {
		return domain.NewInvalid(tenantHeader, domain.Blank, "name the tenant in this header")
	}
	record := web.Note(c)
	id, err := a.Logout.Do(c.Request().Context(), usecase.LogoutInput{
		TenantID: tenantID, Ambient: tokenStrings, Limit: record.Presented,
	})
	if err != nil && !errors.Is(err, domain.ErrNotFound) {
		return a.refuseCookies(c, name, err)
	}
	if err != nil {
		if failed := record.FailedProof(); failed != nil { // unless one was genuine
			return failed
		}
	}
	record.Exchanged(err == nil)
	a.deleteCookies(c, name, domain.Policy{})
	if err != nil {
		return err
	}
	record.Tenant = tenantID
	tellRevoked(record, domain.Selector{TokenID: id})
	return done(c, "The refresh token was revoked.", revokedData{TokenID: id.String()})
}

// ownerPolicy returns the policy that names the cookies of an owner who sends a request from an own page in a browser;
// nil for any other caller. It is read before anything is revoked, so that a failure leaves everything as it was.
func (a *API) ownerPolicy(c echo.Context, owner *domain.AccessToken) (*domain.Policy, error) {
	header := c.Request().Header
	browser := header.Get(echo.HeaderCookie) != "" || header.Get("Sec-Fetch-Site") != ""
	if owner == nil || !browser || !a.ownPage(c) {
		return nil, nil
	}
	p, err := a.Logout.Policy(c.Request().Context(), *owner)
	return &p, err
}

// endsOwn reports whether what was revoked includes the owner's own session.
func endsOwn(owner domain.AccessToken, s domain.Selector) bool {
	if s.IsToken() {
		return s.TokenID.String() == owner.SessionID
	}
	return s.Except.IsZero() || s.Except.String() != owner.SessionID
}
