package main

import (
	"context"
	"fmt"
	"time"
)

// slowCommit is how much longer a commit takes in commitPart: about what a volume of a cloud, or a synchronous standby
// in another zone, needs.
const slowCommit = 5 * time.Millisecond

var commitUsers = []int{1, 2, 8, 32, 64}

// commitPart exchanges where a commit takes longer, beside pgbench and beside the older program, if there is one. The
// more a commit costs, the more it counts that exchanges share it, and that no exchange waits for two.
func commitPart(ctx context.Context, b *bench) (err error) {
	b.report.section(fmt.Sprintf("Exchange where a commit takes %s longer, PostgreSQL", slowCommit))
	fast, limit := b.server, b.pgbench
	b.server, err = startServer(ctx, slowCommit)
	slow := b.server
	b.later(func() error { b.server, b.pgbench = fast, limit; return slow.stop() }) // after the services
	if err != nil {
		return err
	}
	if b.pgbench, err = newPgbench(ctx, b.dir, slow); err != nil {
		return err
	}
	how := b.setup(asItComes, noGrace)
	first, err := b.onPostgres(ctx, how)
	if err != nil {
		return err
	}
	contenders := []*contender{first}
	if b.baseName != "" {
		how.program = b.base
		other, err := b.onPostgres(ctx, how)
		if err != nil {
			return err
		}
		other.name += ", " + b.baseName
		contenders = append(contenders, other)
	}
	rows, err := b.newDatabase(ctx, b.setup(asItComes, noGrace))
	if err != nil {
		return err
	}
	if _, _, err := b.setup(asItComes, noGrace).fill(ctx, rows); err != nil {
		return err
	}
	w := b.plan.window
	variants := []variant{{name: bare, run: func(n int) (run, error) {
		return b.pgbench.run(ctx, w, rows, n, bareUpdate)
	}}}
	for _, c := range contenders {
		variants = append(variants, variant{name: c.name, run: func(n int) (run, error) { return c.run(ctx, w, n) }})
	}
	s, err := b.turns("slow commit", b.plan.rounds, variants, commitUsers...)
	if err != nil {
		return err
	}
	b.report.say("Each user exchanges one session in a loop, without a grace period:")
	b.report.table(s.table(variants, bare, commitUsers...))
	for _, n := range commitUsers {
		b.report.figure(fmt.Sprintf("commit %d", n), s.ratio(first.name, bare, n, perSecond))
	}
	return nil
}
