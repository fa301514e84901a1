package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"time"

	_ "modernc.org/sqlite" // the driver that gormstore uses

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/support/rig"
)

const bareSQLite = "bare statement"

// sqliteRows are rotated by the bare statement: prepared, on the only connection that writes, with the service's
// pragmas.
type sqliteRows struct {
	database    *sql.DB
	update      *sql.Stmt
	ids         [][]byte
	generations []int64
}

func openSQLiteRows(ctx context.Context, path string, users []*user) (r *sqliteRows, err error) {
	pragmas := url.Values{"_pragma": {"busy_timeout(5000)", "foreign_keys(1)", "journal_mode(WAL)", "synchronous(FULL)"}}
	r = &sqliteRows{}
	if r.database, err = sql.Open("sqlite", "file:"+path+"?"+pragmas.Encode()); err != nil {
		return nil, err
	}
	r.database.SetMaxOpenConns(1)
	r.update, err = r.database.PrepareContext(ctx,
		`UPDATE refresh_tokens SET generation = generation + 1, rotated_at = $1, last_used_at = $1
		WHERE id = $2 AND generation = $3 RETURNING id, generation`)
	if err != nil {
		return nil, errors.Join(err, r.database.Close())
	}
	for _, u := range users {
		id, _ := domain.ParseID(u.id)
		r.ids = append(r.ids, id[:])
		r.generations = append(r.generations, 1)
	}
	return r, nil
}

func (r *sqliteRows) rotate(ctx context.Context, i int) error {
	var id []byte
	row := r.update.QueryRowContext(ctx, time.Now().UnixMicro(), r.ids[i], r.generations[i])
	if err := row.Scan(&id, &r.generations[i]); err != nil {
		return fmt.Errorf("the bare statement on SQLite: %w", err)
	}
	return nil
}

func sqlitePart(ctx context.Context, b *bench) error {
	b.report.section("Exchange, SQLite")
	path := filepath.Join(b.dir, "bare.db")
	users, _, err := b.setup(oneByOne, noGrace).fill(ctx, "sqlite:"+path)
	if err != nil {
		return err
	}
	rows, err := openSQLiteRows(ctx, path, users)
	if err != nil {
		return err
	}
	b.later(rows.database.Close)
	w := b.plan.window
	variants := []variant{{name: bareSQLite, run: func(n int) (run, error) {
		return closedLoop(ctx, w, meter{driver: rig.OwnCPU}, n, func(i int) error { return rows.rotate(ctx, i) })
	}}}
	for _, m := range modes {
		c, err := b.contender(ctx, b.setup(m, noGrace), "sqlite:"+filepath.Join(b.dir, string(m)+".db"))
		if err != nil {
			return err
		}
		b.report.figure("sqlite second start", float64(c.service.ReadyAfter.Milliseconds()))
		variants = append(variants, variant{name: overHTTP(m), run: func(n int) (run, error) { return c.run(ctx, w, n) }})
	}
	s, err := b.turns("SQLite", b.plan.rounds, variants, populations...)
	if err != nil {
		return err
	}
	b.report.say("Each user exchanges one session in a loop, without a grace period:")
	b.report.table(s.table(variants, bareSQLite, populations...))
	for _, m := range modes {
		b.report.figure("sqlite http/bare 8 "+string(m), s.ratio(overHTTP(m), bareSQLite, 8, perSecond))
	}
	return nil
}

// memoryPart compares with no limit: it measures the cost of HTTP, rules and signature.
func memoryPart(ctx context.Context, b *bench) error {
	b.report.section("Exchange, memory")
	c := &contender{}
	var err error
	if c.service, err = b.setup(oneByOne, noGrace).serve(ctx, "memory:"); err != nil {
		return err
	}
	b.later(c.service.Stop)
	if c.users, err = c.service.users(ctx, 64); err != nil {
		return err
	}
	variants := []variant{{name: "HTTP", run: func(n int) (run, error) { return c.run(ctx, b.plan.window, n) }}}
	s, err := b.turns("memory", b.plan.rounds, variants, populations...)
	if err != nil {
		return err
	}
	b.report.say("Each user exchanges one session in a loop, without a grace period:")
	b.report.table(s.table(variants, "", populations...))
	return nil
}
