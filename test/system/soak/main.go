// Command soak runs two processes of the service on one durable database for half an hour, at 70 % of their capacity.
// It reports whether anything grows that should not, and whether the store has the right content at the end.
//
// The load is like that of production. Users log in, exchange, lose responses and retry, return late, leave, and log
// out of one session or of all. Backends list, retrieve and revoke by every selector, sometimes whole applications and
// tenants. Thieves present old strings. Lifetimes are minutes, so that everything expires and is purged within the run.
// Every few minutes one process is stopped or killed and starts again on its address. The other one runs from the
// beginning to the end: its memory, goroutines and descriptors are watched, because a restart hides growth.
//
// An exchange within a grace period of the last response is a retry, and writes nothing. So the grace period is one
// second here, and sessions that have rested for a second are preferred: nearly every exchange of the load rotates.
//
// Every response is checked against a model, written from the rules and not from the code: which refresh tokens are
// active, at which generation, and why the others ended. A call for a user holds the user's lock, and a revocation of
// many users waits for all others, so that the model knows the right response. Concurrent calls on one refresh token
// are the subject of another test (prove). The model does not know the exact time of events during a call: for a
// refresh token that expires during an exchange, success and refusal are both right. A request without a response is
// sent again, to the other process.
//
// At check points and at the end, while there is no load, all rows of the store are compared with the model: each
// refresh token, whether it is active, its generation, all marks, and the tenants' epochs. At the end the API is
// compared too: each user's list is read, each active refresh token exchanged, and each ended one presented. After the
// processes have ended, the rows that remain after a purge are compared.
//
// A series grows if the median of its last third is above that of its first third by more than a bound, and the line
// that fits it best rises by more than the bound too. The beginning of the run does not count: for the processes a
// tenth of the time, for the store the time until the first purge of expired tokens. If a run is too short for a
// series, the report says so and judges the others. The exit status is 1 if anything grew or was wrong.
//
// Driver, services and database share the machine. Latency counts from the sending of a request to its response. An
// open loop that falls behind by more than a tenth of a second skips the requests that it missed.
package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"os"
	"time"

	"github.com/refreshd/refreshd/test/support/rig"
)

func main() { rig.Main("soak", start) }

func start(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("soak", flag.ContinueOnError)
	minutes := flags.Float64("minutes", 30, "how long the load lasts; the size of what is stored is judged from 16 on")
	database := flags.String("database", "postgres", "postgres or sqlite")
	seed := flags.Uint64("seed", 0, "seed of what users do; 0 takes the time")
	rate := flags.Float64("rate", 0, "calls a second; 0 measures the capacity first and takes 70 % of it")
	version := flags.String("version", "", "version of the source, for the report")
	out := flags.String("out", "soak.md", "file that the report is also written to; empty for none")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *minutes <= 0 || *rate < 0 || flags.NArg() > 0 {
		return errors.New("minutes must be above zero, rate must not be negative, and there are no arguments: see -help")
	}
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	s := newSoak(newPlan(time.Duration(*minutes*float64(time.Minute))), *database, *version, *seed, *rate)
	if err := s.run(ctx, os.Stderr); err != nil {
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
		return err
	}
	text, verdict := s.report()
	if *out != "" {
		if err := os.WriteFile(*out, []byte(text), 0o644); err != nil {
			return err
		}
	}
	if _, err := io.WriteString(os.Stdout, text); err != nil {
		return err
	}
	return verdict
}
