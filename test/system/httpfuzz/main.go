// Command httpfuzz makes requests out of openapi.yaml, changes one thing about most of them, and holds every answer to the document:
// no fault of ours, no status, header or body that is not documented, nothing changed by a refused request, nothing served without
// a proof, no selector widened, and one line in the log for each.
//
// It is stateful: a world is a service, over real HTTP on the loopback, with two tenants, users who exchange and lose sessions, and
// a clock. All that is random in a world follows from its seed, keys and ids included, so a finding can be had again: the command
// that it prints makes the same world and the same requests, up to the one that failed, and keeps it served for curl.
//
// Requests are written to the connection byte by byte, since net/http's client refuses to send much of what an attacker would. What
// net/http's server refuses by itself, before the service sees it, has no request id, and may only be a 4xx or 5xx of HTTP's own.
//
// It is not a fuzzer that is guided by coverage; the decoders have such ones beside them (`make fuzz`).
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

func main() { rig.Main("httpfuzz", start) }

var errFound = errors.New("something was found")

func start(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("httpfuzz", flag.ContinueOnError)
	seed := flags.Uint64("seed", uint64(time.Now().Unix()), "of the first world; each further one has the next")
	stores := flags.String("store", "memory,sqlite", "which stores, in turn")
	worlds := flags.Int("worlds", 0, "how many worlds; 0 for as many as fit into -for")
	requests := flags.Int("requests", 200, "in each world")
	long := flags.Duration("for", time.Minute, "for how long; 0 for no limit")
	show := flags.Bool("show", false, "print every request")
	hold := flags.Bool("hold", false, "keep the last world served, and print its last request as a command, until interrupted")
	if err := flags.Parse(args); err != nil {
		return err
	}

	p := plan{seed: *seed, stores: strings.Split(*stores, ","), worlds: *worlds, requests: *requests, long: *long, findings: 20}
	if *show {
		p.show = os.Stdout
	}
	if *hold {
		p.worlds = 1
		p.hold = func(w *world, c *call) {
			fmt.Printf("http://%s is served until you interrupt it; its last request was\n%s\n\n", w.addr, c.curl(w.addr))
			<-ctx.Done()
		}
	}
	r, err := run(ctx, p)
	if err != nil {
		return err
	}
	r.print(os.Stdout, *seed)
	if len(r.findings) > 0 {
		return errFound
	}
	return nil
}
