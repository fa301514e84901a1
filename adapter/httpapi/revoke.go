package httpapi

import (
	"log/slog"

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
	TokenID       string   `json:"tokenId,omitempty"`
	TokenIDs      []string `json:"tokenIds,omitempty"` // of a logout of several sessions; includes TokenID
	UserID        string   `json:"userId,omitempty"`
	ApplicationID string   `json:"applicationsId,omitempty"`
	ExceptTokenID string   `json:"exceptTokenId,omitempty"`
	AllInTenant   bool     `json:"allInTenant,omitempty"`
	RevokedBefore int64    `json:"revokedBefore,omitempty"`
}

// revokeTokens handles DELETE /jwt/refresh. The guard treats every one without Authorization as a logout by cookie.
func (a *API) revokeTokens(c echo.Context) error {
	l, err := a.cookieLogout(c)
	if err != nil {
		return err
	}
	if l == nil || len(l.tokenStrings) == 0 { // it presents no token string
		if err := web.LogRecord(c).Turn(); err != nil {
			return err
		}
	}
	if l != nil {
		return a.logout(c, *l)
	}
	caller, err := web.Identify(c, domain.TokenRevokeMany)
	if err != nil {
		return err
	}
	return a.revokeSelected(c, caller)
}

// revokeOne handles DELETE /jwt/refresh/:id.
func (a *API) revokeOne(c echo.Context) error {
	id := web.PathParam(c, "id")
	return a.revokeSelected(c, web.LogRecord(c).Caller, revokeBody{TokenID: &id})
}

// revokeSelected revokes by the selector in the path, which is already in places, the query or the body. An empty body
// or query is a place too, because its sender may expect it to count.
func (a *API) revokeSelected(c echo.Context, caller usecase.Caller, places ...revokeBody) error {
	if web.HasBody(c) {
		body, err := web.Body[revokeBody](c, web.JSONOrForm)
		if err != nil {
			return err
		}
		places = append(places, body)
	}
	if c.Request().URL.RawQuery != "" {
		query, err := web.Query[revokeBody](c)
		if err != nil {
			return err
		}
		places = append(places, query)
	}
	var selector revokeBody
	switch len(places) {
	case 0: // an empty selector, which the use case refuses
	case 1:
		selector = places[0]
	default:
		return domain.NewInvalid("", domain.Conflict,
			"put the selector in one place: the path, the query or the body. Nothing was revoked")
	}
	return a.revokeAs(c, caller, selector)
}

// revokePosted revokes for a client that can only POST. It accepts only an API key, and calls selector after
// authentication.
func (a *API) revokePosted(c echo.Context, action domain.Action, selector func() (revokeBody, error)) error {
	caller, err := web.Identify(c, action)
	if err != nil {
		return err
	}
	s, err := selector()
	if err != nil {
		return err
	}
	if _, err := web.Query[struct{}](c); err != nil {
		return err
	}
	return a.revokeAs(c, caller, s)
}

func (a *API) revokeAs(c echo.Context, caller usecase.Caller, s revokeBody) error {
	in := usecase.RevokeInput{
		TenantID: caller.TenantID, Owner: caller.Owner, By: web.OriginOf(c), InCookies: web.UsesCookies(c),
		Selector: domain.SelectorInput{
			TokenID: s.TokenID, UserID: s.UserID, ApplicationID: s.ApplicationID, ExceptTokenID: s.ExceptTokenID,
			AllInTenant: s.AllInTenant,
		},
	}
	if s.TokenString != nil {
		secret := domain.NewSecret(*s.TokenString)
		in.TokenString = &secret
	}
	revoked, err := a.Revoke.Do(c.Request().Context(), in)
	if err != nil {
		return err
	}
	message, data := revocation(revoked)
	logRevocation(web.LogRecord(c), revoked.Selector)
	if revoked.Cookies != nil {
		name, _ := revoked.Cookies.CookieNames()
		cookies.Delete(c, name, *revoked.Cookies)
	}
	return web.Done(c, message, data)
}

// revocation returns the message and data of the response.
func revocation(r usecase.Revoked) (message string, data revokedData) {
	if r.Selector.IsToken() {
		return "The refresh token was revoked.", revokedData{TokenID: r.Selector.TokenID.String()}
	}
	scope := r.Selector.Scope
	return "The refresh tokens were revoked.", revokedData{
		UserID: scope.UserID, ApplicationID: scope.ApplicationID, ExceptTokenID: idText(r.Selector.Except),
		AllInTenant:   scope.UserID == "" && scope.ApplicationID == "",
		RevokedBefore: milliseconds(r.At),
	}
}

// The kinds of a revocation, in the log.
const (
	revokedUser              = "user"
	revokedApplication       = "application"
	revokedUserInApplication = "userInApplication"
	revokedTenant            = "tenant"
)

// logRevocation adds to the log line what was revoked.
func logRevocation(record *web.Record, s domain.Selector) {
	record.Event, record.Kind = web.EventTokenRevoked, revokedTenant
	switch {
	case s.IsToken():
		record.Kind = web.RevokedToken
	case s.Scope.UserID != "" && s.Scope.ApplicationID != "":
		record.Kind = revokedUserInApplication
	case s.Scope.UserID != "":
		record.Kind = revokedUser
	case s.Scope.ApplicationID != "":
		record.Kind = revokedApplication
	}
	for _, field := range []slog.Attr{
		slog.String("tokenId", idText(s.TokenID)), slog.String("userId", s.Scope.UserID),
		slog.String("applicationId", s.Scope.ApplicationID), slog.String("exceptTokenId", idText(s.Except)),
	} {
		if field.Value.String() != "" {
			record.Add(slog.LevelInfo, field)
		}
	}
}

// idText returns the text of an id, empty for the zero ID.
func idText(id domain.ID) string {
	if id.IsZero() {
		return ""
	}
	return id.String()
}
