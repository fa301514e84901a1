package main

import "github.com/refreshd/refreshd/adapter/gormstore"

// mode is how the store writes exchanges that wait at the same time.
type mode string

const (
	oneByOne mode = "one by one" // a statement for each
	combined mode = "combined"   // a statement for all that wait
	narrow   mode = "one by one, two connections"
)

var modes = []mode{oneByOne, combined}

// asItComes is the mode of a service that is told nothing.
const asItComes = combined

// environ tells the service the mode, and not to purge by itself, so that a purge is only where it is measured.
func (m mode) environ() []string {
	environ := []string{"REFRESHD_PURGE_INTERVAL=0s"}
	if m != combined {
		environ = append(environ, "REFRESHD_DATABASE_WRITE_COMBINING=false")
	}
	if m == narrow {
		environ = append(environ, "REFRESHD_DATABASE_MAX_CONNECTIONS=2")
	}
	return environ
}

// storeOptions tell a store the mode, with as many connections as the service has.
func storeOptions(m mode) gormstore.Options {
	return gormstore.Options{MaxConnections: 16, OneByOne: m == oneByOne}
}
