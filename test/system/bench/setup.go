package main

import (
	"fmt"

	"github.com/refreshd/refreshd/adapter/gormstore"
	"github.com/refreshd/refreshd/test/support/rig"
)

// setup is a way to run the service: a program, how its store writes, and the policy of its tenant.
type setup struct {
	program rig.Program
	mode    mode
	policy  policy
}

// setup is the program of this source.
func (b *bench) setup(m mode, p policy) setup { return setup{b.program, m, p} }

func (how setup) settings(database string) rig.Settings {
	return rig.Settings{Database: database, Kickstart: fmt.Sprintf(kickstart, how.policy), Env: how.mode.environ()}
}

// policy is what a kickstart file sets in jwtConfiguration.
type policy string

const (
	defaults policy = ""
	// noGrace makes each exchange of a current string rotate, however soon it follows on the last one.
	noGrace policy = "refreshTokenOneTimeUseConfiguration: {gracePeriodInSeconds: 0}"
	es256   policy = "algorithm: ES256"
)

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
