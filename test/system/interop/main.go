// Command interop runs programs that others wrote with the real binary.
//
// The part generators makes clients from the service's own document, with common generators, and runs them:
// oapi-codegen for Go, openapi-typescript with openapi-fetch for TypeScript. Each client is compiled with all checks
// and without a cast, so its requests and responses are typed. Then it issues, exchanges, lists, changes and revokes
// after a first start. The commands on the page /docs are pasted into a shell there too.
//
// The part clients runs libraries for OAuth 2 and JWT, as their documentation says, with a service on SQLite and with
// one on PostgreSQL: they find the endpoints by the issuer alone, refresh, revoke and introspect, and verify access
// tokens. A run of all of them writes the table of INTEGRATING.md.
//
// Lock files in testdata pin the libraries and their dependencies, which are fetched if they are missing. So this is
// not part of `make test`, which has TestTheDocumentHasNoShapeThatGeneratorsRefuse and
// TestTheTableOfIntegratingIsThatOfTheRuns, and needs no network.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/refreshd/refreshd/test/support/rig"
)

// part is a part that can be run alone.
type part struct {
	name, about string
	run         func(context.Context, *run) error
}

// Label implements rig.Part.
func (p part) Label() (name, about string) { return p.name, p.about }

var parts = []part{
	{"generators", "clients that are made from openapi.yaml, and the commands on /docs", generators},
	{"clients", "libraries for OAuth 2 and JWT, on SQLite and PostgreSQL, which fill the table of INTEGRATING.md",
		clientsPart},
}

// run is what the parts share.
type run struct {
	program  rig.Program
	dir      string // for files of the run
	testdata string // the folder of the scripts
	only     string // the clients to run, separated by commas; empty for all
	begun    time.Time
}

func main() { rig.Main("interop", start) }

func start(ctx context.Context, args []string) (err error) {
	flags := flag.NewFlagSet("interop", flag.ContinueOnError)
	parse := rig.PartFlag(flags, "Runs programs that others wrote with the service. From the top of the tree.", parts,
		parts)
	only := flags.String("client", "", "only these clients, separated by commas; the table is then not written")
	chosen, err := parse(args)
	if err != nil {
		return err
	}
	r := &run{testdata: "test/system/interop/testdata", only: *only, begun: time.Now()}
	if r.dir, err = os.MkdirTemp("", "refreshd-interop-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(r.dir)) }()
	r.progress("building the service")
	if r.program, err = rig.Build(ctx, r.dir, rig.BuildOptions{}); err != nil {
		return err
	}
	var errs []error
	for _, p := range chosen {
		r.progress("%s: %s", p.name, p.about)
		if err := p.run(ctx, r); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", p.name, err))
		}
	}
	return errors.Join(errs...)
}

// progress prints what the run does, with the seconds since its start.
func (r *run) progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%5.0fs  %s\n", time.Since(r.begun).Seconds(), fmt.Sprintf(format, args...))
}
