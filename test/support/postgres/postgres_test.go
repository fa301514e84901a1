package postgres_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/refreshd/refreshd/test/support/postgres"
)

// victim in the environment makes this test binary start a server, print its address, and wait to be killed. With the
// value "again" it kills the server and starts it again before.
const victim = "REFRESHD_TEST_POSTGRES_VICTIM"

func TestMain(m *testing.M) {
	if how := os.Getenv(victim); how != "" {
		s, err := postgres.StartServer(context.Background(), postgres.Options{Durable: how == "again"})
		if err == nil && how == "again" {
			err = errors.Join(s.Kill(), s.Start())
		}
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		dsn, err := s.NewDatabase(context.Background())
		fmt.Println(dsn, err)
		io.Copy(io.Discard, os.Stdin)
		panic("the end that a failing test may make of its process")
	}
	os.Exit(postgres.Main(m))
}

func TestDatabasesAreSeparate(t *testing.T) {
	postgres.LeaveOut(t)
	a, b := connect(t, postgres.NewDatabase(t)), connect(t, postgres.NewDatabase(t))
	for _, c := range []*pgx.Conn{a, b} {
		if _, err := c.Exec(t.Context(), `CREATE TABLE mine (n INT)`); err != nil {
			t.Fatalf("a new database is not empty: %v", err)
		}
	}
	if _, err := a.Exec(t.Context(), `INSERT INTO mine VALUES (1)`); err != nil {
		t.Fatal(err)
	}
	if got := query[int](t, b, `SELECT count(*) FROM mine`); got != 0 {
		t.Errorf("got %d rows of the other database, want 0", got)
	}
}

// A pool that a test forgot must not keep its database alive, or the next run of the tests meets a full disk.
func TestDatabaseIsDroppedWhenItsTestIsOver(t *testing.T) {
	postgres.LeaveOut(t)
	var name string
	t.Run("inner", func(inner *testing.T) {
		c := connect(t, postgres.NewDatabase(inner))
		name = query[string](t, c, `SELECT current_database()`)
	})
	c := connect(t, postgres.NewDatabase(t))
	if got := query[int](t, c, `SELECT count(*) FROM pg_database WHERE datname = '`+name+`'`); got != 0 {
		t.Errorf("database %s is still there", name)
	}
}

func TestServerIsOnLoopbackAndGoneAfterStop(t *testing.T) {
	postgres.LeaveOut(t)
	s := start(t)
	if s == nil {
		return
	}
	dsn := newDatabase(t, s)
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	got := []string{u.Scheme, u.User.String(), u.Hostname(), u.RawQuery}
	if diff := cmp.Diff([]string{"postgres", "postgres", "127.0.0.1", "sslmode=disable"}, got); diff != "" {
		t.Errorf("parts of the DSN (-want +got):\n%s", diff)
	}
	files := query[string](t, connect(t, dsn), `SHOW data_directory`)
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if c, err := pgx.Connect(t.Context(), dsn); err == nil {
		c.Close(t.Context())
		t.Error("the server still takes connections")
	}
	if _, err := os.Stat(files); !os.IsNotExist(err) {
		t.Errorf("stat of the server's files: got %v, want that they do not exist", err)
	}
}

// The end of a process must be the end of its server, also where no deferred call runs. Otherwise each killed test run
// leaves a server behind, until the machine has no memory.
func TestServerEndsWithItsProcess(t *testing.T) {
	postgres.LeaveOut(t)
	if !binaries(t) {
		return
	}
	for _, end := range []struct {
		name, victim string
		by           func(*exec.Cmd, io.Closer) error
	}{
		{"kill -9", "1", func(c *exec.Cmd, _ io.Closer) error { return c.Process.Kill() }},
		{"kill -9, of a server that was started again", "again",
			func(c *exec.Cmd, _ io.Closer) error { return c.Process.Kill() }},
		{"panic", "1", func(_ *exec.Cmd, stdin io.Closer) error { return stdin.Close() }},
	} {
		t.Run(end.name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
			cmd.Env = append(os.Environ(), victim+"="+end.victim, postgres.Variable+"=")
			stdin, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			line, err := bufio.NewReader(stdout).ReadString('\n')
			dsn, ok := strings.CutSuffix(line, " <nil>\n")
			if !ok {
				t.Fatalf("the process that is to be ended said %q, %v", line, err)
			}
			c := connect(t, dsn)
			if err := end.by(cmd, stdin); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err == nil {
				t.Fatal("the process ended without an error")
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if _, err := c.WaitForNotification(ctx); err == nil || ctx.Err() != nil {
				t.Errorf("a connection to the server: got %v, want that the server ended it", err)
			}
		})
	}
}

func TestOptionsReachTheServer(t *testing.T) {
	postgres.LeaveOut(t)
	for _, tc := range []struct {
		options postgres.Options
		want    string
	}{
		{postgres.Options{}, "off"},
		{postgres.Options{Durable: true}, "on"},
	} {
		s := start(t, tc.options)
		if s == nil {
			return
		}
		c := connect(t, newDatabase(t, s))
		for _, setting := range []string{"fsync", "full_page_writes", "synchronous_commit"} {
			if got := query[string](t, c, `SHOW `+setting); got != tc.want {
				t.Errorf("%+v: %s: got %s, want %s", tc.options, setting, got, tc.want)
			}
		}
		if got := query[int](t, c, `SELECT setting::int FROM pg_settings WHERE name = 'max_connections'`); got < 200 {
			t.Errorf("%+v: max_connections: got %d, want 200 at least", tc.options, got)
		}
	}
}

func TestServerThatTheVariableNamesIsUsedAndLeftRunning(t *testing.T) {
	postgres.LeaveOut(t)
	theirs := start(t)
	if theirs == nil {
		return
	}
	dsn := newDatabase(t, theirs)
	c := connect(t, dsn)
	t.Setenv(postgres.Variable, dsn)

	s, err := postgres.StartServer(t.Context(), postgres.Options{})
	if err != nil {
		t.Fatal(err)
	}
	made, err := s.NewDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := query[int](t, c, `SELECT inet_server_port()`)
	inner := connect(t, made)
	if got := query[int](t, inner, `SELECT inet_server_port()`); got != want {
		t.Errorf("port: got %d, want that of the named server, %d", got, want)
	}
	name := query[string](t, inner, `SELECT current_database()`)
	if err := s.DropDatabase(t.Context(), dsn); err == nil {
		t.Error("dropped a database that it had not made")
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if got := query[int](t, c, `SELECT count(*) FROM pg_database WHERE datname = '`+name+`'`); got != 0 {
		t.Errorf("database %s is still on the named server", name)
	}
}

func TestVariableThatCannotServeIsRefusedWithoutItsPassword(t *testing.T) {
	postgres.LeaveOut(t)
	for _, dsn := range []string{
		"host=127.0.0.1 password=hunter2",
		"mysql://u:hunter2@127.0.0.1/db",
		"postgres://u:hunter2@127.0.0.1:1/db",
		"postgres://u:hunter2@127.0.0.1:port/db",
	} {
		t.Setenv(postgres.Variable, dsn)
		s, err := postgres.StartServer(t.Context(), postgres.Options{})
		if err == nil {
			s.Stop()
			t.Errorf("%s: accepted", dsn)
			continue
		}
		if !strings.Contains(err.Error(), postgres.Variable) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %q, want the variable's name and no password", dsn, err)
		}
	}
}

func TestStartEndsWithItsContext(t *testing.T) {
	postgres.LeaveOut(t)
	if !binaries(t) {
		return
	}
	t.Setenv(postgres.Variable, "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if s, err := postgres.StartServer(ctx, postgres.Options{}); err == nil {
		s.Stop()
		t.Error("started a server although the context was done")
	}
}

func TestNewestInstalledVersionIsFirst(t *testing.T) {
	got := []string{"/usr/lib/postgresql/9.6/bin", "/usr/lib/postgresql/15/bin", "/usr/lib/postgresql/17/bin"}
	want := []string{"/usr/lib/postgresql/17/bin", "/usr/lib/postgresql/15/bin", "/usr/lib/postgresql/9.6/bin"}
	slices.SortFunc(got, postgres.NewestFirst)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

// binaries reports whether to test starting servers. A developer who names a server, because no PostgreSQL is
// installed, does not want one installed.
func binaries(t *testing.T) bool {
	t.Helper()
	if _, found := postgres.Find(); !found && os.Getenv(postgres.Variable) != "" {
		t.Logf("%s is set and there are no binaries: starting a server is not tested", postgres.Variable)
		return false
	}
	return true
}

// start starts a server of our own for one test, or returns nil if there is none to test.
func start(t *testing.T, o ...postgres.Options) *postgres.Server {
	t.Helper()
	if !binaries(t) {
		return nil
	}
	t.Setenv(postgres.Variable, "")
	s, err := postgres.StartServer(t.Context(), append(o, postgres.Options{})[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Stop() })
	return s
}

func newDatabase(t *testing.T, s *postgres.Server) string {
	t.Helper()
	dsn, err := s.NewDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return dsn
}

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(context.Background()) })
	return c
}

func query[T any](t *testing.T, c *pgx.Conn, sql string) (v T) {
	t.Helper()
	if err := c.QueryRow(t.Context(), sql).Scan(&v); err != nil {
		t.Fatal(err)
	}
	return v
}
