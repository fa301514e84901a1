package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync/atomic"

	"github.com/refreshd/refreshd/test/support/figures"
	"github.com/refreshd/refreshd/test/support/rig"
)

// revokeCall is a kind of revocation.
type revokeCall struct {
	name string
	path func(s *revokeSide) string
}

var revokeCalls = []revokeCall{
	{"revoke one", func(s *revokeSide) string {
		return "/jwt/refresh/" + bulkID(s.rows-int(s.revoked.Add(1))+1).String()
	}},
	{"revoke all of a user", func(*revokeSide) string {
		return fmt.Sprint("/jwt/refresh?userId=nobody-", rand.IntN(1000))
	}},
}

// revokeSide is a program on a database of its own.
type revokeSide struct {
	name    string
	service *service
	callers []*caller
	rows    int
	revoked atomic.Int64
}

// revocationsPart revokes single refresh tokens, and all of a user, and compares with the older program, if there is
// one. All belong to one tenant, whose row lock orders wide revocations.
func revocationsPart(ctx context.Context, b *bench) error {
	b.report.section("Revocations, PostgreSQL")
	names, setups := b.sides(asItComes)
	var sides []*revokeSide
	for i, how := range setups[:min(2, len(setups))] { // of the older program the setup that signs like this one
		side, err := b.newRevokeSide(ctx, names[i], how)
		if err != nil {
			return err
		}
		sides = append(sides, side)
	}
	var variants []variant
	for _, kind := range revokeCalls {
		for _, side := range sides {
			variants = append(variants, variant{name: kind.name + ", " + side.name, run: func(n int) (run, error) {
				return side.run(ctx, b, kind, n)
			}})
		}
	}
	callers := len(sides[0].callers)
	s, err := b.turns("revocations", b.plan.exchangeRounds, variants, 1, callers)
	if err != nil {
		return err
	}
	b.report.table(s.table(variants, "", 1, callers))
	if len(sides) == 1 {
		return nil
	}
	t := figures.NewTable(sides[0].name+" / "+sides[1].name, "callers", "per second", "p50", "p99", "CPU: service",
		"database", "WAL bytes")
	for i, kind := range revokeCalls {
		this, other := variants[2*i].name, variants[2*i+1].name
		for _, n := range []int{1, callers} {
			row := []string{kind.name, fmt.Sprint(n)}
			for _, value := range []func(run) float64{perSecond, p50, p99, serviceCPU, databaseCPU, written} {
				row = append(row, figures.Format(s.ratio(this, other, n, value), "%.2f"))
			}
			t.Add(row...)
		}
	}
	b.report.table(t)
	return nil
}

func (b *bench) newRevokeSide(ctx context.Context, name string, how setup) (*revokeSide, error) {
	k, err := b.fullPool(ctx, how)
	if err != nil {
		return nil, err
	}
	s, err := how.serve(ctx, k.dsn)
	if err != nil {
		return nil, err
	}
	b.later(s.Stop)
	return &revokeSide{
		name: name, service: s, callers: newCallers(s, slices.Max(b.plan.callers)), rows: k.rows,
	}, nil
}

func (s *revokeSide) run(ctx context.Context, b *bench, kind revokeCall, n int) (run, error) {
	w := b.plan.window
	disconnect, err := connect(ctx, s.callers[:n], w.warm+w.length)
	defer disconnect()
	if err != nil {
		return run{}, err
	}
	m := meter{driver: rig.OwnCPU, service: s.service, server: b.server}
	r, err := closedLoop(ctx, w, m, n, func(i int) error {
		return s.callers[i].expect(http.StatusOK, http.MethodDelete, kind.path(s), "")
	})
	return r, errors.Join(err, s.service.Forget())
}
