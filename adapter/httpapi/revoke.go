package httpapi

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase"
)

// revokeBody is a selector, in a body or in a query.
type revokeBody struct {
	TokenID       *string `json:"tokenId"`
	TokenString   *string `json:"tokenString" alias:"TokenString,token"`
	UserID        *string `json:"userId" alias:"userID,usersId"`
	ApplicationID *string `json:"applicationsId" alias:"applicationId"`
	ExceptTokenID *string `json:"exceptTokenId"`
	AllInTenant   *bool   `json:"allInTenant"`
}

type revokedData struct {
	TokenID       string `json:"tokenId,omitempty"`
	UserID        string `json:"userId,omitempty"`
	ApplicationID string `json:"applicationsId,omitempty"`
	ExceptTokenID string `json:"exceptTokenId,omitempty"`
	AllInTenant   bool   `json:"allInTenant,omitempty"`
	RevokedBefore int64  `json:"revokedBefore,omitempty"`
}

// revokeTokens answers DELETE /jwt/refresh.
func (a *API) revokeTokens(c echo.Context) error { return a.revokeSelected(c, revokeBody{}) }

// revokeOne answers DELETE /jwt/refresh/:id.
func (a *API) revokeOne(c echo.Context) error {
	id := web.PathParam(c, "id")
	return a.revokeSelected(c, revokeBody{TokenID: &id})
}

// revokeSelected revokes by the selector in the path, the query or the body, in one of them only; that of a POST form has been
// read from the body already, as that of a path.
func (a *API) revokeSelected(c echo.Context, selector revokeBody) error {
	path := "/jwt/refresh"
	if c.Param("id") != "" {
		path = "/jwt/refresh/:id"
	}
	if c.Request().Method == http.MethodPost {
		tenantID, err := a.backend(c, http.MethodDelete, path)
		if err != nil {
			return err
		}
		return a.revokeAs(c, tenantID, nil, selector)
	}
	tenantID, owner, err := a.backendOrOwner(c, http.MethodDelete, path)
	if err != nil {
		return err
	}
	places := []revokeBody{selector}
	if web.HasBody(c) {
		body, err := web.Body[revokeBody](c, web.JSONOrForm)
		if err != nil {
			return err
		}
		places = append(places, body)
	}
	query, err := web.Query[revokeBody](c)
	if err != nil {
		return err
	}
	selector, named := revokeBody{}, 0
	for _, place := range append(places, query) {
		if place != (revokeBody{}) {
			selector, named = place, named+1
		}
	}
	if named > 1 {
		return domain.NewInvalid("", domain.Conflict, "put the selector in one place: the path, the query or the body. Nothing was revoked")
	}
	return a.revokeAs(c, tenantID, owner, selector)
}

func (a *API) revokeAs(c echo.Context, tenantID string, owner *domain.AccessToken, s revokeBody) error {
	in := usecase.RevokeInput{TenantID: tenantID, Owner: owner, Selector: domain.SelectorInput{
		TokenID: s.TokenID, UserID: s.UserID, ApplicationID: s.ApplicationID, ExceptTokenID: s.ExceptTokenID, AllInTenant: s.AllInTenant,
	}}
	if s.TokenString != nil {
		secret := domain.NewSecret(*s.TokenString)
		in.TokenString = &secret
	}
	revoked, err := a.Revoke.Do(c.Request().Context(), in)
	if err != nil {
		return err
	}
	if revoked.Selector.IsToken() {
		return done(c, "The refresh token was revoked.", revokedData{TokenID: revoked.Selector.TokenID.String()})
	}
	data := revokedData{
		UserID: revoked.Selector.Scope.UserID, ApplicationID: revoked.Selector.Scope.ApplicationID,
		AllInTenant: s.AllInTenant != nil, RevokedBefore: milliseconds(revoked.At),
	}
	if !revoked.Selector.Except.IsZero() {
		data.ExceptTokenID = revoked.Selector.Except.String()
	}
	return done(c, "The refresh tokens were revoked.", data)
}
