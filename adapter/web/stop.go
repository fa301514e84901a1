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
	// requestPatience is how long a server that is stopping waits for clients to send the rest of their requests, and
	// answerPatience how long for them to take their answers; neither waits for longer than half of the time that the
	// stop has.
	requestPatience = time.Second
	answerPatience  = 5 * time.Second

	stopTick = 100 * time.Millisecond
)

// A Server is an http.Server whose Shutdown waits for what is worked on, and not for clients. That of an http.Server
// waits for as long as a client takes to send a request, and to take the answer.
type Server struct {
	http.Server
	stopping chan struct{} // closed when it stops
	stop     sync.Once

	mu    sync.Mutex
	conns map[*conn]struct{}
}

// stoppingKey is that of a server's stopping in the context of its requests.
type stoppingKey struct{}

// Serve is [http.Server.Serve].
func (s *Server) Serve(l net.Listener) error { return s.Server.Serve(listener{l, s}) }

// Shutdown is [http.Server.Shutdown], but it cuts off clients that keep it waiting: first those that have not sent
// all of a request, then those that do not take an answer. Streams end when it begins. It returns nil where every request that had come whole was
// answered, unless its client did not take the answer.
//
// To give every connection a deadline lost: it would end the wait of the server for a client that leaves, and with it
// the request that is being worked on.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stop.Do(func() { close(s.stopping) })
	watched, done := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() { s.cutOff(watched) })
	err := s.Server.Shutdown(ctx)
	done()
	watching.Wait()
	return err
}

// cutOff cuts off clients until ctx is done.
func (s *Server) cutOff(ctx context.Context) {
	begun := time.Now()
	forRequests, forAnswers := requestPatience, answerPatience
	if deadline, ok := ctx.Deadline(); ok {
		half := time.Until(deadline) / 2
		forRequests, forAnswers = min(forRequests, half), min(forAnswers, half)
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
				_ = c.SetReadDeadline(time.Now()) // it still gets an answer
			case since >= forAnswers && c.wrote && wrote:
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

// conn is a connection that shows whether the server waits for its client.
type conn struct {
	net.Conn
	server           *Server
	reading, writing atomic.Bool
	wrote            bool // it was writing at the last tick
}

// Read reads a part of a request; or, into a single byte, nothing: so net/http waits for a client to leave while its
// request is worked on.
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

// CloseWrite lets net/http send the end of an answer before it closes a connection on which something is unread.
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
