// Package logsink is a bounded buffer in front of what takes the log: a pipe, a file, a terminal, a socket. A [Sink]
// is an io.Writer whose Write never waits and never fails, so that nothing which takes the log can block, slow or end
// the service: not a reader that went away or does not read, and not a full disk.
//
// It does not format: the lines are slog's. It holds bytes, not lines, because what is to be bounded is memory.
//
// Rejected: a channel of lines (bounds their number, not their size, and costs an allocation each); a slog.Handler
// that formats in the writer's goroutine (the values of a record would have to outlive their request); to write where
// the line is made and to give up after a time (each line then waits that long).
package logsink

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"sync"
	"time"
)

const (
	// Limit is how many bytes of the log wait to be written at most.
	Limit = 1 << 20
	// NoLimit is for the output of a command, which must not be dropped.
	NoLimit = math.MaxInt

	// atomicWrite is the size up to which a write to a pipe is not mixed with those of others (PIPE_BUF in pipe(7)):
	// replicas may share one, and the runtime writes a crash by itself. Longer lines take the chance that they took
	// before.
	atomicWrite = 4096

	// retryAfter is the time after a write that failed until the next. A line that nobody reads costs ten system calls a
	// second.
	retryAfter = 100 * time.Millisecond
)

// A Sink hands what is written to it to another writer, in order, from one goroutine. What does not fit into its
// memory is dropped and counted, and a line in the place of what was dropped says how much it was.
//
// A write that failed, or was cut short, is repeated from where it ended until it succeeds: no line is torn.
type Sink struct {
	to    io.Writer
	fd    uintptr
	limit int

	mu       sync.Mutex
	changed  sync.Cond
	waiting  []byte // to be written next
	busy     int    // bytes that are being written
	gap      int64  // lines that were dropped behind what is waiting
	lost     int64
	announce func(lines int64) []byte
	closing  bool
	err      error // of the last write

	ended chan struct{}
}

// New returns a Sink that holds at most limit bytes, and starts its goroutine.
func New(to io.Writer, limit int) *Sink {
	s := &Sink{to: to, fd: math.MaxUint, limit: limit, ended: make(chan struct{}), announce: func(lines int64) []byte {
		return fmt.Appendf(nil, "%d lines were lost\n", lines)
	}}
	s.changed.L = &s.mu
	go s.run()
	return s
}

// Write takes p, which is one line or several, whole or not at all. It never waits for the writer behind s, and never
// returns an error.
func (s *Sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// Behind a gap everything is dropped, or the order would be lost as well.
	if s.gap > 0 || len(p) > s.limit-s.busy-len(s.waiting) {
		s.gap++
		s.lost++
	} else {
		s.waiting = append(s.waiting, p...)
	}
	s.changed.Signal()
	return len(p), nil
}

// Announce sets how a gap is told.
func (s *Sink) Announce(line func(lines int64) []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.announce = line
}

// Lost returns how many lines were dropped.
func (s *Sink) Lost() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lost
}

// Fd returns the file descriptor behind s, or one that no file has.
func (s *Sink) Fd() uintptr { return s.fd }

// Close returns when everything is written, when a write fails, or when ctx is done; the error says which. What is
// written to s later may be lost.
func (s *Sink) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closing = true
	s.changed.Signal()
	s.mu.Unlock()
	select {
	case <-s.ended:
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.err
	case <-ctx.Done():
		return fmt.Errorf("logsink: not all was written: %w", ctx.Err())
	}
}

func (s *Sink) run() {
	defer close(s.ended)
	var batch []byte
	for s.next(&batch) {
		for rest := batch; len(rest) > 0; {
			n, err := s.to.Write(firstLines(rest))
			rest = rest[n:]
			if s.wrote(len(rest), err) {
				return
			}
			if err != nil {
				time.Sleep(retryAfter)
			}
		}
	}
}

// next waits for something to write and puts it into batch, whose memory it gives to what comes after; false is the
// end.
func (s *Sink) next(batch *[]byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.waiting) == 0 && s.gap == 0 && !s.closing {
		s.changed.Wait()
	}
	*batch, s.waiting = s.waiting, (*batch)[:0]
	if s.gap > 0 {
		*batch = append(*batch, s.announce(s.gap)...)
		s.gap = 0
	}
	s.busy = len(*batch)
	return s.busy > 0
}

// wrote notes how a write ended, and reports whether it was the last one.
func (s *Sink) wrote(left int, err error) (last bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy, s.err = left, err
	return err != nil && s.closing
}

// firstLines returns as many lines as fit into one write that is not mixed with others, or the first line if that
// alone does not.
func firstLines(b []byte) []byte {
	if len(b) <= atomicWrite {
		return b
	}
	if end := bytes.LastIndexByte(b[:atomicWrite], '\n'); end >= 0 {
		return b[:end+1]
	}
	if end := bytes.IndexByte(b, '\n'); end >= 0 {
		return b[:end+1]
	}
	return b
}
