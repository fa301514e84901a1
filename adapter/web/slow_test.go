package web_test

import (
	"bufio"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/web"
)

// newHastyServer is a server of NewServer whose time-outs are a tenth, and less for an idle connection: half a second
// for a header. A client on a busy machine may miss these too. wrote gets the error of each response to /flood, and
// closed gets each connection that the server has closed.
func newHastyServer(t *testing.T) (address string, wrote chan error, closed chan string) {
	t.Helper()
	wrote, closed = make(chan error, 1), make(chan string, 100)
	s := newSite(t, nil)
	s.POST("/x", ok)
	s.GET("/flood", func(c echo.Context) error {
		_, err := io.Copy(c.Response(), io.LimitReader(zeros{}, 1<<30))
		wrote <- err
		return err
	})
	server := web.NewServer(s.mounted(), slog.New(slog.DiscardHandler))
	for _, timeout := range []*time.Duration{&server.ReadHeaderTimeout, &server.ReadTimeout, &server.WriteTimeout} {
		*timeout /= 10
	}
	server.IdleTimeout /= 100
	server.ConnState = func(c net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			closed <- c.RemoteAddr().String()
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return l.Addr().String(), wrote, closed
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// dialWithSmallWindow connects with a small receive window, which unread data soon fills.
func dialWithSmallWindow(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return c
}

// Each of these clients holds a connection as long as it can.
func TestSlowClientsAreCutOff(t *testing.T) {
	address, wrote, _ := newHastyServer(t)
	for name, sent := range map[string]string{
		"nothing":       "",
		"half a line":   "POST /x HT",
		"half a header": "POST /x HTTP/1.1\r\nHost: x\r\nX-A: ",
		"half a body":   "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n{}",
		"half a chunk":  "POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := dialWithSmallWindow(t, address)
			_, err := io.WriteString(c, sent)
			var answer []byte
			if err == nil {
				answer, err = io.ReadAll(c) // returns when the server has closed
			}
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the connection was not closed: %v", err)
			}
			if strings.HasPrefix(name, "half a") && strings.HasPrefix(string(answer), "HTTP/1.1 200") {
				t.Errorf("got %q for a part of a request", answer)
			}
		})
	}
	t.Run("who does not read the answer", func(t *testing.T) {
		t.Parallel()
		c := dialWithSmallWindow(t, address)
		if _, err := io.WriteString(c, "GET /flood HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if err := <-wrote; err == nil {
			t.Error("a gigabyte was written for a client that reads nothing")
		}
	})
	t.Run("who sends on and never reads", func(t *testing.T) {
		t.Parallel()
		address, _, closed := newHastyServer(t)
		c := dialWithSmallWindow(t, address)
		requests := strings.Repeat("POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", 1000)
		go func() {
			for {
				if _, err := io.WriteString(c, requests); err != nil {
					return
				}
			}
		}()
		// The client may not notice: a buffer without room for a response also has none for a reset.
		if got := <-closed; got != c.LocalAddr().String() {
			t.Errorf("the server closed %s", got)
		}
	})
	// A slow machine can make this client late too. Then the server closes the connection, and the client tries again.
	t.Run("a fast client meanwhile, until it is idle", func(t *testing.T) {
		t.Parallel()
		for begin := time.Now(); ; {
			c := dialWithSmallWindow(t, address)
			_, err := io.WriteString(c, "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
			in := bufio.NewReader(c)
			var res *http.Response
			if err == nil {
				res, err = http.ReadResponse(in, nil)
			}
			if err != nil && time.Since(begin) < time.Minute { // after that the machine is stuck
				continue
			}
			if err != nil || res.StatusCode != 200 {
				t.Fatalf("got %v, %v; want 200", res, err)
			}
			if _, err := io.Copy(io.Discard, in); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the idle connection was not closed: %v", err)
			}
			return
		}
	})
}
