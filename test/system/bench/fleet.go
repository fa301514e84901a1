package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"sync"
	"time"

	"github.com/refreshd/refreshd/test/support/figures"
)

// reachServers is the number of resource servers, and reachProcesses that of the processes in which they run. Each has
// a verifier and a stream of its own.
const (
	reachServers   = 20
	reachProcesses = 4
)

// fleet is resource servers that run.
type fleet struct {
	servers   int
	checks    int // of a token, in all servers
	processes []*fleetProcess
	sightings chan sighting
	group     sync.WaitGroup
	stopped   bool
}

type fleetProcess struct {
	command *exec.Cmd
	input   io.WriteCloser
	lines   *json.Encoder
	stderr  lastLines
	failed  error // of reading its output
}

// lastLines keeps what a process wrote to standard error. It is read when the process has ended.
type lastLines struct{ text []byte }

func (l *lastLines) Write(p []byte) (int, error) {
	l.text = append(l.text, p...)
	l.text = l.text[max(0, len(l.text)-2000):]
	return len(p), nil
}

// startFleet starts n resource servers, alternately at one of the addresses, and returns when all are ready.
func (b *bench) startFleet(
	ctx context.Context, n, processes int, addresses []string, setup serverSetup,
) (*fleet, error) {
	f := &fleet{servers: n, checks: n, sightings: make(chan sighting, 4096)}
	if setup.Strict > 0 {
		f.checks *= 2
	}
	b.later(f.stop)
	for p := range processes {
		setup.First, setup.Addresses = n*p/processes, nil
		for i := setup.First; i < n*(p+1)/processes; i++ {
			setup.Addresses = append(setup.Addresses, addresses[i%len(addresses)])
		}
		if err := f.start(setup); err != nil {
			return nil, err
		}
	}
	for range n {
		s, err := f.next(ctx, time.Minute)
		if err == nil && s.Ready == 0 {
			err = fmt.Errorf("a resource server reports %+v before it is ready", s)
		}
		if err != nil {
			return nil, fmt.Errorf("start of the resource servers: %w", err)
		}
	}
	return f, nil
}

// start starts one more process.
func (f *fleet) start(setup serverSetup) error {
	text, err := json.Marshal(setup)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	p := &fleetProcess{command: exec.Command(self, resourceServersVerb, string(text))}
	if p.input, err = p.command.StdinPipe(); err != nil { // it ends when this process does: its input is closed
		return err
	}
	output, err := p.command.StdoutPipe()
	if err != nil {
		return err
	}
	p.lines, p.command.Stderr = json.NewEncoder(p.input), &p.stderr
	if err := p.command.Start(); err != nil {
		return err
	}
	f.processes = append(f.processes, p)
	f.group.Go(func() {
		d := json.NewDecoder(output)
		for {
			var s sighting
			if err := d.Decode(&s); err != nil {
				if !errors.Is(err, io.EOF) {
					p.failed = err
				}
				return
			}
			f.sightings <- s
		}
	})
	return nil
}

// next returns the next sighting.
func (f *fleet) next(ctx context.Context, wait time.Duration) (s sighting, err error) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case s := <-f.sightings:
		return s, nil
	case <-timer.C:
		return s, fmt.Errorf("no resource server has reported anything for %s", wait)
	case <-ctx.Done():
		return s, context.Cause(ctx)
	}
}

// watch has all servers watch a token. It must not be called concurrently.
func (f *fleet) watch(w watch) error {
	for _, p := range f.processes {
		if err := p.lines.Encode(w); err != nil {
			return fmt.Errorf("tell the resource servers about a token: %w", err)
		}
	}
	return nil
}

// end ends the servers and returns what they reported at last: the tokens that they accept again.
func (f *fleet) end() (last []sighting, err error) {
	if f.stopped {
		return nil, nil
	}
	f.stopped = true
	for _, p := range f.processes {
		p.input.Close()
	}
	done := make(chan struct{})
	go func() {
		f.group.Wait()
		close(done)
	}()
	for {
		select {
		case s := <-f.sightings:
			last = append(last, s)
		case <-done:
			for len(f.sightings) > 0 {
				last = append(last, <-f.sightings)
			}
			for _, p := range f.processes {
				if e := errors.Join(p.failed, p.command.Wait()); e != nil {
					err = errors.Join(err, fmt.Errorf("resource servers: %w\n%s", e, p.stderr.text))
				}
			}
			return last, err
		}
	}
}

func (f *fleet) stop() error {
	_, err := f.end()
	return err
}

// reached is how soon revocations reached the resource servers.
type reached struct {
	delays        []time.Duration // from the response to the revocation to the first refusal, sorted
	p50, p99, max time.Duration
	// late are acceptances that began more than MaxAge after the response, and unsound ones with a view that was
	// complete as of an instant after it. again are tokens that were accepted after a refusal.
	late, unsound, again int
	load                 load // while they were measured
}

// newReached computes the figures. Each revoked token needs a refusal by each of the checks, because it was revoked,
// and an acceptance before, because otherwise the refusal means nothing.
func newReached(
	revoked map[int]time.Time, sightings []sighting, checks int, maxAge time.Duration,
) (r reached, err error) {
	type key struct {
		id, server int
		strict     bool
	}
	seen := map[key]bool{}
	for _, s := range sightings {
		answered, isRevoked := revoked[s.ID]
		r.again += s.Again
		k := key{s.ID, s.Server, s.Strict}
		switch {
		case s.Again > 0:
			continue
		case !isRevoked:
			return r, fmt.Errorf("resource server %d refused token %d, which was not revoked: %s", s.Server, s.ID, s.Reason)
		case s.Reason != becauseRevoked:
			return r, fmt.Errorf("resource server %d refused token %d: %s", s.Server, s.ID, s.Reason)
		case s.Acceptances == 0:
			return r, fmt.Errorf("resource server %d never accepted token %d", s.Server, s.ID)
		case seen[k]:
			return r, fmt.Errorf("resource server %d reported token %d twice", s.Server, s.ID)
		}
		seen[k] = true
		at := answered.UnixNano()
		r.delays = append(r.delays, time.Duration(max(0, s.Refused-at)))
		if time.Duration(s.Last-at) > maxAge {
			r.late++
		}
		if s.AsOf >= at {
			r.unsound++
		}
	}
	if want := len(revoked) * checks; len(seen) != want {
		return r, fmt.Errorf("%d refusals of %d", len(seen), want)
	}
	slices.Sort(r.delays)
	r.p50, r.p99 = figures.Percentile(r.delays, .50), figures.Percentile(r.delays, .99)
	if len(r.delays) > 0 {
		r.max = r.delays[len(r.delays)-1]
	}
	return r, nil
}
