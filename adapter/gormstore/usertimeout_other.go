//go:build !linux

package gormstore

import "syscall"

// setUserTimeout does nothing: without TCP_USER_TIMEOUT, a call that waits for a vanished host ends with its caller's
// deadline, and an idle connection with its keep-alive probes.
func setUserTimeout(_, _ string, _ syscall.RawConn) error { return nil }
