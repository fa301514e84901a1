// Command soak runs two processes of the service on one durable database for half an hour, at 70 % of what they can do, and tells
// whether anything grows that should not, and whether the store holds in the end what it should.
//
// The load is what a service sees in life: users come, exchange, lose answers and ask again, come back late, leave, log out of one
// place or of all; backends list, retrieve and revoke by every selector, whole applications and tenants at times; thieves present
// old strings. Lives are minutes, so that all of it expires and is purged within the run. One of the two processes is stopped or
// killed in turn every few minutes and comes back on its address; the other one runs from the beginning to the end, and it is the one
// whose memory, goroutines and descriptors are watched: what starts anew hides what grows.
//
// An exchange within a grace period of the last answer is a retry, and writes nothing. So the grace period is a second
// here, and a session that has rested for as long is preferred: nearly every exchange of the load rotates.
//
// Every answer is held to a model, written from the rules and not from the code: which refresh tokens live, at which generation, and
// why the others do not. Whoever calls for a user holds that user, and a revocation of many waits for everybody else, so that the
// model can tell what an answer has to be. Histories of calls that race are another test's business. Only of what happens within a
// call it cannot tell the instant: a refresh token that expires in the middle of one may be answered or not. What was not answered
// is sent again, to the other process.
//
// At check points and in the end, with nobody calling, all rows of the store are held to the model: each refresh token, whether it
// lives, its generation, all marks, the tenants' epochs. In the end also by the API: each user's list is read, each living refresh
// token exchanged, each dead one presented; and after the processes have ended, what is left after a purge is compared.
//
// A series grows if its last third lies above its first by more than a bound, and so does the line that fits it best. What starts
// the run is left out: for the processes a tenth of the time, for the store until the first of what expired is purged. A run that
// is too short for that says so, and judges the rest. The command ends with status 1 if anything grew or was wrong.
//
// Driver, services and database share the machine. Latency is from sending a call to its answer; an open loop that falls behind by
// more than a tenth of a second leaves out what it missed.
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
	seed := flags.Uint64("seed", 0, "of what users do; 0 for one of the time")
	rate := flags.Float64("rate", 0, "calls a second; 0 for 70 % of what is measured first")
	version := flags.String("version", "", "of the source, for the report")
	out := flags.String("out", "soak.md", "the file that the report is written to as well; empty for none")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *minutes <= 0 || *rate < 0 || flags.NArg() > 0 {
		return errors.New("minutes must be above zero, rate at least that, and nothing else is taken: see -help")
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
