package adminapi

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/manifest"
	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase/admin"
)

// apiKey is an API key with the text of the key: the one that a request sets, or the one that was made and that this
// response shows.
type apiKey struct {
	domain.APIKey
	text domain.Secret
}

// apiKeys returns the routes of API keys. A request need not name a tenant, because a key may be valid for all of them.
func (a *API) apiKeys() []web.Route {
	keys := apiKeys{a.APIKeys}
	w := writableAPIKey{
		resource: resource[apiKey]{
			path: "/api-key", noun: "API key", action: "apikey", list: keys.list, get: keys.get,
			id: apiKey.idText, next: apiKey.idText,
			json: func(k apiKey) ([]byte, error) {
				d := k.document()
				return manifest.JSON(&d)
			},
			etag: func(k apiKey) string { return versionTag(k.Version) },
		},
		document: apiKey.document,
		idIn:     func(d *manifest.StoredAPIKey) *string { return &d.IDText },
		edited:   editedAPIKey,
		create:   keys.create, change: keys.change, delete: keys.delete, secret: apiKey.secret,
	}
	return slices.Concat(w.reading(), w.writing(), []web.Route{
		w.route(http.MethodPost, "/:id/key", "change.one", keys.handleReplacement(w)),
		w.route(http.MethodDelete, "/:id/key", "change.one", keys.handleEnd(w)),
	})
}

type writableAPIKey = writable[apiKey, manifest.StoredAPIKey]

func (k apiKey) idText() string { return k.ID.String() }

func (k apiKey) document() manifest.StoredAPIKey {
	return manifest.StoredAPIKey{
		APIKey: manifest.APIKey{APIKey: k.APIKey}, IDText: k.idText(), HasPreviousKey: new(k.PreviousHash != ""),
	}
}

func (k apiKey) secret() ([]byte, error) {
	if k.text.IsZero() {
		return nil, nil
	}
	return json.Marshal(map[string]string{"key": k.text.Reveal()})
}

// replacement is the body of a request for a new key or client secret.
type replacement struct {
	Force bool `json:"force"`
}

// isForced reads a request that may have a replacement as its body, and nothing else.
func isForced(c echo.Context) (bool, error) {
	if _, err := web.Query[struct{}](c); err != nil || !web.HasBody(c) {
		return false, err
	}
	sent, err := web.Body[replacement](c, web.JSON)
	return sent.Force, err
}

// handleReplacement makes a new key, which replaces the present one.
func (a apiKeys) handleReplacement(w writableAPIKey) echo.HandlerFunc {
	return func(c echo.Context) error {
		force, err := isForced(c)
		if err != nil {
			return err
		}
		id, expect, err := writtenKey(c)
		if err != nil {
			return err
		}
		k, text, err := a.use.NewKey(c.Request().Context(), by(c), id, expect, force)
		if err != nil {
			return err
		}
		const message = "The key was made. The previous one is valid until it is ended."
		return w.wrote(c, http.StatusOK, message, apiKey{k, text})
	}
}

// handleEnd ends the previous key.
func (a apiKeys) handleEnd(w writableAPIKey) echo.HandlerFunc {
	return func(c echo.Context) error {
		if err := nothing(c); err != nil {
			return err
		}
		id, expect, err := writtenKey(c)
		if err != nil {
			return err
		}
		k, ended, err := a.use.EndPrevious(c.Request().Context(), by(c), id, expect)
		if err != nil {
			return err
		}
		message := "The previous key has ended."
		if !ended {
			message = "There is no previous key: nothing was done."
		}
		first, err := json.Marshal(map[string]bool{"endedPreviousKey": ended})
		if err != nil {
			return err
		}
		logObject(c, id.String())
		return w.send(c, http.StatusOK, message, apiKey{APIKey: k}, first)
	}
}

// writtenKey returns the API key in the path of a request that writes its keys, and the condition of the request.
func writtenKey(c echo.Context) (id domain.ID, expect admin.Expect, err error) {
	if expect, err = ifMatch(c); err == nil {
		id, err = known(web.PathParam(c, "id"))
	}
	return id, expect, err
}

// apiKeys has the use case of API keys, with ids as texts.
type apiKeys struct{ use *admin.APIKeys }

func (a apiKeys) list(
	ctx context.Context, by admin.By, after string, limit int,
) (page []apiKey, next string, err error) {
	var below domain.ID
	if after != "" {
		var ok bool
		if below, ok = domain.ParseID(after); !ok {
			return nil, "", errCursor()
		}
	}
	all, more, err := a.use.List(ctx, by, below, limit)
	if err != nil {
		return nil, "", err
	}
	for _, k := range all {
		page = append(page, apiKey{APIKey: k})
	}
	if !more.IsZero() {
		next = more.String()
	}
	return page, next, nil
}

// known returns the id of an API key in a path. An id of another form is that of none.
func known(id string) (domain.ID, error) {
	parsed, ok := domain.ParseID(id)
	if !ok {
		return parsed, domain.ErrNotFound
	}
	return parsed, nil
}

func (a apiKeys) get(ctx context.Context, by admin.By, id string) (apiKey, error) {
	key, err := known(id)
	if err != nil {
		return apiKey{}, err
	}
	k, err := a.use.Get(ctx, by, key)
	return apiKey{APIKey: k}, err
}

func (a apiKeys) create(ctx context.Context, by admin.By, k apiKey) (apiKey, error) {
	created, text, err := a.use.Create(ctx, by, k.APIKey, k.text)
	return apiKey{created, text}, err
}

func (a apiKeys) change(
	ctx context.Context, by admin.By, id string, expect admin.Expect, edit func(apiKey) (apiKey, error),
) (apiKey, error) {
	key, err := known(id)
	if err != nil {
		return apiKey{}, err
	}
	k, err := a.use.Change(ctx, by, key, expect, func(stored domain.APIKey) (domain.APIKey, domain.Secret, error) {
		k, err := edit(apiKey{APIKey: stored})
		return k.APIKey, k.text, err
	})
	return apiKey{APIKey: k}, err
}

func (a apiKeys) delete(ctx context.Context, by admin.By, id string, expect admin.Expect) error {
	key, err := known(id)
	if err != nil {
		return err
	}
	return a.use.Delete(ctx, by, key, expect)
}

// editedAPIKey returns the API key with all that the document has.
func editedAPIKey(stored apiKey, d manifest.StoredAPIKey) (apiKey, error) {
	if has := stored.PreviousHash != ""; d.HasPreviousKey != nil && *d.HasPreviousKey != has {
		return apiKey{}, domain.NewInvalid("hasPreviousKey", domain.Conflict, "only the service sets this: omit it. "+
			"To make a new key send POST /api-key/:id/key, to end the previous one DELETE /api-key/:id/key")
	}
	k := apiKey{d.APIKey.APIKey, d.Key}
	k.ID, k.Hash, k.PreviousHash, k.Version = stored.ID, stored.Hash, stored.PreviousHash, stored.Version
	if !k.ID.IsZero() || d.IDText == "" {
		return k, nil
	}
	var ok bool
	if k.ID, ok = domain.ParseID(d.IDText); !ok {
		return apiKey{}, domain.NewInvalid("id", domain.Malformed, "use a UUID of version 7, in lower case")
	}
	return k, nil
}
