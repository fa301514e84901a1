package gormstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"

	"github.com/refreshd/refreshd/domain"
)

// The queries that count the tables of goose: 1 if any migration ever ran.
const (
	migratedSQLite   = `SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'goose_db_version'`
	migratedPostgres = `SELECT count(*) FROM pg_catalog.pg_class WHERE oid = to_regclass('goose_db_version')`
)

// Schema is how far the schema of a database is.
type Schema struct {
	Version int64    // of its newest migration; 0 if there is none, or no database
	Program int64    // that this program needs
	Pending []string // the files of the migrations that are still to run, in order
}

// SchemaOfSQLite returns the schema of the database in the file at path. It writes nothing, and creates no file. It
// is not a method of Store, because to open a Store creates a database and its log.
func SchemaOfSQLite(ctx context.Context, path string) (Schema, error) {
	e := engine{name: goose.DialectSQLite3, migrated: migratedSQLite}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return e.pending(nil)
	}
	dsn := sqliteDSN(path) + "&mode=ro"
	if size(path+"-wal") == 0 && size(path+"-journal") == 0 {
		// Without a log the file is the whole database. Even a reader would otherwise create a log beside it, and fail if
		// it may not.
		dsn += "&immutable=1"
	}
	var s Schema
	c, err := sqlite.NewConnector(dsn)
	if err == nil {
		s, err = e.schema(ctx, c)
	}
	if err != nil {
		return Schema{}, advised(fmt.Errorf("gormstore: read the schema of the SQLite database %s: %w", path, err))
	}
	return s, nil
}

// SchemaOfPostgres returns the schema of the database that dsn names, by the first host that responds, which may
// be a standby. It writes nothing.
func SchemaOfPostgres(ctx context.Context, dsn domain.Secret) (Schema, error) {
	config, err := parseDSN(dsn)
	if err != nil {
		return Schema{}, fmt.Errorf("gormstore: read the schema of the PostgreSQL database: %w", err)
	}
	c := newLink(config).config
	c.ValidateConnect = nil
	c.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol // a pooler may lose a prepared statement
	s, err := engine{name: goose.DialectPostgres, migrated: migratedPostgres}.schema(ctx, newConnector(c))
	if err != nil {
		return Schema{}, fmt.Errorf("gormstore: read the schema of the PostgreSQL database: %w", err)
	}
	return s, nil
}

// schema asks the database that c opens which migrations it has. goose's own status would make its table.
func (e engine) schema(ctx context.Context, c driver.Connector) (_ Schema, err error) {
	pool := newPool(c, 1)
	defer func() { err = errors.Join(err, pool.Close()) }()
	var tables int64
	if err := pool.QueryRowContext(ctx, e.migrated).Scan(&tables); err != nil {
		return Schema{}, err
	}
	if tables == 0 {
		return e.pending(nil)
	}
	applied, err := versions(ctx, pool)
	if err != nil {
		return Schema{}, err
	}
	return e.pending(applied)
}

func versions(ctx context.Context, pool *sql.DB) (all []int64, err error) {
	rows, err := pool.QueryContext(ctx, `SELECT version_id FROM goose_db_version`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var v int64
		if err := rows.Scan(&v); err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}

// pending compares the applied migrations with those of this program.
func (e engine) pending(applied []int64) (s Schema, err error) {
	for _, v := range applied {
		s.Version = max(s.Version, v)
	}
	sources, err := e.sources()
	if err != nil {
		return Schema{}, err
	}
	files, err := fs.ReadDir(sources, ".") // sorted by name, and so by version
	if err != nil {
		return Schema{}, err
	}
	for _, f := range files {
		v, err := goose.NumericComponent(f.Name())
		if err != nil {
			return Schema{}, err
		}
		s.Program = max(s.Program, v)
		if !slices.Contains(applied, v) {
			s.Pending = append(s.Pending, path.Base(f.Name()))
		}
	}
	return s, nil
}
