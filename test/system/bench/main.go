// Command bench measures the service, the real binary over HTTP, against the database below it, and checks the figures
// against the project's targets.
//
// It starts everything itself, on the loopback: the service, built from this source, and a PostgreSQL that syncs each
// commit to disk. It prints Markdown tables to standard output and to a file, and its progress to standard error. It
// exits with status 1 as soon as a response is wrong. A figure that misses its target is only reported.
//
// # Method
//
// Driver, service and database share the machine, and the machine is not quiet. So ratios count, not rates: the
// variants of a comparison take turns (A B C, A B C, …), a ratio is taken within each round, and the median of the
// rounds is shown. The processor time that other processes used is shown too. A round that they disturbed is repeated,
// a bounded number of times.
//
// Load is a closed loop: each virtual user has a connection, and sends its next request as soon as it has a response.
// Within a grace period an exchange of one session writes nothing. So the exchanges that count go through a pool of a
// million sessions, in random order, under the default policy. The outcome of each is counted, and has to be "rotated".
// The pool is made by SQL: copies of the row of one session that was issued and exchanged through the API, with other
// ids; the driver mints their token strings with the service's own key. The other parts loop over one session a user,
// and set the grace period to zero; their tables say so. Each response is checked: status 200, a new string, an access
// token of the same refresh token. The processor time of the driver is shown, because it shares the machine.
//
// With -base an older program is built too, and takes turns with this one: on databases of its own, made by the same
// SQL, which reads the columns from the schema; with the same signature algorithm, and again with its default one.
//
// The limit is pgbench, with the same number of clients and the same session settings, on the service's own schema: the
// bare update of one row by its key, which is the least that a rotation needs, on random rows of the pool and on one
// row per client; and gormstore's whole statement. The store logs the text of that statement. pgbench's clients chain
// generations as users do, and the sum of all generations has to grow by the number of transactions of pgbench.
//
// A window of each run counts; the time before it warms up. Processor time is read from /proc at both ends of the
// window (PostgreSQL: the postmaster's tree), allocations from the service's metrics, WAL from PostgreSQL. Transactions
// and HOT updates are PostgreSQL's own counters of a database that only one service uses. They are read after the
// service has ended, because a backend reports them with a delay.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/refreshd/refreshd/test/support/rig"
)

// part is a part that can be run alone.
type part struct {
	name, about string
	run         func(context.Context, *bench) error
	apart       bool // whether it runs only if it is named
}

// Label implements rig.Part.
func (p part) Label() (name, about string) { return p.name, p.about }

var parts = slices.Concat([]part{
	{name: "exchange", about: "exchange of a pool on PostgreSQL, against pgbench", run: exchangePart},
	{name: "store", about: "exchange in the store alone, against pgbench", run: storePart},
	{name: "cost", about: "bytes of a row, and the cost of an exchange and a retry in PostgreSQL", run: costPart},
	{name: "sqlite", about: "exchange on SQLite, against the bare statement", run: sqlitePart},
	{name: "memory", about: "exchange on the store in memory", run: memoryPart},
	{name: "hot", about: "one token string that many present concurrently", run: hotPart},
	{name: "growth", about: "exchange of random tokens, and lists, as the table grows", run: growthPart},
	{name: "lists", about: "pages and counts of a million refresh tokens, half of them ended; only if it is named",
		run: listsPart, apart: true},
	{name: "calls", about: "issue, retrieve, list, revoke", run: callsPart},
	{name: "revocations", about: "revoke one, and all of a user; only if it is named", run: revocationsPart, apart: true},
	{name: "space", about: "bytes per refresh token as it is rotated", run: spacePart},
	{name: "purge", about: "exchange while ended refresh tokens are purged", run: purgePart},
	{name: "oauth", about: "exchange at the token endpoint, with client authentication and proofs; only if it is named",
		run: oauthPart, apart: true},
	{name: "commit", about: "exchange where a commit takes 5 ms longer; only if it is named",
		run: commitPart, apart: true},
	{name: "overload", about: "exchange at three times what the service can do; only if it is named",
		run: overloadPart, apart: true},
	{name: "reach", about: "how soon resource servers refuse a revoked session, and what that costs: all of the " +
		"following; only if it is named", run: reachPart, apart: true},
}, reachParts, []part{
	{name: "admin", about: "lists of an operator, deletion of a tenant, and exchanges beside an older program: all of " +
		"the following; only if it is named", run: adminPart, apart: true},
}, adminParts, []part{
	{name: "keys", about: "tenants with signing keys of their own: key sets, memory, rotation of all, lists, and " +
		"exchanges beside an older program: all of the following; only if it is named", run: keysPart, apart: true},
}, keysParts)

// bench is the state that the parts share.
type bench struct {
	plan               plan
	version            string
	dir                string
	program            rig.Program
	base               rig.Program // an older program to compare with, if baseName is not empty
	baseName           string
	server             *server
	pgbench            *pgbench
	report             *report
	shared             *bulk
	counted, disturbed int // rounds
	begun              time.Time
	ends               []func() error // of the running part
}

func main() { rig.Main("bench", start) }

func start(ctx context.Context, args []string) error {
	if is, err := runResourceServers(ctx, args); is {
		return err
	}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	quick := flags.Bool("quick", false, "two to three minutes, for a first look")
	long := flags.Bool("full", false, "an hour or more: with 1000 rotations of 10 000 tokens")
	profiles := flags.String("profile", "", "write profiles of the service into this directory; measure nothing")
	parse := rig.PartFlag(flags, "Measures the service.", parts, usual())
	out := flags.String("out", "bench.md", "file that the report is also written to; empty for none")
	base := flags.String("base", "", "commit whose program the parts exchange, cost and revocations compare with this one")
	rounds := flags.Int("rounds", 0, "rounds of the parts exchange and revocations; 0 for the number of the plan")
	version := flags.String("version", "", "version of the source, for the report")
	chosen, err := parse(args)
	if err != nil {
		return err
	}
	b := &bench{plan: normalPlan, version: *version, report: &report{figures: map[string]float64{}}, begun: time.Now()}
	switch {
	case *quick && *long:
		return errors.New("a run is quick or full: choose one")
	case *quick:
		b.plan = quickPlan
	case *long:
		b.plan = fullPlan
	}
	if *rounds > 0 {
		b.plan.exchangeRounds = *rounds
	}
	if *profiles != "" {
		return b.prepared(ctx, "", func() error { return b.profile(ctx, *profiles) })
	}
	err = b.prepared(ctx, *base, func() error { return b.all(ctx, chosen) })
	text := b.report.text.String() // if a part failed, this is the report of those before it
	if err == nil && *out != "" {
		err = os.WriteFile(*out, []byte(text), 0o644)
	}
	_, unwritten := io.WriteString(os.Stdout, text)
	return errors.Join(err, unwritten)
}

// usual returns the parts that run if none is named.
func usual() []part {
	return slices.DeleteFunc(slices.Clone(parts), func(p part) bool { return p.apart })
}

// prepared starts what f needs, calls f, and cleans up.
func (b *bench) prepared(ctx context.Context, base string, f func() error) (err error) {
	if b.dir, err = os.MkdirTemp("", "refreshd-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	b.progress("building the service")
	if b.program, err = rig.Build(ctx, b.dir, rig.BuildOptions{Version: b.version}); err != nil {
		return err
	}
	if base != "" {
		b.progress("building the service of %s", base)
		if b.base, b.baseName, err = rig.BuildCommit(ctx, b.dir, base); err != nil {
			return err
		}
	}
	b.progress("starting PostgreSQL")
	b.server, err = startServer(ctx, 0)
	defer func() { err = errors.Join(err, b.server.stop()) }()
	if err != nil {
		return err
	}
	if b.pgbench, err = newPgbench(ctx, b.dir, b.server); err != nil {
		return err
	}
	if err = f(); err != nil && ctx.Err() != nil {
		return errors.New("interrupted")
	}
	return err
}

// all runs the parts.
func (b *bench) all(ctx context.Context, chosen []part) error {
	b.title()
	for _, p := range chosen {
		begun := time.Now()
		if err := b.one(ctx, p); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		b.progress("%s took %s", p.name, time.Since(begun).Round(time.Second))
	}
	b.report.section("Targets")
	b.report.say("In %d of the %d rounds that count, other processes took more than %.0f %% of the machine.",
		b.disturbed, b.counted, 100*noisy)
	b.report.table(b.report.summary(len(chosen) >= len(usual())))
	return nil
}

func (b *bench) one(ctx context.Context, p part) (err error) {
	defer func() {
		for _, end := range slices.Backward(b.ends) {
			err = errors.Join(err, end())
		}
		b.ends = nil
	}()
	return p.run(ctx, b)
}

// later has end called when the part is over, in reverse order.
func (b *bench) later(end func() error) { b.ends = append(b.ends, end) }

func (b *bench) progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%4.0fs  %s\n", time.Since(b.begun).Seconds(), fmt.Sprintf(format, args...))
}

// title writes what the figures depend on.
func (b *bench) title() {
	fmt.Fprintf(&b.report.text, "# Measured %s\n\n", b.begun.UTC().Format(time.DateOnly))
	b.report.say("%s, on %d processors (%s), %s/%s, %s. %s. Plan: %s, %d rounds of %s, %d of the first part.",
		b.program.Version, runtime.NumCPU(), processor(), runtime.GOOS, runtime.GOARCH, runtime.Version(), b.server.settings,
		b.plan.name, b.plan.rounds, b.plan.window.length, b.plan.exchangeRounds)
}

// processor returns the model of the processor, if the system reports it.
func processor() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	_, rest, found := strings.Cut(string(text), "model name")
	if !found {
		return "model unknown"
	}
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(strings.TrimLeft(line, "\t :"))
}
