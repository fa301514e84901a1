// Command resource is a resource server of the proof: it checks random access tokens with package verify, one after
// another, and says what it decided. See package observe for what it reads and writes. It ends when its input does.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/refreshd/refreshd/adapter/verify"
	"github.com/refreshd/refreshd/test/system/prove/observe"
)

func main() {
	if err := run(context.Background(), os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "resource:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	if !lines.Scan() {
		return errors.New("the first line is the configuration")
	}
	var c observe.Config
	if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
		return err
	}
	s := &server{verifiers: map[string]*verify.Verifier{}, tokens: map[int]observe.Command{}}
	for _, audience := range c.Audiences {
		v, err := verify.New(ctx, configOf(c, audience))
		if err != nil {
			return err
		}
		defer v.Close()
		s.verifiers[audience] = v
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var checking sync.WaitGroup
	checking.Go(func() { s.check(ctx, out) })
	defer checking.Wait()
	defer stop()
	for lines.Scan() {
		command, err := observe.ParseCommand(lines.Text())
		if err != nil {
			return err
		}
		s.obey(command)
	}
	return lines.Err()
}

func configOf(c observe.Config, audience string) verify.Config {
	v := verify.Config{
		Issuer: c.Issuer, Audience: audience, APIKey: c.APIKey, FeedURL: c.FeedURL, KeysURL: c.KeysURL,
		MaxAge: c.MaxAge, RequireProof: c.RequireProof, Log: slog.New(slog.NewJSONHandler(os.Stderr, nil)),
	}
	if c.StateFile != "" {
		v.StateFile = c.StateFile + "-" + audience
	}
	if c.Accept {
		v.OnStale = verify.AcceptUntilExpiry
	}
	return v
}

// server checks tokens.
type server struct {
	verifiers map[string]*verify.Verifier // by audience

	mu      sync.Mutex
	tokens  map[int]observe.Command
	numbers []int // of the tokens
	hurried []int // those to check more often, the latest last
}

// hurries is the number of tokens that are checked more often.
const hurries = 16

func (s *server) obey(c observe.Command) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case c.Add > 0:
		s.tokens[c.Add] = c
		s.numbers = append(s.numbers, c.Add)
	case c.Remove > 0:
		delete(s.tokens, c.Remove)
		s.numbers = slices.DeleteFunc(s.numbers, func(n int) bool { return n == c.Remove })
	default:
		s.hurried = append(s.hurried, c.Hurry)
		s.hurried = s.hurried[max(0, len(s.hurried)-hurries):]
	}
}

// choose returns a random token, half of the time one to hurry with.
func (s *server) choose() (c observe.Command, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from := s.numbers
	if len(s.hurried) > 0 && rand.IntN(2) == 0 {
		from = s.hurried
	}
	if len(from) == 0 {
		return c, false
	}
	c, ok = s.tokens[from[rand.IntN(len(from))]]
	return c, ok
}

// check checks one token after another until ctx is done. It writes each observation by itself, so that a kill loses
// only the last one.
func (s *server) check(ctx context.Context, out io.Writer) {
	for ctx.Err() == nil {
		time.Sleep(time.Millisecond + rand.N(4*time.Millisecond)) // as the requests of clients come
		c, ok := s.choose()
		if !ok {
			continue
		}
		o := observe.Observation{Token: c.Add, Start: observe.Monotonic()}
		t, err := s.verifiers[c.Audience].Verify(ctx, c.Token)
		o.End = observe.Monotonic()
		switch {
		case err == nil:
			o.Result = observe.Accepted
			// The difference is read after the clock, so the instant is the view's or a moment before.
			now := observe.Monotonic()
			o.AsOf = now - time.Since(t.AsOf)
		case errors.Is(err, verify.ErrRevoked):
			o.Result = observe.Revoked
		case errors.Is(err, verify.ErrStale):
			o.Result = observe.Stale
		case errors.Is(err, verify.ErrExpired):
			o.Result = observe.Expired
		default:
			o.Result, o.Text = observe.Invalid, err.Error()
		}
		if _, err := fmt.Fprintln(out, o); err != nil {
			return
		}
	}
}
