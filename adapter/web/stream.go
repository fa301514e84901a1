package web

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
)

// defaultStreams is the maximum number of open streams if RateLimits.Streams is 0.
const defaultStreams = 512

// streamWriteTimeout is the time in which a client must read each part of a stream.
const streamWriteTimeout = 5 * time.Second

// ErrStopping is the cause of the end of a stream's context if the server stops.
var ErrStopping = errors.New("web: the server is stopping")

// streams bounds the number of open streams, shared fairly as places are: a caller may have as many as are free.
type streams struct {
	mu   sync.Mutex
	most int
	open int
	of   map[uint64]int // by caller, as in places
}

func newStreams(most int) *streams {
	if most <= 0 {
		most = defaultStreams
	}
	return &streams{most: most, of: map[uint64]int{}}
}

// enter opens a stream for the caller, and reports whether there was room.
func (s *streams) enter(caller uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of[caller]+s.open+1 > s.most {
		return false
	}
	s.of[caller]++
	s.open++
	return true
}

func (s *streams) leave(caller uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open--
	if s.of[caller]--; s.of[caller] == 0 {
		delete(s.of, caller)
	}
}

// streamed handles a request whose response is a stream. It gives back the place that the request has held until now,
// and takes one for streams instead. Each write has its own deadline in place of the server's write time-out.
func streamed(c echo.Context, handle echo.HandlerFunc) error {
	record := LogRecord(c)
	if ch := &record.charge; ch.guard != nil {
		ch.end()
		caller := ch.caller
		if ch.validKey { // even if it was not known when the request was admitted, as after a start
			caller = ch.guard.places.caller(ch.apiKey)
		}
		if !ch.guard.streams.enter(caller) {
			return ch.guard.refuse(Overload, 0)
		}
		defer ch.guard.streams.leave(caller)
	}
	ctx, cancel := context.WithCancelCause(record.client)
	defer cancel(nil)
	if stopping, ok := ctx.Value(stoppingKey{}).(context.Context); ok {
		defer context.AfterFunc(stopping, func() { cancel(ErrStopping) })()
	}
	c.SetRequest(c.Request().WithContext(ctx))
	res := c.Response()
	w := &streamWriter{ResponseWriter: res.Writer, control: http.NewResponseController(res.Writer)}
	res.Writer = w
	defer func() {
		_ = w.control.SetWriteDeadline(time.Now().Add(streamWriteTimeout)) // for the end of the response
		res.Writer = w.ResponseWriter
	}()
	res.Before(func() { record.began = time.Now() })
	return handle(c)
}

// streamWriter ends a stream whose client does not read it. It ignores a writer without deadlines, such as a test's.
type streamWriter struct {
	http.ResponseWriter
	control *http.ResponseController
}

func (w *streamWriter) Write(p []byte) (int, error) {
	_ = w.control.SetWriteDeadline(time.Now().Add(streamWriteTimeout))
	return w.ResponseWriter.Write(p)
}

// FlushError implements the interface that http.ResponseController uses.
func (w *streamWriter) FlushError() error {
	_ = w.control.SetWriteDeadline(time.Now().Add(streamWriteTimeout))
	return w.control.Flush()
}

// Unwrap serves the other methods of http.ResponseController.
func (w *streamWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
