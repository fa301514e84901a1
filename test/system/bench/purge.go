package main

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
)

const purgeUsers = 32

// purgePart has users exchange while ended refresh tokens are deleted from the same table.
func purgePart(ctx context.Context, b *bench) error {
	b.report.section("Purge")
	how := b.setup(asItComes, noGrace)
	k, err := b.newBulk(ctx, how, 1)
	if err != nil {
		return err
	}
	// They expired ten days ago, which is longer than ended refresh tokens are kept.
	if err := b.grow(ctx, k, b.plan.stages[1], 40*24*time.Hour); err != nil {
		return err
	}
	c := &contender{how: how, server: b.server, users: k.users}
	if err := c.restart(ctx, b, k.dsn); err != nil {
		return err
	}
	b.report.say("Started with %d expired rows: %s ms until ready. There is no grace period.", k.rows,
		ms(c.service.ReadyAfter))
	const quiet, purging = "no purge", "a purge in progress"
	w := b.plan.window
	before, err := k.left(ctx)
	if err != nil {
		return err
	}
	var took time.Duration
	variants := []variant{
		{name: quiet, run: func(n int) (run, error) { return c.run(ctx, w, n) }},
		{name: purging, run: func(n int) (run, error) {
			if err := k.freeLease(ctx); err != nil {
				return run{}, err
			}
			stop := how.purging(ctx, k.dsn)
			begun := time.Now()
			r, err := c.run(ctx, w, n)
			took += time.Since(begun)
			return r, errors.Join(err, stop())
		}},
	}
	s, err := b.turns("purge", b.plan.rounds, variants, purgeUsers)
	if err != nil {
		return err
	}
	after, err := k.left(ctx)
	if err != nil {
		return err
	}
	b.report.table(s.table(variants, quiet, purgeUsers))
	b.report.say("%d rows were deleted in %s of purging; each purge was stopped after its run.",
		before-after, took.Round(100*time.Millisecond))
	if after <= purgeUsers+int64(len(k.users)) {
		return errors.New("the purges were finished while exchanges were measured: there were too few ended rows")
	}
	b.report.figure("purge", s.ratio(purging, quiet, purgeUsers, p99))
	return nil
}

// purging runs refreshd purge until stop is called, long before the purge is done.
func (how setup) purging(ctx context.Context, dsn string) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		_, err := how.program.Run(ctx, how.settings(dsn), "purge")
		ended <- err
	}()
	return func() error {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
		return nil
	}
}

// freeLease lets a purge begin immediately: the lease of a stopped purge would delay it by half a minute.
func (k *bulk) freeLease(ctx context.Context) error {
	return withConnection(ctx, k.dsn, func(c *pgx.Conn) error {
		_, err := c.Exec(ctx, `UPDATE jobs SET lease_until = 0`)
		return err
	})
}

func (k *bulk) left(ctx context.Context) (rows int64, err error) {
	return rows, withConnection(ctx, k.dsn, func(c *pgx.Conn) error {
		return c.QueryRow(ctx, `SELECT count(*) FROM refresh_tokens`).Scan(&rows)
	})
}
