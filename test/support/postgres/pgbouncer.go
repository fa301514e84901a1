package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"time"

	"github.com/refreshd/refreshd/test/support/apt"
)

// PassOver is the line of pgbouncer.ini that OPERATING.md gives: with it a pooler accepts the settings that a service
// sends when it connects, and does not pass them on.
const PassOver = "ignore_startup_parameters = default_transaction_isolation, lock_timeout, statement_timeout, " +
	"idle_in_transaction_session_timeout, plan_cache_mode, enable_seqscan, enable_bitmapscan, enable_hashjoin, " +
	"enable_mergejoin, jit"

// NotPassedOn are these settings, as OPERATING.md gives them to the role.
var NotPassedOn = []string{
	"default_transaction_isolation = 'read committed'", "lock_timeout = '1s'", "statement_timeout = '10s'",
	"idle_in_transaction_session_timeout = '10s'", "plan_cache_mode = 'force_generic_plan'", "enable_seqscan = 'off'",
	"enable_bitmapscan = 'off'", "enable_hashjoin = 'off'", "enable_mergejoin = 'off'", "jit = 'off'",
}

// PgBouncer returns the path of PgBouncer's program. Where there is none, it installs the distribution's package if it
// can.
func PgBouncer(ctx context.Context) (string, error) {
	if path, ok := findPgBouncer(); ok {
		return path, nil
	}
	err := apt.Install(ctx, "pgbouncer", func() bool { _, ok := findPgBouncer(); return ok })
	if err == nil {
		if path, ok := findPgBouncer(); ok {
			return path, nil
		}
		err = errors.New("the package is installed, but there is no /usr/sbin/pgbouncer")
	}
	return "", fmt.Errorf("postgres: no PgBouncer to test with: install it (Debian, Ubuntu: apt-get install pgbouncer; "+
		"Fedora: dnf install pgbouncer; macOS: brew install pgbouncer): %w", err)
}

func findPgBouncer() (string, bool) {
	for _, name := range []string{"pgbouncer", "/usr/sbin/pgbouncer"} { // a user's PATH has no sbin
		if path, err := exec.LookPath(name); err == nil {
			return path, true
		}
	}
	return "", false
}

// Bouncer is a running PgBouncer in front of a server. It ends as a server does: with the process that started it.
type Bouncer struct {
	keeper
	address string
}

// bounce is the shell's program: $1 the directory for the configuration, which is in INI, $2 PgBouncer. It prints the
// output of PgBouncer.
const bounce = `
dir=$1 bouncer=$2
exec 2>&1
trap '' PIPE
trap 'exit 1' HUP INT TERM
printf %s "$INI" >"$dir/pgbouncer.ini" || exit 1
"$bouncer" "$dir/pgbouncer.ini" &
trap 'kill -KILL $! 2>/dev/null; rm -rf "$dir"' EXIT
exec >/dev/null 2>&1 # so that what is read ends with PgBouncer
read -r _
exit 0
`

// StartBouncer starts a PgBouncer in front of s, on a port of its own. It connects every user as the superuser, and has
// the databases of s under their names. settings are lines for the section [pgbouncer], such as "pool_mode =
// transaction". The caller must call Stop.
func (s *Server) StartBouncer(ctx context.Context, settings ...string) (*Bouncer, error) {
	b, err := s.startBouncer(ctx, settings)
	if err != nil {
		return nil, fmt.Errorf("postgres: start PgBouncer: %w", err)
	}
	return b, nil
}

func (s *Server) startBouncer(ctx context.Context, settings []string) (*Bouncer, error) {
	path, err := PgBouncer(ctx)
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(1)
	if err != nil {
		return nil, err
	}
	database := fmt.Sprintf("* = host=%s port=%s user=%s", s.admin.Hostname(), s.admin.Port(), s.admin.User.Username())
	if password, set := s.admin.User.Password(); set {
		database += " password='" + strings.ReplaceAll(password, "'", "''") + "'"
	}
	ini := fmt.Sprintf("[databases]\n%s\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %s\n"+
		"unix_socket_dir =\nauth_type = any\n%s\n", database, ports[0], strings.Join(settings, "\n"))
	k, err := newKeeper(bounce, []string{"INI=" + ini}, path)
	if err != nil {
		return nil, err
	}
	b := &Bouncer{keeper: k, address: net.JoinHostPort("127.0.0.1", ports[0])}
	ended := make(chan string, 1)
	go func() { // to the end: PgBouncer would block on a full pipe
		var said strings.Builder
		for k.output.Scan() {
			if said.Len() < 4096 {
				said.WriteString("\n" + k.output.Text())
			}
		}
		ended <- said.String()
	}()
	for {
		if c, err := net.Dial("tcp", b.address); err == nil {
			return b, c.Close()
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), b.close(), errors.New("it said:"+<-ended))
		case said := <-ended:
			return nil, errors.Join(b.close(), errors.New("it ended, and said:"+said))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Address is the bouncer's host and port.
func (b *Bouncer) Address() string { return b.address }

// Stop ends PgBouncer immediately and removes its files.
func (b *Bouncer) Stop() error {
	if err := b.close(); err != nil {
		return fmt.Errorf("postgres: stop PgBouncer: %w", err)
	}
	return nil
}
