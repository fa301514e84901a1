package httpapi

import (
	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
)

// refreshBody is all that POST /jwt/refresh may hold: an exchange, or the selector of another call.
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

// postRefresh answers POST /jwt/refresh: the exchange, unless the body holds a selector. The selector decides what the call
// stands for, and so which permission it needs; only one shape means each. So here, and nowhere else, a body that cannot be read
// is told before an API key is asked for; the exchange takes one from anybody.
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
			"to exchange, send refreshToken without a selector; to revoke, DELETE /jwt/refresh with one selector")
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

// postOne answers POST /jwt/refresh/:id: without a body it retrieves, with the path's id again as tokenId it revokes.
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
