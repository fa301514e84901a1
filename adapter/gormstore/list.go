package gormstore

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"slices"

	"gorm.io/gorm"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// The mark that ended a refresh token is the lowest one that covers it and is above its epoch. A tenant uses each epoch
// once, so there is one mark of that epoch. Both forms search the key of marks for each row that is returned. SQLite
// searches by the whole key with IN, too.
var (
	markedSQLite = `
LEFT JOIN marks AS m ON m.tenant_id = refresh_tokens.tenant_id
  AND m.application_id IN ('', refresh_tokens.application_id) AND m.user_id IN ('', refresh_tokens.user_id)
  AND m.epoch = (SELECT min(m.epoch) FROM (` + ofItsMarks.marks("m.epoch", aboveItsEpoch) + `) AS m)`

	markedPostgres = `
LEFT JOIN LATERAL (
  SELECT * FROM (` + ofItsMarks.marks("*", aboveItsEpoch) + `) AS m ORDER BY m.epoch LIMIT 1
) AS m ON true`
)

// sessionColumns are the columns of sessionRow, where m is the mark that ended the refresh token.
var sessionColumns = columns("refresh_tokens.", tokenColumns) + `,
  COALESCE(m.application_id, ''), COALESCE(m.user_id, ''), COALESCE(m.epoch, 0), COALESCE(m.revoked_at, 0),
  COALESCE(m.reason, ''), COALESCE(m.keep_until, 0),
  CASE WHEN ` + hasApplication + ` THEN 0 ELSE 1 END`

// sessionRow is a refresh token with the mark that ended it.
type sessionRow struct {
	tokenRow
	markApplicationID, markUserID, reason string
	epoch, markedAt, keepUntil            int64
	deleted                               bool
}

func (r *sessionRow) dest() []any {
	return append(r.tokenRow.dest(), &r.markApplicationID, &r.markUserID, &r.epoch, &r.markedAt, &r.reason, &r.keepUntil,
		&r.deleted)
}

func (r *sessionRow) session() (s domain.Session, err error) {
	s.Deleted = r.deleted
	if s.Token, err = r.token(); err != nil || r.epoch == 0 {
		return s, err
	}
	s.Mark = domain.Mark{
		Scope: domain.Scope{TenantID: r.tenantID, ApplicationID: r.markApplicationID, UserID: r.markUserID},
		Epoch: uint64(r.epoch), At: instant(r.markedAt), Reason: domain.RevocationReason(r.reason),
		KeepUntil: instant(r.keepUntil),
	}
	return s, nil
}

// find returns the statement of Find, where marked joins the mark.
func find(marked string) string {
	return `
SELECT ` + sessionColumns + ` FROM refresh_tokens` + marked + `
WHERE refresh_tokens.id = $1 AND ` + tenantIs("$2")
}

// Find implements port.RefreshTokens.
func (s *Store) Find(ctx context.Context, tenantID string, id domain.ID) (found domain.Session, err error) {
	err = s.reading(ctx, "find", func(db *gorm.DB) (err error) {
		var row sessionRow
		if err := queryRow(raw(db, s.engine.find, id[:], tenantID), domain.ErrNotFound, row.dest()...); err != nil {
			return err
		}
		found, err = row.session()
		return err
	})
	return found, err
}

// listed is the owner of the refresh tokens in a list. Each has an index in the order of the ids.
type listed int

const (
	ofTenant listed = iota
	ofOneApplication
	ofUser
	listedKinds
)

// whose returns the owner of the refresh tokens that q selects.
func whose(q port.ListQuery) listed {
	switch {
	case q.UserID != "":
		return ofUser
	case q.ApplicationID != "":
		return ofOneApplication
	default:
		return ofTenant
	}
}

// owner is the column that names the owner, beside the tenant's.
func (l listed) owner() string { return [...]string{"", "application_id", "user_id"}[l] }

// wherePostgres selects the rows below $4, where owner is the number of the placeholder for the owner. No other
// statement compares tenant and application in this form, see the migration.
func (l listed) wherePostgres(owner int) string {
	switch l {
	case ofTenant:
		return `tenant_id || '/' = $1::text || '/' AND id < $4`
	case ofOneApplication:
		return fmt.Sprintf(`tenant_id || '/' || application_id = $1::text || '/' || $%d::text AND id < $4`, owner)
	default:
		return fmt.Sprintf(`tenant_id = $1 AND user_id >= $%d AND (user_id, id) < ($%[1]d, $4)`, owner)
	}
}

// newestFirst is the order of the rows that wherePostgres selects, where of names the table. For a user it is written
// so that only the index of users has it: PostgreSQL does not know that they have one user. By id alone it would read
// all rows by the primary key where the statistics know few users.
func (l listed) newestFirst(of string) string {
	if l == ofUser {
		return of + `user_id DESC, ` + of + `id DESC`
	}
	return of + `id DESC`
}

// indexSQLite is named in each statement: otherwise SQLite takes the index of the tenant for an application, because it
// assumes that a range of ids is small.
func (l listed) indexSQLite() string {
	return [...]string{"refresh_tokens_tenant", "refresh_tokens_application", "refresh_tokens_user"}[l]
}

// whereSQLite selects the rows of table below a placeholder.
func (l listed) whereSQLite(table, below string, owner int) string {
	text := table + `.tenant_id = $1 AND ` + table + `.id < ` + below
	if l == ofTenant {
		return text
	}
	return fmt.Sprintf(`%s AND %s.%s = $%d`, text, table, l.owner(), owner)
}

// selected is true for a row in the state $2 at the instant $3.
func (l listed) selected(owner int) string {
	// A CASE probes the marks only if it has to. SQLite evaluates both sides of an AND whose value is compared.
	state := `CASE WHEN $2 = 'all' THEN TRUE WHEN ` + aliveSQL("$3") + ` THEN $2 = 'active' ELSE $2 = 'ended' END`
	if l == ofUser {
		return fmt.Sprintf(`($%d = '' OR refresh_tokens.application_id = $%[1]d) AND `, owner+1) + state
	}
	return state
}

// args returns q's arguments for where and selected: the first ones, and those for the owner.
func (l listed) args(q port.ListQuery) (first, owners []any) {
	first = []any{q.TenantID, string(q.State), micros(q.Now)}
	switch l {
	case ofUser:
		owners = []any{q.UserID, q.ApplicationID}
	case ofOneApplication:
		owners = []any{q.ApplicationID}
	}
	return first, owners
}

// lookedAtColumns are the columns that decide whether a row is selected.
const lookedAtColumns = `id, tenant_id, application_id, user_id, revoked_at, expires_at, issued_epoch`

// listPostgres returns the statement of List.
//
// It has two LIMITs. The inner one bounds the rows that are looked at, before any other condition: it follows an index.
// The outer one bounds the page, and allows one more row, which shows that there is a next page. Rows after the one
// that fills the page with bytes stay in the database: n is the number of a row among those looked at, size its length
// on the page (NULL: it is not selected), upto the length of the page including it. The database knows the length of a
// text without reading it. OFFSET 0 makes it compute size once for each row.
//
// Each row of the page is looked up by its key: otherwise PostgreSQL may read the whole table instead.
func (l listed) listPostgres() string {
	return `
SELECT ` + sessionColumns + `, n, COALESCE(upto, 0), CASE WHEN size IS NULL THEN 0 ELSE 1 END
FROM (
  SELECT id, user_id, size, row_number() OVER page AS n, sum(size) OVER page AS upto
  FROM (
    SELECT id, user_id, CASE WHEN ` + l.selected(8) + ` THEN bytes END AS size
    FROM (
      SELECT ` + lookedAtColumns + `, ` + storedBytes + ` AS bytes
      FROM refresh_tokens
      WHERE ` + l.wherePostgres(8) + `
      ORDER BY ` + l.newestFirst("") + ` LIMIT $5
    ) AS refresh_tokens
    ORDER BY ` + l.newestFirst("") + ` OFFSET 0
  ) AS measured
  WINDOW page AS (ORDER BY ` + l.newestFirst("") + ` ROWS UNBOUNDED PRECEDING)
) AS counted CROSS JOIN LATERAL (
  SELECT * FROM refresh_tokens AS r WHERE r.id = counted.id OFFSET 0
) AS refresh_tokens` + markedPostgres + `
WHERE (size IS NOT NULL OR n = $5) AND COALESCE(upto, 0) - COALESCE(size, 0) < $6
ORDER BY ` + l.newestFirst("counted.") + ` LIMIT $7`
}

// lastSQLite selects the id of the last row that may be looked at, by the number of rows below another id. It reads
// only the index.
func (l listed) lastSQLite(below, rows string, owner int) string {
	return `
SELECT r.id FROM refresh_tokens AS r INDEXED BY ` + l.indexSQLite() + `
WHERE ` + l.whereSQLite("r", below, owner) + `
ORDER BY r.id DESC LIMIT 1 OFFSET ` + rows + ` - 1`
}

// listSQLite selects from the rows below $4, down to $5. SQLite computes a row when it is read, so a page ends by not
// reading on: windows, which PostgreSQL needs, took as long as all the rest.
func (l listed) listSQLite() string {
	return `
SELECT ` + sessionColumns + ` FROM refresh_tokens INDEXED BY ` + l.indexSQLite() + markedSQLite + `
WHERE ` + l.whereSQLite("refresh_tokens", "$4", 6) + ` AND refresh_tokens.id >= $5 AND ` + l.selected(6) + `
ORDER BY refresh_tokens.id DESC`
}

// The statements of Count return how many of the rows looked at are selected, and whether there are others. The second
// reads only the index, and is asked only if the limit of rows was reached.

func (l listed) counted(others string) string {
	return `
SELECT COALESCE(sum(CASE WHEN ` + l.selected(6) + ` THEN 1 ELSE 0 END), 0),
  CASE WHEN count(*) < $5 THEN FALSE ELSE EXISTS (` + others + `) END
FROM `
}

func (l listed) countPostgres() string {
	return l.counted(`
  SELECT 1 FROM refresh_tokens WHERE `+l.wherePostgres(6)+` ORDER BY `+l.newestFirst("")+` LIMIT 1 OFFSET $5`) + `(
  SELECT ` + lookedAtColumns + ` FROM refresh_tokens WHERE ` + l.wherePostgres(6) + `
  ORDER BY ` + l.newestFirst("") + ` LIMIT $5
) AS refresh_tokens`
}

func (l listed) countSQLite() string {
	return l.counted(l.lastSQLite("$4", "$5 + 1", 6)) + `refresh_tokens INDEXED BY ` + l.indexSQLite() + `
WHERE ` + l.whereSQLite("refresh_tokens", "$4", 6) + `
  AND refresh_tokens.id >= COALESCE((` + l.lastSQLite("$4", "$5", 6) + `), x'')`
}

// each returns a text for each listed.
func each(text func(listed) string) (texts [listedKinds]string) {
	for l := range listedKinds {
		texts[l] = text(l)
	}
	return texts
}

var (
	listsSQLite    = each(listed.listSQLite)
	lastsSQLite    = each(func(l listed) string { return l.lastSQLite("$2", "$3", 4) })
	listsPostgres  = each(listed.listPostgres)
	countsSQLite   = each(listed.countSQLite)
	countsPostgres = each(listed.countPostgres)
)

// storedBytes is port.PageBytes of a stored row. Lists count with their brackets, commas, quotes and escapes.
const storedBytes = `octet_length(roles) + octet_length(scopes) + octet_length(claims) + octet_length(data)` +
	` + octet_length(device_name) + octet_length(device_type) + octet_length(device_description)`

// aboveEveryID sorts after every id, because it is longer.
var aboveEveryID = bytes.Repeat([]byte{0xff}, len(domain.ID{})+1)

// fewestRows is the smallest number of rows that the first statement of a page looks at.
const fewestRows = 64

// List implements port.RefreshTokens.
func (s *Store) List(ctx context.Context, q port.ListQuery) (port.Page, error) {
	page, err := s.engine.list(s, ctx, q)
	if err != nil {
		return port.Page{}, err
	}
	return page, nil
}

// below is the bound of a page: id, or above every id if that is zero. One condition for both would use no index,
// because a statement is planned once.
func below(id domain.ID) []byte {
	if id.IsZero() {
		return aboveEveryID
	}
	return id[:]
}

// listAsRead is List for SQLite. Rows that are stored or deleted between its two statements only change how many rows
// are looked at: the page names the last of them by its id.
func (s *Store) listAsRead(ctx context.Context, q port.ListQuery) (page port.Page, err error) {
	l := whose(q)
	first, owners := l.args(q)
	err = s.reading(ctx, "list", func(db *gorm.DB) error {
		var last []byte // empty if all remaining rows may be looked at
		from := slices.Concat([]any{q.TenantID, below(q.Below), q.MaxRows}, owners[:min(len(owners), 1)])
		if err := queryRow(raw(db, lastsSQLite[l], from...), nil, &last); err != nil {
			return err
		}
		page = port.Page{}
		if len(last) > 0 {
			copy(page.Next[:], last)
		}
		size := 0
		return queryRows(raw(db, listsSQLite[l], slices.Concat(first, []any{below(q.Below), page.Next[:]}, owners)...),
			func(rows *sql.Rows) error {
				if n := len(page.Sessions); n == q.Limit || size >= q.MaxBytes { // this one is for the next page
					page.Next = page.Sessions[n-1].Token.ID
					return errPageEnds
				}
				var row sessionRow
				if err := rows.Scan(row.dest()...); err != nil {
					return err
				}
				session, err := row.session()
				page.Sessions = append(page.Sessions, session)
				size += port.PageBytes(session.Token)
				return err
			})
	})
	return page, err
}

// listInParts is List for PostgreSQL. A window is computed over all rows that a statement looks at, even if the page
// ends early. So the first statement looks at no more rows than a page without ended refresh tokens takes, and each
// further one at four times as many.
func (s *Store) listInParts(ctx context.Context, q port.ListQuery) (page port.Page, err error) {
	for rows := max(q.Limit+1, fewestRows); ; rows *= 4 {
		part := q
		part.MaxRows = min(rows, q.MaxRows)
		got, size, err := s.listPart(ctx, part)
		if err != nil {
			return port.Page{}, err
		}
		page.Sessions, page.Next = append(page.Sessions, got.Sessions...), got.Next
		q.Limit -= len(got.Sessions)
		q.MaxBytes -= size
		q.MaxRows -= part.MaxRows
		q.Below = got.Next
		if got.Next.IsZero() || q.Limit == 0 || q.MaxBytes <= 0 || q.MaxRows == 0 {
			return page, nil
		}
	}
}

// listPart is List in one statement. It also returns the length of the page.
func (s *Store) listPart(ctx context.Context, q port.ListQuery) (page port.Page, size int, err error) {
	l := whose(q)
	first, owners := l.args(q)
	args := slices.Concat(first, []any{below(q.Below), q.MaxRows, q.MaxBytes, q.Limit + 1}, owners)
	err = s.reading(ctx, "list", func(db *gorm.DB) error {
		page, size = port.Page{}, 0
		return queryRows(raw(db, listsPostgres[l], args...), func(rows *sql.Rows) error {
			var row sessionRow
			var n, upto int
			var selected bool
			if err := rows.Scan(append(row.dest(), &n, &upto, &selected)...); err != nil {
				return err
			}
			if len(page.Sessions) == q.Limit { // this one is for the next page
				page.Next = page.Sessions[q.Limit-1].Token.ID
				return nil
			}
			session, err := row.session()
			if selected {
				page.Sessions = append(page.Sessions, session)
			}
			if size = upto; n == q.MaxRows || size >= q.MaxBytes {
				page.Next = session.Token.ID
			}
			return err
		})
	})
	return page, size, err
}

// Count implements port.RefreshTokens. For all states, q.Limit rows and one more decide the result.
func (s *Store) Count(ctx context.Context, q port.ListQuery) (n int, more bool, err error) {
	l := whose(q)
	rows := q.MaxRows
	if q.State == domain.AllSessions && (q.UserID == "" || q.ApplicationID == "") {
		rows = min(rows, q.Limit+1)
	}
	first, owners := l.args(q)
	var others bool
	err = s.reading(ctx, "count", func(db *gorm.DB) error {
		return queryRow(raw(db, s.engine.counts[l], slices.Concat(first, []any{aboveEveryID, rows}, owners)...),
			sql.ErrNoRows, &n, &others)
	})
	if err != nil {
		return 0, false, err
	}
	return min(n, q.Limit), n > q.Limit || others, nil
}
