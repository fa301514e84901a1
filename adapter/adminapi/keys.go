package adminapi

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/manifest"
	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase"
	"github.com/refreshd/refreshd/usecase/admin"
)

// keyData is a key in a response. It has no secret: the use case gives none.
type keyData struct {
	ID             string       `json:"id"`
	Kind           string       `json:"kind"`
	TenantID       string       `json:"tenantId,omitempty"`
	Algorithm      string       `json:"algorithm,omitempty"`
	Number         uint32       `json:"number"`
	Name           string       `json:"name,omitempty"`
	State          string       `json:"state"`
	InsertInstant  int64        `json:"insertInstant"`
	KnownInstant   int64        `json:"knownInstant,omitempty"`
	StartsInstant  int64        `json:"startsInstant,omitempty"`
	UnusedInstant  int64        `json:"unusedInstant,omitempty"`
	RetiredInstant int64        `json:"retiredInstant,omitempty"`
	RevokedInstant int64        `json:"revokedInstant,omitempty"`
	SealedBy       string       `json:"sealedBy,omitempty"`
	Timeline       []momentData `json:"timeline"`
}

type momentData struct {
	Instant int64  `json:"instant"`
	What    string `json:"what"`
}

func newKeyData(k admin.Key) keyData {
	data := keyData{
		ID: k.KeyName(), Kind: string(k.Kind), TenantID: k.TenantID, Algorithm: string(k.Algorithm), Number: k.Number,
		Name: k.Name, State: string(k.State), SealedBy: k.SealedBy,
		InsertInstant: k.CreatedAt.UnixMilli(), KnownInstant: milliseconds(k.KnownAt),
		StartsInstant: milliseconds(k.StartsAt), UnusedInstant: milliseconds(k.UnusedAt),
		RetiredInstant: milliseconds(k.RetiredAt), RevokedInstant: milliseconds(k.RevokedAt),
		Timeline: make([]momentData, 0, len(k.Timeline)),
	}
	for _, m := range k.Timeline {
		data.Timeline = append(data.Timeline, momentData{milliseconds(m.At), string(m.What)})
	}
	return data
}

// milliseconds returns a time in milliseconds since 1970; 0 for the zero time.
func milliseconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// instantOf returns the time of a member, in the precision of the wire; the zero time if it was not sent.
func instantOf(field string, ms *int64) (time.Time, error) {
	if ms == nil {
		return time.Time{}, nil
	}
	if *ms < 1 || *ms > domain.Never.UnixMilli() {
		return time.Time{}, domain.NewInvalid(field, domain.Malformed,
			"use milliseconds since 1970, up to the year 9999")
	}
	return time.UnixMilli(*ms).UTC(), nil
}

// keys returns the routes of keys. Lists are read by revision, so that a key that is made meanwhile is on a later page.
func (a *API) keys() []web.Route {
	r := resource[admin.Key]{
		path: "/key", noun: "key", action: "key",
		list: func(ctx context.Context, by admin.By, after string, limit int) ([]admin.Key, string, error) {
			var revision uint64
			if after != "" {
				var err error
				if revision, err = strconv.ParseUint(after, 10, 64); err != nil {
					return nil, "", errCursor()
				}
			}
			page, next, err := a.Keys.List(ctx, by, revision, limit)
			if err != nil || next == 0 {
				return page, "", err
			}
			return page, strconv.FormatUint(next, 10), nil
		},
		get:  a.Keys.Get,
		id:   func(k admin.Key) string { return k.KeyName() },
		next: func(k admin.Key) string { return strconv.FormatUint(k.Revision, 10) },
		json: func(k admin.Key) ([]byte, error) { return json.Marshal(newKeyData(k)) },
		etag: func(admin.Key) string { return "" },
	}
	manage := func(method, below string, handle echo.HandlerFunc) web.Route {
		route := r.route(method, below, "", handle)
		route.Action = domain.KeyManage
		return route
	}
	return append(r.reading(),
		manage(http.MethodPost, "/generate", a.added(r, "The key was made.", a.generateKey)),
		manage(http.MethodPost, "/generate/:id", a.added(r, "The key was made.", a.generateKey)),
		manage(http.MethodPost, "/import", a.added(r, "The key was imported.", a.importKey)),
		manage(http.MethodPost, "/import/:id", a.added(r, "The key was imported.", a.importKey)),
		manage(http.MethodPatch, "/:id", changedKey(r, "The key was changed.", a.patchKey)),
		manage(http.MethodPost, "/rotate", changedKey(r, "The key was rotated.", a.rotateKey)),
		manage(http.MethodPost, "/retire/:id", changedKey(r, "The key was retired.", a.retireKey)),
		manage(http.MethodPost, "/revoke/:id", changedKey(r, "The key was revoked.", a.revokeKey)),
		manage(http.MethodPost, "/reseal", a.resealKeys),
	)
}

// keyHandler changes a key, and returns it.
type keyHandler func(c echo.Context) (admin.Key, error)

// changedKey responds with the key that a request changed.
func changedKey(r resource[admin.Key], message string, do keyHandler) echo.HandlerFunc {
	return func(c echo.Context) error { return writeOfKey(c, r, http.StatusOK, message, do) }
}

// added responds with the key that a request added, and its URL.
func (a *API) added(r resource[admin.Key], message string, do keyHandler) echo.HandlerFunc {
	return func(c echo.Context) error {
		return writeOfKey(c, r, http.StatusCreated, message, func(c echo.Context) (admin.Key, error) {
			k, err := do(c)
			if err == nil {
				c.Response().Header().Set(echo.HeaderLocation, keyLocation(c, k.KeyName()))
			}
			return k, err
		})
	}
}

func writeOfKey(c echo.Context, r resource[admin.Key], status int, message string, do keyHandler) error {
	if _, err := web.Query[struct{}](c); err != nil {
		return err
	}
	k, err := do(c)
	if err != nil {
		return err
	}
	logObject(c, k.KeyName())
	return r.send(c, status, message, k, nil)
}

// keyLocation returns the URL of a key that was added, relative to that of the request, as [writable.location] does.
func keyLocation(c echo.Context, id string) string {
	at := url.PathEscape(id)
	sent, _, _ := strings.Cut(c.Request().RequestURI, "?")
	up := 0
	for _, below := range []bool{c.Param("id") != "", strings.HasSuffix(sent, "/")} {
		if below {
			up++
		}
	}
	if up == 0 {
		return "./" + at
	}
	return strings.Repeat("../", up) + at
}

// newKey is the body of a request for a new key.
type newKey struct {
	Kind          *string `json:"kind"`
	TenantID      *string `json:"tenantId"`
	Algorithm     *string `json:"algorithm"`
	Bits          *int64  `json:"bits"`
	Name          *string `json:"name"`
	StartsInstant *int64  `json:"startsInstant"`
	SignNow       *bool   `json:"signNow"`
	Force         *bool   `json:"force"`
}

// text returns the text of a member; empty if it was not sent.
func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func is(b *bool) bool { return b != nil && *b }

func (a *API) generateKey(c echo.Context) (admin.Key, error) {
	body, err := web.Body[newKey](c, web.JSON)
	if err != nil {
		return admin.Key{}, err
	}
	n := usecase.NewKey{
		ID: web.PathParam(c, "id"), Kind: domain.KeyKind(text(body.Kind)), TenantID: text(body.TenantID),
		Algorithm: domain.Algorithm(text(body.Algorithm)), Name: text(body.Name),
		Now: is(body.SignNow), Force: is(body.Force),
	}
	if body.Bits != nil {
		if n.Bits = int(*body.Bits); n.Bits < 1 || n.Bits > 1<<16 {
			return admin.Key{}, domain.NewInvalid("bits", domain.Malformed, "use 2048, 3072 or 4096")
		}
	}
	if n.StartsAt, err = instantOf("startsInstant", body.StartsInstant); err != nil {
		return admin.Key{}, err
	}
	return a.Keys.Generate(c.Request().Context(), by(c), n)
}

// importedKey is the body of a request that imports a key.
type importedKey struct {
	PrivateKey    string  `json:"privateKey"`
	TenantID      *string `json:"tenantId"`
	Algorithm     *string `json:"algorithm"`
	Name          *string `json:"name"`
	KnownInstant  *int64  `json:"knownInstant"`
	StartsInstant *int64  `json:"startsInstant"`
	SignNow       *bool   `json:"signNow"`
	Force         *bool   `json:"force"`
}

func (a *API) importKey(c echo.Context) (admin.Key, error) {
	body, err := web.Body[importedKey](c, web.JSON)
	if err != nil {
		return admin.Key{}, err
	}
	n := admin.ImportedKey{Text: domain.NewSecret(body.PrivateKey), NewKey: usecase.NewKey{
		ID: web.PathParam(c, "id"), TenantID: text(body.TenantID), Algorithm: domain.Algorithm(text(body.Algorithm)),
		Name: text(body.Name), Now: is(body.SignNow), Force: is(body.Force),
	}}
	if n.KnownAt, err = instantOf("knownInstant", body.KnownInstant); err != nil {
		return admin.Key{}, err
	}
	if n.StartsAt, err = instantOf("startsInstant", body.StartsInstant); err != nil {
		return admin.Key{}, err
	}
	return a.Keys.Import(c.Request().Context(), by(c), n)
}

// keyChanges is the merge patch of a key.
type keyChanges struct {
	Name          *string `json:"name"`
	StartsInstant *int64  `json:"startsInstant"`
	Force         *bool   `json:"force"`
}

func (a *API) patchKey(c echo.Context) (admin.Key, error) {
	patch, err := web.Patch(c)
	if err != nil {
		return admin.Key{}, err
	}
	const unset = -1 // no value of a request: what keeps it, and is not null, was not sent
	none, noInstant := "\x00", int64(unset)
	sent, err := manifest.Patch(keyChanges{Name: &none, StartsInstant: &noInstant}, patch)
	if err != nil {
		return admin.Key{}, err
	}
	var p usecase.KeyPatch
	if sent.Name != &none {
		p.Name = new(text(sent.Name))
	}
	switch {
	case sent.StartsInstant == nil:
		return admin.Key{}, domain.NewInvalid("startsInstant", domain.Blank, "a start cannot be removed: set another one")
	case sent.StartsInstant != &noInstant:
		at, err := instantOf("startsInstant", sent.StartsInstant)
		if err != nil {
			return admin.Key{}, err
		}
		p.StartsAt = &at
	}
	return a.Keys.Change(c.Request().Context(), by(c), web.PathParam(c, "id"), p, is(sent.Force))
}

type rotatedKey struct {
	Kind      *string `json:"kind"`
	TenantID  *string `json:"tenantId"`
	Algorithm *string `json:"algorithm"`
	SignNow   *bool   `json:"signNow"`
	Force     *bool   `json:"force"`
}

func (a *API) rotateKey(c echo.Context) (admin.Key, error) {
	body, err := web.Body[rotatedKey](c, web.JSON)
	if err != nil {
		return admin.Key{}, err
	}
	return a.Keys.Rotate(c.Request().Context(), by(c), usecase.RotateKeys{
		Kind: domain.KeyKind(text(body.Kind)), TenantID: text(body.TenantID),
		Algorithm: domain.Algorithm(text(body.Algorithm)), Now: is(body.SignNow), Force: is(body.Force),
	})
}

// optionalBody returns the body of a request that may have none.
func optionalBody[T any](c echo.Context) (T, error) {
	if !web.HasBody(c) {
		var none T
		return none, nil
	}
	return web.Body[T](c, web.JSON)
}

type retiredKey struct {
	Force *bool `json:"force"`
}

func (a *API) retireKey(c echo.Context) (admin.Key, error) {
	body, err := optionalBody[retiredKey](c)
	if err != nil {
		return admin.Key{}, err
	}
	return a.Keys.Retire(c.Request().Context(), by(c), web.PathParam(c, "id"), is(body.Force))
}

type revokedKey struct {
	NewKey *bool `json:"newKey"`
}

func (a *API) revokeKey(c echo.Context) (admin.Key, error) {
	body, err := optionalBody[revokedKey](c)
	if err != nil {
		return admin.Key{}, err
	}
	return a.Keys.Revoke(c.Request().Context(), by(c), web.PathParam(c, "id"),
		usecase.RevokeKey{NewKey: is(body.NewKey)})
}

type resealedData struct {
	Keys     int  `json:"keys"`
	Complete bool `json:"complete"`
}

func (a *API) resealKeys(c echo.Context) error {
	if err := nothing(c); err != nil {
		return err
	}
	done, err := a.Keys.Reseal(c.Request().Context(), by(c))
	if err != nil {
		return err
	}
	message := "All keys are sealed with the master key."
	if !done.Complete {
		message = "Some keys were sealed with the master key: send the request again."
	}
	return web.Done(c, message, resealedData(done))
}
