package httpapi

import (
	"encoding/json"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase"
)

type issueBody struct {
	UserID         *string         `json:"userId" alias:"userID,usersId"`
	ApplicationID  *string         `json:"applicationsId" alias:"applicationId"`
	RefreshTokenID *string         `json:"refreshTokenId"`
	Roles          []string        `json:"roles"`
	Scopes         []string        `json:"scopes"`
	Claims         json.RawMessage `json:"claims"`
	MetaData       *struct {
		Device *struct {
			Name        string `json:"name"`
			Type        string `json:"type"`
			Description string `json:"description"`
		} `json:"device"`
		Data json.RawMessage `json:"data"`
	} `json:"metaData"`
}

// grantData is what an issue and an exchange answer with.
type grantData struct {
	RefreshToken   string `json:"refreshToken,omitempty"`
	RefreshTokenID string `json:"refreshTokenId"`
	Token          string `json:"token"`
}

func newGrantData(g usecase.Grant) grantData {
	return grantData{
		RefreshToken: g.TokenString.Reveal(), RefreshTokenID: g.RefreshToken.ID.String(), Token: g.AccessToken.Reveal(),
	}
}

// issue answers POST /jwt/issue.
func (a *API) issue(c echo.Context) error {
	tenantID, err := a.backend(c, "POST", "/jwt/issue")
	if err != nil {
		return err
	}
	body, err := web.Body[issueBody](c, web.JSON)
	if err != nil {
		return err
	}
	if _, err := web.Query[struct{}](c); err != nil {
		return err
	}
	in, err := body.input(tenantID)
	if err != nil {
		return err
	}
	grant, err := a.Issue.Do(c.Request().Context(), in)
	if err != nil {
		return err
	}
	web.NoStore(c)
	return done(c, "The refresh token was issued.", newGrantData(grant))
}

func (b issueBody) input(tenantID string) (usecase.IssueInput, error) {
	var p domain.Problems
	in := usecase.IssueInput{
		TenantID: tenantID, ApplicationID: text(b.ApplicationID), UserID: text(b.UserID), Roles: b.Roles, Scopes: b.Scopes,
		Claims: object(&p, "claims", b.Claims),
	}
	if b.RefreshTokenID != nil {
		var ok bool
		if in.ID, ok = domain.ParseID(*b.RefreshTokenID); !ok {
			p.Add("refreshTokenId", domain.Malformed, "this must be a UUID, best of version 7; or leave it out")
		}
	}
	if m := b.MetaData; m != nil {
		in.MetaData.Data = object(&p, "metaData.data", m.Data)
		if m.Device != nil {
			in.MetaData.Device = domain.Device{Name: m.Device.Name, Type: m.Device.Type, Description: m.Device.Description}
		}
	}
	return in, p.Err()
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func object(p *domain.Problems, field string, raw json.RawMessage) domain.Object {
	if raw == nil {
		return ""
	}
	o, ok := domain.NewObject(raw)
	if !ok {
		p.Add(field, domain.Malformed, "this must be an object")
	}
	return o
}
