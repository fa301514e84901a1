package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Binaries returns the directory of PostgreSQL's server programs. It looks on PATH, then where pg_config points, then in
// /usr/lib/postgresql, newest version first. Where there are none, it installs the distribution's package if it can.
func Binaries(ctx context.Context) (string, error) {
	if dir, ok := find(); ok {
		return dir, nil
	}
	err := install(ctx, "postgresql", func() bool { _, ok := find(); return ok })
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

// install runs the system's package manager where it is apt-get and we may use it.
func install(ctx context.Context, name string, installed func() bool) error {
	if _, err := exec.LookPath("apt-get"); err != nil {
		return errors.New("installing it needs apt-get")
	}
	if os.Geteuid() != 0 {
		return errors.New("installing it needs root")
	}
	// One at a time: `go test` runs several test binaries at once, and apt-get update fails if another one runs. Locking
	// a directory that only root can write to leaves no file behind; apt's own locks are of another kind (fcntl).
	lock, err := os.Open("/var/lib/dpkg")
	if err != nil {
		return fmt.Errorf("lock the package manager: %w", err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock the package manager: %w", err)
	}
	if installed() {
		return nil
	}
	fmt.Fprintf(os.Stderr, "postgres: installing the distribution's package %s, which is not there\n", name)
	for _, args := range [][]string{
		{"update", "-q"},
		{"install", "-q", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300", name},
	} {
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get %s: %w\n%s", args[0], err, out)
		}
	}
	return nil
}
