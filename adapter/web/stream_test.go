package web_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
)

// pipes is a listener whose connections are in memory, so that their deadlines use the time of a synctest bubble.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p pipes) Close() error {
	close(p.closed)
	return nil
}

func (p pipes) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }

// A streamingServer serves GET /stream, which sends a line every 20 seconds until it is ended or lasts has
// passed; GET /flood, which sends without end; and GET /x.
type streamingServer struct {
	*web.Server
	pipes
	site  *site
	took  chan time.Duration // what Observe was told
	ended chan error         // the error of the context of /stream
	lines int                // of /stream, as it was told to send
}

func newStreamingServer(t *testing.T, change func(*site)) *streamingServer {
	t.Helper()
	s := &streamingServer{
		pipes: pipes{make(chan net.Conn), make(chan struct{})}, took: make(chan time.Duration, 10),
		ended: make(chan error, 10),
		lines: 1 << 30,
	}
	s.site = newSite(t, change)
	s.site.options.Observe = func(r web.Response) { s.took <- r.Took }
	s.site.add(web.Route{Method: "GET", Path: "/stream", Stream: true, Handle: func(c echo.Context) error {
		ctx := c.Request().Context()
		c.Response().WriteHeader(200)
		for i := range s.lines {
			fmt.Fprintln(c.Response(), i)
			c.Response().Flush()
			select {
			case <-time.After(20 * time.Second):
			case <-ctx.Done():
				s.ended <- ctx.Err()
				return nil
			}
		}
		s.ended <- ctx.Err()
		return nil
	}})
	s.site.add(web.Route{Method: "GET", Path: "/flood", Stream: true, Handle: func(c echo.Context) error {
		_, err := io.Copy(c.Response(), zeros{})
		s.ended <- err
		return nil
	}})
	s.site.GET("/x", ok)
	s.Server = web.NewServer(s.site.mounted(), slog.New(slog.DiscardHandler))
	go s.Serve(s.pipes)
	return s
}

// get sends a request, and returns the connection and its reader.
func (s *streamingServer) get(t *testing.T, path string) (net.Conn, *bufio.Reader) {
	t.Helper()
	client, server := net.Pipe()
	s.conns <- server
	if _, err := io.WriteString(client, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	return client, bufio.NewReader(client)
}

// stop stops the server, which must not take long.
func (s *streamingServer) stop(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	begun := time.Now()
	if err := s.Shutdown(ctx); err != nil {
		t.Errorf("the stop failed: %v", err)
	}
	if took := time.Since(begun); took > 10*time.Second { // in the bubble's time: no machine is slow there
		t.Errorf("the stop took %v", took)
	}
}

// The handler of any other route ends after 10 seconds, and the server's time-outs are 15 and 30.
func TestAStreamGoesOnForAsLongAsItsClientStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreamingServer(t, nil)
		s.lines = 180 // an hour
		c, in := s.get(t, "/stream")
		res, err := http.ReadResponse(in, nil)
		if err != nil || res.StatusCode != 200 {
			t.Fatalf("got %v, %v; want 200", res, err)
		}
		body, err := io.ReadAll(res.Body)
		if err != nil || strings.Count(string(body), "\n") != s.lines {
			t.Errorf("got %d lines and %v, want %d", strings.Count(string(body), "\n"), err, s.lines)
		}
		if err := <-s.ended; err != nil {
			t.Errorf("its context ended: %v", err)
		}
		if took := <-s.took; took > time.Second {
			t.Errorf("its response took %v to begin", took)
		}
		// The connection can be used for another request.
		if _, err := io.WriteString(c, "GET /x HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if res, err := http.ReadResponse(in, nil); err != nil || res.StatusCode != 200 {
			t.Errorf("the next request got %v, %v", res, err)
		}
		c.Close()
		s.stop(t)
	})
}

func TestAStreamEndsWithItsClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreamingServer(t, nil)
		c, in := s.get(t, "/stream")
		if _, err := http.ReadResponse(in, nil); err != nil {
			t.Fatal(err)
		}
		c.Close()
		if err := <-s.ended; err == nil {
			t.Error("it ended by itself")
		}
		s.stop(t)
	})
}

// A shutdown waits for requests in progress. It must not wait for streams, and must not end them in the middle of a
// line.
func TestAStopEndsStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreamingServer(t, nil)
		c, in := s.get(t, "/stream")
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		whole := make(chan error)
		go func() {
			_, err := io.ReadAll(res.Body) // fails unless the last chunk comes
			whole <- err
		}()
		time.Sleep(time.Hour) // of the bubble's
		s.stop(t)
		if err := <-whole; err != nil {
			t.Errorf("the stream was cut off: %v", err)
		}
		<-s.ended
		c.Close()
	})
}

// A client that does not read a stream occupies neither its handler nor its place.
func TestAClientThatDoesNotTakeAStreamIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreamingServer(t, nil)
		c, _ := s.get(t, "/flood")
		begun := time.Now()
		if err := <-s.ended; err == nil {
			t.Error("a flood ended by itself")
		}
		if took := time.Since(begun); took > time.Minute { // of the bubble's
			t.Errorf("it took %v to cut off a client that does not read", took)
		}
		c.Close()
		s.stop(t)
	})
}

// newGuardedStreams serves a stream and an exchange. Each continues until it is released.
func newGuardedStreams(t *testing.T, streams int) (s *site, guard *web.Guard, entered, finish chan struct{}) {
	guard = web.NewGuard(web.RateLimits{Streams: streams}, nil, time.Now, nil)
	s = newGuardedSite(t, guard)
	entered, finish = make(chan struct{}), make(chan struct{})
	hold := func(c echo.Context) error {
		entered <- struct{}{}
		<-finish
		return c.NoContent(200)
	}
	s.add(web.Route{Method: "GET", Path: "/stream", Stream: true, Handle: hold})
	s.POST("/work", func(c echo.Context) error {
		if err := web.LogRecord(c).AdmitExchange(domain.PresentedToken{ID: domain.ID{1}}, false); err != nil {
			return err
		}
		return hold(c)
	})
	s.mounted()
	return s, guard, entered, finish
}

func (s *site) sendFrom(address, method, path string) int {
	req := httptest.NewRequest(method, path, nil)
	req.RemoteAddr = address + ":1"
	rec := httptest.NewRecorder()
	s.ServeHTTP(rec, req)
	return rec.Code
}

// Streams take no places of requests, and their duration says nothing about the store.
func TestStreamsTakeNoPlacesAndCountNotAsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const open = 600 // of two callers, more than there are places
		s, guard, entered, finish := newGuardedStreams(t, 4*open)
		statuses := make(chan int, open+half)
		for i := range open {
			go func() { statuses <- s.sendFrom(fmt.Sprintf("192.0.2.%d", i%2), "GET", "/stream") }()
			<-entered
		}
		time.Sleep(time.Hour) // of the bubble's
		if got := guard.InProgress(); got != 0 {
			t.Errorf("%d streams hold %d places", open, got)
		}
		// The bound is unchanged: one caller has half of it.
		for range half {
			go func() { statuses <- s.sendFrom("192.0.2.7", "POST", "/work") }()
			<-entered
		}
		close(finish)
		for range open + half {
			if got := <-statuses; got != 200 {
				t.Fatalf("got %d", got)
			}
		}
	})
}

// Without its stream a resource server refuses every token, so an overload of exchanges must not refuse streams.
func TestAnOverloadRefusesNoStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, guard, entered, finish := newGuardedStreams(t, 8)
		statuses := make(chan int, web.MaxInProgress+1)
		for i := range web.MaxInProgress {
			go func() { statuses <- s.sendFrom(eachItsOwn(i).address, "POST", "/work") }()
			<-entered
		}
		if got := guard.InProgress(); got != web.MaxInProgress {
			t.Fatalf("%d requests are in progress, want %d", got, web.MaxInProgress)
		}
		go func() { statuses <- s.sendFrom("192.0.2.1", "GET", "/stream") }()
		select {
		case <-entered:
		case got := <-statuses:
			t.Errorf("got %d, want a stream", got)
			statuses <- 200
		}
		close(finish)
		for range web.MaxInProgress + 1 {
			if got := <-statuses; got != 200 {
				t.Errorf("got %d", got)
			}
		}
	})
}

// One caller gets half of the streams, and the rest is for the others.
func TestStreamsHaveALimitOfTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, entered, finish := newGuardedStreams(t, 8)
		statuses := make(chan int, 9)
		opens := func(address string) {
			go func() { statuses <- s.sendFrom(address, "GET", "/stream") }()
			<-entered
		}
		refused := func(address string) {
			t.Helper()
			if got := s.sendFrom(address, "GET", "/stream"); got != 503 {
				t.Errorf("one more from %s: got %d, want 503", address, got)
			}
		}
		for range 4 {
			opens("192.0.2.1")
		}
		refused("192.0.2.1")
		opens("192.0.2.2")
		opens("192.0.2.2")
		refused("192.0.2.2")
		opens("192.0.2.3")
		refused("192.0.2.3")
		opens("192.0.2.4")
		refused("192.0.2.5") // eight are open
		finish <- struct{}{}
		if got := <-statuses; got != 200 {
			t.Errorf("got %d", got)
		}
		opens("192.0.2.5")
		close(finish)
	})
}
