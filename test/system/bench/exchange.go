package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/refreshd/refreshd/adapter/gormstore"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/support/figures"
	"github.com/refreshd/refreshd/test/support/rig"
)

const (
	bare = "pgbench, bare update"
	full = "pgbench, the store's statement"
)

func alone(m mode) string { return "store alone, " + string(m) }

func overHTTP(m mode) string { return "HTTP, " + string(m) }

// newDatabase returns an empty database with the service's schema.
func (b *bench) newDatabase(ctx context.Context, how setup) (dsn string, err error) {
	if dsn, err = b.server.NewDatabase(ctx); err != nil {
		return "", err
	}
	_, err = how.program.Run(ctx, how.settings(dsn), "migrate")
	return dsn, err
}

// never is a spread with which the hoarder has no tokens.
const never = 1 << 30

// sides are the setups that are compared over HTTP: those of this source, and of the older program, if there is one.
// The older program signs like this one, and again with its default algorithm, if that is another one.
func (b *bench) sides(modes ...mode) (names []string, sides []setup) {
	for _, m := range modes {
		names, sides = append(names, overHTTP(m)), append(sides, b.setup(m, defaults))
	}
	if b.baseName != "" {
		for _, p := range []policy{es256, defaults} {
			names = append(names, overHTTP(asItComes)+", "+b.baseName)
			sides = append(sides, setup{program: b.base, mode: asItComes, policy: p})
		}
	}
	return names, sides
}

func (b *bench) fullPool(ctx context.Context, how setup) (*bulk, error) {
	k, err := b.newBulk(ctx, how, never)
	if err != nil {
		return nil, err
	}
	return k, b.grow(ctx, k, b.plan.pool, rested)
}

// exchangePart exchanges a pool under the default policy, beside pgbench and beside the older program, if there is one.
func exchangePart(ctx context.Context, b *bench) error {
	b.report.section("Exchange, PostgreSQL")
	var (
		contenders []*contender
		w          = b.plan.window
	)
	first, err := b.fullPool(ctx, b.setup(asItComes, defaults))
	if err != nil {
		return err
	}
	variants := []variant{{name: randomBare, run: func(n int) (run, error) {
		return b.pgbench.run(ctx, w, first.dsn, n, randomUpdate(first.rows))
	}}}
	names, sides := b.sides(modes...)
	for i, how := range sides {
		var k *bulk
		if how.program == b.program {
			k, err = b.copy(ctx, first)
		} else {
			k, err = b.fullPool(ctx, how)
		}
		if err != nil {
			return err
		}
		name := names[i] + ", " + k.algorithm
		if slices.ContainsFunc(contenders, func(c *contender) bool { return c.name == name }) {
			continue // the older program signs like this one by default
		}
		c, err := b.onDatabase(ctx, name, how, k.dsn, nil, 0)
		if err != nil {
			return err
		}
		if c.pool, err = newPool(k, c.service, slices.Max(populations)); err != nil {
			return err
		}
		contenders = append(contenders, c)
		variants = append(variants, variant{name: c.name, run: func(n int) (run, error) { return c.run(ctx, w, n) }})
	}
	s, err := b.turns("PostgreSQL", b.plan.exchangeRounds, variants, populations...)
	if err != nil {
		return err
	}
	b.report.say("A pool of %d sessions, each exchanged again only after all others, under the default policy:",
		b.plan.pool)
	b.report.table(s.table(variants, randomBare, populations...))
	return b.exchangeFigures(ctx, s, contenders)
}

func (b *bench) exchangeFigures(ctx context.Context, s *series, contenders []*contender) error {
	r := b.report
	t := figures.NewTable("over the whole series", "outcomes", "transactions per exchange", "HOT", "rows added",
		"RSS at the end, MiB", "highest, MiB")
	var unrotated int
	for _, c := range contenders {
		rss, peak := rig.Memory(c.service.PID(), "VmRSS"), rig.Memory(c.service.PID(), "VmHWM")
		if err := c.service.Stop(); err != nil {
			return err
		}
		after, err := b.server.counters(ctx, c.dsn)
		if err != nil {
			return err
		}
		d := after.since(c.before)
		transactions, hot := float64(d.transactions)/float64(c.calls), float64(d.hot)/float64(d.updates)
		t.Add(c.name, countsText(c.pool.outcomes), figures.Format(transactions, "%.3f"),
			figures.Format(100*hot, "%.2f %%"), fmt.Sprint(d.rows), figures.Format(rss, "%.1f"),
			figures.Format(peak, "%.1f"))
		if c.how.program != b.program {
			continue
		}
		_, others := c.pool.exchanged()
		unrotated += others
		for _, n := range populations {
			r.figure(fmt.Sprintf("http/bare %d %s", n, c.how.mode), s.ratio(c.name, randomBare, n, perSecond))
		}
		// The last mode is the default. It counts for targets that name no mode.
		r.figure("p99 http/bare 32", s.ratio(c.name, randomBare, 32, p99))
		r.figure("objects", s.of(c.name, 32, objects))
		r.figure("bytes", s.of(c.name, 32, kibibytes))
		r.figure("rss idle", c.idle)
		r.figure("rss 64", rss)
		if c.how.mode == oneByOne {
			r.figure("statements", transactions)
		} else {
			r.figure("p50 combined/one by one 1", s.ratio(c.name, contenders[0].name, 1, p50))
		}
		r.figure("hot", hot)
		r.figure("rows added", float64(d.rows))
	}
	r.figure("not rotated", float64(unrotated))
	r.table(t)
	if b.baseName == "" {
		return nil
	}
	t = figures.NewTable(contenders[1].name+" / "+contenders[2].name, "per second", "p50", "p99", "CPU: service",
		"database", "WAL bytes")
	for _, n := range populations {
		row := []string{fmt.Sprintf("%d users", n)}
		for _, value := range []func(run) float64{perSecond, p50, p99, serviceCPU, databaseCPU, written} {
			row = append(row, figures.Format(s.ratio(contenders[1].name, contenders[2].name, n, value), "%.2f"))
		}
		t.Add(row...)
	}
	r.table(t)
	return nil
}

// storePart compares the store without HTTP with PostgreSQL alone. Each caller exchanges one session in a loop, without
// a grace period.
func storePart(ctx context.Context, b *bench) error {
	b.report.section("The store alone, PostgreSQL")
	how := b.setup(oneByOne, noGrace)
	dsn, err := b.newDatabase(ctx, how)
	if err != nil {
		return err
	}
	users, _, err := how.fill(ctx, dsn)
	if err != nil {
		return err
	}
	statement, err := exchangeStatement(ctx, func(ctx context.Context, o gormstore.Options) (*gormstore.Store, error) {
		return gormstore.OpenPostgres(ctx, domain.NewSecret(dsn), o)
	})
	if err != nil {
		return err
	}
	w := b.plan.window
	variants := []variant{
		{name: bare, run: func(n int) (run, error) { return b.pgbench.run(ctx, w, dsn, n, bareUpdate) }},
		{name: full, only: b.plan.fullOnly, run: func(n int) (run, error) {
			return b.pgbench.run(ctx, w, dsn, n, fullStatement(statement))
		}},
	}
	for _, m := range modes {
		store, err := gormstore.OpenPostgres(ctx, domain.NewSecret(dsn), storeOptions(m))
		if err != nil {
			return err
		}
		b.later(store.Close)
		callers, err := newStoreCallers(ctx, store, users)
		if err != nil {
			return err
		}
		variants = append(variants, variant{name: alone(m), run: func(n int) (run, error) {
			return callers.run(ctx, w, b.server, n)
		}})
	}
	s, err := b.turns("the store", b.plan.rounds, variants, populations...)
	if err != nil {
		return err
	}
	b.report.say("Each caller exchanges one session in a loop, without a grace period:")
	b.report.table(s.table(variants, bare, populations...))
	for _, m := range modes {
		for _, n := range populations {
			b.report.figure(fmt.Sprintf("store/full %d %s", n, m), s.ratio(alone(m), full, n, perSecond))
		}
	}
	return nil
}
