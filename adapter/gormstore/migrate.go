package gormstore

import (
	"bytes"
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/jackc/pgx/v5"
	"github.com/pressly/goose/v3"
	"gorm.io/gorm"
)

//go:embed migrations
var migrations embed.FS

// sources are the migrations of an engine.
func (e engine) sources() (fs.FS, error) {
	dir := "migrations/postgres"
	if e.name == goose.DialectSQLite3 {
		dir = "migrations/sqlite"
	}
	return fs.Sub(migrations, dir)
}

// Migrate brings the schema to where this program needs it, and the stored policies to what this program combines, and
// tells progress, which may be nil, of each step. On a schema that is newer it does nothing. It may run while others
// do, and while the service serves.
func (s *Store) Migrate(ctx context.Context, progress func(string)) error {
	// There is no lock on all of it, because poolers and distributed engines have none that would hold. Of two that run
	// concurrently one fails to create what the other has created, is rolled back, and finds the work done when it
	// looks again.
	newest, err := s.engine.version()
	if err != nil {
		return fmt.Errorf("gormstore: migrate: %w", err)
	}
	if progress == nil {
		progress = func(string) {}
	}
	for attempt := 1; ; attempt++ {
		err := s.migrateTo(ctx, newest, progress)
		if err == nil {
			return nil
		}
		if attempt == maxAttempts || !pause(ctx, attempt) {
			return fmt.Errorf("gormstore: migrate: %w", s.engine.explain(err))
		}
	}
}

func (s *Store) migrateTo(ctx context.Context, newest int64, progress func(string)) error {
	sources, err := s.engine.sources()
	if err != nil {
		return err
	}
	pool := s.engine.migrating(false)
	defer pool.Close()
	pool.SetMaxIdleConns(0) // a migration that runs apart takes two connections of its own, where a role may have three
	p, err := s.engine.provider(pool, sources)
	if err != nil {
		return err
	}
	all, err := p.Status(ctx)
	if err != nil {
		return err
	}
	for _, m := range all {
		if m.State != goose.StatePending {
			continue
		}
		text, err := fs.ReadFile(sources, m.Source.Path)
		if err != nil {
			return err
		}
		apply := p.UpTo
		if bytes.Contains(text, noTransaction) {
			apply = s.upApart
		}
		done, err := apply(ctx, m.Source.Version)
		if err != nil {
			return err
		}
		for _, m := range done {
			progress("applied " + filepath.Base(m.Source.Path))
		}
	}
	version, err := p.GetDBVersion(ctx)
	if err != nil || version > newest {
		return err
	}
	return s.combineAgain(ctx, progress)
}

func (e engine) provider(pool *sql.DB, sources fs.FS) (*goose.Provider, error) {
	return goose.NewProvider(e.name, pool, sources, goose.WithDisableGlobalRegistry(true))
}

// noTransaction begins a migration that PostgreSQL does not allow in a transaction: one that makes an index and lets
// everybody write meanwhile.
var noTransaction = []byte("-- +goose NO TRANSACTION")

// upApart applies such migrations. They take no lock that an exchange would wait for, and wait themselves for every
// transaction that has begun before: a backup's may take an hour.
//
// Two of them would end in a deadlock, since the one that waits for its turn is itself what the other waits for. So
// each first takes a row, and asks for it again and again instead of waiting. The transaction that holds the row
// neither touches the table of the index nor keeps a snapshot, and nobody waits for it.
func (s *Store) upApart(ctx context.Context, version int64) ([]*goose.MigrationResult, error) {
	sources, err := s.engine.sources()
	if err != nil {
		return nil, err
	}
	pool := s.engine.migrating(true)
	defer pool.Close()
	var held *sql.Tx
	for held == nil {
		if held, err = holdSchema(ctx, pool); err != nil {
			return nil, err
		}
		if held == nil && !pause(ctx, 10) {
			return nil, ctx.Err()
		}
	}
	defer held.Rollback()
	p, err := s.engine.provider(pool, sources)
	if err != nil {
		return nil, err
	}
	return p.UpTo(ctx, version)
}

// holdSchema returns a transaction that holds the row of schema_compatibility; nil while another one does.
func holdSchema(ctx context.Context, pool *sql.DB) (*sql.Tx, error) {
	tx, err := pool.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	var one int
	// By the simple protocol: any other leaves a portal open, and with it the snapshot.
	err = tx.QueryRowContext(ctx, `SELECT one FROM schema_compatibility FOR UPDATE SKIP LOCKED`,
		pgx.QueryExecModeSimpleProtocol).Scan(&one)
	switch {
	case err == nil:
		return tx, nil
	case errors.Is(err, sql.ErrNoRows):
		return nil, tx.Rollback()
	default:
		return nil, errors.Join(err, tx.Rollback())
	}
}

// version is the newest migration that this program knows.
func (e engine) version() (newest int64, err error) {
	sources, err := e.sources()
	if err != nil {
		return 0, err
	}
	files, err := fs.ReadDir(sources, ".")
	if err != nil {
		return 0, err
	}
	for _, f := range files {
		n, err := goose.NumericComponent(f.Name())
		if err != nil {
			return 0, err
		}
		newest = max(newest, n)
	}
	return newest, nil
}

// Ready returns nil if the database answers, takes writes, and its schema is this program's, or a newer one that it can
// work on.
//
// A schema is newer only by additions as long as its table schema_compatibility says so: oldest_reader is the version
// of the oldest program that can work on it, and a migration that takes something away raises it.
func (s *Store) Ready(ctx context.Context) error {
	own, err := s.engine.version()
	if err != nil {
		return fmt.Errorf("gormstore: ready: %w", err)
	}
	var version, oldestReader int64
	if err := s.reading(ctx, "ready", func(db *gorm.DB) error {
		if s.engine.fits != nil {
			if err := s.engine.fits(db); err != nil {
				return err
			}
		}
		var migrated int64
		if err := queryRow(db.Raw(s.engine.migrated), sql.ErrNoRows, &migrated); err != nil || migrated == 0 {
			return err
		}
		// goose makes its table before the first migration makes the other one.
		if err := queryRow(db.Raw(`SELECT max(version_id) FROM goose_db_version`), sql.ErrNoRows, &version); err != nil || version < own {
			return err
		}
		return queryRow(db.Raw(`SELECT oldest_reader FROM schema_compatibility`), sql.ErrNoRows, &oldestReader)
	}); err != nil {
		return err
	}
	switch {
	case version < own:
		return fmt.Errorf("gormstore: the schema is behind (version %d, this program needs %d): run `refreshd migrate`", version, own)
	case oldestReader > own:
		return fmt.Errorf("gormstore: the schema is newer (version %d) and not compatible with this program (version %d): "+
			"run a program of version %d or later", version, own, oldestReader)
	default:
		return nil
	}
}
