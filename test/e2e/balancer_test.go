package e2e_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// balancer is a load balancer: it forwards TCP connections to the replicas that were ready when it last asked, one
// after another. It speaks HTTP only to ask that.
type balancer struct {
	*client
	listener net.Listener

	mu    sync.Mutex
	all   []*service
	ready []string // their host:port
	turn  int
}

const askEvery = 100 * time.Millisecond

// newBalancer runs until the test ends. Its client keeps its connections.
func newBalancer(t *testing.T, replicas ...*service) *balancer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &balancer{client: newClient(), listener: l, all: replicas}
	b.setURL("http://" + l.Addr().String())
	ctx, cancel := context.WithCancel(context.Background())
	b.ask()
	var group sync.WaitGroup
	group.Go(func() {
		for ctx.Err() == nil {
			pauseFor(ctx, askEvery)
			b.ask()
		}
	})
	group.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			group.Go(func() { b.pass(ctx, c) })
		}
	})
	t.Cleanup(func() {
		cancel()
		l.Close()
		b.http.CloseIdleConnections()
		group.Wait()
	})
	return b
}

// add adds a replica.
func (b *balancer) add(v *service) {
	b.mu.Lock()
	b.all = append(slices.Clone(b.all), v)
	b.mu.Unlock()
	b.ask()
}

// ask asks the replicas whether they are ready. A slow one delays only its own answer, because test machines may be
// busy.
func (b *balancer) ask() {
	b.mu.Lock()
	all := b.all
	b.mu.Unlock()
	asking := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	addresses := make([]string, len(all))
	var group sync.WaitGroup
	for i, v := range all {
		group.Go(func() {
			base := v.URL()
			res, err := asking.Get(base + "/readyz")
			if err != nil {
				return
			}
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				addresses[i] = strings.TrimPrefix(base, "http://")
			}
		})
	}
	group.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ready = slices.DeleteFunc(addresses, func(a string) bool { return a == "" })
}

// dial connects to the next replica in the rotation, or to the one after it if that has just stopped.
func (b *balancer) dial() (c net.Conn, err error) {
	b.mu.Lock()
	b.turn++
	turn, ready := b.turn, b.ready
	b.mu.Unlock()
	err = errors.New("no replica is ready")
	for i := range ready {
		if c, err = net.Dial("tcp", ready[(turn+i)%len(ready)]); err == nil {
			break
		}
	}
	return c, err
}

// pass copies until either side ends, or ctx is done.
func (b *balancer) pass(ctx context.Context, c net.Conn) {
	defer c.Close()
	to, err := b.dial()
	if err != nil {
		return
	}
	defer to.Close()
	defer context.AfterFunc(ctx, func() { c.Close(); to.Close() })()
	var group sync.WaitGroup
	for _, way := range [][2]net.Conn{{c, to}, {to, c}} {
		group.Go(func() {
			_, _ = io.Copy(way[0], way[1])
			_ = way[0].(*net.TCPConn).CloseWrite()
		})
	}
	group.Wait()
}

// patience counts the calls of clients that retry once.
type patience struct {
	load
	again, lost atomic.Int64 // calls that failed once, or twice
}

// run exchanges until ctx is done or something is wrong. It repeats a call that fails once, immediately.
func (p *patience) run(ctx context.Context, c *client, u *virtualUser) {
	exchange := func() (answer, bool) {
		a, err := c.do(exchangeCall(u.current))
		return a, err == nil && a.status < http.StatusInternalServerError
	}
	for ctx.Err() == nil && p.failed.Load() == nil {
		a, ok := exchange()
		if !ok {
			p.again.Add(1)
			if a, ok = exchange(); !ok {
				p.lost.Add(1)
				p.fail("an exchange failed, and its retry: %s", a)
				return
			}
		}
		if !p.accept(u, a) {
			return
		}
	}
}
