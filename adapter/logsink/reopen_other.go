//go:build !linux

package logsink

import "os"

// reopened returns f: where there is no /proc, a crash waits for who reads it.
func reopened(f *os.File, _ int) *os.File { return f }
