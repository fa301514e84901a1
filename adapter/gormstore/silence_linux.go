package gormstore

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// limitSilence sets for how long what was sent may stay unacknowledged before the connection counts as lost (RFC 5482).
func limitSilence(_, _ string, c syscall.RawConn) error {
	var err error
	if e := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(silence.Milliseconds()))
	}); e != nil {
		return e
	}
	return err
}
