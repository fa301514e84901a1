package web_test

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/web"
)

const work = "POST /work HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"

// One slow client must not determine how long a restart takes, nor make it fail.
func TestNoClientHoldsUpAStop(t *testing.T) {
	for name, sent := range map[string]string{
		"nothing":                 "",
		"half a line":             "POST /x HT",
		"half a head":             "POST /x HTTP/1.1\r\nHost: x\r\nX-A: ",
		"half a body":             "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 400\r\n\r\n{}",
		"half a chunk":            "POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n{}",
		"half a body for nothing": "POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 400\r\n\r\n{}",
		"half a second request":   "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}POST /x HT",
		"does not read":           "GET /flood HTTP/1.1\r\nHost: x\r\n\r\n",
		"half of it, and trickles": "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 30000\r\n\r\n" +
			strings.Repeat(" ", 1000),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStoppingServer(t)
			c := s.dial(t)
			if _, err := io.WriteString(c, sent); err != nil {
				t.Fatal(err)
			}
			if name == "does not read" {
				<-s.flooding
			} else {
				trickling, stop := context.WithCancel(t.Context())
				defer stop()
				go func() {
					for trickling.Err() == nil && strings.HasSuffix(name, "trickles") {
						if _, err := io.WriteString(c, " "); err != nil {
							return
						}
						time.Sleep(10 * time.Millisecond) // a slow client
					}
				}()
			}
			// A client whose request is in progress gets its response in the meantime.
			honest := s.dial(t)
			if _, err := io.WriteString(honest, work); err != nil {
				t.Fatal(err)
			}
			<-s.working
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			stopped := make(chan error)
			go func() { stopped <- s.Shutdown(ctx) }()
			<-s.cut // not before: what is worked on keeps the server
			close(s.finish)
			if err := <-stopped; err != nil {
				t.Errorf("the stop failed: %v", err)
			}
			res, err := http.ReadResponse(bufio.NewReader(honest), nil)
			if err != nil || res.StatusCode != 200 {
				t.Errorf("the request that was worked on got %v, %v; want 200", res, err)
			}
		})
	}
}

// A request that arrives completely, in part after the shutdown began, gets its response.
func TestAStopWaitsAMomentForTheRestOfARequest(t *testing.T) {
	s := newStoppingServer(t)
	c := s.dial(t)
	const head = "POST /x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
	if _, err := io.WriteString(c, head); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(c)
	if line, err := in.ReadString('\n'); err != nil || !strings.Contains(line, "100") {
		t.Fatalf("got %q, %v; want 100", line, err)
	}
	if _, err := in.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	stopping := make(chan struct{})
	s.RegisterOnShutdown(func() { close(stopping) })
	stopped := make(chan error)
	go func() { stopped <- s.Shutdown(context.Background()) }()
	<-stopping
	if _, err := io.WriteString(c, "{}"); err != nil {
		t.Fatal(err)
	}
	if res, err := http.ReadResponse(in, nil); err != nil || res.StatusCode != 200 {
		t.Errorf("got %v, %v; want 200", res, err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// A request that takes longer than the shutdown is allowed to take is accepted and lost, so the shutdown is not clean.
func TestAStopThatCutsOffWhatIsWorkedOnFails(t *testing.T) {
	s := newStoppingServer(t)
	if _, err := io.WriteString(s.dial(t), work); err != nil {
		t.Fatal(err)
	}
	<-s.working
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); err == nil {
		t.Error("got no error")
	}
	close(s.finish)
}

type stoppingServer struct {
	*web.Server
	address                        string
	working, flooding, finish, cut chan struct{}
}

// newStoppingServer serves /x, /work, which works until finish is closed, and /flood, whose response never ends. cut is
// closed once a connection is closed.
func newStoppingServer(t *testing.T) *stoppingServer {
	t.Helper()
	s := &stoppingServer{
		working: make(chan struct{}), flooding: make(chan struct{}),
		finish: make(chan struct{}), cut: make(chan struct{}),
	}
	e := newSite(t, nil)
	e.POST("/x", ok)
	e.POST("/work", func(c echo.Context) error {
		close(s.working)
		<-s.finish
		if err := c.Request().Context().Err(); err != nil {
			return err
		}
		return ok(c)
	})
	e.GET("/flood", func(c echo.Context) error {
		close(s.flooding)
		_, err := io.Copy(c.Response(), zeros{})
		return err
	})
	s.Server = web.NewServer(e.mounted(), slog.New(slog.DiscardHandler))
	var once sync.Once
	s.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			once.Do(func() { close(s.cut) })
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = l.Addr().String()
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	return s
}

func (s *stoppingServer) dial(t *testing.T) net.Conn {
	t.Helper()
	return dialWithSmallWindow(t, s.address)
}
