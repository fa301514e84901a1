package httpapi

import (
	"encoding/json"
	"log/slog"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase"
)

// patchBody is a JSON merge patch (RFC 7396). A field that null removes is a pointer to a pointer. Members within a
// RawMessage may be null too.
type patchBody struct {
	Roles    **[]string        `json:"roles"`
	Scopes   **[]string        `json:"scopes"`
	Claims   **json.RawMessage `json:"claims"`
	MetaData *struct {
		Device **struct {
			Name        **string `json:"name"`
			Type        **string `json:"type"`
			Description **string `json:"description"`
		} `json:"device"`
		Data **json.RawMessage `json:"data"`
	} `json:"metaData"`
}

type patchQuery struct {
	UserID        *string `json:"userId" alias:"userID,usersId"`
	ApplicationID *string `json:"applicationsId" alias:"applicationId"`
}

// changedData is the data of the response to a patch of a user's sessions: their number.
type changedData struct {
	Changed int `json:"changed"`
}

// patchTokens handles PATCH /jwt/refresh.
func (a *API) patchTokens(c echo.Context) error {
	p, err := readPatch(c)
	if err != nil {
		return err
	}
	q, err := web.Query[patchQuery](c)
	if err != nil {
		return err
	}
	n, err := a.Patch.OfUser(c.Request().Context(), usecase.PatchInput{
		TenantID: web.LogRecord(c).Caller.TenantID, UserID: q.UserID, ApplicationID: q.ApplicationID, Patch: p,
		By: web.OriginOf(c),
	})
	if err != nil {
		return err
	}
	attrs := []slog.Attr{slog.String("userId", text(q.UserID)), slog.Int("changed", n)}
	if q.ApplicationID != nil {
		attrs = append(attrs, slog.String("applicationId", *q.ApplicationID))
	}
	logChange(web.LogRecord(c), p, attrs...)
	return web.Done(c, "The refresh tokens were changed.", changedData{Changed: n})
}

// patchOne handles PATCH /jwt/refresh/:id.
func (a *API) patchOne(c echo.Context) error {
	p, err := readPatch(c)
	if err != nil {
		return err
	}
	if _, err := web.Query[struct{}](c); err != nil {
		return err
	}
	tenantID := web.LogRecord(c).Caller.TenantID
	t, err := a.Patch.One(c.Request().Context(), tenantID, web.PathParam(c, "id"), p, web.OriginOf(c))
	if err != nil {
		return err
	}
	logChange(web.LogRecord(c), p, slog.String("refreshTokenId", t.ID.String()))
	return web.Done(c, "The refresh token was changed.", newTokenData(t))
}

// readPatch reads the patch in the body.
func readPatch(c echo.Context) (domain.Patch, error) {
	body, err := web.Body[patchBody](c, web.MergePatch)
	if err != nil {
		return domain.Patch{}, err
	}
	return body.patch()
}

func (b patchBody) patch() (domain.Patch, error) {
	var problems domain.Problems
	p := domain.Patch{
		Roles: removable(b.Roles), Scopes: removable(b.Scopes), Claims: objectPatch(&problems, "claims", b.Claims),
	}
	if m := b.MetaData; m != nil {
		p.Data = objectPatch(&problems, "metaData.data", m.Data)
		switch {
		case m.Device == nil:
		case *m.Device == nil:
			p.Device = &domain.DevicePatch{Name: new(""), Type: new(""), Description: new("")}
		default:
			d := *m.Device
			p.Device = &domain.DevicePatch{
				Name: removable(d.Name), Type: removable(d.Type), Description: removable(d.Description),
			}
		}
	}
	return p, problems.Err()
}

// removable returns nil if the field was not sent, and the zero value for null.
func removable[T any](sent **T) *T {
	switch {
	case sent == nil:
		return nil
	case *sent == nil:
		return new(T)
	default:
		return *sent
	}
}

func objectPatch(problems *domain.Problems, field string, sent **json.RawMessage) *domain.ObjectPatch {
	switch {
	case sent == nil:
		return nil
	case *sent == nil:
		return &domain.RemoveObject
	}
	p, ok := domain.NewObjectPatch(**sent)
	if !ok {
		problems.Add(field, domain.Malformed, "this must be an object")
	}
	return &p
}

// logChange adds to the log line what was changed: the names of the fields, without values.
func logChange(record *web.Record, p domain.Patch, which ...slog.Attr) {
	record.Event = eventTokenChanged
	record.Add(slog.LevelInfo, append(which, slog.String("fields", strings.Join(p.Fields(), " ")))...)
}
