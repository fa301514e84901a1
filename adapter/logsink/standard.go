package logsink

import "os"

// Standard returns a Sink for standard output or error, whose descriptor is fd.
//
// The runtime writes the report of a crash to descriptor 2 itself, and would block forever if that is a full pipe or
// terminal: the process would hang. So the pipe or terminal is opened again in non-blocking mode if possible, and
// replaces the descriptor. Other processes that have it open keep their mode. A report that is longer than the reader's
// buffer then has gaps; its first lines say what happened.
func Standard(f *os.File, fd, limit int) *Sink {
	s := New(reopened(f, fd), limit)
	s.fd = uintptr(fd)
	return s
}
