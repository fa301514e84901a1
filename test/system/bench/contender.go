package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/support/rig"
)

// populations are the numbers of virtual users that are measured.
var populations = []int{1, 8, 32, 64}

// contender is a service on a store of its own, with users.
type contender struct {
	name    string // in the tables
	how     setup
	service *service
	users   []*user
	first   time.Duration // the first start, until ready
	idle    float64       // MiB resident after the second

	calls int   // exchanges
	pool  *pool // exchanged instead of the users' own, if it has one

	// On PostgreSQL only.
	server *server
	dsn    string
	before counters
}

// fill issues a refresh token for each user, on an empty store, and stops the service.
func (how setup) fill(ctx context.Context, url string) (users []*user, started time.Duration, err error) {
	started, err = how.briefly(ctx, url, func(s *service) error {
		users, err = s.users(ctx, slices.Max(populations))
		return err
	})
	return users, started, err
}

// contender starts a service on a store that fill filled.
func (b *bench) contender(ctx context.Context, how setup, url string) (c *contender, err error) {
	c = &contender{name: overHTTP(how.mode), how: how}
	if c.users, c.first, err = how.fill(ctx, url); err != nil {
		return nil, err
	}
	if err := c.restart(ctx, b, url); err != nil {
		return nil, err
	}
	c.tell(b)
	return c, nil
}

// tell reports how it started.
func (c *contender) tell(b *bench) {
	first := ""
	if c.first > 0 {
		first = fmt.Sprintf("first %s ms until ready, second ", ms(c.first))
	}
	b.report.say("Started %s: %s%s ms; then %.1f MiB resident.", c.name, first, ms(c.service.ReadyAfter), c.idle)
}

func (c *contender) restart(ctx context.Context, b *bench, url string) (err error) {
	if c.service, err = c.how.serve(ctx, url); err != nil {
		return err
	}
	b.later(c.service.Stop)
	c.idle = rig.Memory(c.service.PID(), "VmRSS")
	for i, u := range c.users {
		if c.users[i], err = newUser(c.service.API, string(u.current), u.id); err != nil {
			return err
		}
	}
	return nil
}

// onPostgres returns a contender with a database of its own, so that PostgreSQL's counters of it are those of one
// service.
func (b *bench) onPostgres(ctx context.Context, how setup) (c *contender, err error) {
	dsn, err := b.newDatabase(ctx, how)
	if err != nil {
		return nil, err
	}
	users, first, err := how.fill(ctx, dsn)
	if err != nil {
		return nil, err
	}
	return b.onDatabase(ctx, overHTTP(how.mode), how, dsn, users, first)
}

// onDatabase starts a service on a database that has users. first is how long its first start took, if it was measured.
func (b *bench) onDatabase(
	ctx context.Context, name string, how setup, dsn string, users []*user, first time.Duration,
) (c *contender, err error) {
	c = &contender{name: name, how: how, server: b.server, dsn: dsn, users: slices.Clone(users), first: first}
	if c.before, err = b.server.counters(ctx, c.dsn); err != nil {
		return nil, err
	}
	if err := c.restart(ctx, b, c.dsn); err != nil {
		return nil, err
	}
	c.tell(b)
	return c, nil
}

// run has n users exchange: their own session in a loop, without a grace period, or the pool.
func (c *contender) run(ctx context.Context, w window, n int) (run, error) {
	if c.pool != nil {
		r, err := c.pool.run(ctx, w, c.service, c.server, n)
		c.calls, _ = c.pool.exchanged()
		return r, err
	}
	before, err := tally(c.users)
	if err != nil {
		return run{}, err
	}
	r, err := exchanges(ctx, w, meter{service: c.service, server: c.server}, c.users[:n])
	if err != nil {
		return run{}, err
	}
	after, err := tally(c.users)
	c.calls += int(after - before)
	return r, errors.Join(err, c.service.Forget())
}

// tally returns the sum of the generations that the users hold, which counts their exchanges.
func tally(users []*user) (sum int64, err error) {
	for _, u := range users {
		p, ok := domain.ParseTokenString(string(u.current))
		if !ok {
			return 0, errors.New("a user got a malformed token string")
		}
		sum += int64(p.Generation)
	}
	return sum, nil
}
