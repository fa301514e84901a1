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
	document := func(k apiKey) manifest.StoredAPIKey {
		return manifest.StoredAPIKey{
			APIKey: manifest.APIKey{APIKey: k.APIKey}, IDText: k.ID.String(), HasPreviousKey: new(k.PreviousHash != ""),
		}
	}
	w := writable[apiKey, manifest.StoredAPIKey]{
		resource: resource[apiKey]{
			path: "/api-key", noun: "API key", action: "apikey",
			list: a.listAPIKeys,
			get: func(ctx context.Context, by admin.By, id string) (apiKey, error) {
				key, err := known(id)
				if err != nil {
					return apiKey{}, err
				}
				k, err := a.APIKeys.Get(ctx, by, key)
				return apiKey{APIKey: k}, err
			},
			id:   func(k apiKey) string { return k.ID.String() },
			next: func(k apiKey) string { return k.ID.String() },
			json: func(k apiKey) ([]byte, error) {
				d := document(k)
				return manifest.JSON(&d)
			},
			etag: func(k apiKey) string { return versionTag(k.Version) },
		},
		document: document,
		idIn:     func(d *manifest.StoredAPIKey) *string { return &d.IDText },
		edited:   editedAPIKey,
		create: func(ctx context.Context, by admin.By, k apiKey) (apiKey, error) {
			created, text, err := a.APIKeys.Create(ctx, by, k.APIKey, k.text)
			return apiKey{created, text}, err
		},
		change: func(
			ctx context.Context, by admin.By, id string, expect admin.Expect, edit func(apiKey) (apiKey, error),
		) (apiKey, error) {
			return changeAPIKey(ctx, a.APIKeys, by, id, expect, edit)
		},
		delete: func(ctx context.Context, by admin.By, id string, expect admin.Expect) error {
			key, err := known(id)
			if err != nil {
				return err
			}
			return a.APIKeys.Delete(ctx, by, key, expect)
		},
		secret: func(k apiKey) ([]byte, error) {
			if k.text.IsZero() {
				return nil, nil
			}
			return json.Marshal(map[string]string{"key": k.text.Reveal()})
		},
	}
	return slices.Concat(w.reading(), w.writing(), []web.Route{
		w.route(http.MethodPost, "/:id/key", "change.one", func(c echo.Context) error {
			return writeKey(c, w, "The key was made. The previous one is valid until it is ended.",
				func(by admin.By, id domain.ID, expect admin.Expect) (apiKey, error) {
					k, text, err := a.APIKeys.NewKey(c.Request().Context(), by, id, expect)
					return apiKey{k, text}, err
				})
		}),
		w.route(http.MethodDelete, "/:id/key", "change.one", func(c echo.Context) error {
			return writeKey(c, w, "The previous key has ended.",
				func(by admin.By, id domain.ID, expect admin.Expect) (apiKey, error) {
					k, err := a.APIKeys.EndPrevious(c.Request().Context(), by, id, expect)
					return apiKey{APIKey: k}, err
				})
		}),
	})
}

// writeKey handles a request that changes the key of an API key, and nothing else of it.
func writeKey(
	c echo.Context, w writable[apiKey, manifest.StoredAPIKey], message string,
	write func(by admin.By, id domain.ID, expect admin.Expect) (apiKey, error),
) error {
	if err := nothing(c); err != nil {
		return err
	}
	expect, err := ifMatch(c)
	if err != nil {
		return err
	}
	id, err := known(web.PathParam(c, "id"))
	if err != nil {
		return err
	}
	k, err := write(by(c), id, expect)
	if err != nil {
		return err
	}
	return w.wrote(c, http.StatusOK, message, k)
}

func (a *API) listAPIKeys(
	ctx context.Context, by admin.By, after string, limit int,
) (page []apiKey, next string, err error) {
	var below domain.ID
	if after != "" {
		var ok bool
		if below, ok = domain.ParseID(after); !ok {
			return nil, "", errCursor()
		}
	}
	all, more, err := a.APIKeys.List(ctx, by, below, limit)
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

func changeAPIKey(
	ctx context.Context, u *admin.APIKeys, by admin.By, id string, expect admin.Expect,
	edit func(apiKey) (apiKey, error),
) (apiKey, error) {
	key, err := known(id)
	if err != nil {
		return apiKey{}, err
	}
	k, err := u.Change(ctx, by, key, expect, func(stored domain.APIKey) (domain.APIKey, domain.Secret, error) {
		k, err := edit(apiKey{APIKey: stored})
		return k.APIKey, k.text, err
	})
	return apiKey{APIKey: k}, err
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
