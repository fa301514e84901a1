package adminapi

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/manifest"
	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase/admin"
)

const (
	defaultLimit = 100
	maximumLimit = 1000

	// sentBytes is the size in JSON after which a page of a list ends. A page is held in memory until its reader has
	// received it.
	sentBytes = 1 << 20
)

// resource is one kind of objects that can only be read.
type resource[T any] struct {
	path   string // of the list, and in permissions
	noun   string // for messages
	action string // first word of the actions
	inside bool   // an object belongs to the tenant of the request, which must name it

	list func(ctx context.Context, by admin.By, after string, limit int) (page []T, next string, err error)
	get  func(ctx context.Context, by admin.By, id string) (T, error)
	id   func(T) string
	next func(T) string // the parameter after of the page that begins after the object
	json func(T) ([]byte, error)
	// more returns members that the response about one object has in addition, as a JSON object; nil for none. It may be
	// nil.
	more func(ctx context.Context, object T) ([]byte, error)
	etag func(T) string // empty if the objects have no version
}

// reading returns the routes of the list and of one object.
func (r resource[T]) reading() []web.Route {
	return []web.Route{
		r.route(http.MethodGet, "", "read", r.handleList),
		r.route(http.MethodGet, "/:id", "read.one", r.handleGet),
	}
}

func (r resource[T]) route(method, below, verb string, handle echo.HandlerFunc) web.Route {
	return web.Route{
		Method: method, Path: r.path + below, Action: domain.Action(r.action + "." + verb), BackendOnly: true,
		TenantOptional: !r.inside, Handle: handle,
	}
}

// by returns the party that sent the request, which the route has identified.
func by(c echo.Context) admin.By {
	caller := web.LogRecord(c).Caller
	b := admin.By{Origin: web.OriginOf(c), TenantID: caller.TenantID, Operator: caller.Operator != ""}
	if !b.Operator {
		b.Key = &caller.Key
	}
	return b
}

// nothing refuses a query and a body of a request that needs neither. Their sender expects them to count.
func nothing(c echo.Context) error {
	if _, err := web.Query[struct{}](c); err != nil {
		return err
	}
	return noBody(c)
}

func noBody(c echo.Context) error {
	if web.HasBody(c) {
		return domain.NewInvalid("", domain.Conflict, "this request has no body: omit it")
	}
	return nil
}

type listQuery struct {
	Limit  *int64  `json:"limit"`
	Cursor *string `json:"cursor"`
}

func (r resource[T]) handleList(c echo.Context) error {
	q, err := web.Query[listQuery](c)
	if err != nil {
		return err
	}
	return r.sendPage(c, q, url.Values{})
}

// sendPage responds with a page. query is the rest of the query, which the next page has too.
func (r resource[T]) sendPage(c echo.Context, q listQuery, query url.Values) error {
	if err := noBody(c); err != nil {
		return err
	}
	caller, limit, after := by(c), defaultLimit, ""
	if q.Limit != nil {
		if *q.Limit < 1 || *q.Limit > maximumLimit {
			return domain.NewInvalid("limit", domain.Malformed, "use 1 to 1000")
		}
		limit = int(*q.Limit)
	}
	if q.Cursor != nil {
		var ok bool
		if after, ok = r.openCursor(*q.Cursor, caller.TenantID); !ok {
			return errCursor()
		}
	}
	page, next, err := r.list(c.Request().Context(), caller, after, limit)
	if err != nil {
		return err
	}
	rows, size := make([][]byte, 0, len(page)), 0
	for i, object := range page {
		row, err := r.json(object)
		if err != nil {
			return err
		}
		rows = append(rows, row)
		if size += len(row); size >= sentBytes && i < len(page)-1 {
			next = r.next(object)
			break
		}
	}
	if next != "" { // relative to the request, so that a path prefix that a proxy removes stays
		query.Set("limit", strconv.Itoa(limit))
		query.Set("cursor", r.newCursor(next, caller.TenantID))
		c.Response().Header().Set("Link", fmt.Sprintf(`<?%s>; rel="next"`, query.Encode()))
	}
	return web.DoneRows(c, "The list was read.", rows)
}

func errCursor() error {
	return domain.NewInvalid("cursor", domain.Malformed,
		"this cursor does not belong to this list: use the Link header unchanged, or start without a cursor")
}

// newCursor returns a cursor: the end of the previous page, and a checksum of the list. It is neither secret nor
// authenticated; the checksum only prevents its use with another list by mistake.
func (r resource[T]) newCursor(after, tenantID string) string {
	return base64.RawURLEncoding.EncodeToString(append(r.sum(after, tenantID), after...))
}

func (r resource[T]) openCursor(cursor, tenantID string) (after string, ok bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || len(b) <= cursorSum {
		return "", false
	}
	after = string(b[cursorSum:])
	return after, r.newCursor(after, tenantID) == cursor
}

const cursorSum = 8 // bytes

func (r resource[T]) sum(after, tenantID string) []byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q", r.path, tenantID, after))
	return sum[:cursorSum]
}

func (r resource[T]) handleGet(c echo.Context) error {
	if err := nothing(c); err != nil {
		return err
	}
	object, err := r.get(c.Request().Context(), by(c), web.PathParam(c, "id"))
	if err != nil {
		return err
	}
	if tag := r.etag(object); tag != "" && web.Known(c, tag) {
		c.Response().Header().Set("ETag", tag)
		return c.NoContent(http.StatusNotModified)
	}
	return r.send(c, http.StatusOK, "The "+r.noun+" was found.", object, nil)
}

// send responds with the object, and before its own members with those of the object first, if there is one.
func (r resource[T]) send(c echo.Context, status int, message string, object T, first []byte) error {
	data, err := r.json(object)
	if err != nil {
		return err
	}
	if len(first) > 0 {
		data = slices.Concat(first[:len(first)-1], []byte(","), data[1:])
	}
	if r.more != nil {
		more, err := r.more(c.Request().Context(), object)
		if err != nil {
			return err
		}
		if len(more) > 0 {
			data = slices.Concat(data[:len(data)-1], []byte(","), more[1:])
		}
	}
	if tag := r.etag(object); tag != "" {
		c.Response().Header().Set("ETag", tag)
	}
	return web.DoneAs(c, status, message, json.RawMessage(data))
}

// writable is a resource whose objects are written as documents of the type D.
type writable[T any, D any] struct {
	resource[T]
	document func(T) D
	idIn     func(*D) *string      // the member id of a document
	edited   func(T, D) (T, error) // the object with all that the document has

	create func(ctx context.Context, by admin.By, object T) (T, error)
	change func(
		ctx context.Context, by admin.By, id string, expect admin.Expect, edit func(T) (T, error),
	) (T, error)
	delete func(ctx context.Context, by admin.By, id string, expect admin.Expect) error
	// secret returns members that only the response to a write has, as a JSON object; nil for none. It may be nil.
	secret func(T) ([]byte, error)
}

// writing returns the routes that write, beside those of reading.
func (w writable[T, D]) writing() []web.Route {
	return []web.Route{
		w.route(http.MethodPost, "", "create", w.handlePost),
		w.route(http.MethodPost, "/:id", "create.one", w.handlePost),
		w.route(http.MethodPut, "/:id", "write.one", w.handlePut),
		w.route(http.MethodPatch, "/:id", "change.one", w.handlePatch),
		w.route(http.MethodDelete, "/:id", "delete.one", w.handleDelete),
	}
}

func (w writable[T, D]) handlePost(c echo.Context) error {
	if _, err := web.Query[struct{}](c); err != nil {
		return err
	}
	document, err := w.read(c, "name the id in the path, "+w.path+"/:id, or omit it")
	if err != nil {
		return err
	}
	var none T
	object, err := w.edited(none, document)
	if err != nil {
		return err
	}
	if object, err = w.create(c.Request().Context(), by(c), object); err != nil {
		return err
	}
	c.Response().Header().Set(echo.HeaderLocation, w.location(c, w.id(object)))
	return w.wrote(c, http.StatusCreated, "The "+w.noun+" was created.", object)
}

// read reads the document in the body. Its id is then that of the path. If it has another one, the error's message is
// the given one.
func (w writable[T, D]) read(c echo.Context, message string) (D, error) {
	document, err := web.Body[D](c, web.JSON)
	if err != nil {
		return document, err
	}
	id, in := web.PathParam(c, "id"), w.idIn(&document)
	if *in != "" && *in != id {
		return document, domain.NewInvalid("id", domain.Conflict, message)
	}
	*in = id
	return document, nil
}

// location returns the URL of an object, relative to the URL that the client requested. So a path prefix that a proxy
// removes stays.
func (w writable[T, D]) location(c echo.Context, id string) string {
	at := "./" + url.PathEscape(id)
	sent, _, _ := strings.Cut(c.Request().RequestURI, "?")
	switch slash, one := strings.HasSuffix(sent, "/"), c.Param("id") != ""; {
	case one && slash:
		return "." + at
	case one || slash:
		return at
	default:
		return "." + w.path + at[1:]
	}
}

const sameID = "this is not the id in the path: send that one, or omit it"

func (w writable[T, D]) handlePut(c echo.Context) error {
	if _, err := web.Query[struct{}](c); err != nil {
		return err
	}
	document, err := w.read(c, sameID)
	if err != nil {
		return err
	}
	return w.handleChange(c, func(stored T) (T, error) { return w.edited(stored, document) })
}

func (w writable[T, D]) handlePatch(c echo.Context) error {
	if _, err := web.Query[struct{}](c); err != nil {
		return err
	}
	patch, err := web.Patch(c)
	if err != nil {
		return err
	}
	var none D
	if _, err := manifest.Patch(none, patch); err != nil { // the same for every object, also one that does not exist
		return err
	}
	return w.handleChange(c, func(stored T) (T, error) {
		document := w.document(stored)
		id := *w.idIn(&document)
		document, err := manifest.Patch(document, patch)
		if err == nil && *w.idIn(&document) != id {
			err = domain.NewInvalid("id", domain.Conflict, sameID)
		}
		if err != nil {
			return stored, err
		}
		return w.edited(stored, document)
	})
}

// handleChange stores what edit makes of the object in the path.
func (w writable[T, D]) handleChange(c echo.Context, edit func(T) (T, error)) error {
	expect, err := ifMatch(c)
	if err != nil {
		return err
	}
	object, err := w.change(c.Request().Context(), by(c), web.PathParam(c, "id"), expect, edit)
	if err != nil {
		return err
	}
	return w.wrote(c, http.StatusOK, "The "+w.noun+" was changed.", object)
}

// wrote responds to a write.
func (w writable[T, D]) wrote(c echo.Context, status int, message string, object T) error {
	logObject(c, w.id(object))
	var secret []byte
	if w.secret != nil {
		var err error
		if secret, err = w.secret(object); err != nil {
			return err
		}
	}
	if len(secret) > 0 {
		web.NoStore(c)
	}
	return w.send(c, status, message, object, secret)
}

// logObject adds the id of an object that was written to the request's log line.
func logObject(c echo.Context, id string) {
	web.LogRecord(c).Add(slog.LevelInfo, slog.String("object", id))
}

type deletedData struct {
	ID string `json:"id"`
}

func (w writable[T, D]) handleDelete(c echo.Context) error {
	if err := nothing(c); err != nil {
		return err
	}
	expect, err := ifMatch(c)
	if err != nil {
		return err
	}
	id := web.PathParam(c, "id")
	if err := w.delete(c.Request().Context(), by(c), id, expect); err != nil {
		return err
	}
	logObject(c, id)
	return web.Done(c, "The "+w.noun+" was deleted.", deletedData{id})
}

// ifMatch returns the condition in If-Match (RFC 9110, section 13.1.1). Without that header, and for *, it is nil: an
// object that does not exist is 404 in any case. A weak tag, and one that is not a version, match no object.
func ifMatch(c echo.Context) (admin.Expect, error) {
	sent := strings.Join(c.Request().Header.Values("If-Match"), ",")
	if len(c.Request().Header.Values("If-Match")) == 0 || strings.TrimSpace(sent) == "*" {
		return nil, nil
	}
	expect := admin.Expect{}
	for rest := sent; ; {
		rest = strings.TrimLeft(rest, " \t,")
		if rest == "" {
			break
		}
		opaque, weak := strings.CutPrefix(rest, "W/")
		tag, after, ok := strings.Cut(strings.TrimPrefix(opaque, `"`), `"`)
		after = strings.TrimLeft(after, " \t")
		if !strings.HasPrefix(opaque, `"`) || !ok || after != "" && after[0] != ',' {
			return nil, domain.NewInvalid("If-Match", domain.Malformed,
				`send the ETag of the object as you received it, in quotes, or *`)
		}
		if n, err := strconv.ParseUint(tag, 10, 64); err == nil && !weak && strconv.FormatUint(n, 10) == tag {
			expect = append(expect, domain.Version(n))
		}
		rest = after
	}
	return expect, nil
}

// versionTag returns the ETag of an object with that version.
func versionTag(v domain.Version) string { return `"` + strconv.FormatUint(uint64(v), 10) + `"` }
