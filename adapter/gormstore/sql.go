package gormstore

import (
	"database/sql"
	"errors"
	"strconv"
	"strings"
	"time"

	"gorm.io/gorm"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// columns writes names as a list, with prefix before each.
func columns(prefix string, names []string) string {
	return prefix + strings.Join(names, ", "+prefix)
}

// placeholders returns $1 to $n.
func placeholders(n int) string { return placeholdersFrom(1, n) }

// placeholdersFrom returns n of them, beginning with $first.
func placeholdersFrom(first, n int) string {
	out := make([]string, n)
	for i := range out {
		out[i] = "$" + strconv.Itoa(first+i)
	}
	return strings.Join(out, ", ")
}

// Instants are microseconds since 1970 in both engines; 0 stands for the zero instant.

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func instant(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

func duration(us int64) time.Duration { return time.Duration(us) * time.Microsecond }

// Flags are 0 and 1 in both engines, so that one text serves both.
func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// raw is db.Raw for the hot statements. GORM copies a text byte by byte to look for placeholders, which these texts do
// not contain: that took a fifth of an exchange's time, and more memory than all the rest of it.
func raw(db *gorm.DB, text string, args ...any) *gorm.DB {
	tx := db.Raw("")
	tx.Statement.SQL.WriteString(text)
	tx.Statement.Vars = args
	return tx
}

// queryRow reads the first row into dest, or returns none if there is no row. A statement that writes and returns a row
// is committed when queryRow returns nil, because Scan closes the rows and returns that error.
func queryRow(query *gorm.DB, none error, dest ...any) error {
	err := query.Row().Scan(dest...)
	if errors.Is(err, sql.ErrNoRows) {
		return none
	}
	if translator, ok := query.Dialector.(gorm.ErrorTranslator); ok && err != nil {
		err = translator.Translate(err) // GORM does this only where it scans
	}
	return err
}

// errPageEnds ends queryRows, which then returns nil: the row belongs to the next page.
var errPageEnds = errors.New("the page ends")

// full reports whether a page of n objects and so many bytes ends before the next object.
func full(n, limit, bytes int) bool { return n >= limit || bytes >= port.MaxListBytes }

// queryRows calls scan for each row.
func queryRows(query *gorm.DB, scan func(rows *sql.Rows) error) error {
	rows, err := query.Rows()
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); errors.Is(err, errPageEnds) {
			return rows.Close()
		} else if err != nil {
			return err
		}
	}
	return rows.Err()
}

// wrote returns none if the statement affected no row.
func wrote(result *gorm.DB, none error) error {
	if result.Error != nil {
		return result.Error
	}
	if result.RowsAffected == 0 {
		return none
	}
	return nil
}

// exists returns domain.ErrNotFound if the query, a count, is zero.
func exists(query *gorm.DB) error {
	var n int64
	if err := queryRow(query, sql.ErrNoRows, &n); err != nil {
		return err
	}
	if n == 0 {
		return domain.ErrNotFound
	}
	return nil
}
