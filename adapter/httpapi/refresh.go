package httpapi

import (
	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
)

// refreshBody is the body of POST /jwt/refresh: an exchange, or the selector of another request.
type refreshBody struct {
	RefreshToken        *string `json:"refreshToken"`
	Token               *string `json:"token"`
	TimeToLiveInSeconds *int64  `json:"timeToLiveInSeconds"`
	CookieName          *string `json:"cookieName"`

	ID            *string `json:"id"`
	TokenID       *string `json:"tokenId"`
	TokenString   *string `json:"tokenString" alias:"TokenString"`
	UserID        *string `json:"userId" alias:"userID,usersId"`
	ApplicationID *string `json:"applicationsId" alias:"applicationId"`
}

// postRefresh handles POST /jwt/refresh: the exchange, unless the body has a selector. The selector determines what the
// request stands for, and so which permission it needs; each meaning has only one form. So this is the only handler
// that reports a malformed body before it authenticates the caller. The exchange accepts a body from any client anyway.
func (a *API) postRefresh(c echo.Context) error {
	var b refreshBody
	if web.HasBody(c) {
		var err error
		if b, err = web.Body[refreshBody](c, web.JSONOrForm); err != nil {
			return err
		}
	}
	id, one, user, app := b.ID != nil, b.TokenID != nil || b.TokenString != nil, b.UserID != nil, b.ApplicationID != nil
	if !id && !one && !user && !app {
		return a.exchange(c, b)
	}
	if err := web.LogRecord(c).Turn(); err != nil {
		return err
	}
	exchanges := b.RefreshToken != nil || b.Token != nil || b.TimeToLiveInSeconds != nil || b.CookieName != nil
	switch {
	case exchanges:
		return domain.NewInvalid("refreshToken", domain.Conflict,
			"to exchange, send refreshToken without a selector; to revoke, send DELETE /jwt/refresh with one selector")
	case id && !one && !user && !app:
		return a.retrievePosted(c, *b.ID)
	case user && !id && !one && !app:
		return a.listPosted(c, *b.UserID)
	case !id && (one || app):
		return a.revokePosted(c, domain.TokenRevokeMany, func() (revokeBody, error) {
			return revokeBody{
				TokenID: b.TokenID, TokenString: b.TokenString, UserID: b.UserID, ApplicationID: b.ApplicationID,
			}, nil
		})
	default:
		return domain.NewInvalid("id", domain.Conflict,
			"id alone retrieves, tokenId alone revokes: send one selector, or use GET and DELETE")
	}
}

// postOne handles POST /jwt/refresh/:id. Without a body it retrieves; with the path's id as tokenId it revokes.
func (a *API) postOne(c echo.Context) error {
	id := web.PathParam(c, "id")
	if !web.HasBody(c) {
		return a.retrievePosted(c, id)
	}
	return a.revokePosted(c, domain.TokenRevoke, func() (revokeBody, error) {
		b, err := web.Body[refreshBody](c, web.JSONOrForm)
		if err == nil && (b.TokenID == nil || b != refreshBody{TokenID: b.TokenID} || *b.TokenID != id) {
			err = domain.NewInvalid("tokenId", domain.Conflict,
				"to revoke by POST, repeat the path's id as tokenId and send nothing else; to retrieve, send no body")
		}
		return revokeBody{TokenID: b.TokenID}, err
	})
}
