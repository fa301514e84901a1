package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/refreshd/refreshd/test/support/apt"
)

// Binaries returns the directory of PostgreSQL's server programs. It looks on PATH, then where pg_config points, then in
// /usr/lib/postgresql, newest version first. Where there are none, it installs the distribution's package if it can.
func Binaries(ctx context.Context) (string, error) {
	if dir, ok := find(); ok {
		return dir, nil
	}
	err := apt.Install(ctx, "postgresql", func() bool { _, ok := find(); return ok })
	if err == nil {
		if dir, ok := find(); ok {
			return dir, nil
		}
		err = errors.New("the package is installed, but not in /usr/lib/postgresql")
	}
	return "", fmt.Errorf("postgres: no PostgreSQL server to test with: install one (Debian, Ubuntu: apt-get install postgresql; "+
		"Fedora: dnf install postgresql-server; macOS: brew install postgresql), or name a running one in %s: %w", Variable, err)
}

func find() (dir string, ok bool) {
	var dirs []string
	if path, err := exec.LookPath("initdb"); err == nil {
		// The programs look for one another beside themselves, so follow a link to where they really are.
		if path, err = filepath.EvalSymlinks(path); err == nil {
			dirs = append(dirs, filepath.Dir(path))
		}
	}
	// Debian's pg_config comes with the client library and names a directory that may not exist.
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		dirs = append(dirs, strings.TrimSpace(string(out)))
	}
	installed, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	slices.SortFunc(installed, newestFirst)
	for _, dir := range append(dirs, installed...) {
		if complete(dir) {
			return dir, true
		}
	}
	return "", false
}

func newestFirst(a, b string) int {
	version := func(bin string) float64 {
		v, _ := strconv.ParseFloat(filepath.Base(filepath.Dir(bin)), 64)
		return v
	}
	return cmp.Compare(version(b), version(a))
}

func complete(dir string) bool {
	for _, name := range []string{"initdb", "pg_ctl", "postgres"} {
		if _, err := exec.LookPath(filepath.Join(dir, name)); err != nil {
			return false
		}
	}
	return true
}
