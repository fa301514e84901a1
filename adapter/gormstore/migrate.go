package gormstore

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

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

// Migrate brings the schema to where this program needs it, and tells progress, which may be nil, of each step. On a schema
// that is newer it does nothing. It may run while others do, and while the service serves.
func (s *Store) Migrate(ctx context.Context, progress func(string)) error {
	// There is no lock, because poolers and distributed engines have none that would hold. Of two that run at once one fails
	// to create what the other has created, is rolled back, and finds the work done when it looks again.
	newest, err := s.engine.version()
	if err != nil {
		return fmt.Errorf("gormstore: migrate: %w", err)
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

func (s *Store) migrateTo(ctx context.Context, version int64, progress func(string)) error {
	sources, err := s.engine.sources()
	if err != nil {
		return err
	}
	pool := s.engine.migrating()
	defer pool.Close()
	p, err := goose.NewProvider(s.engine.name, pool, sources, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	done, err := p.UpTo(ctx, version)
	if partial := new(goose.PartialError); errors.As(err, &partial) {
		done = partial.Applied
	}
	if progress != nil {
		for _, m := range done {
			progress("applied " + filepath.Base(m.Source.Path))
		}
	}
	return err
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

// Ready returns nil if the database answers, takes writes, and its schema is this program's, or a newer one that it can work on.
//
// A schema is newer only by additions as long as its table schema_compatibility says so: oldest_reader is the version of the
// oldest program that can work on it, and a migration that takes something away raises it.
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
