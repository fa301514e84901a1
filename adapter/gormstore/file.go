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

// lookedThrough is the size up to which a database file is looked through for damage when it is opened: some tenths of a second.
// Damage in a larger one shows when it is met.
const lookedThrough = 64 << 20

// sqliteFile is the file of a database, as it was when it was opened.
type sqliteFile struct {
	path   string
	opened os.FileInfo
	log    os.FileInfo // nil on a file system that cannot have one
	lost   atomic.Bool
}

// place sees to it that there is a file, and that its directory outlives a power cut: SQLite syncs what is in the
// directory, and whoever made the directory has to sync that.
func (f *sqliteFile) place() error {
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
	// SQLite throws a log away that lies beside an empty file, and all that was answered since the last checkpoint is in there.
	if size(f.path) == 0 && size(f.path+"-wal") > 0 {
		return fmt.Errorf("it is empty or not there, but its log %s-wal is: put the database back beside its log, "+
			"or move the log away to begin with a new database. Nothing was changed", f.path)
	}
	// SQLite would make the file with the permissions that umask leaves. Its other files get those of this one.
	file, err := os.OpenFile(f.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	f.opened, err = file.Stat()
	return errors.Join(err, file.Close())
}

// size is 0 also for a file that is not there.
func size(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// syncAbove makes the names of dir and of the directories above it durable. One that we may not open is not one that we made, and a
// file system that cannot sync a directory has no need to.
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
		if err != nil && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.EROFS) &&
			!errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	return nil
}

// holdLog keeps the log from being deleted, as SQLite does when the last connection is closed, and remembers it. hold is for nothing
// else.
func (f *sqliteFile) holdLog(ctx context.Context, hold *sql.DB) error {
	hold.SetConnMaxIdleTime(0)
	var mode string
	var tables int64
	if err := hold.QueryRowContext(ctx, `SELECT journal_mode, (SELECT count(*) FROM sqlite_master) FROM pragma_journal_mode`).
		Scan(&mode, &tables); err != nil || mode != "wal" {
		return err
	}
	var err error
	f.log, err = os.Stat(f.path + "-wal")
	return err
}

// inspect looks for damage before anything may write to the file, by a connection that cannot: where it refuses, the file and its log
// are as they were. SQLite itself would copy any log into the file beside which it lies.
func (f *sqliteFile) inspect(ctx context.Context) error {
	// A rollback journal is there only if the file was being made a database, and has to be rolled back first.
	if f.opened.Size() == 0 || size(f.path+"-journal") > 0 {
		return nil
	}
	dsn := sqliteDSN(f.path) + "&mode=ro"
	if size(f.path+"-wal") > 0 {
		// That instant is the store's own for ever. In the file without its log there may be no such table yet.
		const made = `SELECT created_at FROM keys WHERE kind = 'check'`
		var alone, withLog int64
		if ask(ctx, dsn+"&immutable=1", made, &alone) == nil && ask(ctx, dsn, made, &withLog) == nil && alone != withLog {
			return fmt.Errorf("its log %s-wal is another database's: put back the database that the log belongs to, "+
				"or move the log away. Nothing was changed", f.path)
		}
	}
	// What one has to read to see damage in a large file would keep the service waiting too long.
	query := `SELECT group_concat(quick_check, '; ') FROM (SELECT quick_check FROM pragma_quick_check LIMIT 5)`
	if f.opened.Size() > lookedThrough {
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

// present returns an error once the file or its log is no longer what was opened. SQLite goes on writing to a file that was deleted
// or replaced, and what it writes then is in no database that the next start finds. So this is asked after each call and before
// its answer; it takes a few microseconds. And it is asked before a connection is opened: that would make another log, or take
// the log for the other file's. There is no way back but a start.
func (f *sqliteFile) present() error {
	if !f.lost.Load() {
		if same(f.opened, f.path) && (f.log == nil || same(f.log, f.path+"-wal")) {
			return nil
		}
		f.lost.Store(true)
	}
	return fmt.Errorf("the database file %s, or its -wal, was deleted, moved or replaced while it was in use, and what would be written "+
		"now would be lost: put the files back, and start the service anew", f.path)
}

// HoldsNothing tells whether there is no SQLite database at path, or one without a table: what a live copy is that lacks its -wal, as
// long as all has been in that only. It opens no database, and so changes nothing.
func HoldsNothing(path string) (bool, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("gormstore: open SQLite: %w", err)
	}
	defer f.Close()
	// The first page holds the list of tables, behind a header of 100 bytes: its kind, and at 3 how many entries it has. A list that is
	// longer than the page is of another kind. (https://sqlite.org/fileformat2.html, sections 1.3 and 1.6)
	const header, leaf = 100, 0x0d
	page := make([]byte, header+5)
	_, err = io.ReadFull(f, page)
	switch {
	case errors.Is(err, io.EOF): // it is empty
		return true, nil
	case err != nil: // too short, or a directory: to open it will tell
		return false, nil
	}
	if log, err := os.Stat(path + "-wal"); err == nil && log.Size() > 0 {
		return false, nil // the tables may be there
	}
	return page[header] == leaf && page[header+3] == 0 && page[header+4] == 0, nil
}

// same is false only where that is sure: a file system that fails for a moment does not say that the file is gone.
func same(opened os.FileInfo, path string) bool {
	now, err := os.Stat(path)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	return os.SameFile(opened, now)
}

const restore = "restore it from a backup, and keep the damaged file"

// explain adds to an error of the file where it is and what an operator can do about it.
func (f *sqliteFile) explain(err error) error {
	if what := advice(err); what != "" {
		return fmt.Errorf("%w: %s: %s", err, f.path, what)
	}
	return err
}

// advice is what an operator can do about an error of a file, or of SQLite.
func advice(err error) string {
	code := 0
	if e := (*sqlite.Error)(nil); errors.As(err, &e) {
		code = e.Code()
	}
	if code != sqlite3.SQLITE_IOERR_SHMSIZE { // that is no room for the -shm
		code &= 0xff
	}
	switch {
	case errors.Is(err, syscall.ENOSPC), code == sqlite3.SQLITE_FULL, code == sqlite3.SQLITE_IOERR_SHMSIZE:
		return "the disk is full: make room there"
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS),
		code == sqlite3.SQLITE_READONLY, code == sqlite3.SQLITE_CANTOPEN, code == sqlite3.SQLITE_PERM:
		return "the user that runs refreshd has to be able to write to the file and to its directory, " +
			"and the file system must not be mounted read-only"
	case code == sqlite3.SQLITE_BUSY:
		return "another process holds a lock on it: let it finish, or end it (`fuser` names it)"
	case code == sqlite3.SQLITE_CORRUPT:
		return "the database is damaged: " + restore
	case code == sqlite3.SQLITE_NOTADB:
		return "this is no SQLite database: name another file in REFRESHD_DATABASE_URL, or " + restore
	case code == sqlite3.SQLITE_IOERR:
		return "the disk failed a read or a write: see the kernel's log, and whether the disk is full or read-only"
	}
	return ""
}
