package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/rig"
)

// populations are the numbers of virtual users.
var populations = []int{1, 8, 32, 64}

// contender is a service of one mode, on a store of its own, with users.
type contender struct {
	mode    mode
	service *service
	users   []*user
	first   time.Duration // the first start, until ready
	idle    float64       // MiB resident after the second

	calls int // exchanges

	// On PostgreSQL only.
	server *server
	dsn    string
	before counters
}

// fill has a service make a refresh token for each user, on a store that is fresh, and end.
func (b *bench) fill(ctx context.Context, m mode, url string) (users []*user, started time.Duration, err error) {
	s, err := b.serve(ctx, m, url)
	if err != nil {
		return nil, 0, err
	}
	users, err = s.users(ctx, slices.Max(populations))
	return users, s.ReadyAfter, errors.Join(err, s.Stop())
}

// contender starts a service for the second time.
func (b *bench) contender(ctx context.Context, m mode, url string) (c *contender, err error) {
	c = &contender{mode: m}
	if c.users, c.first, err = b.fill(ctx, m, url); err != nil {
		return nil, err
	}
	if err := c.restart(ctx, b, url); err != nil {
		return nil, err
	}
	c.tell(b)
	return c, nil
}

// tell says how it started.
func (c *contender) tell(b *bench) {
	b.report.say("Started %s: first %s ms until ready, second %s ms; then %.1f MiB resident.", c.mode, ms(c.first), ms(c.service.ReadyAfter),
		c.idle)
}

func (c *contender) restart(ctx context.Context, b *bench, url string) (err error) {
	if c.service, err = b.serve(ctx, c.mode, url); err != nil {
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

// onPostgres has a database of its own, so that PostgreSQL's counters of it are those of one service.
func (b *bench) onPostgres(ctx context.Context, m mode) (c *contender, err error) {
	c = &contender{mode: m, server: b.server}
	if c.dsn, err = b.newDatabase(ctx); err != nil {
		return nil, err
	}
	if c.users, c.first, err = b.fill(ctx, m, c.dsn); err != nil {
		return nil, err
	}
	if c.before, err = b.server.counters(ctx, c.dsn); err != nil {
		return nil, err
	}
	if err := c.restart(ctx, b, c.dsn); err != nil {
		return nil, err
	}
	c.tell(b)
	b.report.figure("rss idle", c.idle)
	return c, nil
}

// run has n of the users exchange.
func (c *contender) run(ctx context.Context, w window, n int) (run, error) {
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

// tally is the sum of the generations that the users hold: how often they have exchanged.
func tally(users []*user) (sum int64, err error) {
	for _, u := range users {
		p, ok := domain.ParseTokenString(string(u.current))
		if !ok {
			return 0, errors.New("a user was given a token string that is none")
		}
		sum += int64(p.Generation)
	}
	return sum, nil
}
