package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/refreshd/refreshd/test/support/figures"
	"github.com/refreshd/refreshd/test/support/rig"
)

// spacePart rotates refresh tokens, each hundreds of times, at 70 % of the measured capacity, and measures the size of
// table and indexes. At full load vacuum would have no time.
func spacePart(ctx context.Context, b *bench) error {
	b.report.section("Space")
	k, err := b.newBulk(ctx, b.setup(asItComes, noGrace), b.plan.rotated)
	if err != nil {
		return err
	}
	if err := b.grow(ctx, k, b.plan.rotated, rested); err != nil {
		return err
	}
	s, err := b.setup(asItComes, noGrace).serve(ctx, k.dsn)
	if err != nil {
		return err
	}
	b.later(s.Stop)
	fresh, err := k.bytesPerToken(ctx)
	if err != nil {
		return err
	}
	// Each roamer goes through its share of the numbers again and again.
	var turn [growthUsers]int
	r, err := newRoamers(k, s, growthUsers, func(i int) int {
		turn[i]++
		share := (k.rows - i - 1) / growthUsers
		return turn[i]%(share+1)*growthUsers + i + 1
	})
	if err != nil {
		return err
	}
	b.progress("space: measuring the capacity")
	measured, err := r.run(ctx, b.plan.window, s, nil)
	if err != nil {
		return err
	}
	pace := .7 * measured.rate
	t := figures.NewTable(fmt.Sprintf("%d refresh tokens", k.rows), "bytes per token, indexes included", "/ fresh")
	t.Add("fresh", figures.Format(fresh, "%.0f"), "1.00")
	var sizes []float64
	for _, n := range b.plan.rotations {
		if err := b.rotate(ctx, r, s, n, pace); err != nil {
			return err
		}
		size, err := k.bytesPerToken(ctx)
		if err != nil {
			return err
		}
		t.Add(fmt.Sprintf("after %d rotations of each", n), figures.Format(size, "%.0f"), figures.Format(size/fresh, "%.2f"))
		sizes = append(sizes, size)
	}
	b.report.say("Rotations at %.0f a second, 70 %% of the measured capacity, without a grace period:", pace)
	b.report.table(t)
	b.report.figure("bytes per token", sizes[0]/fresh)
	if len(sizes) > 1 {
		b.report.figure("bytes per token, 1000/200", sizes[1]/sizes[0])
	}
	if b.plan.name != fullPlan.name {
		b.report.say("With 10 000 refresh tokens this takes at least half an hour: `make bench FULL=1`.")
	}
	return nil
}

// rotate exchanges at a fixed rate until each token was rotated n times.
func (b *bench) rotate(ctx context.Context, r *roamers, s *service, n int, pace float64) error {
	var done int
	for _, g := range r.generations[1:] {
		done += int(g - r.bulk.generation)
	}
	left := n*r.bulk.rows - done
	per := left/len(r.users) + 1
	interval := time.Duration(float64(len(r.users)) / pace * float64(time.Second))
	disconnect, err := connect(ctx, r.users, 2*time.Duration(per)*interval+time.Minute)
	defer disconnect()
	if err != nil {
		return err
	}
	begun := time.Now()
	failed := make(chan error, len(r.users))
	for i := range r.users {
		go func() {
			failed <- func() error {
				for turn := range per {
					if i == 0 && turn%(per/10+1) == 0 {
						b.progress("space: %d of %d rotations", done+turn*len(r.users), n*r.bulk.rows)
						if err := s.Forget(); err != nil {
							return err
						}
					}
					if err := rig.Sleep(ctx, time.Until(begun.Add(time.Duration(turn)*interval))); err != nil {
						return err
					}
					if err := r.exchange(i); err != nil {
						return err
					}
				}
				return nil
			}()
		}()
	}
	for range r.users {
		err = errors.Join(err, <-failed)
	}
	return err
}

func (k *bulk) bytesPerToken(ctx context.Context) (size float64, err error) {
	return size, withConnection(ctx, k.dsn, func(c *pgx.Conn) error {
		return c.QueryRow(ctx,
			`SELECT pg_total_relation_size('refresh_tokens')::float8 / count(*) FROM refresh_tokens`).Scan(&size)
	})
}
