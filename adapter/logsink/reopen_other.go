//go:build !linux

package logsink

import "os"

// reopened returns f. Without /proc, the report of a crash waits for its reader.
func reopened(f *os.File, _ int) *os.File { return f }
