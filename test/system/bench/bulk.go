package main

import (
	"context"
	"crypto/md5"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/support/rig"
)

// bulk is a database with millions of refresh tokens, numbered from 1. They are real: their rows are copies of one that
// the service issued, except for id, user and instants, and the benchmark mints their strings, because it chose the
// master key and so can open the token key in the store.
type bulk struct {
	dsn       string
	rows      int
	spread    int // the hoarder has every spread-th token, until it has enough
	tenants   int // that the tokens belong to one after another, see keyTenant; 0 for the prototype's tenant
	key       domain.TokenKey
	users     []*user // issued by the service, with names that pgbench's scripts know
	algorithm string  // that signs access tokens

	prototype  domain.ID
	generation uint32 // of the prototype, and so of all at the beginning
}

// prototype is the request that issues the session whose row is copied. It is exchanged once first, so that the row
// is as long as those of sessions in use.
const prototype = `{"applicationsId": "` + application + `", "userId": "prototype", "roles": ["user"],
	"scopes": ["openid"], "claims": {"plan": "pro"}, "metaData": {"device": {"name": "Pixel 9", "type": "phone"}}}`

// bulkSize is how many rows one statement loads, so that there is progress and the load can be interrupted.
const bulkSize = 250_000

// hoarder is the user with the most tokens.
const (
	hoarder        = "hoarder"
	hoarderHas     = 10_000
	bulkFirstMilli = 1_735_689_600_000
)

// bulkIDs defines the id of a number: in the order of issue, as UUIDs of version 7 are. bulkID is the same in Go.
const bulkIDs = `CREATE FUNCTION bench_id(i bigint) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
	SELECT decode(lpad(to_hex(1735689600000 + i), 12, '0') || '7' || substr(md5(i::text), 1, 3) || '8' ||
		substr(md5(i::text), 4, 15), 'hex')
$$`

func bulkID(i int) (id domain.ID) {
	sum := md5.Sum(strconv.AppendInt(nil, int64(i), 10))
	binary.BigEndian.PutUint64(id[:], uint64(bulkFirstMilli+i)<<16)
	// The digits of the sum, with those of version and variant inserted before the first and the fourth.
	id[6], id[7] = 0x70|sum[0]>>4, sum[0]<<4|sum[1]>>4
	id[8] = 0x80 | sum[1]&0x0f
	copy(id[9:], sum[2:9])
	return id
}

// bulkInsert copies one row with other ids. It reads the columns from the database, because older programs have others.
func bulkInsert(ctx context.Context, c *pgx.Conn) (string, error) {
	rows, err := c.Query(ctx, `SELECT column_name, data_type FROM information_schema.columns
		WHERE table_schema = current_schema AND table_name = 'refresh_tokens' ORDER BY ordinal_position`)
	if err != nil {
		return "", err
	}
	var (
		columns, values []string
		column, kind    string
	)
	_, err = pgx.ForEachRow(rows, []any{&column, &kind}, func() error {
		name := pgx.Identifier{column}.Sanitize()
		value := "t." + name
		switch {
		case column == "id":
			value = "bench_id(i)"
		case column == "user_id":
			value = "CASE WHEN i % $2 = 0 AND i / $2 <= $3 THEN $4 ELSE 'bulk-' || i / 2 END"
		case column == "tenant_id":
			value = "CASE WHEN $8::bigint > 0 THEN 't' || 1 + i % greatest($8::bigint, 1) ELSE " + value + " END"
		case kind == "bigint": // an instant, in microseconds, or a small number
			value = "CASE WHEN " + value + " > 1000000000000000 THEN " + value + " - $5 ELSE " + value + " END"
		}
		columns, values = append(columns, name), append(values, value)
		return nil
	})
	if err != nil {
		return "", err
	}
	return "INSERT INTO refresh_tokens (" + strings.Join(columns, ", ") + ") SELECT " + strings.Join(values, ", ") +
		" FROM refresh_tokens AS t, generate_series($6::bigint, $7::bigint) AS i WHERE t.id = $1", nil
}

// newBulk returns a bulk that has only what the service itself issued.
func (b *bench) newBulk(ctx context.Context, how setup, spread int) (k *bulk, err error) {
	k = &bulk{spread: spread}
	if k.dsn, err = b.newDatabase(ctx, how); err != nil {
		return nil, err
	}
	if _, err := how.briefly(ctx, k.dsn, func(s *service) error {
		if k.users, err = s.users(ctx, slices.Max(populations)); err != nil {
			return err
		}
		g, err := s.issue(ctx, prototype)
		if err != nil {
			return err
		}
		u, err := newUser(s.API, string(g.tokenString), string(g.id))
		if err != nil {
			return err
		}
		disconnect, err := connect(ctx, []*user{u}, responseTimeout)
		defer disconnect()
		if err != nil {
			return err
		}
		if err := u.exchange(); err != nil {
			return err
		}
		if g, err = u.granted(u.status); err != nil {
			return err
		}
		k.algorithm = g.algorithm()
		presented, ok := domain.ParseTokenString(string(g.tokenString))
		if k.prototype, k.generation = presented.ID, presented.Generation; !ok || k.algorithm == "" {
			return errors.New("the service responded with a malformed token string, or an access token without an algorithm")
		}
		return nil
	}); err != nil {
		return nil, err
	}
	return k, withConnection(ctx, k.dsn, func(c *pgx.Conn) error {
		if k.key, err = tokenKey(ctx, c); err != nil {
			return err
		}
		_, err := c.Exec(ctx, bulkIDs)
		return err
	})
}

// bulk returns the bulk that parts share, with at least so many rows. Its tokens are exchanged at random, and some of
// them soon again, so it has no grace period.
func (b *bench) bulk(ctx context.Context, rows int) (*bulk, error) {
	if b.shared == nil {
		k, err := b.newBulk(ctx, b.setup(asItComes, noGrace), b.plan.stages[1]/hoarderHas)
		if err != nil {
			return nil, err
		}
		b.shared = k
	}
	return b.shared, b.grow(ctx, b.shared, rows, rested)
}

// rested is an age at which each grace period is over.
const rested = 10 * time.Minute

// grow loads rows up to a number. Their tokens were issued and exchanged before the prototype, by age. It vacuums the
// table, so that it is as after some time of use. It ends with a checkpoint, so that the distance to the next one is
// the same for every table, and no commit of the measurement waits for the disk to write what was loaded.
func (b *bench) grow(ctx context.Context, k *bulk, rows int, age time.Duration) error {
	if k.rows >= rows {
		return nil
	}
	return withConnection(ctx, k.dsn, func(c *pgx.Conn) error {
		insert, err := bulkInsert(ctx, c)
		if err != nil {
			return err
		}
		for k.rows < rows {
			b.progress("loading refresh tokens: %d of %d", k.rows, rows)
			last := min(k.rows+bulkSize, rows)
			if _, err := c.Exec(ctx, insert, k.prototype[:], k.spread, hoarderHas, hoarder, age.Microseconds(),
				k.rows+1, last, k.tenants); err != nil {
				return fmt.Errorf("load refresh tokens: %w", err)
			}
			k.rows = last
		}
		b.progress("vacuuming")
		if _, err = c.Exec(ctx, "VACUUM (ANALYZE) refresh_tokens"); err != nil {
			return err
		}
		b.progress("waiting for a checkpoint")
		_, err = c.Exec(ctx, "CHECKPOINT")
		return err
	})
}

// copy returns another database with the same content, until the part is over. The first one must have no connections.
func (b *bench) copy(ctx context.Context, k *bulk) (*bulk, error) {
	b.progress("copying the database")
	other := *k
	var (
		drop func() error
		err  error
	)
	if other.dsn, drop, err = b.server.copyDatabase(ctx, k.dsn); err == nil {
		b.later(drop)
	}
	return &other, err
}

// tokenKey opens the key that mints the token strings of a database. It reads the table itself, because the database
// may be that of another program.
func tokenKey(ctx context.Context, c *pgx.Conn) (k domain.TokenKey, err error) {
	var (
		number int64
		text   []byte
	)
	if err := c.QueryRow(ctx, `SELECT number, sealed FROM keys WHERE kind = $1`,
		string(domain.KeyToken)).Scan(&number, &text); err != nil {
		return k, fmt.Errorf("read the token key: %w", err)
	}
	sealed := domain.SealedKey{Kind: domain.KeyToken, Number: uint32(number), Sealed: string(text)}
	master, err := domain.ParseMasterKey(domain.NewSecret(rig.MasterKey))
	if err != nil {
		return k, err
	}
	key, err := master.Open(sealed)
	return domain.TokenKey{Number: sealed.Number, Key: key}, err
}
