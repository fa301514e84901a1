package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
)

// defaultStreams is the maximum number of open streams if RateLimits.Streams is 0.
const defaultStreams = 512

// streamWriteTimeout is the time in which a client must read a part of a stream, and at least two thirds of it.
const streamWriteTimeout = 5 * time.Second

// collectEvery is the number of streams after whose opening the memory is collected. What opens a stream takes several
// times the memory that the stream then needs, and the collector waits until the heap is five times its live size: a
// thousand streams would keep 45 MiB, and keep 39 MiB.
const collectEvery = 256

// ErrStopping is the cause of the end of a stream's context if the server stops.
var ErrStopping = errors.New("web: the server is stopping")

// streamTurnTimeout is how long a stream waits for a turn: a client that gets no frame within 3 s gives up.
const streamTurnTimeout = 2 * time.Second

// streams bounds the number of open streams, shared fairly as places are: a caller may have as many as are free.
//
// Before its handler, a stream asks the store who its caller is. For that it needs a turn. The turns are not those of
// other requests: an overload of these must not keep resource servers from their streams. All callers share them, and
// as many streams may wait as may be open: after a replica has ended, its clients come together.
type streams struct {
	turns chan struct{}
	mu    sync.Mutex
	most  int
	open  int
	peak  int            // the highest value of open
	of    map[uint64]int // by caller, as in places
}

func newStreams(most, turns int) *streams {
	if most <= 0 {
		most = defaultStreams
	}
	return &streams{turns: make(chan struct{}, turns), most: most, of: map[uint64]int{}}
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
	if s.open > s.peak {
		if s.peak = s.open; s.peak%collectEvery == 0 {
			go runtime.GC()
		}
	}
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

// beginStream counts a stream of the charge's caller, and waits for a turn.
func (ch *charge) beginStream() error {
	s := ch.guard.streams
	if !s.enter(ch.caller) {
		return ch.guard.refuse(Overload, 0)
	}
	ctx, cancel := context.WithTimeout(ch.client, streamTurnTimeout)
	defer cancel()
	select {
	case s.turns <- struct{}{}:
		ch.placed, ch.turned = true, true
		return nil
	case <-ctx.Done():
	}
	s.leave(ch.caller)
	if ch.client.Err() != nil { // not a refusal: the client has disconnected
		return fmt.Errorf("wait for a turn: %w", ch.client.Err())
	}
	return ch.guard.refuse(Overload, 0)
}

// identified gives back the turn. If the API key was not known when the request was admitted, as after a start, the
// stream counts for its address until now.
func (ch *charge) identified() error {
	s := ch.guard.streams
	<-s.turns
	ch.turned = false
	key := ch.guard.places.caller(ch.apiKey)
	if !ch.validKey || key == ch.caller {
		return nil
	}
	s.leave(ch.caller)
	ch.caller, ch.placed = key, s.enter(key)
	if !ch.placed {
		return ch.guard.refuse(Overload, 0)
	}
	return nil
}

// endStream gives back what beginStream took.
func (ch *charge) endStream() {
	if ch.turned {
		<-ch.guard.streams.turns
	}
	if ch.placed {
		ch.guard.streams.leave(ch.caller)
	}
}

// streamed handles a request whose response is a stream. Each write has its own deadline in place of the server's write
// time-out.
func streamed(c echo.Context, handle echo.HandlerFunc) error {
	record := LogRecord(c)
	if ch := &record.charge; ch.guard != nil {
		if err := ch.identified(); err != nil {
			return err
		}
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
	set     time.Time // when the deadline was set
}

func (w *streamWriter) Write(p []byte) (int, error) {
	w.setDeadline()
	return w.ResponseWriter.Write(p)
}

// FlushError implements the interface that http.ResponseController uses.
func (w *streamWriter) FlushError() error {
	w.setDeadline()
	return w.control.Flush()
}

// setDeadline moves the deadline when a third of the time has passed: to move it for each part would take an eighth of
// the processor time of a stream.
func (w *streamWriter) setDeadline() {
	if now := time.Now(); now.Sub(w.set) > streamWriteTimeout/3 {
		w.set = now
		_ = w.control.SetWriteDeadline(now.Add(streamWriteTimeout))
	}
}

// Unwrap serves the other methods of http.ResponseController.
func (w *streamWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
