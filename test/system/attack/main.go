// Command attack attacks the service, the real binary over HTTP, and checks what its honest users get meanwhile: one
// client must not slow down or block the others.
//
// It starts everything itself, on the loopback: the service, built from this source, and a PostgreSQL that syncs each
// commit to disk. It prints a Markdown table to standard output, and its progress to standard error. It exits with
// status 1 if a target was missed or a part failed, unless -report is given. With -base an older program is built and
// attacked too. Its figures are beside those of this one, and do not affect the exit status.
//
// # Method
//
// Honest load is four users, each with a client address of its own (127.0.1.1 to 127.0.1.4). Together they exchange 40
// times a second, in an open loop: a request is due at its instant, and its latency counts from then. So an exchange
// that waits for the response of the one before it counts as slow. Each session rests for longer than the grace period
// between two exchanges, so each exchange is a write. An exchange that was refused or got no response is repeated with
// the same string, as clients do. All rate limits have their defaults, and honest load is within each.
//
// The latency under attack is compared with the latency before it: a run is a window of each, and the best of three
// runs counts, because driver, service and database share a machine that is not quiet. Events that must not happen at
// all, such as a refusal, are judged in the same run as the latency.
//
// An attacker has client addresses of its own (127.0.2.1 and up), as many as it needs to stay within the limits, if the
// attack is meant to be within them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/refreshd/refreshd/test/support/postgres"
	"github.com/refreshd/refreshd/test/support/rig"
)

// part is a part that can be run alone.
type part struct {
	name, about string
	limit       time.Duration // for one program; a part that takes longer has failed
	run         func(context.Context, *attack) error
}

// Label implements rig.Part.
func (p part) Label() (name, about string) { return p.name, p.about }

var parts = []part{
	{"aborted", "860 requests a second that are sent and reset, PostgreSQL", 12 * time.Minute, abortedPart},
	{"readers", "20 readers of the largest pages that do not read", 4 * time.Minute, readersPart},
	{"tenants", "100 000 tenants: exchange, key set, start, memory", 10 * time.Minute, tenantsPart},
	{"apply", "apply of 2 000 and 4 000 new tenants", 20 * time.Minute, applyPart},
	{"row", "a held tenant row and 200 clients that revoke in that tenant, PostgreSQL", 6 * time.Minute, rowPart},
	{"fair", "200 clients of another tenant's key, PostgreSQL", 8 * time.Minute, fairPart},
	{"log", "stderr closed, full, and never read", 4 * time.Minute, logPart},
	{"floods", "50 connections of one address on 404, 405, health and documents", 4 * time.Minute, floodsPart},
	{"guesses", "made-up API keys, forged and purged strings beside honest clients of one address", 4 * time.Minute,
		guessesPart},
	{"stop", "a trickling body while the service stops", 2 * time.Minute, stopPart},
	{"slots", "fewer database connections than the pool wants, PostgreSQL", 2 * time.Minute, slotsPart},
	{"copies", "a token string that is no longer current, 60 times a second", 2 * time.Minute, copiesPart},
}

// attack is a program under attack, and the state that all parts share.
type attack struct {
	plan    plan
	dir     string
	program rig.Program
	name    string // of the program, in the table
	base    bool   // whether it is the older program
	server  *postgres.Server
	report  *report
	part    string
	ends    []func() error // of the running part
	files   int
}

// plan is the size of a run.
type plan struct {
	window    time.Duration // of honest load, without an attack and with one
	runs      int           // of which the best counts
	tenants   int           // in the large store
	exchanges int           // for one measurement of processor time
	rounds    int           // of such measurements
	logged    int           // exchanges while the log cannot be written
	applied   int           // tenants
}

var (
	normalPlan = plan{
		window: 8 * time.Second, runs: 3, tenants: 100_000, exchanges: 3000, rounds: 5, logged: 10_000, applied: 2000,
	}
	quickPlan = plan{
		window: 4 * time.Second, runs: 2, tenants: 10_000, exchanges: 1000, rounds: 3, logged: 2000, applied: 500,
	}
)

func main() {
	rig.Main("attack", func(ctx context.Context, args []string) error {
		if len(args) == 1 && args[0] == asLoop {
			return beLoop(os.Stdin, os.Stdout)
		}
		return start(ctx, args)
	})
}

func start(ctx context.Context, args []string) (err error) {
	flags := flag.NewFlagSet("attack", flag.ContinueOnError)
	quick := flags.Bool("quick", false, "shorter windows and fewer tenants, for a first look")
	parse := rig.PartFlag(flags, "Attacks the service.", parts, parts)
	base := flags.String("base", "", "commit whose program is attacked too")
	printOnly := flags.Bool("report", false, "exit with status 0 even if a target was missed or a part failed")
	version := flags.String("version", "", "version of the source, for the report")
	chosen, err := parse(args)
	if err != nil {
		return err
	}
	a := &attack{plan: normalPlan, name: "this", report: &report{begun: time.Now()}}
	if *quick {
		a.plan = quickPlan
	}
	if a.dir, err = os.MkdirTemp("", "refreshd-attack-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(a.dir)) }()
	a.progress("building the service")
	if a.program, err = rig.Build(ctx, a.dir, rig.BuildOptions{Version: *version}); err != nil {
		return err
	}
	programs := []*attack{a}
	if *base != "" {
		a.progress("building the service of %s", *base)
		b := *a
		b.base = true
		if b.program, b.name, err = rig.BuildCommit(ctx, a.dir, *base); err != nil {
			return err
		}
		programs = []*attack{&b, a}
	}
	a.progress("starting PostgreSQL")
	server, err := postgres.StartServer(ctx, postgres.Options{Durable: true, Own: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	for _, p := range chosen {
		for _, program := range programs {
			program.server = server
			program.one(ctx, p)
			if ctx.Err() != nil {
				return errors.New("interrupted")
			}
		}
	}
	if _, err := io.WriteString(os.Stdout, a.report.text(a.program.Version)); err != nil {
		return err
	}
	if missed := a.report.missed(); missed > 0 && !*printOnly {
		return fmt.Errorf("%d targets were missed", missed)
	}
	return nil
}

// one runs a part. A failure counts as a missed target; the next part runs in any case.
func (a *attack) one(ctx context.Context, p part) {
	a.part = p.name
	begun := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, p.limit, fmt.Errorf("it takes longer than %s", p.limit))
	defer cancel()
	err := p.run(ctx, a)
	for _, end := range slices.Backward(a.ends) {
		err = errors.Join(err, end())
	}
	a.ends = nil
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = errors.Join(cause, err)
		}
		a.progress("failed: %v", err)
		a.judge("the part runs to its end", false, "yes", "no")
	}
	a.progress("took %s", time.Since(begun).Round(time.Second))
}

// later has end called when the part is over, in reverse order.
func (a *attack) later(end func() error) { a.ends = append(a.ends, end) }

func (a *attack) progress(format string, args ...any) {
	at := a.name
	if a.part != "" {
		at = a.part + ", " + a.name
	}
	fmt.Fprintf(os.Stderr, "%5.0fs  %s: %s\n", time.Since(a.report.begun).Seconds(), at, fmt.Sprintf(format, args...))
}
