// Command refreshd is a multi-tenant refresh token service. See package run for the program, and package domain for its
// rules.
package main

import (
	"os"

	"github.com/refreshd/refreshd/cmd/run"
)

// version is set by the linker for a release.
var version = ""

func main() { os.Exit(run.Main(run.Options{Version: version})) }
