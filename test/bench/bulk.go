package main

import (
	"context"
	"crypto/md5"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/refreshd/refreshd/adapter/gormstore"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/rig"
)

// bulk is a database with millions of refresh tokens, numbered from 1. They are real: their rows are what an issue would have
// stored, and the benchmark mints their strings, because it chose the master key and so can open the token key in the store.
type bulk struct {
	dsn    string
	rows   int
	spread int // the hoarder has every spread-th token, until there are enough
	key    domain.TokenKey
	users  []*user // issued by the service, with names that pgbench's scripts know
}

// bulkSize are rows that are loaded in one statement, to show progress and to be interrupted.
const bulkSize = 250_000

// hoarder is the user with most tokens.
const (
	hoarder        = "hoarder"
	hoarderHas     = 10_000
	bulkFirstMilli = 1_735_689_600_000
)

// bulkIDs makes the id of a number: in the order of issue, as UUIDs of version 7 are. bulkID is the same in Go.
const bulkIDs = `CREATE FUNCTION bench_id(i bigint) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
	SELECT decode(lpad(to_hex(1735689600000 + i), 12, '0') || '7' || substr(md5(i::text), 1, 3) || '8' || substr(md5(i::text), 4, 15), 'hex')
$$`

func bulkID(i int) (id domain.ID) {
	sum := md5.Sum(strconv.AppendInt(nil, int64(i), 10))
	binary.BigEndian.PutUint64(id[:], uint64(bulkFirstMilli+i)<<16)
	// The digits of the sum, with those of version and variant put in before the first and the fourth.
	id[6], id[7] = 0x70|sum[0]>>4, sum[0]<<4|sum[1]>>4
	id[8] = 0x80 | sum[1]&0x0f
	copy(id[9:], sum[2:9])
	return id
}

const bulkInsert = `
INSERT INTO refresh_tokens (id, tenant_id, application_id, user_id, generation, issued_at, rotated_at, last_used_at, expires_at,
  grace_generation, grace_since, recovered_generation, recovery_paid_until, issued_epoch, binding, revoked_at, revoked_reason,
  roles, scopes, claims, device_name, device_type, device_description, client_address, data)
SELECT bench_id(i), $1, $2, CASE WHEN i % $3 = 0 AND i / $3 <= $4 THEN $5 ELSE 'bulk-' || i / 2 END, 1, $6, $6, $6, $7,
  0, 0, 0, 0, (SELECT epoch FROM tenants WHERE id = $1), '', 0, '',
  '["user"]', '["openid"]', '{"plan":"pro"}', 'Pixel 9', 'phone', '', '', ''
FROM generate_series($8::bigint, $9::bigint) AS i`

// newBulk is empty, but for what the service itself issued.
func (b *bench) newBulk(ctx context.Context, m mode, spread int) (*bulk, error) {
	k := &bulk{spread: spread}
	var err error
	if k.dsn, err = b.newDatabase(ctx); err != nil {
		return nil, err
	}
	if k.users, _, err = b.fill(ctx, m, k.dsn); err != nil {
		return nil, err
	}
	if k.key, err = tokenKey(ctx, k.dsn); err != nil {
		return nil, err
	}
	return k, withConnection(ctx, k.dsn, func(c *pgx.Conn) error {
		_, err := c.Exec(ctx, bulkIDs)
		return err
	})
}

// bulk gives the one that parts share, with as many rows at least.
func (b *bench) bulk(ctx context.Context, rows int) (*bulk, error) {
	if b.shared == nil {
		k, err := b.newBulk(ctx, asItComes, b.plan.stages[1]/hoarderHas)
		if err != nil {
			return nil, err
		}
		b.shared = k
	}
	return b.shared, b.grow(ctx, b.shared, rows, time.Now())
}

// grow loads rows up to a number, of tokens that were issued at an instant and lived for 30 days. It leaves the table as it would
// be after some time in service.
func (b *bench) grow(ctx context.Context, k *bulk, rows int, issued time.Time) error {
	if k.rows >= rows {
		return nil
	}
	return withConnection(ctx, k.dsn, func(c *pgx.Conn) error {
		for k.rows < rows {
			b.progress("loading refresh tokens: %d of %d", k.rows, rows)
			last := min(k.rows+bulkSize, rows)
			if _, err := c.Exec(ctx, bulkInsert, tenant, application, k.spread, hoarderHas, hoarder,
				issued.UnixMicro(), issued.AddDate(0, 0, 30).UnixMicro(), k.rows+1, last); err != nil {
				return fmt.Errorf("load refresh tokens: %w", err)
			}
			k.rows = last
		}
		b.progress("vacuuming")
		for _, statement := range []string{"VACUUM (ANALYZE) refresh_tokens", "CHECKPOINT"} {
			if _, err := c.Exec(ctx, statement); err != nil {
				return err
			}
		}
		return nil
	})
}

// tokenKey opens the key that mints the token strings of a database.
func tokenKey(ctx context.Context, dsn string) (k domain.TokenKey, err error) {
	s, err := gormstore.OpenPostgres(ctx, domain.NewSecret(dsn), gormstore.Options{})
	if err != nil {
		return k, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	sealed, err := s.SealedKeys(ctx)
	if err != nil {
		return k, err
	}
	master, err := domain.ParseMasterKey(domain.NewSecret(rig.MasterKey))
	if err != nil {
		return k, err
	}
	var keys domain.TokenKeys
	for _, s := range sealed {
		if s.Kind != domain.KeyToken {
			continue
		}
		key, err := master.Open(s)
		if err != nil {
			return k, err
		}
		keys = append(keys, domain.TokenKey{Number: s.Number, StartsAt: s.StartsAt, Key: key})
	}
	k, ok := keys.MintingAt(time.Now())
	if !ok {
		return k, errors.New("the store has no token key")
	}
	return k, nil
}
