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

// list is the text of List, where whole joins counted with the rest of its rows, as refresh_tokens.
//
// It has two LIMITs. The inner one bounds the rows looked at, before anything else is asked of them: it follows
// refresh_tokens_user. The outer one bounds the page; it lets one row more through, which says that there is a next
// page. Rows after the one that brings the page to its bytes stay in the database: n is the number of a row among
// those looked at, size what it adds to the page (NULL: nothing, it is not selected), upto the page's size with it.
// Only what decides that goes through the windows, for SQLite copies what does; and both engines know the length of a
// text without reading it.
func list(whole string) string {
	return `
SELECT ` + columns("refresh_tokens.", tokenColumns) + `, n, COALESCE(upto, 0), CASE WHEN size IS NULL THEN 0 ELSE 1 END
FROM (
  SELECT id, n, size, sum(size) OVER (ORDER BY id DESC ROWS UNBOUNDED PRECEDING) AS upto
  FROM (
    SELECT id, row_number() OVER (ORDER BY id DESC) AS n,
      CASE WHEN ($3 = '' OR application_id = $3) AND ` + alive("$5") + ` THEN bytes END AS size
    FROM (
      SELECT id, tenant_id, application_id, user_id, revoked_at, expires_at, issued_epoch, ` + pageBytes + ` AS bytes
      FROM refresh_tokens
      WHERE tenant_id = $1 AND user_id = $2 AND id < $4
      ORDER BY id DESC LIMIT $6
    ) AS refresh_tokens
  ) AS measured
) AS counted ` + whole + `
AND (size IS NOT NULL OR n = $6) AND COALESCE(upto, 0) - COALESCE(size, 0) < $7
ORDER BY counted.id DESC LIMIT $8`
}

// Both engines are made to look each row of the page up by its key. By themselves they may read the whole table
// instead.
var (
	listSQLite   = list(`CROSS JOIN refresh_tokens WHERE refresh_tokens.id = counted.id`)
	listPostgres = list(`CROSS JOIN LATERAL (
  SELECT * FROM refresh_tokens AS r WHERE r.id = counted.id OFFSET 0
) AS refresh_tokens WHERE true`)
)

// pageBytes is port.PageBytes of a row as it is stored: lists have their brackets, commas, quotes and escapes.
const pageBytes = `octet_length(roles) + octet_length(scopes) + octet_length(claims) + octet_length(data)` +
	` + octet_length(device_name) + octet_length(device_type) + octet_length(device_description)`

// aboveEveryID sorts after every id, because it is longer.
var aboveEveryID = bytes.Repeat([]byte{0xff}, len(domain.ID{})+1)

// fewestRows are looked at in the first statement of a page, however short it is to be.
const fewestRows = 64

// List implements port.RefreshTokens. A window is computed over all rows that a statement looks at, also when the
// page ends early. So the first statement looks at no more than a page without ended refresh tokens takes, and each
// of those that follow at four times as many.
func (s *Store) List(ctx context.Context, q port.ListQuery) (page port.Page, err error) {
	for rows := max(q.Limit+1, fewestRows); ; rows *= 4 {
		part := q
		part.MaxRows = min(rows, q.MaxRows)
		got, size, err := s.listPart(ctx, part)
		if err != nil {
			return port.Page{}, err
		}
		page.Tokens, page.Next = append(page.Tokens, got.Tokens...), got.Next
		q.Limit -= len(got.Tokens)
		q.MaxBytes -= size
		q.MaxRows -= part.MaxRows
		q.Below = got.Next
		if got.Next.IsZero() || q.Limit == 0 || q.MaxBytes <= 0 || q.MaxRows == 0 {
			return page, nil
		}
	}
}

// listPart is List in one statement. It returns how much the page counts besides.
func (s *Store) listPart(ctx context.Context, q port.ListQuery) (page port.Page, size int, err error) {
	below := aboveEveryID
	if !q.Below.IsZero() {
		below = q.Below[:]
	}
	err = s.reading(ctx, "list", func(db *gorm.DB) error {
		page, size = port.Page{}, 0
		return queryRows(raw(db, s.engine.list,
			q.TenantID, q.UserID, q.ApplicationID, below, micros(q.Now), q.MaxRows, q.MaxBytes, q.Limit+1,
		), func(rows *sql.Rows) error {
			var row tokenRow
			var n, upto int
			var selected bool
			if err := rows.Scan(append(row.dest(), &n, &upto, &selected)...); err != nil {
				return err
			}
			if len(page.Tokens) == q.Limit { // this one is for the next page
				page.Next = page.Tokens[q.Limit-1].ID
				return nil
			}
			t, err := row.token()
			if selected {
				page.Tokens = append(page.Tokens, t)
			}
			if size = upto; n == q.MaxRows || size >= q.MaxBytes {
				page.Next = t.ID
			}
			return err
		})
	})
	return page, size, err
}
