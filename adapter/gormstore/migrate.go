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

// sources returns the migrations of an engine.
func (e engine) sources() (fs.FS, error) {
	dir := "migrations/postgres"
	if e.name == goose.DialectSQLite3 {
		dir = "migrations/sqlite"
	}
	return fs.Sub(migrations, dir)
}

// Migrate updates the schema to the version of this program, and the stored policies to what this program combines. It
// reports each step to progress, which may be nil. It does not change a schema that is newer. It may run concurrently
// with other migrations and with the service.
func (s *Store) Migrate(ctx context.Context, progress func(string)) error {
	// No lock covers all of it, because poolers and distributed engines have none that is reliable. If two run
	// concurrently, one fails to create what the other has created, is rolled back, and finds the work done at its next
	// attempt. Each migration of another process can cost one attempt.
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
		if attempt == maxAttempts+int(newest) || !pause(ctx, min(attempt, maxAttempts)) {
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
	pool.SetMaxIdleConns(0) // a migration without a transaction takes two more, and a role may be limited to three
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
			apply = s.upWithoutTx
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

// noTransaction begins a migration that PostgreSQL does not allow in a transaction: one that creates an index without
// blocking writes.
var noTransaction = []byte("-- +goose NO TRANSACTION")

// upWithoutTx applies such migrations. They take no lock that an exchange would wait for, but they wait for every
// transaction that began before: that of a backup may take an hour.
//
// Two of them would deadlock: each one waits for the other, even while that only waits for its turn. So each first
// takes a row, and polls for it instead of waiting. The transaction that holds the row neither uses the table of the
// index nor keeps a snapshot, and nothing waits for it.
func (s *Store) upWithoutTx(ctx context.Context, version int64) ([]*goose.MigrationResult, error) {
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

// holdSchema returns a transaction that holds the row of schema_compatibility, or nil while another one does.
func holdSchema(ctx context.Context, pool *sql.DB) (*sql.Tx, error) {
	tx, err := pool.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	var one int
	// The extended protocol would leave a portal open, and with it the snapshot.
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

// version returns the newest migration that this program knows.
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

// Ready returns nil if the database responds and accepts writes, and its schema is that of this program, or a newer one
// that is compatible.
//
// A newer schema is compatible while its table schema_compatibility says so: oldest_reader is the version of the oldest
// program that can use it. A migration that removes something raises it.
func (s *Store) Ready(ctx context.Context) error {
	own, err := s.engine.version()
	if err != nil {
		return fmt.Errorf("gormstore: ready: %w", err)
	}
	var version, oldestReader int64
	if err := s.reading(ctx, "ready", func(db *gorm.DB) error {
		if s.engine.checkServer != nil {
			if err := s.engine.checkServer(db); err != nil {
				return err
			}
		}
		var migrated int64
		if err := queryRow(db.Raw(s.engine.migrated), sql.ErrNoRows, &migrated); err != nil || migrated == 0 {
			return err
		}
		// goose creates its table before the first migration creates the other one.
		if err := queryRow(db.Raw(`SELECT max(version_id) FROM goose_db_version`), sql.ErrNoRows,
			&version); err != nil || version < own {
			return err
		}
		return queryRow(db.Raw(`SELECT oldest_reader FROM schema_compatibility`), sql.ErrNoRows, &oldestReader)
	}); err != nil {
		return err
	}
	switch {
	case version < own:
		return fmt.Errorf("gormstore: the schema is older (version %d) than this program needs (version %d): "+
			"run `refreshd migrate`", version, own)
	case oldestReader > own:
		return fmt.Errorf("gormstore: the schema is newer (version %d) and incompatible with this program (version %d): "+
			"run a program of version %d or later", version, own, oldestReader)
	default:
		return nil
	}
}
