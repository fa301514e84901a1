package postgres

import (
	"maps"
	"os"
	"slices"
)

var (
	NewestFirst = newestFirst
	MajorOf     = majorOf
	Verify      = verify
	Unpack      = unpack
	Link        = link
)

// Find returns where the programs are with which the tests start a server.
func Find() (dir string, ok bool) { return find(os.Getenv(VersionVariable)) }

// NewestPublished is the newest major version that can be fetched. All have two digits.
func NewestPublished() string { return slices.Max(slices.Collect(maps.Keys(published))) }
