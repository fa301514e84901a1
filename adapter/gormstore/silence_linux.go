package gormstore

import (
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// limitSilence sets for how long what was sent may stay unacknowledged before the connection counts as lost (RFC 5482).
// Who is on the other end of a socket in the file system cannot vanish.
func limitSilence(network, _ string, c syscall.RawConn) error {
	if !strings.HasPrefix(network, "tcp") {
		return nil
	}
	var err error
	if e := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(silence.Milliseconds()))
	}); e != nil {
		return e
	}
	return err
}
