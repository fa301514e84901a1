package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/refreshd/refreshd/test/rig"
)

const (
	hotToken     = "64 users, one string"
	ownTokens    = "64 users, a string each"
	hotUsers     = 64
	hotRaces     = 20
	hotRacesName = "races for one current string"
)

// hotPart has many present one token string at once, as the tabs of a browser, or the pods of a backend, do. In a race all present
// the current string: one rotates, the others retry. Then all present the old one, again and again, within the grace period. Every
// answer of a race, and to the string of one, has to be the same bytes.
func hotPart(ctx context.Context, b *bench) error {
	b.report.section("A hot token")
	c, err := b.onPostgres(ctx, asItComes)
	if err != nil {
		return err
	}
	one := make([]*user, hotUsers)
	for i := range one {
		if one[i], err = newUser(c.service.API, string(c.users[0].current), c.users[0].id); err != nil {
			return err
		}
	}
	var raced []time.Duration
	variants := []variant{
		{name: ownTokens, run: func(int) (run, error) { return c.retries(ctx, b.plan.window, c.users, nil) }},
		{name: hotToken, run: func(int) (run, error) {
			took, answer, err := races(ctx, one, hotRaces)
			if err != nil {
				return run{}, err
			}
			raced = append(raced, took...)
			return c.retries(ctx, b.plan.window, one, answer)
		}},
	}
	s, err := b.turns("hot token", b.plan.rounds, variants, hotUsers)
	if err != nil {
		return err
	}
	b.report.table(s.table(variants, ownTokens, hotUsers))
	l := newLatencies(raced)
	b.report.say("%d %s, of 64 at once: one distinct answer each; p50 %s ms, p99 %s ms.", b.plan.rounds*hotRaces, hotRacesName, ms(l.p50), ms(l.p99))
	b.report.figure("hot token", s.ratio(hotToken, ownTokens, hotUsers, perSecond))
	return nil
}

// races has all present the current string at once, and then move to the next one together. It returns how long the calls took, and
// the answer of the last race.
func races(ctx context.Context, users []*user, n int) (took []time.Duration, answer []byte, err error) {
	disconnect, err := connect(ctx, users, time.Duration(n)*time.Second)
	defer disconnect()
	if err != nil {
		return nil, nil, err
	}
	took = make([]time.Duration, n*len(users))
	for race := range n {
		errs := make([]error, len(users))
		var group sync.WaitGroup
		for i, u := range users {
			group.Go(func() {
				begin := time.Now()
				_, errs[i] = u.present()
				took[race*len(users)+i] = time.Since(begin)
			})
		}
		group.Wait()
		if err := errors.Join(errs...); err != nil {
			return nil, nil, err
		}
		answer = bytes.Clone(users[0].body)
		next, err := parseGrant(200, answer)
		if err != nil {
			return nil, nil, err
		}
		for i, u := range users {
			if !bytes.Equal(u.body, answer) {
				return nil, nil, fmt.Errorf("race %d: user %d was answered %s, and user 0 %s", race, i, u.body, answer)
			}
			if race < n-1 {
				copy(u.current, next.tokenString)
			}
		}
	}
	return took, answer, nil
}

// retries has users present the string that they hold again and again. It stopped being current just now: where there is no
// answer that all have to get, each gets its own by presenting it once.
func (c *contender) retries(ctx context.Context, w window, users []*user, answer []byte) (run, error) {
	disconnect, err := connect(ctx, users, w.warm+w.length)
	defer disconnect()
	if err != nil {
		return run{}, err
	}
	want := make([][]byte, len(users))
	next := make([][]byte, len(users))
	for i, u := range users {
		if want[i] = answer; answer == nil {
			if _, err := u.present(); err != nil {
				return run{}, err
			}
			want[i] = bytes.Clone(u.body)
		}
		g, err := parseGrant(200, want[i])
		if err != nil {
			return run{}, err
		}
		next[i] = g.tokenString
	}
	r, err := closedLoop(ctx, w, meter{driver: rig.OwnCPU, service: c.service, server: c.server}, len(users), func(i int) error {
		if _, err := users[i].present(); err != nil {
			return err
		}
		if !bytes.Equal(users[i].body, want[i]) {
			return fmt.Errorf("a retry was answered %s, and the exchange %s", users[i].body, want[i])
		}
		return nil
	})
	for i, u := range users {
		copy(u.current, next[i])
	}
	return r, errors.Join(err, c.service.Forget())
}
