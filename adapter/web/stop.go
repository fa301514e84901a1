package web

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// requestWait is the time for which a stopping server waits for clients to send the rest of their requests, and
	// responseWait the time for which it waits for them to read their responses. Each is at most half of the time that
	// the shutdown has.
	requestWait  = time.Second
	responseWait = 5 * time.Second

	stopTick = 100 * time.Millisecond
)

// A Server is an http.Server whose Shutdown waits for handlers, and not for slow clients. That of http.Server waits as
// long as a client takes to send its request and to read its response.
type Server struct {
	http.Server
	stopping context.Context // done when the shutdown begins
	stop     context.CancelFunc

	mu    sync.Mutex
	conns map[*conn]struct{}
}

// stoppingKey is the key of Server.stopping in the context of a request.
type stoppingKey struct{}

// Serve is [http.Server.Serve].
func (s *Server) Serve(l net.Listener) error { return s.Server.Serve(listener{l, s}) }

// Shutdown is [http.Server.Shutdown], but it disconnects slow clients: first those that have not sent all of a request,
// then those that do not read their response. Streams end when it begins. It returns nil if every request that had
// arrived completely got a response, unless its client did not read it.
//
// A deadline for every connection was rejected: it would end net/http's watch for a client that disconnects, and with
// it the request in progress.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stop()
	watched, done := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() { s.cutOff(watched) })
	err := s.Server.Shutdown(ctx)
	done()
	watching.Wait()
	return err
}

// cutOff disconnects slow clients until ctx is done.
func (s *Server) cutOff(ctx context.Context) {
	begun := time.Now()
	forRequests, forResponses := requestWait, responseWait
	if deadline, ok := ctx.Deadline(); ok {
		half := time.Until(deadline) / 2
		forRequests, forResponses = min(forRequests, half), min(forResponses, half)
	}
	ticker := time.NewTicker(stopTick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		since := time.Since(begun)
		s.mu.Lock()
		for c := range s.conns {
			wrote := c.wrote
			c.wrote = c.writing.Load()
			switch {
			case since >= forRequests && c.reading.Load():
				_ = c.SetReadDeadline(time.Now()) // it still gets a response
			case since >= forResponses && c.wrote && wrote:
				_ = c.SetWriteDeadline(time.Now())
			}
		}
		s.mu.Unlock()
	}
}

type listener struct {
	net.Listener
	server *Server
}

func (l listener) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: accepted, server: l.server}
	l.server.mu.Lock()
	defer l.server.mu.Unlock()
	if l.server.conns == nil {
		l.server.conns = map[*conn]struct{}{}
	}
	l.server.conns[c] = struct{}{}
	return c, nil
}

// conn is a connection that records whether the server waits for its client.
type conn struct {
	net.Conn
	server           *Server
	reading, writing atomic.Bool
	wrote            bool // it was writing at the last tick
}

// Read reads a part of a request. A read into a single byte is net/http's watch for a client that disconnects while its
// request is in progress, and does not count.
func (c *conn) Read(p []byte) (int, error) {
	if len(p) > 1 {
		c.reading.Store(true)
		defer c.reading.Store(false)
	}
	return c.Conn.Read(p)
}

func (c *conn) Write(p []byte) (int, error) {
	c.writing.Store(true)
	defer c.writing.Store(false)
	return c.Conn.Write(p)
}

// CloseWrite lets net/http send the end of a response before it closes a connection with unread data.
func (c *conn) CloseWrite() error {
	if tcp, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return tcp.CloseWrite()
	}
	return nil
}

func (c *conn) Close() error {
	c.server.mu.Lock()
	delete(c.server.conns, c)
	c.server.mu.Unlock()
	return c.Conn.Close()
}
