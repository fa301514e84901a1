package httpapi

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase"
)

type listQuery struct {
	UserID        *string `json:"userId" alias:"userID,usersId"`
	ApplicationID *string `json:"applicationsId" alias:"applicationId"`
	Limit         *int64  `json:"limit"`
	Cursor        *string `json:"cursor"`
}

const (
	defaultLimit = 100
	maximumLimit = 1000
)

// tokenData is a refresh token on the wire. There is no token string in it: the service does not know any.
type tokenData struct {
	ID                string          `json:"id"`
	TenantID          string          `json:"tenantId"`
	ApplicationID     string          `json:"applicationsId"`
	UserID            string          `json:"userId"`
	Generation        uint32          `json:"generation"`
	InsertInstant     int64           `json:"insertInstant"`
	LastUsedInstant   int64           `json:"lastUsedInstant"`
	ExpirationInstant int64           `json:"expirationInstant"`
	Roles             []string        `json:"roles"`
	Scopes            []string        `json:"scopes"`
	Claims            json.RawMessage `json:"claims"`
	MetaData          metaData        `json:"metaData"`
}

type metaData struct {
	Device            *deviceData     `json:"device,omitempty"`
	LastClientAddress string          `json:"lastClientAddress,omitempty"`
	Data              json.RawMessage `json:"data,omitempty"`
}

type deviceData struct {
	Name        string `json:"name,omitempty"`
	Type        string `json:"type,omitempty"`
	Description string `json:"description,omitempty"`
}

func newTokenData(t domain.RefreshToken) tokenData {
	d := tokenData{
		ID: t.ID.String(), TenantID: t.TenantID, ApplicationID: t.ApplicationID, UserID: t.UserID, Generation: t.Generation,
		InsertInstant:   milliseconds(t.IssuedAt),
		LastUsedInstant: milliseconds(t.LastUsedAt), ExpirationInstant: milliseconds(t.ExpiresAt),
		Roles: append([]string{}, t.Roles...), Scopes: append([]string{}, t.Scopes...), Claims: json.RawMessage("{}"),
		MetaData: metaData{LastClientAddress: t.MetaData.ClientAddress, Data: json.RawMessage(t.MetaData.Data)},
	}
	if t.Claims != "" {
		d.Claims = json.RawMessage(t.Claims)
	}
	if t.MetaData.Device != (domain.Device{}) {
		v := deviceData(t.MetaData.Device)
		d.MetaData.Device = &v
	}
	return d
}

// retrieve answers GET /jwt/refresh/:id.
func (a *API) retrieve(c echo.Context) error { return a.retrieveOne(c, web.PathParam(c, "id")) }

func (a *API) retrieveOne(c echo.Context, id string) error {
	tenantID, err := a.backend(c, http.MethodGet, "/jwt/refresh/:id")
	if err != nil {
		return err
	}
	if _, err := web.Query[struct{}](c); err != nil {
		return err
	}
	if err := noBody(c); err != nil {
		return err
	}
	t, err := a.List.One(c.Request().Context(), tenantID, id)
	if err != nil {
		return err
	}
	return done(c, "The refresh token was found.", newTokenData(t))
}

// noBody refuses a body on a GET or a HEAD, where a caller may think that a selector in it counts.
func noBody(c echo.Context) error {
	if c.Request().Method != http.MethodPost && web.HasBody(c) {
		return domain.NewInvalid("", domain.Conflict, "a GET takes no body: put the parameters into the query")
	}
	return nil
}

// listTokens answers GET /jwt/refresh.
func (a *API) listTokens(c echo.Context) error { return a.listPage(c, listQuery{}) }

// listPage lists what the query says; a POST form has its q from the body.
func (a *API) listPage(c echo.Context, q listQuery) error {
	tenantID, err := a.backend(c, http.MethodGet, "/jwt/refresh")
	if err != nil {
		return err
	}
	if c.Request().Method == http.MethodPost {
		_, err = web.Query[struct{}](c)
	} else if err = noBody(c); err == nil {
		q, err = web.Query[listQuery](c)
	}
	if err != nil {
		return err
	}
	in := usecase.ListInput{TenantID: tenantID, UserID: q.UserID, ApplicationID: q.ApplicationID, Limit: defaultLimit}
	if q.Limit != nil {
		if *q.Limit < 1 || *q.Limit > maximumLimit {
			return domain.NewInvalid("limit", domain.Malformed, "use 1 to 1000")
		}
		in.Limit = int(*q.Limit)
	}
	if q.Cursor != nil {
		var ok bool
		if in.Below, ok = openCursor(*q.Cursor, tenantID, q); !ok {
			return domain.NewInvalid("cursor", domain.Malformed,
				"this cursor does not belong to this query: follow the Link header as it is, or begin without a cursor")
		}
	}
	page, err := a.List.Of(c.Request().Context(), in)
	if err != nil {
		return err
	}
	rows, size := make([][]byte, 0, len(page.Sessions)), 0
	for i, session := range page.Sessions {
		row, err := json.Marshal(newTokenData(session.Token))
		if err != nil {
			return err
		}
		rows = append(rows, row)
		if size += len(row); size >= pageBytes && i < len(page.Sessions)-1 {
			page.Next = session.Token.ID
			break
		}
	}
	if !page.Next.IsZero() {
		c.Response().Header().Set("Link", fmt.Sprintf(`<%s>; rel="next"`, nextPage(page.Next, tenantID, in.Limit, q)))
	}
	return doneRows(c, "The refresh tokens were found.", rows)
}

// pageBytes is when a page ends, as it is sent: JSON may take six bytes for one that is stored. It is held until its
// reader has taken it.
const pageBytes = 1 << 20

// nextPage is relative to the request, so that it stays below the prefix that a proxy may have taken off the path.
// The form by POST has the same path, and goes on by GET.
func nextPage(below domain.ID, tenantID string, limit int, q listQuery) string {
	next := url.Values{"userId": {*q.UserID}, "limit": {strconv.Itoa(limit)}, "cursor": {newCursor(below, tenantID, q)}}
	if q.ApplicationID != nil {
		next.Set("applicationsId", *q.ApplicationID)
	}
	return "?" + next.Encode()
}

// A cursor is where the page before ended, and a checksum of what was listed: it is no secret and no proof, but it cannot be
// taken from one query to another by mistake.
func newCursor(below domain.ID, tenantID string, q listQuery) string {
	return base64.RawURLEncoding.EncodeToString(append(below[:], cursorSum(below, tenantID, q)...))
}

func openCursor(s, tenantID string, q listQuery) (domain.ID, bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != 24 || base64.RawURLEncoding.EncodeToString(b) != s {
		return domain.ID{}, false
	}
	below := domain.ID(b[:16])
	return below, !below.IsZero() && subtle.ConstantTimeCompare(b[16:], cursorSum(below, tenantID, q)) == 1
}

func cursorSum(below domain.ID, tenantID string, q listQuery) []byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %q %q %q", below, tenantID, text(q.UserID), text(q.ApplicationID)))
	return sum[:8]
}
