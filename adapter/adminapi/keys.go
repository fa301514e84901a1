package adminapi

import (
	"context"
	"encoding/json"
	"strconv"
	"time"

	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/usecase/admin"
)

// keyData is a key in a response. It has no secret: the use case gives none.
type keyData struct {
	ID             string `json:"id,omitempty"`
	Kind           string `json:"kind"`
	TenantID       string `json:"tenantId,omitempty"`
	Algorithm      string `json:"algorithm,omitempty"`
	Number         uint32 `json:"number"`
	InsertInstant  int64  `json:"insertInstant"`
	StartsInstant  int64  `json:"startsInstant,omitempty"`
	RetiredInstant int64  `json:"retiredInstant,omitempty"`
}

func newKeyData(k admin.Key) keyData {
	return keyData{
		ID: k.ID, Kind: string(k.Kind), TenantID: k.TenantID, Algorithm: string(k.Algorithm), Number: k.Number,
		InsertInstant: k.CreatedAt.UnixMilli(), StartsInstant: milliseconds(k.StartsAt),
		RetiredInstant: milliseconds(k.RetiredAt),
	}
}

// milliseconds returns a time in milliseconds since 1970; 0 for the zero time.
func milliseconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// keys returns the routes of keys. They are read by revision, so that one that is made meanwhile is on a later page.
func (a *API) keys() []web.Route {
	return resource[admin.Key]{
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
		id:   func(k admin.Key) string { return k.ID },
		next: func(k admin.Key) string { return strconv.FormatUint(k.Revision, 10) },
		json: func(k admin.Key) ([]byte, error) { return json.Marshal(newKeyData(k)) },
		etag: func(admin.Key) string { return "" },
	}.reading()
}
