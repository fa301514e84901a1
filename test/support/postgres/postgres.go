// Package postgres gives tests and benchmarks a PostgreSQL server and empty databases on it.
//
// It is not for production, and it migrates nothing: a database that it hands out has no tables.
//
// It never skips. It uses the server that TEST_POSTGRES_DSN names. Without that it starts one of its own from binaries
// that it finds. Without those, as root on a Debian-like system, it installs the distribution's package; elsewhere the
// test fails and says what to install. A store that was silently not tested is worse than a red build.
//
// TEST_POSTGRES_VERSION asks for a major version. If it is not installed, its binaries come from npm's registry, see
// fetch.go.
//
// A server ends with the process that started it, however that ends. A shell between them starts the server, runs the
// commands of its standard input (kill.go) until that ends, stops the server and removes its files. The kernel closes
// that pipe also after a panic, os.Exit or kill -9. Not used: a parent death signal, which only Linux has, which
// follows the thread rather than the process, and which leaves the files; a container, which needs an engine.
//
// Each process starts its own server (two seconds), so that packages which `go test` runs side by side do not share
// connections, locks and vacuum.
package postgres

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// Variable is the name of the environment variable that names a server to use instead of starting one, in URL form:
// postgres://user:password@host:port/database. The user needs the right to create databases; a test-suite that opens
// many pools needs max_connections of 200 or more.
const Variable = "TEST_POSTGRES_DSN"

// Options of a server. The zero value is right for tests.
type Options struct {
	// Durable makes a commit wait for the disk. Without it the server forgets commits if the machine, or the server
	// itself, dies; a test that only kills the service does not need it, a benchmark does. It has no effect on a
	// server that TEST_POSTGRES_DSN names: that one is as durable as its owner made it.
	Durable bool
	// Flush is how much longer each flush of the log takes, for a commit as on a slow disk. It has no effect on a server
	// that TEST_POSTGRES_DSN names.
	Flush time.Duration
	// Own starts a server also where TEST_POSTGRES_DSN names one: for a test that kills it.
	Own bool
}

// Server is a running PostgreSQL server. Its methods, except Stop, are safe for concurrent use.
type Server struct {
	admin *url.URL // a database to connect to for creating and dropping others
	keeper
	telling   sync.Mutex // held while the keeper runs a command
	mu        sync.Mutex
	databases map[string]bool
}

// keeper is the shell that owns a server which this package started. The zero value stands for any other server.
type keeper struct {
	cmd     *exec.Cmd
	dir     string
	input   io.WriteCloser // the server runs until this is closed
	output  *bufio.Scanner
	durable bool
	remove  func() error // what it was started with; nil for nothing
}

// StartServer returns the server that TEST_POSTGRES_DSN names, or starts one. ctx bounds the start, not the server's
// lifetime. The caller must call Stop.
func StartServer(ctx context.Context, o Options) (*Server, error) {
	if dsn := os.Getenv(Variable); dsn != "" && !o.Own {
		return existing(ctx, dsn)
	}
	return startOwn(ctx, o, nil)
}

// startOwn starts a server; if primary is not nil, as a copy of it.
func startOwn(ctx context.Context, o Options, primary *Server) (*Server, error) {
	bin, err := Binaries(ctx)
	if err != nil {
		return nil, err
	}
	k, port, err := start(ctx, bin, o, primary)
	if err != nil {
		return nil, fmt.Errorf("postgres: start a server with %s: %w", bin, err)
	}
	s := &Server{
		admin: &url.URL{
			Scheme: "postgres", User: url.User("postgres"), Host: net.JoinHostPort("127.0.0.1", port), Path: "/postgres",
			RawQuery: "sslmode=disable",
		},
		keeper: k, databases: map[string]bool{},
	}
	if err := s.checkVersion(ctx); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// existing never quotes dsn in an error: it may hold a password.
func existing(ctx context.Context, dsn string) (*Server, error) {
	u, err := url.Parse(dsn)
	if err != nil || u.Host == "" || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return nil, errors.New("postgres: " + Variable + " must have the form postgres://user:password@host:port/database")
	}
	s := &Server{admin: u, databases: map[string]bool{}}
	var may bool
	if err := s.do(ctx, func(c *pgx.Conn) error {
		return c.QueryRow(ctx, `SELECT rolsuper OR rolcreatedb FROM pg_roles WHERE rolname = current_user`).Scan(&may)
	}); err != nil {
		return nil, fmt.Errorf("postgres: the server that %s names: %w", Variable, err)
	}
	if !may {
		return nil, errors.New("postgres: the user in " + Variable + " needs the right to create databases")
	}
	if err := s.checkVersion(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// Version returns the version of the server as SELECT version() does.
func (s *Server) Version(ctx context.Context) (version string, err error) {
	err = s.do(ctx, func(c *pgx.Conn) error { return c.QueryRow(ctx, `SELECT version()`).Scan(&version) })
	if err != nil {
		return "", fmt.Errorf("postgres: ask for the version: %w", err)
	}
	return version, nil
}

// checkVersion returns an error if the server is of another major version than VersionVariable asks for, so that a run
// of the tests cannot claim a version that it did not test.
func (s *Server) checkVersion(ctx context.Context) error {
	want := os.Getenv(VersionVariable)
	if want == "" {
		return nil
	}
	var number int // 180004 is 18.4
	if err := s.do(ctx, func(c *pgx.Conn) error {
		return c.QueryRow(ctx, `SELECT current_setting('server_version_num')::int`).Scan(&number)
	}); err != nil {
		return fmt.Errorf("postgres: ask for the version: %w", err)
	}
	if got := strconv.Itoa(number / 10_000); got != want {
		return fmt.Errorf("postgres: the server is of version %s, and %s asks for %s", got, VersionVariable, want)
	}
	return nil
}

// keep is the shell's program: $1 the directory for the files, $2 that of the binaries, $3 the server's options, $4 is
// "copy" if the data is a copy of another server's, then ports to try. This process makes a copy, and then sends the
// first line. The shell prints "ready PORT", or what went wrong. Each further line of its input is one of the
// functions, and it prints what they print and then "done" or "failed".
//
// Another process may take a free port before the server binds it, hence several.
const keep = `
dir=$1 bin=$2 options=$3 how=$4
shift 4
up=
stop() {
	[ -z "$up" ] || "$bin/pg_ctl" stop -s -m immediate -D "$dir/data" >/dev/null 2>&1
	rm -rf "$dir"
}
create() {
	if [ "$how" = copy ]; then read -r _; return; fi
	"$bin/initdb" -D "$dir/data" -U postgres --auth=trust --encoding=UTF8 --locale=C --no-sync \
		>"$dir/create.log" || { cat "$dir/create.log"; return 1; }
}
start() {
	up=1 # before it is true: a server that is not ready in time may run
	"$bin/pg_ctl" start -s -w -D "$dir/data" -l "$dir/server.log" -o "$options -p $port"
}
` + killing + `
exec 2>&1
trap '' PIPE
trap 'exit 1' HUP INT TERM
trap stop EXIT
create || exit 1
for port; do
	start || continue
	echo "ready $port"
	while read -r command argument; do
		if "$command" "$argument"; then echo done; else echo failed; fi
	done
	exit 0
done
cat "$dir/server.log"
exit 1
`

// start runs the shell, and returns when the server takes connections.
func start(ctx context.Context, bin string, o Options, primary *Server) (k keeper, port string, err error) {
	ports, err := freePorts(5)
	if err != nil {
		return k, "", err
	}
	// No socket in the file system: its path is limited to about 100 bytes, and no test needs it.
	options := "-c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=300"
	if !o.Durable {
		options += " -c fsync=off -c full_page_writes=off -c synchronous_commit=off"
	}
	how := "create"
	if primary != nil {
		how = "copy"
	}
	var environ []string
	remove := func() error { return nil }
	if o.Flush > 0 {
		if environ, remove, err = slowFlush(ctx, o.Flush); err != nil {
			return k, "", err
		}
	}
	k, err = newKeeper(keep, environ, append([]string{bin, options, how}, ports...)...)
	if err != nil {
		return k, "", errors.Join(err, remove())
	}
	k.remove = remove
	k.durable = o.Durable
	if primary != nil {
		err := primary.copyTo(ctx, k.data())
		if err == nil {
			_, err = io.WriteString(k.input, "copied\n")
		}
		if err != nil {
			return keeper{}, "", errors.Join(err, k.close())
		}
	}

	pid := k.cmd.Process.Pid
	release := context.AfterFunc(ctx, func() { syscall.Kill(-pid, syscall.SIGTERM) })
	var said strings.Builder
	for k.output.Scan() {
		if port, ready := strings.CutPrefix(k.output.Text(), "ready "); ready {
			if !release() {
				return keeper{}, "", errors.Join(ctx.Err(), k.close())
			}
			return k, port, nil
		}
		said.WriteString("\n" + k.output.Text())
	}
	release()
	return keeper{}, "", errors.Join(ctx.Err(), k.close(), errors.New("it said:"+said.String()))
}

// newKeeper runs a program of the shell, but not as root. Its $1 is a directory of its user, which it must remove.
func newKeeper(program string, environ []string, args ...string) (k keeper, err error) {
	// Not in TMPDIR: that one may be closed to the user that the server runs as.
	dir, err := os.MkdirTemp("/tmp", "refreshd-postgres-")
	if err != nil {
		return k, err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(dir)
		}
	}()
	cmd := exec.Command("/bin/sh", append([]string{"-c", program, "keep", dir}, args...)...)
	cmd.Dir = dir
	cmd.Env = slices.Concat(withoutPG(os.Environ()), []string{"LC_ALL=C"}, environ)
	// A group of its own, so that Ctrl-C on a terminal reaches the server only through the end of this process.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if os.Geteuid() == 0 { // initdb, postgres and pgbouncer refuse to run as root
		cmd.SysProcAttr.Credential = unprivileged()
		if err := os.Chown(dir, int(cmd.SysProcAttr.Credential.Uid), int(cmd.SysProcAttr.Credential.Gid)); err != nil {
			return k, err
		}
	}
	input, err := cmd.StdinPipe()
	if err != nil {
		return k, err
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		return k, err
	}
	if err := cmd.Start(); err != nil {
		return k, err
	}
	return keeper{cmd: cmd, dir: dir, input: input, output: bufio.NewScanner(output)}, nil
}

// data is the directory of the server's data.
func (k keeper) data() string { return filepath.Join(k.dir, "data") }

func (k keeper) close() error {
	if k.cmd == nil {
		return nil
	}
	k.input.Close()
	err := errors.Join(k.cmd.Wait(), os.RemoveAll(k.dir))
	if k.remove != nil {
		err = errors.Join(err, k.remove())
	}
	return err // a shell that ended before it began leaves the directory
}

// withoutPG leaves out what would steer the server's programs, such as PGDATA.
func withoutPG(environ []string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(v string) bool { return strings.HasPrefix(v, "PG") })
}

// unprivileged is the user that the distribution made for PostgreSQL; without one the number of the user nobody.
func unprivileged() *syscall.Credential {
	if u, err := user.Lookup("postgres"); err == nil {
		uid, errUID := strconv.ParseUint(u.Uid, 10, 32)
		gid, errGID := strconv.ParseUint(u.Gid, 10, 32)
		if errUID == nil && errGID == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		}
	}
	return &syscall.Credential{Uid: 65534, Gid: 65534}
}

// freePorts holds all of them before it lets go of any, so that they differ.
func freePorts(n int) (ports []string, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	}
	return ports, nil
}

// NewDatabase creates an empty database and returns its DSN, postgres://….
func (s *Server) NewDatabase(ctx context.Context) (dsn string, err error) {
	name := "refreshd_test_" + strings.ToLower(rand.Text())
	// template0, because it accepts no connections, and PostgreSQL does not copy a template in use.
	if err := s.exec(ctx, "CREATE DATABASE "+name+" TEMPLATE template0 ENCODING 'UTF8'"); err != nil {
		return "", fmt.Errorf("postgres: create a database: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.databases[name] = true
	u := *s.admin
	u.Path = "/" + name
	return u.String(), nil
}

// DropDatabase drops a database that NewDatabase returned, and cuts the connections to it.
func (s *Server) DropDatabase(ctx context.Context, dsn string) error {
	u, err := url.Parse(dsn)
	if err != nil {
		return errors.New("postgres: drop a database: malformed DSN")
	}
	name := strings.TrimPrefix(u.Path, "/")
	s.mu.Lock()
	ours := s.databases[name]
	delete(s.databases, name)
	s.mu.Unlock()
	if !ours {
		return fmt.Errorf("postgres: drop a database: %q is not one that NewDatabase made", name)
	}
	return s.drop(ctx, name)
}

func (s *Server) drop(ctx context.Context, name string) error {
	if err := s.exec(ctx, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
		return fmt.Errorf("postgres: drop a database: %w", err)
	}
	return nil
}

// Stop ends the server immediately and removes its files. A server that TEST_POSTGRES_DSN names it leaves running, and
// drops the remaining databases that were made here.
func (s *Server) Stop() error {
	if s.cmd == nil {
		var errs []error
		for name := range maps.Keys(s.databases) {
			errs = append(errs, s.drop(context.Background(), name))
		}
		return errors.Join(errs...)
	}
	if err := s.close(); err != nil {
		return fmt.Errorf("postgres: stop the server: %w", err)
	}
	return nil
}

func (s *Server) exec(ctx context.Context, sql string) error {
	return s.do(ctx, func(c *pgx.Conn) error {
		_, err := c.Exec(ctx, sql)
		return err
	})
}

func (s *Server) do(ctx context.Context, f func(*pgx.Conn) error) error {
	c, err := pgx.Connect(ctx, s.admin.String())
	if err != nil {
		return err
	}
	return errors.Join(f(c), c.Close(ctx))
}
