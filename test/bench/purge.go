package main

import (
	"context"
	"errors"
	"os/exec"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

const purgeUsers = 32

// purgePart has users exchange while what is dead is deleted from the same table.
func purgePart(ctx context.Context, b *bench) error {
	b.report.section("Purge")
	if !b.program.purges {
		b.report.say("Left out: this service has no verb `purge`.")
		return nil
	}
	m := b.defaultMode()
	k, err := b.newBulk(ctx, m, 1)
	if err != nil {
		return err
	}
	// They expired ten days ago, which is longer than the dead are kept.
	if err := b.grow(ctx, k, b.plan.stages[1], time.Now().AddDate(0, 0, -40)); err != nil {
		return err
	}
	c := &contender{mode: m, server: b.server, users: k.users}
	if err := c.restart(ctx, b, k.dsn); err != nil {
		return err
	}
	b.report.say("Started with %d dead rows: %s ms until ready.", k.rows, ms(c.service.started))
	const quiet, purging = "no purge", "a purge under way"
	w := b.plan.window
	before, err := k.left(ctx)
	if err != nil {
		return err
	}
	var took time.Duration
	variants := []variant{
		{name: quiet, run: func(n int) (run, error) { return c.run(ctx, w, n) }},
		{name: purging, run: func(n int) (run, error) {
			purge := b.program.command(ctx, m, k.dsn, "purge")
			begun := time.Now()
			if err := purge.Start(); err != nil {
				return run{}, err
			}
			r, err := c.run(ctx, w, n)
			took += time.Since(begun)
			return r, errors.Join(err, interrupt(purge))
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
	b.report.say("%d rows were deleted in %s of purging; each purge was cut off after its run.", before-after, took.Round(100*time.Millisecond))
	if after <= purgeUsers+int64(len(k.users)) {
		return errors.New("the purges came to their end while exchanges were measured: there were too few dead rows")
	}
	b.report.figure("purge", s.ratio(purging, quiet, purgeUsers, p99))
	return nil
}

// interrupt ends a verb that still runs.
func interrupt(c *exec.Cmd) error {
	_ = c.Process.Signal(syscall.SIGTERM)
	if err := c.Wait(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		return err
	}
	return nil
}

func (k *bulk) left(ctx context.Context) (rows int64, err error) {
	return rows, withConnection(ctx, k.dsn, func(c *pgx.Conn) error {
		return c.QueryRow(ctx, `SELECT count(*) FROM refresh_tokens`).Scan(&rows)
	})
}
