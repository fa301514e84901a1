// Package logsink is a bounded buffer between the log and its destination: a pipe, a file, a terminal, a socket. A
// [Sink] is an io.Writer whose Write never blocks and never fails. So neither a reader that has disappeared or does not
// read, nor a full disk, can block, slow or end the service.
//
// It does not format: the lines are slog's. It stores bytes instead of lines, to bound memory.
//
// Rejected: a channel of lines (it bounds their number, not their size, and costs an allocation for each); a
// slog.Handler that formats in the writer's goroutine (the values of a record would have to outlive their request);
// writing where the line is made, with a time-out (each line then waits that long).
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
	// Limit is the maximum number of bytes of the log that wait to be written.
	Limit = 1 << 20
	// NoLimit is for the output of a command, which must not be dropped.
	NoLimit = math.MaxInt

	// atomicWrite is the size up to which a write to a pipe is not mixed with those of other writers (PIPE_BUF in
	// pipe(7)). Replicas may share a pipe, and the runtime writes the report of a crash itself. Longer lines may be
	// mixed.
	atomicWrite = 4096

	// retryAfter is the pause after a failed write. While nothing reads the log, this is ten system calls a second.
	retryAfter = 100 * time.Millisecond
)

// A Sink passes what is written to it to another writer, in order, from one goroutine. What does not fit into its
// memory is dropped and counted, and replaced by a line with the number of dropped lines.
//
// A write that failed or was incomplete is continued from where it ended until it succeeds, so lines stay whole.
type Sink struct {
	to    io.Writer
	fd    uintptr
	limit int

	mu       sync.Mutex
	changed  sync.Cond
	waiting  []byte // to be written next
	busy     int    // bytes that are being written
	gap      int64  // number of lines that were dropped after waiting
	lost     int64
	announce func(lines int64) []byte
	closing  bool
	err      error // of the last write

	ended chan struct{}
}

// New returns a Sink that stores at most limit bytes, and starts its goroutine.
func New(to io.Writer, limit int) *Sink {
	s := &Sink{to: to, fd: math.MaxUint, limit: limit, ended: make(chan struct{}), announce: func(lines int64) []byte {
		return fmt.Appendf(nil, "%d lines were lost\n", lines)
	}}
	s.changed.L = &s.mu
	go s.run()
	return s
}

// Write stores p, which is one line or several, or drops it as a whole. It never waits for the destination, and never
// returns an error.
func (s *Sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// After a gap everything is dropped, otherwise the order would be lost.
	if s.gap > 0 || len(p) > s.limit-s.busy-len(s.waiting) {
		s.gap++
		s.lost++
	} else {
		s.waiting = append(s.waiting, p...)
	}
	s.changed.Signal()
	return len(p), nil
}

// Announce sets the function that returns the line for a gap.
func (s *Sink) Announce(line func(lines int64) []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.announce = line
}

// Lost returns the number of dropped lines.
func (s *Sink) Lost() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lost
}

// Fd returns the file descriptor of the destination, or an invalid one if there is none.
func (s *Sink) Fd() uintptr { return s.fd }

// Close returns when everything is written, when a write fails, or when ctx is done; the error says which. Data written
// to s afterwards may be lost.
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

// next waits for data, moves it to batch, and reuses the memory of the old batch for later data. It returns false when
// s is closed and everything is written.
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

// wrote records the result of a write, and reports whether it was the last one.
func (s *Sink) wrote(left int, err error) (last bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy, s.err = left, err
	return err != nil && s.closing
}

// firstLines returns as many lines as fit into one atomic write, or the first line if it is longer.
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
