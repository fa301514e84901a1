package logsink

import "os"

// Standard returns a Sink for standard output or error, which fd is the number of.
//
// The runtime writes a crash to descriptor 2 by itself, and would wait there for ever if that were a pipe or a
// terminal that is full: the process would be neither dead nor of use. So what is behind it is opened again, where
// that can be done, in a mode in which no write waits, and put in its place; other processes that have the pipe or the
// terminal keep the mode that they have. A dump that is longer than what a reader leaves room for then has holes; its
// first lines say what happened.
func Standard(f *os.File, fd, limit int) *Sink {
	s := New(reopened(f, fd), limit)
	s.fd = uintptr(fd)
	return s
}
