package gormstore

import (
	"bytes"
	"context"
	"database/sql"
	"time"

	"gorm.io/gorm"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

var find = `
SELECT ` + columns("refresh_tokens.", tokenColumns) + ` FROM refresh_tokens
WHERE id = $1 AND tenant_id = $2 AND ` + alive("$3")

// Find implements port.RefreshTokens.
func (s *Store) Find(ctx context.Context, tenantID string, id domain.ID, now time.Time) (t domain.RefreshToken, err error) {
	err = s.reading(ctx, "find", func(db *gorm.DB) (err error) {
		var row tokenRow
		if err := queryRow(db.Raw(find, id[:], tenantID, micros(now)), domain.ErrNotFound, row.dest()...); err != nil {
			return err
		}
		t, err = row.token()
		return err
	})
	return t, err
}

var list = `
SELECT ` + columns("refresh_tokens.", tokenColumns) + ` FROM refresh_tokens
WHERE tenant_id = $1 AND user_id = $2 AND ($3 = '' OR application_id = $3) AND id < $4 AND ` + alive("$5") + `
ORDER BY id DESC LIMIT $6`

// aboveEveryID sorts after every id, because it is longer.
var aboveEveryID = bytes.Repeat([]byte{0xff}, len(domain.ID{})+1)

// List implements port.RefreshTokens.
func (s *Store) List(ctx context.Context, q port.ListQuery) (tokens []domain.RefreshToken, err error) {
	below := aboveEveryID
	if !q.Below.IsZero() {
		below = q.Below[:]
	}
	err = s.reading(ctx, "list", func(db *gorm.DB) error {
		tokens = nil
		return queryRows(db.Raw(list, q.TenantID, q.UserID, q.ApplicationID, below, micros(q.Now), q.Limit),
			func(rows *sql.Rows) error {
				var row tokenRow
				if err := rows.Scan(row.dest()...); err != nil {
					return err
				}
				t, err := row.token()
				tokens = append(tokens, t)
				return err
			})
	})
	if err != nil {
		return nil, err
	}
	return tokens, nil
}
