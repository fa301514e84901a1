package gormstore_test

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/refreshd/refreshd/adapter/gormstore"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/support/postgres"
)

// blackHole forwards connections to a server, until it vanishes: then its sockets drop every packet that arrives, so
// that nothing is acknowledged, refused or reset, as with a machine without power.
type blackHole struct {
	listener *net.TCPListener

	mu    sync.Mutex
	taken []*net.TCPConn
}

func newBlackHole(t *testing.T, to string) *blackHole {
	t.Helper()
	var plain net.ListenConfig
	plain.SetMultipathTCP(false) // which accepts no filter
	l := must(plain.Listen(t.Context(), "tcp", "127.0.0.1:0"))(t).(*net.TCPListener)
	b := &blackHole{listener: l}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			c, err := l.AcceptTCP()
			if err != nil {
				return
			}
			b.mu.Lock()
			b.taken = append(b.taken, c)
			b.mu.Unlock()
			group.Go(func() { forward(c, to) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		b.mu.Lock()
		for _, c := range b.taken {
			c.Close()
		}
		b.mu.Unlock()
		group.Wait()
	})
	return b
}

// forward copies between c and the server at address to, until either ends.
func forward(c net.Conn, to string) {
	defer c.Close()
	server, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		defer server.Close()
		_, _ = io.Copy(server, c)
	}()
	_, _ = io.Copy(c, server)
}

func (b *blackHole) vanish(t *testing.T) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	sockets := []syscall.Conn{b.listener}
	for _, c := range b.taken {
		sockets = append(sockets, c)
	}
	for _, s := range sockets {
		raw := must(s.SyscallConn())(t)
		var err error
		if e := raw.Control(func(fd uintptr) {
			err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
				&unix.SockFprog{Len: 1, Filter: &unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}}) // keeps 0 bytes of every packet
		}); errors.Join(e, err) != nil && !errors.Is(e, net.ErrClosed) {
			t.Fatal(e, err)
		}
	}
}

// The machine of the primary loses its power: no packet reports it to open connections or to new ones. The next host of
// the DSN has to serve in seconds, even with a pool full of connections to the old one.
func TestAHostThatVanishesIsLeftInSeconds(t *testing.T) {
	t.Parallel()
	// patience is that of a request. On an idle machine it takes 10 s at most; limit allows for a busy one. Without the
	// store's own time-outs it would be the kernel's, a quarter of an hour.
	const callers, patience, limit = 12, 10 * time.Second, time.Minute
	dsn := postgres.NewDatabase(t)
	u := must(url.Parse(dsn))(t)
	hole := newBlackHole(t, u.Host)
	u.Host = hole.listener.Addr().String() + "," + u.Host
	s := must(gormstore.OpenPostgres(t.Context(), domain.NewSecret(u.String()), gormstore.Options{}))(t)
	defer s.Close()
	if err := s.Migrate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	shop(t, s)
	tokens := issue(t, s, callers)

	var (
		group    sync.WaitGroup
		vanished = make(chan struct{})
		mu       sync.Mutex
		failed   int
	)
	for _, token := range tokens {
		group.Go(func() {
			exchange := func() error {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				next, _, err := s.Advance(ctx, token.ID,
					domain.Call{Generation: token.Generation, Now: token.RotatedAt.Add(time.Minute)})
				if err == nil {
					token = next
				}
				return err
			}
			for before := true; before; {
				select {
				case <-vanished:
					before = false
				default:
					_ = exchange() // a running one may be cut off
				}
			}
			for begin := time.Now(); ; {
				err := exchange()
				if errors.Is(err, domain.ErrConflict) { // the one that was cut off was written
					token.Generation++
					continue
				}
				mu.Lock()
				if err != nil {
					failed++
				}
				mu.Unlock()
				if err == nil || time.Since(begin) > 2*limit { // long after the test has failed
					return
				}
			}
		})
	}
	hole.vanish(t)
	begin := time.Now()
	close(vanished)
	group.Wait()
	t.Logf("%d callers: all served again %s after the host had vanished, %d calls failed after it",
		callers, time.Since(begin).Round(time.Millisecond), failed)
	// Seconds are the promise; limit says why it is a minute.
	if took := time.Since(begin); took > limit {
		t.Errorf("served again after %s, want %s at most", took, limit)
	}

	// The host stays silent, perhaps for days. New connections must not each wait for it.
	begin = time.Now()
	var connections []*sql.Conn
	for range callers {
		connections = append(connections, must(s.Pool().Conn(t.Context()))(t))
	}
	for _, c := range connections {
		c.Close()
	}
	// One earlier attempt may still wait for the silent host, and keep its connection of the pool until then. If each
	// connection waited, it would be as many time-outs as there are callers; half of that allows for a busy machine.
	if took := time.Since(begin); took > callers/2*gormstore.ConnectTimeout {
		t.Errorf("%d connections took %s while the first host was silent", callers, took)
	}
}

// A Unix socket does not support the TCP options, and must work without them.
func TestPostgresOnASocketInTheFileSystem(t *testing.T) {
	t.Parallel()
	u := must(url.Parse(postgres.NewDatabase(t)))(t)
	dir := must(os.MkdirTemp("", "pg"))(t) // t.TempDir's is too long for a socket
	defer os.RemoveAll(dir)
	l := must(net.Listen("unix", filepath.Join(dir, ".s.PGSQL.5432")))(t)
	var group sync.WaitGroup
	group.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			group.Go(func() { forward(c, u.Host) })
		}
	})
	defer group.Wait()
	defer l.Close()
	s := must(gormstore.OpenPostgres(t.Context(),
		domain.NewSecret("postgres://"+u.User.String()+"@"+u.Path+"?sslmode=disable&host="+dir),
		gormstore.Options{}))(t)
	defer s.Close()
	if err := s.Migrate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	shop(t, s)
}
