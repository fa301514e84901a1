//go:build !linux

package gormstore

import "syscall"

// limitSilence does nothing: where there is no TCP_USER_TIMEOUT, a call that waits for a host that is gone ends with its caller's
// time, and an idle connection by its probes.
func limitSilence(_, _ string, _ syscall.RawConn) error { return nil }
