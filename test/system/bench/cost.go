package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/refreshd/refreshd/test/support/figures"
	"github.com/refreshd/refreshd/test/support/rig"
)

// costPool is how many sessions each side of costPart has: more than it exchanges.
const costPool = 200_000

var costUsers = []int{1, 32}

// costSide is a program on a database of its own.
type costSide struct {
	name    string
	how     setup
	pool    *pool
	unasked int64            // transactions of a service without requests, from its start to its end
	spent   map[string]spent // by variant and number of users
}

// spent is the sum over the runs of a variant.
type spent struct {
	outcomes             map[string]int
	calls, transactions  int
	updates, hot         int64
	records, recordBytes float64 // HOT updates in the log (WAL), whole pages aside
}

// costCall is a kind of call.
type costCall struct {
	name string
	// prepare gets users whose last exchange rotated, and returns the call of each. Without it users exchange the pool.
	prepare func(users []*user) (func(i int) error, error)
}

// costPart measures what a retry costs, compared with an exchange. Statements are counted as transactions of a database
// that only the service uses: each statement is a transaction.
func costPart(ctx context.Context, b *bench) error {
	b.report.section("Cost of an exchange and of a retry, PostgreSQL")
	names, setups := b.sides(asItComes)
	var sides []*costSide
	for i, how := range setups[:min(2, len(setups))] { // of the older program only the setup that signs like this one
		side, err := b.newCostSide(ctx, names[i], how)
		if err != nil {
			return err
		}
		sides = append(sides, side)
	}
	kinds := []costCall{
		{"exchange of the next session", nil},
		{"the string before, sent again", sendBefore},
		{"the current string, sent again", sendCurrent},
	}
	var variants []variant
	for _, kind := range kinds {
		for _, side := range sides {
			variants = append(variants, variant{name: costName(kind, side), run: func(n int) (run, error) {
				return side.run(ctx, b, kind, n)
			}})
		}
	}
	s, err := b.turns("cost", b.plan.costRounds, variants, costUsers...)
	if err != nil {
		return err
	}
	for _, side := range sides {
		size, err := side.row(ctx)
		if err != nil {
			return err
		}
		b.report.say("A row of the table: %.1f bytes (%s).", size, side.name)
	}
	b.costTable(s, kinds, sides)
	return nil
}

func (b *bench) newCostSide(ctx context.Context, name string, how setup) (*costSide, error) {
	k, err := b.newBulk(ctx, how, never)
	if err != nil {
		return nil, err
	}
	if err := b.grow(ctx, k, costPool, rested); err != nil {
		return nil, err
	}
	side := &costSide{name: name + ", " + k.algorithm, how: how, spent: map[string]spent{}}
	before, err := b.server.counters(ctx, k.dsn)
	if err != nil {
		return nil, err
	}
	if _, err := how.briefly(ctx, k.dsn, func(s *service) (err error) {
		side.pool, err = newPool(k, s, slices.Max(costUsers))
		return err
	}); err != nil {
		return nil, err
	}
	after, err := b.server.counters(ctx, k.dsn)
	side.unasked = after.since(before).transactions
	return side, err
}

// run starts a service for one run, because PostgreSQL's counters are complete only when it has ended.
func (c *costSide) run(ctx context.Context, b *bench, kind costCall, n int) (r run, err error) {
	dsn := c.pool.bulk.dsn
	before, err := b.server.counters(ctx, dsn)
	if err != nil {
		return r, err
	}
	var records, recordBytes float64
	if _, err := c.how.briefly(ctx, dsn, func(s *service) error {
		from, err := b.server.position(ctx)
		if err != nil {
			return err
		}
		if r, err = c.callAll(ctx, b, s, kind, n); err != nil {
			return s.Explain(err)
		}
		records, recordBytes, err = b.server.hotRecords(ctx, from)
		return err
	}); err != nil {
		return r, err
	}
	after, err := b.server.counters(ctx, dsn)
	if err != nil {
		return r, err
	}
	d := after.since(before)
	key := costKey(kind, n)
	all := c.spent[key]
	if all.outcomes == nil {
		all.outcomes = map[string]int{}
	}
	for outcome, n := range c.pool.outcomes {
		all.outcomes[outcome] += n
		all.calls += n
	}
	clear(c.pool.outcomes)
	all.transactions += int(d.transactions - c.unasked)
	all.updates, all.hot = all.updates+d.updates, all.hot+d.hot
	all.records, all.recordBytes = all.records+records, all.recordBytes+recordBytes
	c.spent[key] = all
	return r, nil
}

func costKey(kind costCall, n int) string { return fmt.Sprintf("%s, %d", kind.name, n) }

// callAll makes the calls of a run. The preparation counts too: one exchange of each user.
func (c *costSide) callAll(ctx context.Context, b *bench, s *service, kind costCall, n int) (r run, err error) {
	p, w := c.pool, b.plan.window
	if err := p.bind(s, n); err != nil {
		return r, err
	}
	disconnect, err := connect(ctx, p.users, w.warm+w.length)
	defer disconnect()
	if err != nil {
		return r, err
	}
	call := p.exchange
	numbers := make([]int, n)
	if kind.prepare != nil {
		for i, u := range p.users {
			numbers[i] = p.aim(i)
			if _, err := u.present(); err != nil {
				return r, err
			}
			p.count(u)
		}
		send, err := kind.prepare(p.users)
		if err != nil {
			return r, err
		}
		call = func(i int) error {
			err := send(i)
			p.count(p.users[i])
			return err
		}
	}
	r, err = closedLoop(ctx, w, meter{driver: rig.OwnCPU, service: s, server: b.server}, n, call)
	if err != nil || kind.prepare == nil {
		return r, err
	}
	for i, u := range p.users {
		g, err := u.granted(u.status)
		if err != nil {
			return r, err
		}
		if p.generations[numbers[i]], err = generation(g); err != nil {
			return r, err
		}
	}
	return r, nil
}

// sendBefore presents the string before the current one. Each response has to be a retry.
func sendBefore(users []*user) (func(i int) error, error) {
	want := make([]grant, len(users))
	for i, u := range users {
		g, err := u.granted(u.status)
		if err != nil {
			return nil, err
		}
		want[i] = g.clone()
	}
	return func(i int) error { return users[i].retry(want[i]) }, nil
}

// sendCurrent presents the current string. It may stay the same.
func sendCurrent(users []*user) (func(i int) error, error) {
	for _, u := range users {
		g, err := u.granted(u.status)
		if err != nil {
			return nil, err
		}
		copy(u.current, g.tokenString)
	}
	return func(i int) error {
		g, err := users[i].present()
		if err == nil {
			copy(users[i].current, g.tokenString)
		}
		return err
	}, nil
}

// row returns the average size of a row.
func (c *costSide) row(ctx context.Context) (bytes float64, err error) {
	return bytes, withConnection(ctx, c.pool.bulk.dsn, func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `SELECT avg(pg_column_size(t.*))::float8 FROM refresh_tokens AS t`).Scan(&bytes)
	})
}

func (b *bench) costTable(s *series, kinds []costCall, sides []*costSide) {
	t := figures.NewTable("", "users", "outcomes", "per second", "p50 ms", "CPU µs: service", "database",
		"statements", "WAL bytes", "of a HOT update's record", "HOT")
	for _, n := range costUsers {
		for _, kind := range kinds {
			for _, side := range sides {
				name, spent := costName(kind, side), side.spent[costKey(kind, n)]
				t.Add(name, fmt.Sprint(n), countsText(spent.outcomes), figures.Format(s.of(name, n, perSecond), "%.0f"),
					figures.Format(s.of(name, n, p50), "%.2f"), figures.Format(s.of(name, n, serviceCPU), "%.0f"),
					figures.Format(s.of(name, n, databaseCPU), "%.0f"),
					figures.Format(float64(spent.transactions)/float64(spent.calls), "%.2f"),
					figures.Format(s.of(name, n, written), "%.1f"),
					figures.Format(spent.recordBytes/spent.records, "%.1f"),
					figures.Format(100*float64(spent.hot)/float64(spent.updates), "%.2f %%"))
			}
		}
	}
	b.report.table(t)
}

func costName(kind costCall, side *costSide) string { return kind.name + ": " + side.name }
