package reachapi_test

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/refreshd/refreshd/adapter/web"
)

// A client reads a stream while the test continues.
type client struct {
	seen []frame
	end  frame // the last one, once the response has ended

	frames chan frame
	cancel context.CancelFunc
}

// connect sends a request to the handler, and reads the events of its response. The client disconnects with the test.
func (s *service) connect(t testing.TB, req *http.Request) *client {
	t.Helper()
	ctx, cancel := context.WithCancel(req.Context())
	t.Cleanup(cancel)
	c := &client{frames: make(chan frame, 10_000), cancel: cancel}
	in, out := io.Pipe()
	go func() {
		rec := &piped{ResponseRecorder: httptest.NewRecorder(), to: out}
		s.handler.ServeHTTP(rec, req.WithContext(ctx))
		out.Close()
	}()
	go func() {
		defer close(c.frames)
		lines := bufio.NewReader(in)
		for part := ""; ; {
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			if part += line; line != "\n" {
				continue
			}
			var f frame
			for _, line := range strings.Split(part, "\n") {
				name, value, _ := strings.Cut(line, ": ")
				switch name {
				case "event":
					f.Event = value
				case "id":
					f.ID = value
				case "data":
					f.Data = []byte(value)
				}
			}
			parse(t, &f)
			c.frames <- f
			part = ""
		}
	}()
	return c
}

// piped is a ResponseWriter whose body is read while it is written.
type piped struct {
	*httptest.ResponseRecorder
	to io.Writer
}

func (p *piped) Write(b []byte) (int, error) { return p.to.Write(b) }

// next returns the next frame.
func (c *client) next(t testing.TB) frame {
	t.Helper()
	f, ok := <-c.frames
	if !ok {
		t.Fatal("the stream has ended")
	}
	c.seen = append(c.seen, f)
	return f
}

// drain takes the frames that have arrived.
func (c *client) drain() {
	for {
		select {
		case f, ok := <-c.frames:
			if !ok {
				c.end = c.seen[len(c.seen)-1]
				return
			}
			c.seen = append(c.seen, f)
		default:
			return
		}
	}
}

// untilEnd reads to the end of the stream.
func (c *client) untilEnd(t testing.TB) {
	t.Helper()
	for f := range c.frames {
		c.seen, c.end = append(c.seen, f), f
	}
	checked(t, c.seen)
}

// pipes is a listener whose connections are in memory, so that their deadlines use the time of a synctest bubble.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// server is a running server of a service.
type server struct {
	*web.Server
	pipes *pipes
}

func (s *service) serve(t testing.TB) *server {
	t.Helper()
	v := &server{web.NewServer(s.handler, slog.New(slog.DiscardHandler)), &pipes{
		conns: make(chan net.Conn), closed: make(chan struct{}),
	}}
	go func() { _ = v.Serve(v.pipes) }()
	t.Cleanup(func() { _ = v.Close() })
	return v
}

// dial sends a request, and returns its connection.
func (v *server) dial(t testing.TB, req *http.Request) (net.Conn, *http.Response) {
	t.Helper()
	client, conn := net.Pipe()
	v.pipes.conns <- conn
	if err := req.Write(client); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReaderSize(client, 16), req)
	if err != nil {
		t.Fatal(err)
	}
	return client, res
}

// send sends a request, and returns the body of its response once it has ended.
func (v *server) send(t testing.TB, req *http.Request) <-chan string {
	body := make(chan string, 1)
	go func() {
		client, res := v.dial(t, req)
		defer client.Close()
		read, err := io.ReadAll(res.Body)
		if err != nil {
			t.Errorf("the response is cut off: %v", err)
		}
		body <- string(read)
	}()
	return body
}
