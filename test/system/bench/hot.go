package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/refreshd/refreshd/test/support/rig"
)

const (
	hotToken     = "64 users, one string"
	ownTokens    = "64 users, a string each"
	hotUsers     = 64
	hotRaces     = 20
	hotRacesName = "races for one current string"
)

// hotPart has many users present one token string concurrently, as the tabs of a browser or the pods of a backend do.
// In a race all present the first string of a new session: one rotates, the others retry. Then all present the string
// of the last race again and again, within the default grace period. All responses of a race, and later to its string,
// have to be equal.
func hotPart(ctx context.Context, b *bench) error {
	b.report.section("A hot token")
	c, err := b.onPostgres(ctx, b.setup(asItComes, defaults))
	if err != nil {
		return err
	}
	one := make([]*user, hotUsers)
	for i := range one {
		if one[i], err = newUser(c.service.API, string(c.users[i].current), c.users[i].id); err != nil {
			return err
		}
	}
	var raced []time.Duration
	variants := []variant{
		{name: ownTokens, run: func(int) (run, error) {
			own, err := c.service.users(ctx, hotUsers)
			if err != nil {
				return run{}, err
			}
			return c.retries(ctx, b.plan.window, own, nil)
		}},
		{name: hotToken, run: func(int) (run, error) {
			took, granted, err := c.races(ctx, one, hotRaces)
			if err != nil {
				return run{}, err
			}
			raced = append(raced, took...)
			return c.retries(ctx, b.plan.window, one, &granted)
		}},
	}
	s, err := b.turns("hot token", b.plan.rounds, variants, hotUsers)
	if err != nil {
		return err
	}
	b.report.table(s.table(variants, ownTokens, hotUsers))
	l := newLatencies(raced)
	b.report.say("%d %s, of 64 users: one distinct response in each; p50 %s ms, p99 %s ms.",
		b.plan.rounds*hotRaces, hotRacesName, ms(l.p50), ms(l.p99))
	b.report.figure("hot token", s.ratio(hotToken, ownTokens, hotUsers, perSecond))
	return nil
}

// races has all users present the first string of a new session concurrently, n times. It returns how long the calls
// took, and the grant of the last race.
func (c *contender) races(ctx context.Context, users []*user, n int) (took []time.Duration, granted grant, err error) {
	disconnect, err := connect(ctx, users, time.Duration(n)*time.Second)
	defer disconnect()
	if err != nil {
		return nil, granted, err
	}
	took = make([]time.Duration, n*len(users))
	for race := range n {
		first, err := c.service.issue(ctx, fmt.Sprintf(`{"applicationsId": %q, "userId": "raced"}`, application))
		if err != nil {
			return nil, granted, err
		}
		for _, u := range users {
			copy(u.current, first.tokenString)
			u.id = string(first.id)
		}
		grants, errs := make([]grant, len(users)), make([]error, len(users))
		var group sync.WaitGroup
		for i, u := range users {
			group.Go(func() {
				begin := time.Now()
				grants[i], errs[i] = u.present()
				took[race*len(users)+i] = time.Since(begin)
			})
		}
		group.Wait()
		if err := errors.Join(errs...); err != nil {
			return nil, granted, err
		}
		granted = grants[0].clone()
		rotations := 0
		for i, u := range users {
			if !grants[i].equal(granted) {
				return nil, granted, fmt.Errorf("race %d: user %d got %s, and user 0 got %s", race, i, u.body,
					users[0].body)
			}
			if string(u.outcome) == rotated {
				rotations++
			}
		}
		if rotations != 1 {
			return nil, granted, fmt.Errorf("race %d: %d exchanges rotated, want 1", race, rotations)
		}
	}
	return took, granted, nil
}

// retries has users present the string that they hold again and again, and keep it. It stopped being current just
// now: where there is no response that all have to get, each gets its own by presenting it once.
func (c *contender) retries(ctx context.Context, w window, users []*user, granted *grant) (run, error) {
	disconnect, err := connect(ctx, users, w.warm+w.length)
	defer disconnect()
	if err != nil {
		return run{}, err
	}
	want := make([]grant, len(users))
	for i, u := range users {
		if granted != nil {
			want[i] = *granted
			continue
		}
		own, err := u.present()
		if err != nil {
			return run{}, err
		}
		want[i] = own.clone()
	}
	m := meter{driver: rig.OwnCPU, service: c.service, server: c.server}
	r, err := closedLoop(ctx, w, m, len(users), func(i int) error {
		return users[i].retry(want[i])
	})
	return r, errors.Join(err, c.service.Forget())
}
