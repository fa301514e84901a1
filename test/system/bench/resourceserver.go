package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/refreshd/refreshd/adapter/verify"
)

// resourceServersVerb is the first argument of a process of resource servers: this program again, with another main
// function. The second argument is a serverSetup.
const resourceServersVerb = "resource-servers"

// serverSetup is what a process of resource servers is told at its start. Then each line of its standard input is a
// watch. It ends when its input does.
type serverSetup struct {
	First     int      // the number of the first server; the others follow
	Addresses []string // of the replica of each server
	StateFile string   // for a process of one server
	MaxAge    time.Duration
	Strict    time.Duration // for Require; 0 for none
	Poll      time.Duration // between two checks of a token
}

// watch has each server of a process check an access token again and again, until it refuses it.
type watch struct {
	ID    int
	Token string
	Until string // the result that ends it instead: becauseAccepted, or becauseRevoked; a stale view then does not
}

// sighting is what a server reports: that it is ready, or the end of a watch. All processes of a machine have one wall
// clock, so instants can be compared; they are in nanoseconds since 1970.
type sighting struct {
	Server int
	Ready  int64 `json:",omitempty"` // when it had a complete view and the signing keys

	ID     int
	Strict bool   `json:",omitempty"` // the server with Require
	Reason string `json:",omitempty"` // why the watch has ended
	// Refused is the end of the first check that refused the token, and Last the begin of the last one that accepted it.
	Refused, Last int64
	AsOf          int64 // as of when the view of the last acceptance was complete
	Acceptances   int
	Early         int // acceptances before the stream had sent its first frame `fresh`
	Again         int // acceptances after a refusal
}

// Reasons of the end of a watch.
const (
	becauseAccepted = "accepted"
	becauseRevoked  = "revoked"
	becauseStale    = "stale"
)

// resourceServers is the main function of a process of resource servers.
func resourceServers(ctx context.Context, text string, in io.Reader, out io.Writer) error {
	var setup serverSetup
	if err := json.Unmarshal([]byte(text), &setup); err != nil {
		return err
	}
	var (
		mu      sync.Mutex
		encoder = json.NewEncoder(out)
		group   sync.WaitGroup
		watches []chan watch
		failed  error
	)
	report := func(s sighting) {
		mu.Lock()
		defer mu.Unlock()
		failed = errors.Join(failed, encoder.Encode(s))
	}
	for i, address := range setup.Addresses {
		s, err := newResourceServer(ctx, setup, address)
		if err != nil {
			return err
		}
		s.number, s.report, s.poll = setup.First+i, report, setup.Poll
		c := make(chan watch, 1024)
		watches = append(watches, c)
		group.Go(func() {
			s.run(ctx, c)
			s.verifier.Close()
		})
	}
	lines := json.NewDecoder(in)
	for {
		var w watch
		err := lines.Decode(&w)
		if err != nil {
			for _, c := range watches {
				close(c)
			}
			group.Wait()
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return errors.Join(err, failed)
		}
		for _, c := range watches {
			c <- w
		}
	}
}

// resourceServer is an API that verifies access tokens.
type resourceServer struct {
	number   int
	verifier *verify.Verifier
	checks   []check
	poll     time.Duration
	report   func(sighting)
	fresh    *freshSeen
}

// check is the verifier of a route.
type check struct {
	strict   bool
	verifier *verify.Verifier
}

func newResourceServer(ctx context.Context, setup serverSetup, address string) (*resourceServer, error) {
	s := &resourceServer{fresh: &freshSeen{}}
	base := "http://" + address + "/t/" + tenant
	var err error
	s.verifier, err = verify.New(ctx, verify.Config{
		Issuer: "https://rig.example/t/" + tenant, Audience: application, APIKey: feedKey,
		FeedURL: base + "/revocations", KeysURL: base + "/.well-known/jwks.json",
		StateFile: setup.StateFile, MaxAge: setup.MaxAge, Client: &http.Client{Transport: s.fresh},
	})
	if err != nil {
		return nil, err
	}
	s.checks = []check{{false, s.verifier}}
	if setup.Strict > 0 {
		s.checks = append(s.checks, check{true, s.verifier.Require(setup.Strict)})
	}
	return s, nil
}

// watched is a watch of one check.
type watched struct {
	watch watch
	check check
	sighting
}

// run checks all watched tokens until c is closed and ctx is not done. At the end it checks those that were refused
// once more.
func (s *resourceServer) run(ctx context.Context, c <-chan watch) {
	ticker := time.NewTicker(s.poll)
	defer ticker.Stop()
	var open, ended []*watched
	isReady := false
	for {
		select {
		case <-ctx.Done():
			return
		case w, ok := <-c:
			if !ok {
				s.lookAgain(ctx, ended)
				return
			}
			for _, of := range s.checks {
				open = append(open, &watched{w, of, sighting{Server: s.number, ID: w.ID, Strict: of.strict}})
			}
			continue
		case <-ticker.C:
		}
		if !isReady && s.verifier.State().Ready {
			isReady = true
			s.report(sighting{Server: s.number, Ready: time.Now().UnixNano()})
		}
		kept := open[:0]
		for _, w := range open {
			if !s.look(ctx, w) {
				kept = append(kept, w)
				continue
			}
			s.report(w.sighting)
			if w.Reason != becauseAccepted {
				ended = append(ended, w)
			}
		}
		clear(open[len(kept):])
		open = kept
	}
}

// look checks a token once, and reports whether the watch has ended.
func (s *resourceServer) look(ctx context.Context, w *watched) bool {
	began := time.Now()
	token, err := w.check.verifier.Verify(ctx, w.watch.Token)
	now := time.Now()
	switch {
	case err == nil:
		if !s.fresh.seen.Load() {
			w.Early++
		}
		w.Acceptances++
		w.Last, w.AsOf = began.UnixNano(), now.Add(-now.Sub(token.AsOf)).UnixNano()
		if w.watch.Until != becauseAccepted {
			return false
		}
		w.Reason = becauseAccepted
		return true
	case w.watch.Until != "" && errors.Is(err, verify.ErrStale):
		return false
	}
	w.Refused = now.UnixNano()
	switch {
	case errors.Is(err, verify.ErrRevoked):
		w.Reason = becauseRevoked
	case errors.Is(err, verify.ErrStale):
		w.Reason = becauseStale
	default:
		w.Reason = err.Error()
	}
	return true
}

// lookAgain reports the tokens that are accepted although they were refused.
func (s *resourceServer) lookAgain(ctx context.Context, ended []*watched) {
	for _, w := range ended {
		if _, err := w.check.verifier.Verify(ctx, w.watch.Token); err == nil {
			s.report(sighting{Server: s.number, ID: w.ID, Strict: w.check.strict, Again: 1})
		}
	}
}

// freshSeen is a transport that sees the first frame `fresh` as it arrives, before the verifier does.
type freshSeen struct{ seen atomic.Bool }

func (f *freshSeen) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err == nil && !f.seen.Load() {
		resp.Body = &freshReader{ReadCloser: resp.Body, seen: &f.seen}
	}
	return resp, err
}

// freshReader looks for the event in what is read, also where two reads meet.
type freshReader struct {
	io.ReadCloser
	seen *atomic.Bool
	tail []byte
}

func (r *freshReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if !r.seen.Load() {
		r.look(p[:n])
	}
	return n, err
}

func (r *freshReader) look(p []byte) {
	meeting := append(bytes.Clone(r.tail), p[:min(len(p), 32)]...)
	for _, event := range []string{"event: fresh", `"event":"fresh"`} { // of a stream, and of a long poll
		if bytes.Contains(p, []byte(event)) || bytes.Contains(meeting, []byte(event)) {
			r.seen.Store(true)
		}
	}
	r.tail = append(r.tail, p[max(0, len(p)-32):]...)
	r.tail = r.tail[max(0, len(r.tail)-32):]
}

// runResourceServers runs the process, if the arguments say so.
func runResourceServers(ctx context.Context, args []string) (is bool, err error) {
	if len(args) != 2 || args[0] != resourceServersVerb {
		return false, nil
	}
	if err := resourceServers(ctx, args[1], os.Stdin, os.Stdout); err != nil {
		return true, fmt.Errorf("resource servers: %w", err)
	}
	return true, nil
}
