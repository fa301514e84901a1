// Command browser checks the rules for cookies in Chromium: with the real binary behind a TLS proxy, pages of its own
// origin, of a configured origin, of neighbouring subdomains and of another site, and a login service that passes
// cookies on.
//
// It starts everything itself, and installs Chromium if it is missing and can be installed. All hosts are names below
// .test that only this browser resolves. It prints the results of each part, in Markdown, to standard output, and its
// progress to standard error. It exits with status 1 if anything was wrong.
//
// It judges by three things: the responses that a page got, the sessions that the service stores, and the cookies in
// the browser's jar. It reads the jar from the browser itself, because pages cannot see HttpOnly cookies.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/refreshd/refreshd/test/support/rig"
)

// part is a part that can be run alone.
type part struct {
	name, about string
	limit       time.Duration // a part that takes longer has failed
	run         func(context.Context, *harness) error
}

// Label implements rig.Part.
func (p part) Label() (name, about string) { return p.name, p.about }

var parts = []part{
	{"pairs", "two cookies of sessions in every state, form and order: one login suffices", 4 * time.Minute, pairsPart},
	{"tossed", "cookies that a neighbour sets below its domain, in every other form", time.Minute, tossedPart},
	{"storm", "five tabs that reload and exchange, responses late and out of order", 3 * time.Minute, stormPart},
	{"logout", "what each way to log out leaves in the browser", time.Minute, logoutPart},
	{"foreign", "requests from another site and from a neighbour", time.Minute, foreignPart},
	{"policies", "names, hosts and bodies by the application's policy", time.Minute, policiesPart},
	{"docs", "the API's page, wide and narrow, searched, copied from, and on a phone", 2 * time.Minute, docsPart},
}

// harness is the state that all parts share.
type harness struct {
	world   *world
	browser *chromium
	shots   string // the directory for pictures; empty for none

	begun  time.Time
	part   string
	failed int
	out    strings.Builder
}

func main() { rig.Main("browser", start) }

func start(ctx context.Context, args []string) (err error) {
	flags := flag.NewFlagSet("browser", flag.ContinueOnError)
	parse := rig.PartFlag(flags, "Holds the rules for cookies to what Chromium does.", parts, parts)
	shots := flags.String("shots", "", "directory for pictures of /docs; empty for none")
	version := flags.String("version", "", "version of the source, for the report")
	chosen, err := parse(args)
	if err != nil {
		return err
	}
	path, err := findChromium(ctx)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "refreshd-browser-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	h := &harness{begun: time.Now(), shots: *shots}
	h.progress("building the service")
	program, err := rig.Build(ctx, dir, rig.BuildOptions{Version: *version})
	if err != nil {
		return err
	}
	if h.world, err = newWorld(ctx, program); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.world.stop()) }()
	h.progress("starting Chromium")
	if h.browser, err = startChromium(ctx, path, dir, h.world.address()); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.browser.stop()) }()
	fmt.Fprintf(&h.out, "# In a browser %s\n\n%s, %s.\n",
		h.begun.UTC().Format(time.DateOnly), program.Version, h.browser.version)
	for _, p := range chosen {
		h.one(ctx, p)
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
	}
	if _, err := os.Stdout.WriteString(h.out.String()); err != nil {
		return err
	}
	if h.failed > 0 {
		return fmt.Errorf("%d checks failed", h.failed)
	}
	return nil
}

// one runs a part. The next part runs even if it fails.
func (h *harness) one(ctx context.Context, p part) {
	h.part = p.name
	begun := time.Now()
	fmt.Fprintf(&h.out, "\n## %s: %s\n\n", p.name, p.about)
	ctx, cancel := context.WithTimeoutCause(ctx, p.limit, fmt.Errorf("it takes longer than %s", p.limit))
	defer cancel()
	if err := p.run(ctx, h); err != nil {
		h.fail("the part did not run to its end: %v", err)
	}
	h.world.slow(nil)
	h.progress("took %s", time.Since(begun).Round(100*time.Millisecond))
}

func (h *harness) progress(format string, args ...any) {
	name := h.part
	if name == "" {
		name = "start"
	}
	fmt.Fprintf(os.Stderr, "%5.0fs  %s: %s\n", time.Since(h.begun).Seconds(), name, fmt.Sprintf(format, args...))
}

// shownFailures is how many failures are printed: one fault often shows in hundreds of cases.
const shownFailures = 40

// fail reports a failed check.
func (h *harness) fail(format string, args ...any) {
	h.failed++
	if h.failed <= shownFailures {
		text := fmt.Sprintf(format, args...)
		h.progress("WRONG: %s", text)
		fmt.Fprintf(&h.out, "- **wrong**: %s\n", text)
	}
}

// check reports what happened, as a failure if ok is false.
func (h *harness) check(ok bool, format string, args ...any) {
	if !ok {
		h.fail(format, args...)
		return
	}
	h.note(format, args...)
}

func (h *harness) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	h.progress("%s", text)
	fmt.Fprintf(&h.out, "- %s\n", text)
}
