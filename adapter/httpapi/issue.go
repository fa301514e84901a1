package httpapi

import (
	"encoding/json"
	"log/slog"
	"net/netip"
	"strings"
	"time"
	"unicode"

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
	ClientAddress     *string `json:"clientAddress"`
	UserAgent         *string `json:"userAgent"`
	InsertInstant     *int64  `json:"insertInstant"`
	ExpirationInstant *int64  `json:"expirationInstant"`
	Cookies           bool    `json:"cookies"`
	Thumbprint        *string `json:"dpopJkt"`
}

// grantData is the data of the response to an issue and to an exchange. ExpiresIn and RefreshTokenExpiresIn are in
// seconds.
type grantData struct {
	RefreshToken          string `json:"refreshToken,omitempty"`
	RefreshTokenID        string `json:"refreshTokenId"`
	Token                 string `json:"token"`
	ExpiresIn             int64  `json:"expiresIn"`
	RefreshTokenExpiresIn int64  `json:"refreshTokenExpiresIn"`
}

func newGrantData(g usecase.Grant) grantData {
	return grantData{
		RefreshToken: g.TokenString.Reveal(), RefreshTokenID: g.RefreshToken.ID.String(), Token: g.AccessToken.Reveal(),
		ExpiresIn:             int64(g.ExpiresIn / time.Second),
		RefreshTokenExpiresIn: int64(g.RefreshTokenExpiresIn / time.Second),
	}
}

// issue handles POST /jwt/issue.
func (a *API) issue(c echo.Context) error {
	body, err := web.Body[issueBody](c, web.JSON)
	if err != nil {
		return err
	}
	if _, err := web.Query[struct{}](c); err != nil {
		return err
	}
	in, err := body.input(web.LogRecord(c).Caller.TenantID)
	if err != nil {
		return err
	}
	if in.Binding, err = bindingOf(c, in); err != nil {
		return err
	}
	in.By = web.OriginOf(c)
	grant, err := a.Issue.Do(c.Request().Context(), in)
	if err != nil {
		return err
	}
	record := web.LogRecord(c)
	record.Event = eventTokenIssued
	record.Add(slog.LevelInfo, slog.String("refreshTokenId", grant.RefreshToken.ID.String()),
		slog.String("applicationId", grant.RefreshToken.ApplicationID))
	web.NoStore(c)
	if body.Cookies {
		cookies.Issue(c, grant)
	}
	return web.Done(c, "The refresh token was issued.", newGrantData(grant))
}

// bindingOf returns the key that the refresh token is to be bound to: the one that the body names, or that of the DPoP
// proof of the request.
func bindingOf(c echo.Context, in usecase.IssueInput) (string, error) {
	prove, err := web.ProofOf(c, in.TenantID)
	if err != nil || prove == nil {
		return in.Binding, err
	}
	proved, err := prove(c.Request().Context())
	switch {
	case err != nil:
		return "", err
	case proved.Next != "":
		return "", domain.RefuseProof("a session that is issued has no key to replace: omit " + domain.NextProofHeader)
	case in.Binding != "" && in.Binding != proved.Key:
		return "", domain.NewInvalid("dpopJkt", domain.Conflict,
			"this is not the thumbprint of the key of the DPoP proof: omit one of them")
	}
	return proved.Key, nil
}

func (b issueBody) input(tenantID string) (usecase.IssueInput, error) {
	var p domain.Problems
	in := usecase.IssueInput{
		TenantID: tenantID, ApplicationID: text(b.ApplicationID), UserID: text(b.UserID),
		Roles: b.Roles, Scopes: b.Scopes, Claims: object(&p, "claims", b.Claims), Cookies: b.Cookies,
	}
	if b.RefreshTokenID != nil {
		var ok bool
		if in.ID, ok = domain.ParseID(*b.RefreshTokenID); !ok {
			p.Add("refreshTokenId", domain.Malformed, "use a UUID of version 7, or omit it")
		}
	}
	if m := b.MetaData; m != nil {
		in.MetaData.Data = object(&p, "metaData.data", m.Data)
		if m.Device != nil {
			in.MetaData.Device = domain.Device{
				Name: m.Device.Name, Type: m.Device.Type, Description: m.Device.Description,
			}
		}
	}
	if b.Thumbprint != nil {
		if in.Binding = *b.Thumbprint; !domain.IsThumbprint(in.Binding) {
			p.Add("dpopJkt", domain.Malformed,
				"use the SHA-256 thumbprint (RFC 7638) of the client's public key: 43 characters of base64url")
		}
	}
	in.MetaData.ClientAddress = clientAddress(&p, b.ClientAddress)
	in.MetaData.Device = in.MetaData.Device.DescribedBy(userAgent(&p, b.UserAgent))
	in.IssuedAt = instant(&p, "insertInstant", b.InsertInstant)
	in.ExpiresAt = instant(&p, "expirationInstant", b.ExpirationInstant)
	return in, p.Err()
}

// clientAddress parses an IP address, and returns it in the form of client addresses that the service finds itself. It
// is empty for nil.
func clientAddress(p *domain.Problems, s *string) string {
	if s == nil {
		return ""
	}
	address, err := netip.ParseAddr(*s)
	if err != nil {
		p.Add("clientAddress", domain.Malformed,
			"send only an IP address, such as 203.0.113.7 or 2001:db8::7, or omit it")
		return ""
	}
	return address.Unmap().WithZone("").String()
}

const maxUserAgent = 1024 // bytes

// userAgent returns the User-Agent of the user's device, empty for nil.
func userAgent(p *domain.Problems, s *string) string {
	switch {
	case len(text(s)) > maxUserAgent:
		p.Add("userAgent", domain.TooLong, "use at most 1024 bytes")
	case strings.ContainsFunc(text(s), unicode.IsControl):
		p.Add("userAgent", domain.Malformed, "control characters are not allowed")
	default:
		return text(s)
	}
	return ""
}

// lastInstant is the end of the year 9999, in milliseconds since 1970.
const lastInstant = 253_402_300_799_999

// instant converts milliseconds since 1970; nil is the zero time.
func instant(p *domain.Problems, field string, ms *int64) time.Time {
	switch {
	case ms == nil:
		return time.Time{}
	case *ms < 0 || *ms > lastInstant:
		p.Add(field, domain.Malformed, "send a whole number of milliseconds since 1970")
		return time.Time{}
	default:
		return time.UnixMilli(*ms).UTC()
	}
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
