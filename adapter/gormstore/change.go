package gormstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"gorm.io/gorm"

	"github.com/refreshd/refreshd/domain"
)

// changedColumns are the columns that a change compares and writes. None is indexed.
var changedColumns = []string{"roles", "scopes", "claims", "device_name", "device_type", "device_description", "data"}

// changeRow is a change as it is compared and written: values of changedColumns.
type changeRow struct {
	id            domain.ID
	before, after []string
}

// changedValues are those of t. A list has one spelling: encoding/json writes a list that it has read with the same
// bytes.
func changedValues(t domain.RefreshToken) ([]string, error) {
	roles, err := encodeList(t.Roles)
	if err != nil {
		return nil, err
	}
	scopes, err := encodeList(t.Scopes)
	d := t.MetaData.Device
	return []string{roles, scopes, string(t.Claims), d.Name, d.Type, d.Description, string(t.MetaData.Data)}, err
}

// changeRows are the changes ordered by id, so that concurrent changes lock the same refresh tokens in one order.
func changeRows(changes []domain.Change) ([]changeRow, error) {
	rows := make([]changeRow, len(changes))
	for i, c := range changes {
		rows[i].id = c.Before.ID
		var err error
		if rows[i].before, err = changedValues(c.Before); err != nil {
			return nil, err
		}
		if rows[i].after, err = changedValues(c.After); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(rows, func(a, b changeRow) int { return bytes.Compare(a.id[:], b.id[:]) })
	for i := range rows[1:] {
		if rows[i].id == rows[i+1].id {
			return nil, domain.ErrConflict
		}
	}
	return rows, nil
}

// changeOne changes a refresh token: $1 to $7 is after, $8 to $14 before, followed by id, tenant and instant.
var changeOne = newTokenWrite(`
UPDATE refresh_tokens SET (`+columns("", changedColumns)+`) = (`+placeholders(7)+`)
WHERE (`+columns("", changedColumns)+`) = (`+placeholdersFrom(8, 7)+`)
  AND id = $15 AND `+tenantIs("$16")+` AND `+aliveSQL("$17"), 17)

// changeMany changes many refresh tokens, or none. It locks those that match in the order of their ids, so that two
// changes cannot deadlock. If a row changed before it was locked, PostgreSQL compares the newest version. The number of
// locked rows is a column of each, and not a subquery beside the UPDATE: the UPDATE, too, evaluates its condition again
// for a row that has changed, and would repeat the subquery.
//
// Values that stay are sent as NULL, and of an object only the SHA-256 of the text that was read. Texts of a thousand
// refresh tokens are megabytes, which the process would hold three times while it sends them. PostgreSQL leaves a long
// text where it is stored if the row receives the reference to it again.
var changeMany = `
WITH locked AS (
  SELECT c.*
  FROM unnest($1::bytea[], ` + changedArrays(2, func(string) string { return "text" }) + `,
      ` + changedArrays(9, comparedType) + `)
    AS c (id, ` + columns("new_", changedColumns) + `, ` + columns("old_", changedColumns) + `), refresh_tokens
  WHERE refresh_tokens.id = c.id AND ` + tenantIs("$16") + `
    AND (` + eachChanged(compared) + `) = (` + columns("c.old_", changedColumns) + `)
    AND ` + aliveSQL("$17") + `
  ORDER BY refresh_tokens.id FOR NO KEY UPDATE OF refresh_tokens
), counted AS (
  SELECT *, count(*) OVER () AS fit FROM locked
), changed AS (
UPDATE refresh_tokens SET (` + columns("", changedColumns) + `) = ROW (` + eachChanged(replaced) + `)
FROM counted AS c
WHERE refresh_tokens.id = c.id AND c.fit = cardinality($1::bytea[])
RETURNING refresh_tokens.id, refresh_tokens.application_id, refresh_tokens.user_id
)
` + eventFrom(18, `changed`, `0`, `json_agg(`+tokenInEvent+` ORDER BY id)::text`) + `
HAVING count(*) > 0`

// isObject reports whether a column contains a JSON object, which can be long.
func isObject(column string) bool { return column == "claims" || column == "data" }

// compared is the expression that changeMany compares for a column, and comparedType its type.
func compared(column string) string {
	if isObject(column) {
		return `sha256(convert_to(refresh_tokens.` + column + `, 'UTF8'))`
	}
	return `refresh_tokens.` + column
}

func comparedType(column string) string {
	if isObject(column) {
		return "bytea"
	}
	return "text"
}

// replaced is the expression that changeMany stores in a column.
func replaced(column string) string {
	return `COALESCE(c.new_` + column + `, refresh_tokens.` + column + `)`
}

func eachChanged(text func(column string) string) string {
	texts := make([]string, len(changedColumns))
	for i, column := range changedColumns {
		texts[i] = text(column)
	}
	return strings.Join(texts, ", ")
}

// changedArrays are the placeholders of an array for each of changedColumns.
func changedArrays(first int, elements func(column string) string) string {
	return eachChanged(func(column string) string {
		return fmt.Sprintf("$%d::%s[]", first+slices.Index(changedColumns, column), elements(column))
	})
}

// Change implements port.RefreshTokens. Concurrent changes of several refresh tokens wait here, in the turn of the user
// of the first.
func (s *Store) Change(
	ctx context.Context, tenantID string, changes []domain.Change, now time.Time, e domain.Event,
) error {
	if err := ctx.Err(); err != nil || len(changes) == 0 {
		return err
	}
	rows, err := changeRows(changes)
	if err != nil {
		return fmt.Errorf("gormstore: change: %w", err)
	}
	if len(rows) == 1 {
		return s.writeToken(ctx, "change", rows[0].id, changeOne, e, domain.ErrConflict,
			changeArgs(tenantID, rows[0], micros(now))...)
	}
	return s.onceOnly(ctx, e, func() error {
		of := rowName{tenantID: tenantID, userID: changes[0].Before.UserID}
		return s.inTurn(ctx, "change", of, func() error {
			return s.engine.change(s, ctx, tenantID, rows, micros(now), e)
		})
	})
}

// changeArgs are the arguments of changeOne.
func changeArgs(tenantID string, c changeRow, now int64) []any {
	args := make([]any, 0, 2*len(changedColumns)+3)
	for _, v := range slices.Concat(c.after, c.before) {
		args = append(args, v)
	}
	return append(args, c.id[:], tenantID, now)
}

// changeInStatement is for PostgreSQL: one statement.
func (s *Store) changeInStatement(
	ctx context.Context, tenantID string, rows []changeRow, now int64, e domain.Event,
) error {
	ids := make([][]byte, len(rows))
	for i, c := range rows {
		ids[i] = c.id[:]
	}
	args := []any{ids}
	for j := range changedColumns {
		after := make([]*string, len(rows)) // nil: unchanged
		for i, c := range rows {
			if c.after[j] != c.before[j] {
				after[i] = &c.after[j]
			}
		}
		args = append(args, after)
	}
	for j, column := range changedColumns {
		if isObject(column) {
			args = append(args, digests(rows, j))
			continue
		}
		before := make([]string, len(rows))
		for i, c := range rows {
			before[i] = c.before[j]
		}
		args = append(args, before)
	}
	return s.writingMany(ctx, "change", func(db *gorm.DB) error {
		return wrote(db.Exec(changeMany, slices.Concat(args, []any{tenantID, now}, eventArgs(e))...), domain.ErrConflict)
	})
}

// digests are those of column j before the change.
func digests(rows []changeRow, j int) [][]byte {
	all := make([][]byte, len(rows))
	for i, c := range rows {
		d := sha256.Sum256([]byte(c.before[j]))
		all[i] = d[:]
	}
	return all
}

// changeInTransaction is for SQLite: one transaction.
func (s *Store) changeInTransaction(
	ctx context.Context, tenantID string, rows []changeRow, now int64, e domain.Event,
) error {
	return s.transacting(ctx, "change", func(tx *gorm.DB) error {
		var tokens []domain.EndedToken
		for _, c := range rows {
			changed, err := tokensWritten(tx.Raw(changeOne.plain, changeArgs(tenantID, c, now)...))
			if err == nil && len(changed) == 0 {
				err = domain.ErrConflict
			}
			if err != nil {
				return err
			}
			tokens = append(tokens, changed...)
		}
		return appendEvent(tx, e, 0, tokens...)
	})
}
