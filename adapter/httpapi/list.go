package httpapi

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase"
)

// listQuery is the query of GET /jwt/refresh.
type listQuery struct {
	UserID        *string `json:"userId" alias:"userID,usersId"`
	ApplicationID *string `json:"applicationsId" alias:"applicationId"`
	State         *string `json:"state"`
	Limit         *int64  `json:"limit"`
	Cursor        *string `json:"cursor"`
	Count         *bool   `json:"count"`
}

// oneQuery is the query of GET /jwt/refresh/:id.
type oneQuery struct {
	State *string `json:"state"`
}

const (
	defaultLimit = 100
	maximumLimit = 1000
)

// tokenData is a refresh token in a response. It has no token string, because the service stores none.
type tokenData struct {
	ID                string          `json:"id"`
	TenantID          string          `json:"tenantId"`
	ApplicationID     string          `json:"applicationsId"`
	UserID            string          `json:"userId"`
	Generation        uint32          `json:"generation"`
	InsertInstant     int64           `json:"insertInstant"`
	LastUsedInstant   int64           `json:"lastUsedInstant"`
	ExpirationInstant int64           `json:"expirationInstant"`
	State             string          `json:"state"`
	EndedInstant      int64           `json:"endedInstant,omitempty"`
	EndedReason       string          `json:"endedReason,omitempty"`
	Current           *bool           `json:"current,omitempty"` // only for an owner's access token
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

// newSessionData returns the data of s for owner, who is nil for an API key.
func newSessionData(s usecase.Session, owner *domain.AccessToken) tokenData {
	d := newTokenData(s.RefreshToken)
	if s.Ending != nil {
		d.State, d.EndedReason = string(domain.EndedSessions), string(s.Ending.Reason)
		if !s.Ending.At.IsZero() {
			d.EndedInstant = milliseconds(s.Ending.At)
		}
	}
	if owner != nil {
		d.Current = new(d.ID == owner.SessionID)
	}
	return d
}

// newTokenData returns the data of an active refresh token.
func newTokenData(t domain.RefreshToken) tokenData {
	d := tokenData{
		State: string(domain.ActiveSessions),
		ID:    t.ID.String(), TenantID: t.TenantID, ApplicationID: t.ApplicationID, UserID: t.UserID,
		Generation:      t.Generation,
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

// retrieve handles GET /jwt/refresh/:id.
func (a *API) retrieve(c echo.Context) error {
	caller := web.LogRecord(c).Caller
	q, err := web.Query[oneQuery](c)
	if err != nil {
		return err
	}
	if err := noBody(c); err != nil {
		return err
	}
	in := usecase.OneInput{TenantID: caller.TenantID, ID: web.PathParam(c, "id"), Owner: caller.Owner}
	if in.State, err = sessionState(q.State); err != nil {
		return err
	}
	return a.retrieveOne(c, in)
}

// retrievePosted is retrieve for a client that can only POST. It accepts only an API key.
func (a *API) retrievePosted(c echo.Context, id string) error {
	caller, err := web.Identify(c, domain.TokenRead)
	if err != nil {
		return err
	}
	if _, err := web.Query[struct{}](c); err != nil {
		return err
	}
	return a.retrieveOne(c, usecase.OneInput{TenantID: caller.TenantID, ID: id})
}

func (a *API) retrieveOne(c echo.Context, in usecase.OneInput) error {
	s, err := a.List.One(c.Request().Context(), in)
	if err != nil {
		return err
	}
	return web.Done(c, "The refresh token was found.", newSessionData(s, in.Owner))
}

// sessionState parses the parameter state; nil is empty.
func sessionState(s *string) (domain.SessionState, error) {
	if s == nil {
		return "", nil
	}
	switch state := domain.SessionState(*s); state {
	case domain.ActiveSessions, domain.EndedSessions, domain.AllSessions:
		return state, nil
	default:
		return "", domain.NewInvalid("state", domain.Malformed, "use active, ended or all")
	}
}

// noBody refuses a body on a GET or a HEAD, because its sender may expect a selector in it to count.
func noBody(c echo.Context) error {
	if web.HasBody(c) {
		return domain.NewInvalid("", domain.Conflict, "a GET has no body: put the parameters into the query")
	}
	return nil
}

// listTokens handles GET /jwt/refresh. The permission depends on whether the query names a user. A malformed query may
// have meant to, so its errors are reported to a caller with either permission.
func (a *API) listTokens(c echo.Context) error {
	q, malformed := web.Query[listQuery](c)
	action := domain.TokenList
	switch {
	case malformed != nil:
		action = domain.TokenListAny
	case q.UserID == nil:
		action = domain.TokenListWide
	}
	caller, err := web.Identify(c, action)
	if err != nil {
		return err
	}
	if err := noBody(c); err != nil {
		return err
	}
	if malformed != nil {
		return malformed
	}
	return a.listPage(c, caller, q)
}

// listPosted is the first page of listTokens for a client that can only POST. It accepts only an API key.
func (a *API) listPosted(c echo.Context, userID string) error {
	caller, err := web.Identify(c, domain.TokenList)
	if err != nil {
		return err
	}
	if _, err := web.Query[struct{}](c); err != nil {
		return err
	}
	return a.listPage(c, caller, listQuery{UserID: &userID})
}

func (a *API) listPage(c echo.Context, caller usecase.Caller, q listQuery) error {
	in := usecase.ListInput{
		TenantID: caller.TenantID, UserID: q.UserID, ApplicationID: q.ApplicationID, Limit: defaultLimit,
		Owner: caller.Owner,
	}
	var err error
	if in.State, err = sessionState(q.State); err != nil {
		return err
	}
	if q.Limit != nil {
		if *q.Limit < 1 || *q.Limit > maximumLimit {
			return domain.NewInvalid("limit", domain.Malformed, "use 1 to 1000")
		}
		in.Limit = int(*q.Limit)
	}
	if q.Cursor != nil {
		var ok bool
		if in.Below, ok = openCursor(*q.Cursor, in); !ok {
			return domain.NewInvalid("cursor", domain.Malformed,
				"this cursor does not belong to this query: use the Link header unchanged, or start without a cursor")
		}
	}
	page, err := a.List.Page(c.Request().Context(), in)
	if err != nil {
		return err
	}
	if q.Count != nil && *q.Count {
		n, more, err := a.List.Count(c.Request().Context(), in)
		if err != nil {
			return err
		}
		c.Response().Header().Set("X-Total-Count", totalCount(n, more))
	}
	rows, size := make([][]byte, 0, len(page.Sessions)), 0
	for i, session := range page.Sessions {
		row, err := json.Marshal(newSessionData(session, caller.Owner))
		if err != nil {
			return err
		}
		rows = append(rows, row)
		if size += len(row); size >= sentBytes && i < len(page.Sessions)-1 {
			page.Next = session.ID
			break
		}
	}
	if !page.Next.IsZero() {
		c.Response().Header().Set("Link", fmt.Sprintf(`<%s>; rel="next"`, nextPage(page.Next, in)))
	}
	return web.DoneRows(c, "The refresh tokens were found.", rows)
}

// totalCount returns the X-Total-Count, with a + if there may be more.
func totalCount(n int, more bool) string {
	if more {
		return strconv.Itoa(n) + "+"
	}
	return strconv.Itoa(n)
}

// sentBytes is the size in JSON after which a page ends. JSON may take six bytes for one stored byte, and a page is
// held in memory until its reader has received it.
const sentBytes = 1 << 20

// nextPage returns the next page's URL relative to the request, so that a path prefix that a proxy removes stays. The
// form by POST has the same path, and continues by GET. It omits count, whose number is that of all pages.
func nextPage(below domain.ID, in usecase.ListInput) string {
	next := url.Values{"limit": {strconv.Itoa(in.Limit)}, "cursor": {newCursor(below, in)}}
	for name, value := range map[string]*string{"userId": in.UserID, "applicationsId": in.ApplicationID} {
		if value != nil {
			next.Set(name, *value)
		}
	}
	if in.State != "" {
		next.Set("state", string(in.State))
	}
	return "?" + next.Encode()
}

// newCursor returns a cursor: the end of the previous page, and a checksum of the query. It is neither secret nor
// authenticated; the checksum only prevents its use with another query by mistake.
func newCursor(below domain.ID, in usecase.ListInput) string {
	return base64.RawURLEncoding.EncodeToString(append(below[:], cursorSum(below, in)...))
}

func openCursor(s string, in usecase.ListInput) (domain.ID, bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != 24 || base64.RawURLEncoding.EncodeToString(b) != s {
		return domain.ID{}, false
	}
	below := domain.ID(b[:16])
	return below, !below.IsZero() && subtle.ConstantTimeCompare(b[16:], cursorSum(below, in)) == 1
}

func cursorSum(below domain.ID, in usecase.ListInput) []byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %q %q %q %q", below, in.TenantID, text(in.UserID), text(in.ApplicationID),
		in.State.OrActive()))
	return sum[:8]
}

// milliseconds returns a time as the API represents it, in milliseconds since 1970.
func milliseconds(t time.Time) int64 { return t.UnixMilli() }
