package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/support/figures"
	"github.com/refreshd/refreshd/test/support/rig"
)

const (
	// beforeReach is the last commit before the revocation stream.
	beforeReach = "92d25c3"

	beforeUsers   = 32
	beforeCallers = 8
	// beforeSessions are on SQLite; each is revoked once.
	beforeSessions = 100_000
)

// beforeSide is a program on a database of its own.
type beforeSide struct {
	name     string
	contends *contender
	revokes  *revokeSide
}

// reachBeforePart compares exchanges and single revocations with the program before the stream. No stream is
// open.
func reachBeforePart(ctx context.Context, b *bench) error {
	b.report.section("Before the revocation stream")
	older, name := b.base, b.baseName
	if name == "" {
		b.progress("building the service of %s", beforeReach)
		var err error
		if older, name, err = rig.BuildCommit(ctx, b.dir, beforeReach); err != nil {
			return err
		}
	}
	programs := []rig.Program{b.program, older}
	names := []string{"now", name}
	for _, on := range []struct {
		store, figure string
		policy        policy
		side          func(context.Context, setup, string) (*beforeSide, error)
	}{
		{"PostgreSQL", "reach before", es256, b.beforeOnPostgres},
		{"SQLite", "reach before sqlite", es256 + ", " + noGrace, b.beforeOnSQLite},
	} {
		var sides []*beforeSide
		for i, p := range programs {
			side, err := on.side(ctx, setup{program: p, mode: asItComes, policy: on.policy}, names[i])
			if err != nil {
				return fmt.Errorf("%s, %s: %w", on.store, names[i], err)
			}
			sides = append(sides, side)
		}
		if err := b.beforeFigures(ctx, on.store, on.figure, sides); err != nil {
			return err
		}
	}
	return nil
}

// beforeOnPostgres returns a side that exchanges a pool of sessions. Each is exchanged at most once.
func (b *bench) beforeOnPostgres(ctx context.Context, how setup, name string) (*beforeSide, error) {
	k, err := b.newBulk(ctx, how, never)
	if err != nil {
		return nil, err
	}
	if err := b.grow(ctx, k, costPool, rested); err != nil {
		return nil, err
	}
	c, err := b.onDatabase(ctx, name, how, k.dsn, nil, 0)
	if err != nil {
		return nil, err
	}
	if c.pool, err = newPool(k, c.service, beforeUsers); err != nil {
		return nil, err
	}
	return &beforeSide{name, c, &revokeSide{name: name, rows: k.rows}}, nil
}

// beforeOnSQLite returns a side whose users exchange one session each. Others are there to be revoked.
func (b *bench) beforeOnSQLite(ctx context.Context, how setup, name string) (*beforeSide, error) {
	path := filepath.Join(b.dir, "before-"+name+".db")
	users, _, err := how.fill(ctx, "sqlite:"+path)
	if err != nil {
		return nil, err
	}
	b.progress("loading %d refresh tokens", beforeSessions)
	if err := copySQLiteRows(ctx, path, users[0].id, beforeSessions); err != nil {
		return nil, err
	}
	c := &contender{name: name, how: how, users: users}
	if err := c.restart(ctx, b, "sqlite:"+path); err != nil {
		return nil, err
	}
	return &beforeSide{name, c, &revokeSide{name: name, rows: beforeSessions}}, nil
}

// copySQLiteRows copies the row of a session n times, with the ids of a bulk. It reads the columns from the database,
// because older programs have others.
func copySQLiteRows(ctx context.Context, path, of string, n int) (err error) {
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var columns string
	if err := db.QueryRowContext(ctx, `SELECT group_concat('"' || name || '"') FROM pragma_table_info('refresh_tokens')`).
		Scan(&columns); err != nil {
		return err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	insert, err := tx.PrepareContext(ctx, "INSERT INTO refresh_tokens ("+columns+") SELECT "+
		strings.Replace(columns, `"id"`, "$1", 1)+" FROM refresh_tokens WHERE id = $2")
	if err != nil {
		return err
	}
	defer insert.Close()
	id, ok := domain.ParseID(of)
	if !ok {
		return fmt.Errorf("malformed id %q", of)
	}
	for i := range n {
		to := bulkID(i + 1)
		if _, err := insert.ExecContext(ctx, to[:], id[:]); err != nil {
			return fmt.Errorf("load refresh tokens: %w", err)
		}
	}
	return tx.Commit()
}

// beforeFigures measures the sides alternately: first exchanges, then revocations.
func (b *bench) beforeFigures(ctx context.Context, store, figure string, sides []*beforeSide) error {
	w := b.plan.window
	exchange, revoke := "exchange, ", revokeCalls[0].name+", "
	var exchanges, revocations []variant
	for _, side := range sides {
		exchanges = append(exchanges, variant{name: exchange + side.name, run: func(n int) (run, error) {
			return side.contends.run(ctx, w, n)
		}})
		side.revokes.service = side.contends.service
		side.revokes.callers = newCallers(side.contends.service, beforeCallers)
		revocations = append(revocations, variant{name: revoke + side.name, run: func(n int) (run, error) {
			return side.revokes.run(ctx, b, revokeCalls[0], n)
		}})
	}
	s, err := b.turns(store+", before the stream", b.plan.reachRounds, exchanges, beforeUsers)
	if err != nil {
		return err
	}
	hot, err := b.beforeHot(ctx, sides)
	if err != nil {
		return err
	}
	for _, side := range sides {
		side.revokes.service = side.contends.service
		side.revokes.callers = newCallers(side.contends.service, beforeCallers)
	}
	r, err := b.turns(store+", before the stream: revocations", b.plan.reachRounds, revocations, beforeCallers)
	if err != nil {
		return err
	}
	b.report.say("%s, %d rounds:", store, b.plan.reachRounds)
	b.report.table(s.table(exchanges, exchanges[1].name, beforeUsers))
	b.report.table(r.table(revocations, revocations[1].name, beforeCallers))
	b.report.figure(figure+" exchange", s.ratio(exchanges[0].name, exchanges[1].name, beforeUsers, perSecond))
	b.report.figure(figure+" revoke", r.ratio(revocations[0].name, revocations[1].name, beforeCallers, perSecond))
	more := difference(s, exchanges[0].name, exchanges[1].name, beforeUsers, objects)
	b.report.say("An exchange allocates %s objects more than before.", figures.Format(more, "%.1f"))
	if store == "PostgreSQL" {
		b.report.figure("reach before hot", hot)
		b.report.figure("reach before objects", more)
	}
	return nil
}

// difference returns the median of the differences of the rounds.
func difference(s *series, variant, to string, users int, value func(run) float64) float64 {
	var all []float64
	for i, r := range s.runs[variant][users] {
		if others := s.runs[to][users]; i < len(others) {
			all = append(all, value(r)-value(others[i]))
		}
	}
	return figures.Median(all)
}

// beforeHot returns the share of HOT updates of the exchanges of the first side. For that it ends the services, and
// starts them again.
func (b *bench) beforeHot(ctx context.Context, sides []*beforeSide) (hot float64, err error) {
	for _, side := range sides {
		c := side.contends
		if c.server == nil {
			continue
		}
		if err := c.service.Stop(); err != nil {
			return 0, err
		}
		after, err := b.server.counters(ctx, c.dsn)
		if err != nil {
			return 0, err
		}
		d := after.since(c.before)
		_, others := c.pool.exchanged()
		share := float64(d.hot) / float64(d.updates)
		b.report.say("PostgreSQL, %s: %s; %d of %d updates were HOT (%s), %d rows were added.", side.name,
			countsText(c.pool.outcomes), d.hot, d.updates, figures.Format(100*share, "%.2f %%"), d.rows)
		if others > 0 {
			return 0, fmt.Errorf("%s: %d exchanges did not rotate", side.name, others)
		}
		if side == sides[0] {
			hot = share
		}
		c.users = nil
		if err := c.restart(ctx, b, c.dsn); err != nil {
			return 0, err
		}
	}
	return hot, nil
}
