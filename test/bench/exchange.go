package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/refreshd/refreshd/adapter/gormstore"
	"github.com/refreshd/refreshd/domain"
)

// populations are the numbers of virtual users.
var populations = []int{1, 8, 32, 64}

const (
	bare = "pgbench, bare update"
	full = "pgbench, the store's statement"
)

func alone(m mode) string { return "store alone, " + string(m) }

func overHTTP(m mode) string { return "HTTP, " + string(m) }

// contender is a service of one mode on a database of its own, so that PostgreSQL's counters of the database are the service's.
type contender struct {
	mode    mode
	dsn     string
	service *service
	users   []*user
	before  counters
	calls   int
}

// newDatabase is a fresh one, with the service's schema.
func (b *bench) newDatabase(ctx context.Context) (dsn string, err error) {
	if dsn, err = b.server.NewDatabase(ctx); err != nil {
		return "", err
	}
	return dsn, b.program.run(ctx, dsn, "migrate")
}

// filled is a database on which the service has issued a refresh token to each of the users. The service has ended.
func (b *bench) filled(ctx context.Context, m mode) (dsn string, users []*user, started *service, err error) {
	if dsn, err = b.newDatabase(ctx); err != nil {
		return "", nil, nil, err
	}
	if started, err = b.program.serve(ctx, m, dsn); err != nil {
		return "", nil, nil, err
	}
	users, err = started.users(ctx, slices.Max(populations))
	return dsn, users, started, errors.Join(err, started.stop())
}

func (b *bench) contender(ctx context.Context, m mode) (c *contender, err error) {
	c = &contender{mode: m}
	var first *service
	if c.dsn, c.users, first, err = b.filled(ctx, m); err != nil {
		return nil, err
	}
	if c.before, err = b.server.counters(ctx, c.dsn); err != nil {
		return nil, err
	}
	if c.service, err = b.program.serve(ctx, m, c.dsn); err != nil {
		return nil, err
	}
	b.later(c.service.stop)
	idle := memory(c.service.pid(), "VmRSS")
	b.report.say("The service, %s: first start %s ms until ready, second %s ms; then %.1f MiB resident.",
		m, ms(first.started), ms(c.service.started), idle)
	b.report.figure("rss idle", idle)
	for i, u := range c.users {
		if c.users[i], err = newUser(c.service.api, string(u.current), u.id); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *contender) run(ctx context.Context, w window, s *server, n int) (run, error) {
	before, err := tally(c.users)
	if err != nil {
		return run{}, err
	}
	r, err := exchanges(ctx, w, meter{service: c.service, server: s}, c.users[:n])
	if err != nil {
		return run{}, err
	}
	after, err := tally(c.users)
	c.calls += int(after - before)
	return r, errors.Join(err, c.service.forget())
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

// exchangePart compares the service with what it stands on: PostgreSQL alone, and the store without HTTP.
func exchangePart(ctx context.Context, b *bench) error {
	b.report.section("Exchange, PostgreSQL")
	dsn, users, _, err := b.filled(ctx, oneByOne)
	if err != nil {
		return err
	}
	statement, err := exchangeStatement(ctx, func(ctx context.Context, o gormstore.Options) (*gormstore.Store, error) {
		return gormstore.OpenPostgres(ctx, domain.NewSecret(dsn), o)
	})
	if err != nil {
		return err
	}

	type variant struct {
		name string
		run  func(n int) (run, error)
	}
	w := b.plan.window
	variants := []variant{
		{bare, func(n int) (run, error) { return b.pgbench.run(ctx, w, dsn, n, bareUpdate) }},
		{full, func(n int) (run, error) { return b.pgbench.run(ctx, w, dsn, n, fullStatement(statement)) }},
	}
	var contenders []*contender
	for _, m := range b.program.modes() {
		store, err := gormstore.OpenPostgres(ctx, domain.NewSecret(dsn), storeOptions(m))
		if err != nil {
			return err
		}
		b.later(store.Close)
		callers, err := newCallers(ctx, store, users)
		if err != nil {
			return err
		}
		c, err := b.contender(ctx, m)
		if err != nil {
			return err
		}
		contenders = append(contenders, c)
		variants = append(variants,
			variant{alone(m), func(n int) (run, error) { return callers.run(ctx, w, b.server, n) }},
			variant{overHTTP(m), func(n int) (run, error) { return c.run(ctx, w, b.server, n) }})
	}

	var s series
	for _, n := range populations {
		for round := range b.plan.rounds {
			for _, v := range variants {
				b.progress("exchange: %d users, round %d of %d: %s", n, round+1, b.plan.rounds, v.name)
				r, err := v.run(n)
				if err != nil {
					return fmt.Errorf("%s, %d users: %w", v.name, n, err)
				}
				s.add(v.name, n, r)
			}
		}
	}
	var names []string
	for _, v := range variants {
		names = append(names, v.name)
	}
	b.report.table(s.table(names, populations))
	return b.exchangeFigures(ctx, &s, contenders)
}

func (b *bench) exchangeFigures(ctx context.Context, s *series, contenders []*contender) error {
	r := b.report
	t := newTable("over the whole series", "exchanges", "transactions per exchange", "HOT", "rows added", "RSS at the end, MiB", "highest, MiB")
	for _, c := range contenders {
		m, http := string(c.mode), overHTTP(c.mode)
		for _, n := range populations {
			r.figure(fmt.Sprintf("http/bare %d %s", n, m), s.ratio(http, bare, n, perSecond))
			r.figure(fmt.Sprintf("store/full %d %s", n, m), s.ratio(alone(c.mode), full, n, perSecond))
		}
		// The last mode is the default one, and counts where a target names none.
		r.figure("p99 http/bare 32", s.ratio(http, bare, 32, p99))
		r.figure("objects", s.of(http, 32, objects))
		r.figure("bytes", s.of(http, 32, kibibytes))
		r.figure("p50 combined/one by one 1", s.ratio(overHTTP(combined), overHTTP(oneByOne), 1, p50))
		rss, peak := memory(c.service.pid(), "VmRSS"), memory(c.service.pid(), "VmHWM")
		r.figure("rss 64", rss)
		if err := c.service.stop(); err != nil {
			return err
		}
		after, err := b.server.counters(ctx, c.dsn)
		if err != nil {
			return err
		}
		d := after.since(c.before)
		transactions, hot := float64(d.transactions)/float64(c.calls), float64(d.hot)/float64(d.updates)
		if c.mode == oneByOne {
			r.figure("statements", transactions)
		}
		r.figure("hot", hot)
		r.figure("rows added", float64(d.rows))
		t.add(http, fmt.Sprint(c.calls), figure(transactions, "%.3f"), figure(100*hot, "%.2f %%"), fmt.Sprint(d.rows),
			figure(rss, "%.1f"), figure(peak, "%.1f"))
	}
	r.table(t)
	return nil
}
