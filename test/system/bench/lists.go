package main

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver that gormstore uses

	"github.com/refreshd/refreshd/adapter/gormstore"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/test/storagetest"
	"github.com/refreshd/refreshd/test/support/figures"
)

// listsPart reads pages and counts from a store without a service, as the use case does. Half of a million refresh
// tokens have ended: in five rounds of ten blocks of neighbours by id, of which four are active, two are mixed, and the
// others ended by a mark of their application, their own revocation, their expiry, or the marks of their users. Most
// pages begin inside a block: the worst one reads as many rows as it may, and returns none of them.
func listsPart(ctx context.Context, b *bench) error {
	b.report.section("Lists")
	rows := b.plan.stages[1]
	t := figures.NewTable("", "p50 ms", "p99 ms")
	for _, e := range []listedEngine{listedPostgres, listedSQLite} {
		s, err := e.filled(ctx, b, rows)
		if err != nil {
			return err
		}
		b.later(s.Close)
		worst := 0.0
		for _, l := range listsOf() {
			took, err := l.measure(ctx, s, rows)
			if err != nil {
				return fmt.Errorf("%s: %s: %w", e.name, l.name, err)
			}
			all := newLatencies(took)
			t.Add(e.name+", "+l.name, ms(all.p50), ms(all.p99))
			worst = max(worst, all.p99.Seconds()*1e3)
			b.progress("lists: %s, %s: p99 %s ms", e.name, l.name, ms(all.p99))
		}
		b.report.figure("lists "+e.name, worst)
	}
	b.report.say("The store alone, %d refresh tokens, half of them ended; pages of 100, of at most 5 000 rows read, and "+
		"counts of at most 10 000, out of 5 000 rows, or 10 000 of all states:", rows)
	b.report.table(t)
	return nil
}

// measured is a kind of call on a list.
type measured struct {
	name  string
	query port.ListQuery
	count bool
}

func listsOf() (all []measured) {
	for _, of := range []struct {
		name  string
		query port.ListQuery
	}{
		{"a user's", port.ListQuery{UserID: hoarder}},
		{"an application's", port.ListQuery{ApplicationID: "web"}},
		{"a tenant's", port.ListQuery{}},
	} {
		for _, state := range []domain.SessionState{domain.ActiveSessions, domain.EndedSessions, domain.AllSessions} {
			q := of.query
			q.TenantID, q.State, q.Limit, q.MaxBytes, q.MaxRows = "acme", state, 100, 1<<20, 5_000
			all = append(all, measured{name: fmt.Sprintf("page of %s, %s", of.name, state), query: q})
			if q.Limit = 10_000; state == domain.AllSessions {
				q.MaxRows = 10_000
			}
			all = append(all, measured{name: fmt.Sprintf("count of %s, %s", of.name, state), query: q, count: true})
		}
	}
	return all
}

func (l measured) measure(ctx context.Context, s *gormstore.Store, rows int) (took []time.Duration, err error) {
	q, calls := l.query, 100
	if l.count { // every count is the same call
		calls = 30
	}
	for i := range calls + warmUp {
		if q.Now = time.UnixMicro(listedNow); i%10 != 0 && !l.count {
			q.Below = listedID(rand.IntN(rows))
		}
		begin := time.Now()
		if l.count {
			_, _, err = s.Count(ctx, q)
		} else {
			_, err = s.List(ctx, q)
		}
		if err != nil {
			return nil, err
		}
		if i >= warmUp {
			took = append(took, time.Since(begin))
		}
	}
	return took, nil
}

// listedNow is when the lists are read, in microseconds.
const listedNow = 1_900_000_000_000_000

// listedID is the id of a row, as its insert makes it.
func listedID(i int) (id domain.ID) {
	binary.BigEndian.PutUint64(id[:], uint64(bulkFirstMilli+i)<<16|0x7000)
	binary.BigEndian.PutUint64(id[8:], 1<<63|uint64(i))
	return id
}

// listedEngine is what differs between the engines.
type listedEngine struct {
	name   string
	id     string // of the row i
	open   func(context.Context, *bench) (*gormstore.Store, *sql.DB, error)
	settle string // vacuums and analyses, so that the tables are as after some time of use
}

var (
	listedPostgres = listedEngine{
		name: "PostgreSQL",
		id:   `decode(lpad(to_hex(1735689600000 + i), 12, '0') || '70008000' || lpad(to_hex(i), 12, '0'), 'hex')`,
		open: func(ctx context.Context, b *bench) (*gormstore.Store, *sql.DB, error) {
			dsn, err := b.server.NewDatabase(ctx)
			if err != nil {
				return nil, nil, err
			}
			s, err := gormstore.OpenPostgres(ctx, domain.NewSecret(dsn), storeOptions(asItComes))
			if err != nil {
				return nil, nil, err
			}
			db, err := sql.Open("pgx", dsn)
			return s, db, err
		},
		settle: `VACUUM (ANALYZE)`,
	}
	listedSQLite = listedEngine{
		name: "SQLite",
		id:   `unhex(printf('%012x70008000%012x', 1735689600000 + i, i))`,
		open: func(ctx context.Context, b *bench) (*gormstore.Store, *sql.DB, error) {
			path := filepath.Join(b.dir, "lists.db")
			s, err := gormstore.OpenSQLite(ctx, path, storeOptions(asItComes))
			if err != nil {
				return nil, nil, err
			}
			db, err := sql.Open("sqlite", "file:"+path+
				"?_pragma=busy_timeout(5000)&_pragma=synchronous(OFF)&_pragma=cache_size(-200000)")
			return s, db, err
		},
		settle: `PRAGMA wal_checkpoint(TRUNCATE)`,
	}
)

// insert makes the rows $1 to $2 of $3. A twentieth belong to another tenant.
func (e listedEngine) insert() string {
	return `
INSERT INTO refresh_tokens (issued_at, issued_epoch, ordinal, recovery_paid_until, revoked_at, generation, rotated_at,
  last_used_at, expires_at, recovered_at, client_address, id, tenant_id, application_id, user_id, binding,
  revoked_reason, roles, scopes, claims,
  device_name, device_type, device_description, data, feed)
WITH RECURSIVE numbers (i) AS (SELECT CAST($1 AS BIGINT) UNION ALL SELECT i + 1 FROM numbers WHERE i < $2),
blocks AS (SELECT i, (i * 50 / CAST($3 AS BIGINT)) % 10 AS block FROM numbers),
fates AS (SELECT i, CASE
    WHEN block < 4 THEN 0 WHEN block > 5 THEN block - 5
    ELSE CASE i % 8 WHEN 0 THEN 1 WHEN 1 THEN 2 WHEN 2 THEN 3 WHEN 3 THEN 4 ELSE 0 END
  END AS fate FROM blocks)
SELECT 1700000000000000 + i, CASE WHEN fate IN (1, 4) THEN 10 ELSE 1000 END, 1, 0,
  CASE fate WHEN 2 THEN 1720000000000000 ELSE 0 END, 7, 1700000000000000, 1700000000000000,
  CASE fate WHEN 3 THEN 1750000000000000 ELSE 2000000000000000 END, 0, '192.0.2.7', ` + e.id + `,
  CASE WHEN i % 20 = 0 THEN 'globex' ELSE 'acme' END, CASE WHEN fate = 1 OR i % 3 = 0 THEN 'web' ELSE 'app' END,
  CASE WHEN i % 99 = 1 THEN 'hoarder' ELSE 'user-' || (i / 4) END, ` + e.empty() + `,
  CASE fate WHEN 2 THEN 'revoked' ELSE '' END, '["user"]', '["openid"]', '{"plan":"pro"}', 'Pixel 9', 'phone', '', '',
  CASE fate WHEN 2 THEN 1 ELSE 0 END
FROM fates`
}

// empty is a literal without bytes.
func (e listedEngine) empty() string {
	if e.name == listedSQLite.name {
		return `x''`
	}
	return `''::bytea`
}

// listedMarks are the mark of the revocation of web, and of each user with an older refresh token.
const listedMarks = `
INSERT INTO marks (tenant_id, application_id, user_id, epoch, revoked_at, reason, keep_until, feed, stamped_epoch)
SELECT 'acme', '', user_id, 500, 1730000000000000, 'revoked', 2100000000000000, 1, 500
FROM refresh_tokens WHERE tenant_id = 'acme' AND issued_epoch = 10 AND user_id <> 'hoarder' GROUP BY user_id
UNION ALL SELECT 'acme', 'web', '', 400, 1725000000000000, 'revoked', 2100000000000000, 1, 400`

// filled returns a store with that many rows.
func (e listedEngine) filled(ctx context.Context, b *bench, rows int) (s *gormstore.Store, err error) {
	s, db, err := e.open(ctx, b)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := s.Migrate(ctx, nil); err != nil {
		return s, err
	}
	for _, tenant := range []string{"acme", "globex"} {
		if err := storagetest.SaveTenant(ctx, s, domain.Tenant{ID: tenant},
			domain.Application{ID: "web"}, domain.Application{ID: "app"}); err != nil {
			return s, err
		}
	}
	return s, e.load(ctx, b, db, rows)
}

// load inserts that many rows into a database that has the tenants and their applications.
func (e listedEngine) load(ctx context.Context, b *bench, db *sql.DB, rows int) error {
	const step = 100_000
	for i := 0; i < rows; i += step {
		b.progress("lists: loading %s: %d of %d", e.name, i, rows)
		if _, err := db.ExecContext(ctx, e.insert(), i, min(i+step, rows)-1, rows); err != nil {
			return fmt.Errorf("load refresh tokens: %w", err)
		}
	}
	for _, statement := range []string{listedMarks, `UPDATE tenants SET epoch = 2000`, e.settle} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}
