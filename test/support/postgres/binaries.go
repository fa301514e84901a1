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

	"github.com/refreshd/refreshd/test/support/apt"
)

// VersionVariable is the name of the environment variable that names the major version of PostgreSQL to test with, such
// as 18. Where it is not set, the tests take the newest version that is installed.
const VersionVariable = "TEST_POSTGRES_VERSION"

// Binaries returns the directory of PostgreSQL's server programs. It looks on PATH, then where pg_config points, then
// in /usr/lib/postgresql, newest version first. Where there are none, it installs the distribution's package if it can.
// A version that VersionVariable names, and that is not installed, it fetches if it knows a package of it.
func Binaries(ctx context.Context) (string, error) {
	major := os.Getenv(VersionVariable)
	if dir, ok := find(major); ok {
		return dir, nil
	}
	if p, ok := published[major]; ok {
		dir, err := p.fetch(ctx)
		if err != nil {
			return "", fmt.Errorf("postgres: fetch PostgreSQL %s: %w", major, err)
		}
		return dir, nil
	}
	name := "postgresql"
	if major != "" {
		name += "-" + major
	}
	err := apt.Install(ctx, name, func() bool { _, ok := find(major); return ok })
	if err == nil {
		if dir, ok := find(major); ok {
			return dir, nil
		}
		err = errors.New("the package is installed, but not in /usr/lib/postgresql")
	}
	return "", fmt.Errorf("postgres: no PostgreSQL server %s to test with: install one (Debian, Ubuntu: apt-get install "+
		"%s; Fedora: dnf install postgresql-server; macOS: brew install postgresql), or name a running one in %s: %w",
		major, name, Variable, err)
}

// find returns where the programs of that major version are; of any version, if it is empty.
func find(major string) (dir string, ok bool) {
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
		if complete(dir) && (major == "" || majorOf(dir) == major) {
			return dir, true
		}
	}
	return "", false
}

// majorOf returns the major version of the server program in dir; empty if it does not run. The program prints
// "postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)".
func majorOf(dir string) string {
	out, err := exec.Command(filepath.Join(dir, "postgres"), "--version").Output()
	_, version, ok := strings.Cut(string(out), "(PostgreSQL) ")
	if err != nil || !ok {
		return ""
	}
	return version[:len(version)-len(strings.TrimLeft(version, "0123456789"))]
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
