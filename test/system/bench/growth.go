package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/support/figures"
	"github.com/refreshd/refreshd/test/support/rig"
)

const (
	randomBare  = "pgbench, bare update, random rows"
	growthUsers = 32
)

// randomUpdate is the bare update of a random row with an odd number. It cannot know the row's generation, so it
// compares it with zero.
func randomUpdate(rows int) script {
	return script{defines: []string{fmt.Sprintf("half=%d", rows/2)}, text: `\set i 2 * random(1, :half) - 1
\set now :now + 1
UPDATE refresh_tokens SET generation = generation + 1, rotated_at = :now, last_used_at = :now
WHERE id = bench_id(:i) AND generation > 0 RETURNING id, generation \gset
`}
}

// roamers are users who exchange other tokens of a bulk: those that next returns. Two of them must not have the same
// one.
type roamers struct {
	bulk        *bulk
	users       []*user
	generations []uint32 // by number
	next        func(i int) (number int)
}

func newRoamers(k *bulk, s *service, users int, next func(i int) int) (*roamers, error) {
	r := &roamers{bulk: k, generations: make([]uint32, k.rows+1), next: next}
	for i := range r.generations {
		r.generations[i] = k.generation
	}
	return r, r.bind(s, users)
}

// bind connects the users with a service.
func (r *roamers) bind(s *service, users int) error {
	r.users = nil
	for range users {
		u, err := newUser(s.API, r.bulk.key.Mint(domain.ID{1}, 1).Reveal(), "")
		if err != nil {
			return err
		}
		r.users = append(r.users, u)
	}
	return nil
}

// even chooses random even numbers, for each roamer from a share of its own. pgbench has the odd ones.
func even(rows int) func(i int) int {
	return func(i int) int { return 2 * (rand.IntN((rows/2-i-1)/growthUsers+1)*growthUsers + i + 1) }
}

// aim gives the roamer the current string of the next token, and returns its number.
func (r *roamers) aim(i int) (number int) {
	u, number := r.users[i], r.next(i)
	id := bulkID(number)
	u.id = id.String()
	copy(u.current, r.bulk.key.Mint(id, r.generations[number]).Reveal())
	return number
}

func (r *roamers) exchange(i int) error {
	number := r.aim(i)
	if err := r.users[i].exchange(); err != nil {
		return err
	}
	r.generations[number]++
	return nil
}

func (r *roamers) run(ctx context.Context, w window, s *service, server *server) (run, error) {
	disconnect, err := connect(ctx, r.users, w.warm+w.length)
	defer disconnect()
	if err != nil {
		return run{}, err
	}
	got, err := closedLoop(ctx, w, meter{driver: rig.OwnCPU, service: s, server: server}, len(r.users), r.exchange)
	if err != nil {
		return run{}, err
	}
	return got, s.Forget()
}

// growthPart exchanges random tokens of the whole table while it grows, beside pgbench on the same table.
func growthPart(ctx context.Context, b *bench) error {
	b.report.section("Growth")
	m := asItComes
	var generations []uint32
	var kept []float64
	for stage, rows := range b.plan.stages {
		k, err := b.bulk(ctx, rows)
		if err != nil {
			return err
		}
		s, err := b.setup(m, noGrace).serve(ctx, k.dsn)
		if err != nil {
			return err
		}
		b.later(s.Stop)
		r, err := newRoamers(k, s, growthUsers, even(k.rows))
		if err != nil {
			return err
		}
		copy(r.generations, generations)
		generations = r.generations
		w := b.plan.window
		variants := []variant{
			{name: randomBare, run: func(n int) (run, error) { return b.pgbench.run(ctx, w, k.dsn, n, randomUpdate(k.rows)) }},
			{name: overHTTP(m) + ", random tokens", run: func(int) (run, error) { return r.run(ctx, w, s, b.server) }},
		}
		series, err := b.turns(fmt.Sprintf("%d refresh tokens", rows), b.plan.rounds, variants, growthUsers)
		if err != nil {
			return err
		}
		b.report.say("%d refresh tokens, without a grace period:", k.rows)
		b.report.table(series.table(variants, randomBare, growthUsers))
		kept = append(kept, series.ratio(variants[1].name, randomBare, growthUsers, perSecond))
		if stage == len(b.plan.stages)-1 {
			if err := b.lists(ctx, s); err != nil {
				return err
			}
		}
		if err := s.Stop(); err != nil {
			return err
		}
	}
	b.report.figure("growth", kept[len(kept)-1]/kept[0])
	return nil
}

// lists reads the hoarder's newest tokens, and those after 9 000 others.
func (b *bench) lists(ctx context.Context, s *service) error {
	deep, err := deepPage(ctx, s)
	if err != nil {
		return err
	}
	c := newCallers(s, 1)
	disconnect, err := connect(ctx, c, 2*time.Minute)
	defer disconnect()
	if err != nil {
		return err
	}
	t := figures.NewTable("list 100 of a user's 10 000", "p50 ms", "p95 ms", "p99 ms")
	worst := 0.0
	for _, page := range []struct{ name, path string }{{"first page", firstPage}, {"after 9 000", deep}} {
		b.progress("lists: %s", page.name)
		var took []time.Duration
		for i := range warmUp + b.plan.rounds*200 {
			begin := time.Now()
			if err := c[0].list(page.path); err != nil {
				return err
			}
			if i >= warmUp {
				took = append(took, time.Since(begin))
			}
		}
		l := newLatencies(took)
		t.Add(page.name, ms(l.p50), ms(l.p95), ms(l.p99))
		worst = max(worst, l.p99.Seconds()*1e3)
	}
	b.report.table(t)
	b.report.figure("list", worst)
	return nil
}

// warmUp is how many calls are made before the ones that count.
const warmUp = 20
