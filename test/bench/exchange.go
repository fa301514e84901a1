package main

import (
	"context"
	"fmt"

	"github.com/refreshd/refreshd/adapter/gormstore"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/figures"
	"github.com/refreshd/refreshd/test/rig"
)

const (
	bare = "pgbench, bare update"
	full = "pgbench, the store's statement"
)

func alone(m mode) string { return "store alone, " + string(m) }

func overHTTP(m mode) string { return "HTTP, " + string(m) }

// newDatabase is a fresh one, with the service's schema.
func (b *bench) newDatabase(ctx context.Context) (dsn string, err error) {
	if dsn, err = b.server.NewDatabase(ctx); err != nil {
		return "", err
	}
	_, err = b.program.Run(ctx, settings(asItComes, dsn), "migrate")
	return dsn, err
}

// exchangePart compares the service with what it stands on: PostgreSQL alone, and the store without HTTP.
func exchangePart(ctx context.Context, b *bench) error {
	b.report.section("Exchange, PostgreSQL")
	dsn, err := b.newDatabase(ctx)
	if err != nil {
		return err
	}
	users, _, err := b.fill(ctx, oneByOne, dsn)
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
	var contenders []*contender
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
		c, err := b.onPostgres(ctx, m)
		if err != nil {
			return err
		}
		contenders = append(contenders, c)
		variants = append(variants,
			variant{name: alone(m), run: func(n int) (run, error) { return callers.run(ctx, w, b.server, n) }},
			variant{name: overHTTP(m), run: func(n int) (run, error) { return c.run(ctx, w, n) }})
	}
	s, err := b.turns("PostgreSQL", b.plan.exchangeRounds, variants, populations...)
	if err != nil {
		return err
	}
	b.report.table(s.table(variants, bare, populations...))
	return b.exchangeFigures(ctx, s, contenders)
}

func (b *bench) exchangeFigures(ctx context.Context, s *series, contenders []*contender) error {
	r := b.report
	t := figures.NewTable("over the whole series", "exchanges", "transactions per exchange", "HOT", "rows added", "RSS at the end, MiB", "highest, MiB")
	r.figure("p50 combined/one by one 1", s.ratio(overHTTP(combined), overHTTP(oneByOne), 1, p50))
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
		rss, peak := rig.Memory(c.service.PID(), "VmRSS"), rig.Memory(c.service.PID(), "VmHWM")
		r.figure("rss 64", rss)
		if err := c.service.Stop(); err != nil {
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
		t.Add(http, fmt.Sprint(c.calls), figures.Format(transactions, "%.3f"), figures.Format(100*hot, "%.2f %%"), fmt.Sprint(d.rows),
			figures.Format(rss, "%.1f"), figures.Format(peak, "%.1f"))
	}
	r.table(t)
	return nil
}
