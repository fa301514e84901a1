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
	// Whether it has an API key for the revocation stream, and one for administration, which older programs do not have.
	feed, operated bool
	applications   string   // further ones, in the kickstart file
	environ        []string // further settings
	// Whether its profiles can be read, which also collects the garbage.
	profiled bool
}

// setup returns a setup of this source's program.
func (b *bench) setup(m mode, p policy) setup { return setup{program: b.program, mode: m, policy: p} }

func (how setup) settings(database string) rig.Settings {
	s := rig.Settings{Database: database, Kickstart: fmt.Sprintf(kickstart, how.policy, how.applications),
		Env: append(how.mode.environ(), how.environ...)}
	if how.feed {
		s.Kickstart += feedKickstart
		s.Env = append(s.Env, fmt.Sprintf("REFRESHD_FEED_STREAMS=%d", 2*feedStreams+2*reachServers))
	}
	if how.profiled {
		s.Env = append(s.Env, "REFRESHD_PPROF=true")
	}
	if how.operated {
		s.Kickstart += operatorKickstart
	}
	return s
}

// policy is the value of jwtConfiguration in the kickstart file.
type policy string

const (
	defaults policy = ""
	// noGrace makes each exchange of a current string rotate, even immediately after the last one.
	noGrace policy = "refreshTokenOneTimeUseConfiguration: {gracePeriodInSeconds: 0}"
	es256   policy = "algorithm: ES256"
)

// mode is how the store writes exchanges that wait for the database.
type mode string

const (
	oneByOne mode = "one by one" // one statement for each
	combined mode = "combined"   // one statement for all that wait
	narrow   mode = "one by one, two connections"
)

var modes = []mode{oneByOne, combined}

// asItComes is the default mode of the service.
const asItComes = combined

// environ returns the environment that sets the mode, and switches off purges, which run only where they are measured.
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

// storeOptions returns the options of a store in the mode, with as many connections as the service has.
func storeOptions(m mode) gormstore.Options {
	return gormstore.Options{MaxConnections: 16, OneByOne: m == oneByOne}
}
