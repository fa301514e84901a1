package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"
)

// copyTo makes dir the data of a standby of s: a copy of the data of s, which is running and is written to. It uses
// PostgreSQL's low-level API for backups ("Making a Base Backup Using the Low Level API" in the manual). pg_basebackup
// does the same, but the packages of npm lack it, and that of another major version refuses the server.
//
// The standby reads from s what was written since the copy began. If a checkpoint removes that in the second between,
// the standby does not start, and its log has the reason.
func (s *Server) copyTo(ctx context.Context, dir string) (err error) {
	// One session from start to stop: PostgreSQL ends the backup with the session that began it.
	c, err := pgx.Connect(ctx, s.admin.String())
	if err != nil {
		return fmt.Errorf("copy the primary: %w", err)
	}
	defer func() { err = errors.Join(err, c.Close(ctx)) }()
	var from, label string
	if err := c.QueryRow(ctx, `SELECT current_setting('data_directory')`).Scan(&from); err != nil {
		return fmt.Errorf("copy the primary: %w", err)
	}
	if _, err := c.Exec(ctx, `SELECT pg_backup_start('standby', true)`); err != nil {
		return fmt.Errorf("copy the primary: %w", err)
	}
	owner, err := ownerOf(filepath.Dir(dir))
	if err != nil {
		return fmt.Errorf("copy the primary: %w", err)
	}
	if err := owner.copyData(from, dir); err != nil {
		return fmt.Errorf("copy the primary: %w", err)
	}
	if err := c.QueryRow(ctx, `SELECT labelfile FROM pg_backup_stop(false)`).Scan(&label); err != nil {
		return fmt.Errorf("copy the primary: %w", err)
	}
	for name, text := range map[string]string{
		"backup_label":   label,
		"standby.signal": "",
		// A later line overrides an earlier one, which the primary has if it was a standby itself.
		"postgresql.auto.conf": fmt.Sprintf(
			"primary_conninfo = 'host=%s port=%s user=%s sslmode=disable connect_timeout=10'\n",
			s.admin.Hostname(), s.admin.Port(), s.admin.User.Username()),
	} {
		if err := owner.write(filepath.Join(dir, name), os.O_APPEND, strings.NewReader(text)); err != nil {
			return fmt.Errorf("copy the primary: %w", err)
		}
	}
	return nil
}

// owner is the user that the files of a server belong to. The tests may run as root, a server may not.
type owner struct{ uid, gid int }

// ownerOf returns the owner of a file.
func ownerOf(name string) (owner, error) {
	info, err := os.Stat(name)
	if err != nil {
		return owner{}, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return owner{}, fmt.Errorf("%s: no owner is known", name)
	}
	return owner{int(stat.Uid), int(stat.Gid)}, nil
}

// copyData copies the directory of a running server to a new one. It skips a file that the server removes meanwhile.
// A page that is written while it is copied may be torn; the standby takes it from the log.
func (o owner) copyData(from, to string) error {
	return filepath.WalkDir(from, func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		inside, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		target := filepath.Join(to, inside)
		switch {
		case d.IsDir() && isOf(inside, "pg_replslot"):
			return fs.SkipDir
		case d.IsDir():
			return errors.Join(os.Mkdir(target, 0o700), os.Chown(target, o.uid, o.gid))
		case isOfTheProcess(inside) || !d.Type().IsRegular():
			return nil
		}
		source, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		defer source.Close()
		return o.write(target, os.O_EXCL, source)
	})
}

// write writes what source has to a file, as flag says.
func (o owner) write(name string, flag int, source io.Reader) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|flag, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, source)
	return errors.Join(err, f.Chown(o.uid, o.gid), f.Close())
}

// isOfTheProcess reports whether a file in the directory of the data says something about the running server only, so
// that a copy must not have it. The list is that of the manual.
func isOfTheProcess(name string) bool {
	base := filepath.Base(name)
	return slices.Contains([]string{"postmaster.pid", "postmaster.opts", "backup_label", "standby.signal"}, name) ||
		strings.HasPrefix(base, "pgsql_tmp") || strings.HasPrefix(base, "pg_internal.init") ||
		slices.ContainsFunc([]string{
			"pg_wal", "pg_dynshmem", "pg_notify", "pg_serial", "pg_snapshots", "pg_stat_tmp", "pg_subtrans",
		}, func(dir string) bool { return isOf(name, dir) })
}

// isOf reports whether name is below the directory dir.
func isOf(name, dir string) bool { return strings.HasPrefix(name, dir+string(filepath.Separator)) }
