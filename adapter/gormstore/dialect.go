package gormstore

import (
	"errors"
	"fmt"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/callbacks"
	"gorm.io/gorm/clause"
	"gorm.io/gorm/schema"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// sqliteDialect tells GORM what it needs to run written-out statements on SQLite. It has no models, so it has no column
// types and no migrator. The package comment says why it exists.
type sqliteDialect struct{ pool gorm.ConnPool }

func (sqliteDialect) Name() string { return "sqlite" }

func (d sqliteDialect) Initialize(db *gorm.DB) error {
	callbacks.RegisterDefaultCallbacks(db, &callbacks.Config{})
	db.ConnPool = d.pool
	return nil
}

// Translate maps the driver's error codes, as the dialect of gorm.io/driver/postgres maps SQLSTATEs.
func (sqliteDialect) Translate(err error) error {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code() {
	case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
		return fmt.Errorf("%w: %w", gorm.ErrDuplicatedKey, err)
	case sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
		return fmt.Errorf("%w: %w", gorm.ErrForeignKeyViolated, err)
	case sqlite3.SQLITE_CONSTRAINT_CHECK:
		return fmt.Errorf("%w: %w", gorm.ErrCheckConstraintViolated, err)
	default:
		return err
	}
}

func (sqliteDialect) Migrator(*gorm.DB) gorm.Migrator { return nil }

func (sqliteDialect) DataTypeOf(*schema.Field) string { return "" }

func (sqliteDialect) DefaultValueOf(*schema.Field) clause.Expression { return clause.Expr{SQL: "NULL"} }

func (sqliteDialect) BindVarTo(w clause.Writer, _ *gorm.Statement, _ any) { _ = w.WriteByte('?') }

func (sqliteDialect) QuoteTo(w clause.Writer, name string) { _, _ = w.WriteString(`"` + name + `"`) }

// Explain returns a statement for the log, which never receives values.
func (sqliteDialect) Explain(text string, _ ...any) string { return text }

// postgresDialect is GORM's own, except for Explain: GORM's inserts the values, and a $ behind each placeholder.
type postgresDialect struct{ *postgres.Dialector }

// Explain returns a statement for the log.
func (postgresDialect) Explain(text string, _ ...any) string { return text }
