package main

import "github.com/refreshd/refreshd/adapter/gormstore"

// mode is how the store writes exchanges that wait at the same time.
type mode string

const (
	oneByOne mode = "one by one" // a statement for each
	combined mode = "combined"   // a statement for all that wait
	narrow   mode = "one by one, two connections"
)

const combiningSetting = "REFRESHD_DATABASE_WRITE_COMBINING"

// modes are those that the program knows.
func (p program) modes() []mode {
	if p.combines {
		return []mode{oneByOne, combined}
	}
	return []mode{oneByOne}
}

// settings tell the service the mode, if it knows one, not to purge by itself, so that a purge is only where it is measured, and
// not to limit the one address that all calls come from.
func (p program) settings(m mode) (environ []string) {
	for _, limit := range []string{"ADDRESS", "API_KEY", "REFRESH_TOKEN"} {
		environ = append(environ, "REFRESHD_RATE_LIMIT_"+limit+"=0")
	}
	if p.combines && m != combined {
		environ = append(environ, combiningSetting+"=false")
	}
	if m == narrow {
		environ = append(environ, "REFRESHD_DATABASE_MAX_CONNECTIONS=2")
	}
	if p.purges {
		environ = append(environ, "REFRESHD_PURGE_INTERVAL=0s")
	}
	return environ
}

// storeOptions tell a store the mode, with as many connections as the service has.
func storeOptions(m mode) gormstore.Options {
	return gormstore.Options{MaxConnections: 16, OneByOne: m == oneByOne}
}

// defaultMode is the one of a service that is told nothing.
func (b *bench) defaultMode() mode {
	modes := b.program.modes()
	return modes[len(modes)-1]
}
