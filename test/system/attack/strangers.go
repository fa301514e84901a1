package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/support/rig"
)

const (
	floodConnections = 50
	// floodLog is how much a flood may add to the log in a second, after the burst that the limits allow: one line a
	// second for the refusals of each reason, and one for each request within the limits.
	floodLog   = 50.0 // KiB
	floodBurst = time.Second
)

// floodsPart floods cheap routes from one address, and checks the log and the honest users.
func floodsPart(ctx context.Context, a *attack) error {
	s, err := a.serve(ctx, settings(a.sqlite(), limits...))
	if err != nil {
		return err
	}
	users, err := honestly(ctx, s.API)
	if err != nil {
		return err
	}
	for i, kind := range []floodKind{
		{"404", http.MethodGet, "/nope"},
		{"405", http.MethodPut, "/jwt/refresh"},
		{"/healthz", http.MethodGet, "/healthz"},
		{"/openapi.yaml", http.MethodGet, "/openapi.yaml"},
		{"/docs", http.MethodGet, "/docs"},
	} {
		if err := a.flood(ctx, s, users, kind, address(2, i)); err != nil {
			return err
		}
	}
	return nil
}

type floodKind struct{ name, method, path string }

// flood floods one route from source, after a time without a flood for comparison.
func (a *attack) flood(ctx context.Context, s *rig.Service, users []*user, kind floodKind, source string) error {
	if err := quiet(ctx, s.API); err != nil {
		return err
	}
	quietly, err := honest(ctx, s.API, users, honestRate, a.plan.window/2)
	if err != nil {
		return err
	}
	flooding, end := context.WithCancel(ctx)
	begin := time.Now()
	type result struct {
		answers counts
		err     error
	}
	ended := make(chan result, 1)
	go func() {
		answers, err := a.loop(flooding, loop{
			Host: s.API, Clients: floodConnections, Source: source,
			Request: rig.Request{Method: kind.method, Path: kind.path},
		})
		ended <- result{answers, err}
	}()
	time.Sleep(floodBurst)
	logged, counted := len(s.Log()), time.Now()
	got, err := honest(ctx, s.API, users, honestRate, a.plan.window/2)
	end()
	flooded := <-ended
	if err := errors.Join(err, flooded.err); err != nil {
		return err
	}
	flood := flooded.answers
	took := time.Since(begin).Seconds()
	counting := time.Since(counted).Seconds()
	lines := s.Log()[logged:]
	a.figure(kind.name+": responses a second, by status", "%s", flood.per(took))
	own := len(lines) - honestLog(lines)
	a.atMost(kind.name+": the flood's log a second", float64(own)/1024/counting, floodLog, "%.0f KiB")
	limited := flood[http.StatusTooManyRequests]
	a.judge(kind.name+": the flood is limited", limited > 0, "some 429", fmt.Sprint(limited))
	a.figure(kind.name+": honest exchanges without the flood", "%s", quietly)
	a.figure(kind.name+": honest exchanges with it", "%s", got)
	a.atMost(kind.name+": honest exchanges that were not answered", float64(got.unanswered()), 0, "%.0f")
	return nil
}

// honestLog returns how many bytes of the log are lines of the honest users, one for each exchange.
func honestLog(log string) (n int) {
	for line := range strings.Lines(log) {
		if strings.Contains(line, address(1, 0)[:len("127.0.1.")]) {
			n += len(line)
		}
	}
	return n
}

// guessesPart has clients without credentials guess from an address that they share with honest clients.
func guessesPart(ctx context.Context, a *attack) error {
	s, dsn, err := a.onPostgres(ctx)
	if err != nil {
		return err
	}
	live, err := issueMany(ctx, s.API, honestKey, honestTenant, "shop", "live", 40)
	if err != nil {
		return err
	}
	purged, err := issueMany(ctx, s.API, honestKey, honestTenant, "shop", "purged", 330)
	if err != nil {
		return err
	}
	if err := purge(ctx, dsn, len(purged)); err != nil {
		return err
	}
	for _, f := range []func() error{
		func() error { return a.keyGuesses(ctx, dsn, &s) },
		func() error { return a.purgedStrings(ctx, s.API, live[:15], purged) },
		func() error { return a.garbageBeside(ctx, s.API, live[15:35]) },
		func() error { return a.garbageThenKeySet(ctx, s.API) },
	} {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

// purge deletes the records, as a purge does when they ended long enough ago.
func purge(ctx context.Context, dsn string, n int) (err error) {
	c, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close(ctx)) }()
	tag, err := c.Exec(ctx, "DELETE FROM refresh_tokens WHERE user_id LIKE 'purged-%'")
	if err == nil && tag.RowsAffected() != int64(n) {
		err = fmt.Errorf("%d refresh tokens were deleted, want %d", tag.RowsAffected(), n)
	}
	return err
}

const keyTries = 10

// keyGuesses restarts the service, so that it knows no API key yet, and guesses from the address of a backend.
func (a *attack) keyGuesses(ctx context.Context, dsn string, s **rig.Service) (err error) {
	if err := (*s).Kill(); err != nil {
		return err
	}
	if *s, err = a.serve(ctx, settings(dsn, limits...)); err != nil {
		return err
	}
	host := (*s).API
	shared := newClient(address(3, 0), answerTimeout)
	guessing, end := context.WithCancel(ctx)
	defer end()
	ended := make(chan counts, 1)
	go func() {
		ended <- pace(guessing, 50, func(n int) int {
			return statusOf(guessing, shared, host, list(fmt.Sprintf("ak_%032d", rand.IntN(1e9)), "nobody"))
		})
	}()
	if err := rig.Sleep(ctx, 5*time.Second); err != nil {
		return err
	}
	tries := 0
	for status := 0; status != http.StatusOK && tries <= keyTries; tries++ {
		if status = statusOf(ctx, shared, host, list(honestKey, "nobody")); status != http.StatusOK {
			if err := rig.Sleep(ctx, time.Second); err != nil {
				return err
			}
		}
	}
	end()
	a.figure("50 guesses of an API key a second after a restart: their responses", "%s", <-ended)
	a.atMost("… the backend's valid key of the same address is accepted at try", float64(tries), 1, "%.0f")
	return nil
}

func list(key, user string) rig.Request {
	return rig.Request{Method: http.MethodGet, Path: "/jwt/refresh?userId=" + user, Key: key, Tenant: honestTenant}
}

// statusOf returns the status of a response, or 0 without one.
func statusOf(ctx context.Context, c *http.Client, host string, r rig.Request) int {
	a, err := do(ctx, c, host, r)
	if err != nil {
		return 0
	}
	return a.Status
}

// pace calls f so many times a second, each in a goroutine of its own, until ctx is done, and counts the statuses that
// f returned before.
func pace(ctx context.Context, perSecond int, f func(n int) (status int)) counts {
	var (
		group sync.WaitGroup
		mu    sync.Mutex
		all   = counts{}
	)
	begin := time.Now()
	for n := 0; rig.Sleep(ctx, time.Until(begin.Add(time.Duration(n)*time.Second/time.Duration(perSecond)))) == nil; n++ {
		group.Go(func() {
			status := f(n)
			if ctx.Err() != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			all[status]++
		})
	}
	group.Wait()
	return all
}

// liveBeside exchanges each session once, two a second. A refusal is not repeated.
func liveBeside(ctx context.Context, client *http.Client, host string, live []session) (counts, error) {
	all := counts{}
	for _, l := range live {
		all[statusOf(ctx, client, host, exchangeOf(l.current))]++
		if err := rig.Sleep(ctx, 500*time.Millisecond); err != nil {
			return all, err
		}
	}
	return all, nil
}

func (a *attack) refusedOf(live []session, got counts) {
	a.atMost(fmt.Sprintf("… of %d live sessions of the same address refused", len(live)),
		float64(len(live)-got[http.StatusOK]), 0, "%.0f")
}

// purgedStrings presents the strings of 130 purged sessions concurrently, and then 20 a second.
func (a *attack) purgedStrings(ctx context.Context, host string, live, purged []session) error {
	shared := newClient(address(3, 1), answerTimeout)
	first := counts{}
	var mu sync.Mutex
	if err := each(130, 8, func(i int) error {
		status := statusOf(ctx, shared, host, exchangeOf(purged[i].current))
		mu.Lock()
		defer mu.Unlock()
		first[status]++
		return nil
	}); err != nil {
		return err
	}
	going, end := context.WithCancel(ctx)
	defer end()
	ended := make(chan counts, 1)
	go func() {
		ended <- pace(going, 20, func(n int) int {
			return statusOf(going, shared, host, exchangeOf(purged[130+n%(len(purged)-130)].current))
		})
	}()
	got, err := liveBeside(ctx, shared, host, live)
	end()
	rest := <-ended
	if err != nil {
		return err
	}
	a.figure("130 purged strings of one address, then 20 a second: their responses", "%s; %s", first, rest)
	a.refusedOf(live, got)
	return nil
}

// forged is a well-formed string that no key of the service has minted.
func forged() string {
	key := domain.TokenKey{Number: 1, Key: domain.NewSecret("0123456789abcdef0123456789abcdef")}
	var id domain.ID
	for i := range id {
		id[i] = byte(rand.Int())
	}
	return key.Mint(id, 1).Reveal()
}

// garbage returns a forged string, or a malformed one.
func garbage(n int) string {
	if n%2 == 0 {
		return forged()
	}
	return fmt.Sprintf("rt_%064d", n)
}

// garbageBeside presents 60 garbage strings a second beside live sessions.
func (a *attack) garbageBeside(ctx context.Context, host string, live []session) error {
	shared := newClient(address(3, 2), answerTimeout)
	going, end := context.WithCancel(ctx)
	defer end()
	ended := make(chan counts, 1)
	go func() {
		ended <- pace(going, 60, func(n int) int { return statusOf(going, shared, host, exchangeOf(garbage(n))) })
	}()
	if err := rig.Sleep(ctx, 3*time.Second); err != nil {
		return err
	}
	got, err := liveBeside(ctx, shared, host, live)
	end()
	guesses := <-ended
	if err != nil {
		return err
	}
	a.figure("60 garbage strings a second of one address: their responses", "%s", guesses)
	limited := guesses[http.StatusTooManyRequests]
	a.judge("… garbage is limited", limited > 0, "some 429", fmt.Sprint(limited))
	a.refusedOf(live, got)
	return nil
}

// garbageThenKeySet uses up the address' budget and then requests a key set, as verifiers do.
func (a *attack) garbageThenKeySet(ctx context.Context, host string) error {
	shared := newClient(address(3, 3), answerTimeout)
	guesses := counts{}
	var mu sync.Mutex
	if err := each(114, 8, func(i int) error {
		status := statusOf(ctx, shared, host, exchangeOf(garbage(i)))
		mu.Lock()
		defer mu.Unlock()
		guesses[status]++
		return nil
	}); err != nil {
		return err
	}
	set := statusOf(ctx, shared, host, rig.Request{Method: http.MethodGet, Path: "/t/acme/.well-known/jwks.json"})
	a.figure("114 garbage exchanges of one address: their responses", "%s", guesses)
	a.judge("… the key set for the same address", set == http.StatusOK, "200", fmt.Sprint(set))
	return nil
}

// stopWithin is half of the shutdown time-out: a stop that a client can delay takes all of it.
const stopWithin = shutdownTimeout / 2

// stopPart stops a service while the body of a request trickles in.
func stopPart(ctx context.Context, a *attack) error {
	s, err := a.serve(ctx, settings(a.sqlite(), limits...))
	if err != nil {
		return err
	}
	trickling, end := context.WithCancel(ctx)
	defer end()
	for i := range 5 {
		c, err := dialer(address(2, i)).DialContext(ctx, "tcp", s.API)
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err := fmt.Fprintf(c, "POST /jwt/refresh HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n"+
			"Content-Length: 20000\r\n\r\n{", s.API); err != nil {
			return err
		}
		go func() {
			for rig.Sleep(trickling, 300*time.Millisecond) == nil {
				if _, err := c.Write([]byte(" ")); err != nil {
					return
				}
			}
		}()
	}
	// Not for long: the time-out of bodies must not be what ends them.
	if err := rig.Sleep(ctx, 100*time.Millisecond); err != nil {
		return err
	}
	a.judgeStop("SIGTERM while 5 bodies trickle in", s, stopWithin)
	return nil
}
