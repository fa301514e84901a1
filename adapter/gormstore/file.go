package gormstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// maxQuickCheck is the size up to which a database file is checked for damage when it is opened, which takes some
// tenths of a second. Damage in a larger one is found when it is read.
const maxQuickCheck = 64 << 20

// sqliteFile is the file of a database, with its identity when it was opened.
type sqliteFile struct {
	path   string
	opened os.FileInfo
	log    os.FileInfo // nil on a file system that cannot have one
	lost   atomic.Bool
}

// create creates the file if there is none, and makes its directory survive a power failure: SQLite syncs what is in
// the directory, but its creator has to sync its parent.
func (f *sqliteFile) create() error {
	dir, err := filepath.Abs(filepath.Dir(f.path))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := syncAbove(dir); err != nil {
		return err
	}
	// SQLite deletes a log beside an empty file, with everything that was committed since the last checkpoint.
	if size(f.path) == 0 && size(f.path+"-wal") > 0 {
		return fmt.Errorf("it is empty or missing, but its log %s-wal exists: put the database back beside its log, "+
			"or move the log away to begin with a new database. Nothing was changed", f.path)
	}
	// SQLite would create the file with the permissions that umask allows. Its other files get those of this one.
	file, err := os.OpenFile(f.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	f.opened, err = file.Stat()
	return errors.Join(err, file.Close())
}

// size returns 0 for a missing file.
func size(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// syncAbove makes the names of dir and of the directories above it durable. A directory without permission was not
// created here, and a file system that cannot sync a directory does not need to.
func syncAbove(dir string) error {
	for dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
		d, err := os.Open(dir)
		if errors.Is(err, fs.ErrPermission) {
			return nil
		}
		if err != nil {
			return err
		}
		err = d.Sync()
		d.Close()
		if err != nil && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, syscall.EINVAL) &&
			!errors.Is(err, syscall.EROFS) && !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	return nil
}

// holdLog keeps SQLite from deleting the log when the last connection is closed, and records its identity. hold is used
// for nothing else.
func (f *sqliteFile) holdLog(ctx context.Context, hold *sql.DB) error {
	hold.SetConnMaxIdleTime(0)
	var mode string
	var tables int64
	const query = `SELECT journal_mode, (SELECT count(*) FROM sqlite_master) FROM pragma_journal_mode`
	if err := hold.QueryRowContext(ctx, query).Scan(&mode, &tables); err != nil || mode != "wal" {
		return err
	}
	var err error
	f.log, err = os.Stat(f.path + "-wal")
	return err
}

// inspect checks for damage by a read-only connection, before anything can write to the file: a file that is refused
// and its log stay unchanged. SQLite itself would apply any log beside the file.
func (f *sqliteFile) inspect(ctx context.Context) error {
	// A rollback journal exists only if the creation of the database was interrupted. It has to be rolled back first.
	if f.opened.Size() == 0 || size(f.path+"-journal") > 0 {
		return nil
	}
	dsn := sqliteDSN(f.path) + "&mode=ro"
	if size(f.path+"-wal") > 0 {
		// That instant never changes within one store. The file without its log may not contain the table yet.
		const made = `SELECT created_at FROM keys WHERE kind = 'check'`
		var alone, withLog int64
		if ask(ctx, dsn+"&immutable=1", made, &alone) == nil && ask(ctx, dsn, made, &withLog) == nil && alone != withLog {
			return fmt.Errorf("its log %s-wal belongs to another database: put back the database of that log, "+
				"or move the log away. Nothing was changed", f.path)
		}
	}
	// Checking a large file completely would delay the start too long.
	query := `SELECT group_concat(quick_check, '; ') FROM (SELECT quick_check FROM pragma_quick_check LIMIT 5)`
	if f.opened.Size() > maxQuickCheck {
		query = `SELECT iif(count(*) >= 0, 'ok', '') FROM sqlite_master`
	}
	var damage string
	if err := ask(ctx, dsn, query, &damage); err != nil {
		return err
	}
	if damage != "ok" {
		return fmt.Errorf("the database is damaged (%s): %s. Nothing was changed", damage, restore)
	}
	return nil
}

func ask(ctx context.Context, dsn, query string, dest any) error {
	c, err := sqlite.NewConnector(dsn)
	if err != nil {
		return err
	}
	pool := newPool(c, 1)
	return errors.Join(pool.QueryRowContext(ctx, query).Scan(dest), pool.Close())
}

// check returns an error once the file or its log is no longer the one that was opened. SQLite continues to write to a
// file that was deleted or replaced, and the next start would not find what it writes. So every call checks the file
// before it returns, which takes a few microseconds. A new connection checks it before it opens the database, because
// SQLite would create another log, or apply the log to another file. Only a restart recovers from this error.
func (f *sqliteFile) check() error {
	if !f.lost.Load() {
		if same(f.opened, f.path) && (f.log == nil || same(f.log, f.path+"-wal")) {
			return nil
		}
		f.lost.Store(true)
	}
	return fmt.Errorf("the database file %s, or its -wal, was deleted, moved or replaced while it was in use, "+
		"and further writes would be lost: put the files back, and restart the service", f.path)
}

// HoldsNothing reports whether there is no SQLite database at path, or one without a table. A copy that lacks its -wal
// has no table while all data is in the -wal. HoldsNothing opens no database, and so changes nothing.
func HoldsNothing(path string) (bool, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("gormstore: open SQLite: %w", err)
	}
	defer f.Close()
	// The first page contains the list of tables, behind a header of 100 bytes: its kind, and at offset 3 the number of
	// entries. A list that is longer than the page is of another kind. (https://sqlite.org/fileformat2.html, sections
	// 1.3 and 1.6)
	const header, leaf = 100, 0x0d
	page := make([]byte, header+5)
	_, err = io.ReadFull(f, page)
	switch {
	case errors.Is(err, io.EOF): // an empty file
		return true, nil
	case err != nil: // too short, or a directory: opening it returns the error
		return false, nil
	}
	if log, err := os.Stat(path + "-wal"); err == nil && log.Size() > 0 {
		return false, nil // it may contain the tables
	}
	return page[header] == leaf && page[header+3] == 0 && page[header+4] == 0, nil
}

// same returns false only if the file is certainly another one: a file system that fails for a moment does not prove
// that the file was deleted.
func same(opened os.FileInfo, path string) bool {
	now, err := os.Stat(path)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	return os.SameFile(opened, now)
}

const restore = "restore it from a backup, and keep the damaged file"

// explain adds to an error of the file its path and what an operator can do.
func (f *sqliteFile) explain(err error) error {
	if what := advice(err); what != "" {
		return fmt.Errorf("%w: %s: %s", err, f.path, what)
	}
	return err
}

// advised adds to an error that names the file what an operator can do.
func advised(err error) error {
	if what := advice(err); what != "" {
		return fmt.Errorf("%w: %s", err, what)
	}
	return err
}

// advice returns what an operator can do about an error of a file or of SQLite, or "".
func advice(err error) string {
	code := 0
	if e := (*sqlite.Error)(nil); errors.As(err, &e) {
		code = e.Code()
	}
	if code != sqlite3.SQLITE_IOERR_SHMSIZE { // no space for the -shm
		code &= 0xff
	}
	switch {
	case errors.Is(err, syscall.ENOSPC), code == sqlite3.SQLITE_FULL, code == sqlite3.SQLITE_IOERR_SHMSIZE:
		return "the disk is full: free space on it"
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS),
		code == sqlite3.SQLITE_READONLY, code == sqlite3.SQLITE_CANTOPEN, code == sqlite3.SQLITE_PERM:
		return "the user that runs refreshd needs write permission for the file and its directory, " +
			"and the file system must not be mounted read-only"
	case code == sqlite3.SQLITE_BUSY:
		return "another process has locked it: let it finish, or end it (`fuser` shows it)"
	case code == sqlite3.SQLITE_CORRUPT:
		return "the database is damaged: " + restore
	case code == sqlite3.SQLITE_NOTADB:
		return "this is not a SQLite database: name another file in REFRESHD_DATABASE_URL, or " + restore
	case code == sqlite3.SQLITE_IOERR:
		return "the disk failed a read or a write: check the kernel's log, and whether the disk is full or read-only"
	}
	return ""
}
