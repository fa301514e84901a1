// Command httpfuzz generates requests from openapi.yaml, changes one thing in most of them, and checks every response
// against the document: no internal error; no undocumented status, header or body; no change by a refused request; no
// success without a credential; no selector that covers more than it says; and one log line for each request.
//
// It is stateful: a world is a service, over real HTTP on the loopback, with two tenants, users who exchange and lose
// sessions, and a clock. Everything random in a world follows from its seed, including keys and ids, so a finding can
// be reproduced: the printed command makes the same world and the same requests, up to the one that failed, and keeps
// serving it for curl.
//
// A world of the document "administration" has no users. Its requests administer tenants, applications and API keys: no
// refused request changes one; no request changes or shows one of a tenant that its API key does not serve; and a key
// is in the response that made it, and in no other one. The requests of a world of the document "oauth" are those of
// clients of OAuth 2: an access token is of the session, the audience, the scopes and the actor of its request, and of
// none that the client may not have.
//
// Requests are written to the connection byte by byte, because net/http's client refuses to send much of what an
// attacker sends. A request that net/http's server refuses itself, before the service sees it, has no request id, and
// its response may only be a 4xx or 5xx.
//
// This fuzzer is not guided by coverage; those of the decoders are (`make fuzz`).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/refreshd/refreshd/test/support/postgres"
	"github.com/refreshd/refreshd/test/support/rig"
)

func main() { rig.Main("httpfuzz", start) }

var errFound = errors.New("something was found")

func start(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("httpfuzz", flag.ContinueOnError)
	seed := flags.Uint64("seed", uint64(time.Now().Unix()), "seed of the first world; each further one has the next")
	stores := flags.String("store", "memory,sqlite,postgres", "stores that the worlds use, alternately")
	worlds := flags.Int("worlds", 0, "number of worlds; 0 for as many as fit into -for")
	documents := flags.String("document", "tokens,administration,oauth", "documents that the worlds use, alternately")
	requests := flags.Int("requests", 200, "requests in each world")
	long := flags.Duration("for", time.Minute, "duration; 0 for no limit")
	show := flags.Bool("show", false, "print every request")
	hold := flags.Bool("hold", false, "keep serving the last world and print its last request as a command")
	if err := flags.Parse(args); err != nil {
		return err
	}

	p := plan{seed: *seed, stores: strings.Split(*stores, ","), documents: strings.Split(*documents, ","), worlds: *worlds,
		requests: *requests, long: *long, findings: 20}
	if slices.Contains(p.stores, "postgres") {
		server, err := postgres.StartServer(ctx, postgres.Options{})
		if err != nil {
			return err
		}
		defer func() { _ = server.Stop() }()
		p.database = server.NewDatabase
	}
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
