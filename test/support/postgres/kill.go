package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// killing is the keeper's functions, which Server.tell runs.
//
// The postmaster is stopped before it is killed, so that it starts no more processes and does not see one of its own
// end. Its children would outlive it: they would continue to write for a moment, and keep the data from being opened
// again. A zombie counts as ended. In a container it may never be reaped, and the next postmaster, which finds its
// number in postmaster.pid, would take it for a running one. That file also names the shared memory to remove.
const killing = `
children() {
	if [ -d /proc/self ]; then
		grep -l "^PPid:[[:space:]]*$1\$" /proc/[0-9]*/status 2>/dev/null | cut -d / -f 3
	else
		ps -A -o ppid= -o pid= | while read -r parent pid; do [ "$parent" != "$1" ] || echo "$pid"; done
	fi
}
runs() {
	if [ -d /proc/self ]; then
		grep -q '^State:[[:space:]]*[^ZX[:space:]]' "/proc/$1/status" 2>/dev/null
	else
		case $(ps -o stat= -p "$1") in '' | Z*) return 1 ;; esac
	fi
}
kill9() {
	[ -n "$up" ] || { echo 'it does not run'; return 1; }
	postmaster=$(sed -n 1p "$dir/data/postmaster.pid") && kill -STOP "$postmaster" || return 1
	while [ -d /proc/self ] && ! grep -q '^State:[[:space:]]*T' "/proc/$postmaster/status" 2>/dev/null; do
		sleep 0.01
	done
	all="$(children "$postmaster") $postmaster"
	kill -KILL $all
	for pid in $all; do
		while runs "$pid"; do sleep 0.01; done
	done
	ipcrm -m "$(sed -n 7p "$dir/data/postmaster.pid" | sed 's/.* //')" >/dev/null 2>&1
	rm "$dir/data/postmaster.pid"
	up=
}
freeze() {
	postmaster=$(sed -n 1p "$dir/data/postmaster.pid") && kill -STOP "$postmaster" || return 1
	kill -STOP $(children "$postmaster") 2>/dev/null || true # one may have ended
}
thaw() {
	postmaster=$(sed -n 1p "$dir/data/postmaster.pid") || return 1
	kill -CONT $(children "$postmaster") 2>/dev/null
	kill -CONT "$postmaster"
}
again() {
	for attempt in 1 2 3 4 5; do
		! start || return 0
		grep -q 'Address already in use' "$dir/server.log" || break # a connection used that port; it is free in a moment
		sleep 0.2
	done
	tail -n 20 "$dir/server.log"
	return 1
}
forget() {
	[ -z "$up" ] || { echo 'it runs'; return 1; }
	rm -rf "$dir/data"
}
promote() {
	"$bin/pg_ctl" promote -s -w -D "$dir/data"
}
`

// Kill ends a server that this package started as a power cut would: with kill -9. The postmaster and all of its
// processes have ended when it returns. The server has to be durable: another one would forget what it has committed,
// which PostgreSQL does not do. Start starts it again; Stop removes it.
func (s *Server) Kill() error {
	if err := s.killable(); err != nil {
		return fmt.Errorf("postgres: kill the server: %w", err)
	}
	if err := s.tell("kill9"); err != nil {
		return fmt.Errorf("postgres: kill the server: %w", err)
	}
	return nil
}

// Freeze stops all processes of a server that this package started, by SIGSTOP, as a machine that hangs does. Thaw
// continues them.
func (s *Server) Freeze() error {
	if err := s.tell("freeze"); err != nil {
		return fmt.Errorf("postgres: freeze the server: %w", err)
	}
	return nil
}

// Thaw ends a Freeze.
func (s *Server) Thaw() error {
	if err := s.tell("thaw"); err != nil {
		return fmt.Errorf("postgres: thaw the server: %w", err)
	}
	return nil
}

// Start starts a server that was killed, on the same data and the same port, and returns when it accepts connections.
func (s *Server) Start() error {
	if err := s.killable(); err != nil {
		return fmt.Errorf("postgres: start the server again: %w", err)
	}
	if err := s.tell("again"); err != nil {
		return fmt.Errorf("postgres: start the server again: %w", err)
	}
	return nil
}

// StartStandby starts another server as a synchronous standby of primary. After it returns, primary confirms a commit
// only when the standby has written it to its disk. The standby accepts connections that read. ctx bounds the start,
// not the standby's lifetime. The caller must call Stop of each of the two.
//
// A primary whose only synchronous standby is down confirms no commit.
func StartStandby(ctx context.Context, primary *Server) (*Server, error) {
	s, err := startStandby(ctx, primary)
	if err != nil {
		return nil, fmt.Errorf("postgres: start a standby: %w", err)
	}
	return s, nil
}

func startStandby(ctx context.Context, primary *Server) (*Server, error) {
	if err := primary.killable(); err != nil {
		return nil, err
	}
	s, err := startOwn(ctx, Options{Durable: true, Own: true}, primary)
	if err != nil {
		return nil, err
	}
	if err := s.follow(ctx, primary); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// Rejoin makes a server that was killed a synchronous standby of primary, at its old address and with new data, as an
// operator does with the old primary after a fail-over. ctx bounds the wait until it follows.
func (s *Server) Rejoin(ctx context.Context, primary *Server) error {
	err := errors.Join(s.killable(), primary.killable())
	for _, step := range []func() error{
		func() error { return s.tell("forget") },
		func() error { return primary.copyTo(ctx, s.data()) },
		func() error { return s.tell("again") },
		func() error { return s.follow(ctx, primary) },
	} {
		if err == nil {
			err = step()
		}
	}
	if err != nil {
		return fmt.Errorf("postgres: rejoin as a standby: %w", err)
	}
	return nil
}

// follow returns when s, which is a copy of primary, is its synchronous standby.
func (s *Server) follow(ctx context.Context, primary *Server) error {
	// Not before s is copied: after a promotion s would wait for a standby of its own.
	for _, statement := range []string{"ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"} {
		if err := primary.exec(ctx, statement); err != nil {
			return err
		}
	}
	err := primary.await(ctx, `SELECT count(*) = 1 FROM pg_stat_replication
		WHERE sync_state = 'sync' AND state = 'streaming'`)
	if err != nil {
		return fmt.Errorf("wait until it follows: %w", err)
	}
	return s.await(ctx, `SELECT pg_is_in_recovery()`)
}

// Promote makes a standby a primary, and returns when it accepts writes. The caller must have stopped the old primary:
// otherwise the two diverge.
func (s *Server) Promote() error {
	if err := s.killable(); err != nil {
		return fmt.Errorf("postgres: promote the standby: %w", err)
	}
	if err := s.tell("promote"); err != nil {
		return fmt.Errorf("postgres: promote the standby: %w", err)
	}
	return nil
}

func (s *Server) killable() error {
	switch {
	case s.cmd == nil:
		return errors.New("the server that " + Variable + " names must not be stopped: start one with Options.Own")
	case !s.durable:
		return errors.New("it would forget what it has committed: start it with Options.Durable")
	default:
		return nil
	}
}

// tell has the keeper run one of its functions, to the end.
func (s *Server) tell(command string) error {
	s.telling.Lock()
	defer s.telling.Unlock()
	if _, err := io.WriteString(s.input, command+"\n"); err != nil {
		return err
	}
	var said strings.Builder
	for s.output.Scan() {
		switch line := s.output.Text(); line {
		case "done":
			return nil
		case "failed":
			return errors.New("it said:" + said.String())
		default:
			said.WriteString("\n" + line)
		}
	}
	return errors.Join(errors.New("its keeper has ended:"+said.String()), s.output.Err())
}

// await asks question until the answer is true. A server that is starting refuses connections for a moment.
func (s *Server) await(ctx context.Context, question string) error {
	for {
		var yes bool
		err := s.do(ctx, func(c *pgx.Conn) error { return c.QueryRow(ctx, question).Scan(&yes) })
		if err == nil && yes {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Address is the server's host and port: a standby has the databases of its primary, at another address.
func (s *Server) Address() string { return s.admin.Host }
