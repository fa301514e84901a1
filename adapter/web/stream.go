package web

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
)

// defaultStreams is how many streams there are at most, where RateLimits does not say.
const defaultStreams = 512

// streamPatience is how long a client may take for a part of a stream.
const streamPatience = 5 * time.Second

// streams bounds the streams that are open. It is as fair among callers as places are: a caller may have as many as are
// free.
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

// enter reports whether there is room for one more of the caller's.
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

// streamed handles a request whose response is a stream. Until here it was one as any other, with a place and a time
// limit. It gives the place back, and takes one of those for streams; what the time limit of the server is for, each
// write has for itself.
func streamed(c echo.Context, handle echo.HandlerFunc) error {
	record := Note(c)
	if p := &record.payer; p.guard != nil {
		p.end()
		if !p.guard.streams.enter(p.caller) {
			return p.guard.refuse(Overload, 0)
		}
		defer p.guard.streams.leave(p.caller)
	}
	ctx, cancel := context.WithCancel(record.client)
	defer cancel()
	if stopping, ok := ctx.Value(stoppingKey{}).(chan struct{}); ok {
		go func() {
			select {
			case <-stopping:
				cancel()
			case <-ctx.Done():
			}
		}()
	}
	c.SetRequest(c.Request().WithContext(ctx))
	res := c.Response()
	w := &streamWriter{ResponseWriter: res.Writer, control: http.NewResponseController(res.Writer)}
	res.Writer = w
	defer func() {
		_ = w.control.SetWriteDeadline(time.Now().Add(streamPatience)) // for its end
		res.Writer = w.ResponseWriter
	}()
	res.Before(func() { record.begun = time.Now() })
	return handle(c)
}

// streamWriter ends a stream whose client does not take it. A writer that takes no deadline, as that of a test, needs
// none.
type streamWriter struct {
	http.ResponseWriter
	control *http.ResponseController
}

func (w *streamWriter) Write(p []byte) (int, error) {
	_ = w.control.SetWriteDeadline(time.Now().Add(streamPatience))
	return w.ResponseWriter.Write(p)
}

// FlushError is what http.ResponseController asks for.
func (w *streamWriter) FlushError() error {
	_ = w.control.SetWriteDeadline(time.Now().Add(streamPatience))
	return w.control.Flush()
}

// Unwrap is for what else http.ResponseController does.
func (w *streamWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
