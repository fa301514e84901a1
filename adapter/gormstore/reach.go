package gormstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"gorm.io/gorm"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// A revocation writes nothing for the feed: the revoked row is the fact, and a partial index finds it. Stamp gives it a
// position afterwards. So no revocation waits for a counter, and none can forget to report.
//
// Why nothing is missed: one statement reads everything, so a fact that was committed before it is either without a
// position in its snapshot, and returned, or has one. A position above the reader's is returned too. One at or below
// it was given by a stamp that an earlier statement of the reader has seen, because a stamp holds the row of
// revocation_feed until it is committed: a snapshot that shows a head shows all stamps up to it. Reading in two
// statements would be wrong: a fact may get its position in between.
//
// No clock and no sequence takes part in this. Positions are times only so that they continue above the old ones when
// a fail-over has lost some of them.
//
// The same statement reads the row that the reader's last beat has written. The connection may be one to a server that
// was replaced, whose snapshot lacks what the new one has stored. Then it lacks the beats that the new one confirmed.

// The kinds of a row of revoked.
const (
	headOfFeed = iota
	revokedSession
	raisedMark
	lastBeat
	revokedKey
)

const (
	// The conditions of a partial index are written out. A generic plan could not infer them from a parameter.
	unstampedToken = `revoked_at <> 0 AND feed = 0`
	unstampedMark  = `epoch <> stamped_epoch`
	revokedSigning = `kind = 'signing' AND revoked_at <> 0`
	unstampedKey   = revokedSigning + ` AND revoked_position = 0`

	sessionFact = `SELECT 1, feed, tenant_id, id, 0, '', '' FROM refresh_tokens WHERE `
	markFact    = `, tenant_id, CASE WHEN except_epoch = epoch THEN except_id ELSE '' END, epoch, application_id,
  user_id FROM marks WHERE `
	keyFact = `SELECT 4, revoked_position, tenant_id, '', 0, id, '' FROM keys WHERE `

	// revoked selects the facts and the head. A mark that was raised has no position, whatever its feed is.
	revoked = sessionFact + unstampedToken + `
UNION ALL ` + sessionFact + `revoked_at <> 0 AND feed > $1
UNION ALL SELECT 2, 0` + markFact + unstampedMark + `
UNION ALL SELECT 2, feed` + markFact + `feed <> 0 AND feed > $1 AND epoch = stamped_epoch
UNION ALL ` + keyFact + unstampedKey + `
UNION ALL ` + keyFact + revokedSigning + ` AND revoked_position > $1
UNION ALL SELECT 0, position, '', '', 0, '', '' FROM revocation_feed WHERE one = 1`

	revokedAndBeat = revoked + `
UNION ALL SELECT 3, beat, '', '', 0, '', '' FROM feed_readers WHERE holder = $2`

	// anyUnstamped is an index probe, or two, or three.
	anyUnstamped = `EXISTS (SELECT 1 FROM refresh_tokens WHERE ` + unstampedToken + `)
  OR EXISTS (SELECT 1 FROM marks WHERE ` + unstampedMark + `)
  OR EXISTS (SELECT 1 FROM keys WHERE ` + unstampedKey + `)`

	// stampPostgres locks what it stamps, in its newest version, and skips what others have locked. So it never waits,
	// and a row that changes meanwhile is stamped as it was stored. If there is nothing to stamp, or another stamp is
	// not committed yet, head is empty and nothing is written.
	//
	// Keys are read once, and joined to the rows one by one, as in keepNewestPostgres. PostgreSQL takes a difference of
	// two columns for the usual case, and would read all marks for a few. So the keys of marks, and those of signing
	// keys, go through arrays, which it takes for short ones.
	stampPostgres = `
WITH revoked AS MATERIALIZED (
  SELECT id FROM refresh_tokens WHERE ` + unstampedToken + ` LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED
), raised AS MATERIALIZED (
  SELECT tenant_id, application_id, user_id FROM marks WHERE ` + unstampedMark + ` LIMIT $1
  FOR NO KEY UPDATE SKIP LOCKED
), ended AS MATERIALIZED (
  SELECT id FROM keys WHERE ` + unstampedKey + ` LIMIT $1
  FOR NO KEY UPDATE SKIP LOCKED
), head AS (
  UPDATE revocation_feed SET position = GREATEST(position + 1, (` + clockPostgres + `))
  WHERE one = (
    SELECT one FROM revocation_feed
    WHERE one = 1
      AND (EXISTS (SELECT 1 FROM revoked) OR EXISTS (SELECT 1 FROM raised) OR EXISTS (SELECT 1 FROM ended))
    FOR NO KEY UPDATE SKIP LOCKED)
  RETURNING position
), tokens AS (
  UPDATE refresh_tokens SET feed = head.position FROM head, revoked WHERE refresh_tokens.id = revoked.id
  RETURNING 1
), scopes AS (
  SELECT array_agg(tenant_id) AS tenants, array_agg(application_id) AS applications, array_agg(user_id) AS users
  FROM raised
), stamped AS (
  UPDATE marks SET feed = head.position, stamped_epoch = marks.epoch
  FROM head, scopes, unnest(scopes.tenants, scopes.applications, scopes.users) AS k (tenant_id, application_id, user_id)
  WHERE marks.tenant_id = k.tenant_id AND marks.application_id = k.application_id AND marks.user_id = k.user_id
  RETURNING 1
), ids AS (
  SELECT array_agg(id) AS ids FROM ended
), stamped_keys AS (
  UPDATE keys SET revoked_position = head.position
  FROM head, ids, unnest(ids.ids) AS n (id)
  WHERE keys.id = n.id AND keys.id <> ''
  RETURNING 1
)
SELECT (SELECT count(*) FROM tokens), (SELECT count(*) FROM stamped), (SELECT count(*) FROM stamped_keys)`

	lookUnstamped = `SELECT ` + anyUnstamped

	nextPositionSQLite = `
UPDATE revocation_feed SET position = max(position + 1, $1) WHERE ` + anyUnstamped + ` RETURNING position`

	stampTokensSQLite = `
UPDATE refresh_tokens SET feed = $1
WHERE rowid IN (SELECT rowid FROM refresh_tokens WHERE ` + unstampedToken + ` LIMIT $2)`

	stampMarksSQLite = `
UPDATE marks SET feed = $1, stamped_epoch = epoch
WHERE (tenant_id, application_id, user_id) IN (
  SELECT tenant_id, application_id, user_id FROM marks WHERE ` + unstampedMark + ` LIMIT $2)`

	stampKeysSQLite = `
UPDATE keys SET revoked_position = $1
WHERE (kind, tenant_id, algorithm, number) IN (
  SELECT kind, tenant_id, algorithm, number FROM keys WHERE ` + unstampedKey + ` LIMIT $2)`

	beat = `
INSERT INTO feed_readers (holder, beat) VALUES ($1, $2) ON CONFLICT (holder) DO UPDATE SET beat = excluded.beat`

	longestAccessTTL = `SELECT longest_access_ttl FROM tenants WHERE id = $1`

	// longestAccessTTLAndBeat selects the beat also if there is no such tenant.
	longestAccessTTLAndBeat = `
SELECT COALESCE((` + longestAccessTTL + `), -1), COALESCE((SELECT beat FROM feed_readers WHERE holder = $2), 0)`
)

// errReplaced means that a statement was served by a server that lacks a beat which was confirmed before.
var errReplaced = fmt.Errorf("%w: a connection leads to a server that another one has replaced", domain.ErrUnavailable)

// errNoFeed means that somebody has deleted the row that the migration inserts.
var errNoFeed = errors.New("the table revocation_feed is empty: " +
	"INSERT INTO revocation_feed (one, position) VALUES (1, 0)")

// Revoked implements port.Reach. It reads the primary, as every statement does.
func (s *Store) Revoked(
	ctx context.Context, q port.FactQuery, each func(domain.Fact),
) (read port.Reading, err error) {
	after, confirmed := max(0, int64(q.After)), s.beats.of(q.Reader)
	err = s.feeding(ctx, "revoked", func(db *gorm.DB) error {
		read = port.Reading{}
		statement := raw(db, revokedAndBeat, after, q.Reader)
		if s.engine.checkServer == nil {
			statement, read.Beat = raw(db, revoked, after), confirmed
		}
		found := false
		err := queryRows(statement, func(rows *sql.Rows) error {
			var (
				f           domain.Fact
				kind, epoch int64
				id          sql.RawBytes
			)
			if err := rows.Scan(&kind, &f.Position, &f.TenantID, &id, &epoch, &f.ApplicationID, &f.UserID); err != nil {
				return err
			}
			switch kind {
			case headOfFeed:
				read.Head, found = f.Position, true
				return nil
			case lastBeat:
				read.Beat = instant(int64(f.Position))
				return nil
			case revokedSession:
				copy(f.SessionID[:], id)
			case revokedKey:
				f.KeyID, f.ApplicationID = f.ApplicationID, ""
			case raisedMark:
				f.Epoch = uint64(epoch)
				copy(f.Except[:], id)
			}
			each(f)
			return nil
		})
		if err == nil && !found {
			err = errNoFeed
		}
		return err
	})
	if err != nil {
		return port.Reading{}, err
	}
	if read.Beat.Before(confirmed) {
		s.renewFeed()
	}
	return read, nil
}

// renewFeed closes the connections of the feed that are idle. One that leads to a server that was replaced works well,
// so nothing else closes it, and the process could not read until its time is over.
func (s *Store) renewFeed() {
	s.feedPool.SetMaxIdleConns(0)
	s.feedPool.SetMaxIdleConns(feedConnections)
}

// Stamp implements port.Reach.
func (s *Store) Stamp(ctx context.Context, now time.Time, limit int) (stamped int, err error) {
	if !s.engine.writesInWith {
		return s.stampInTransaction(ctx, now, limit)
	}
	var tokens, marks, keys int
	err = s.feeding(ctx, "stamp", func(db *gorm.DB) error {
		return queryRow(raw(db, stampPostgres, limit), sql.ErrNoRows, &tokens, &marks, &keys)
	})
	if err != nil {
		return 0, err
	}
	return max(tokens, marks, keys), nil
}

// stampInTransaction looks with a connection that reads first, because an idle service must not write every second.
func (s *Store) stampInTransaction(ctx context.Context, now time.Time, limit int) (stamped int, err error) {
	var found bool
	if err := s.reading(ctx, "stamp", func(db *gorm.DB) error {
		return queryRow(raw(db, lookUnstamped), sql.ErrNoRows, &found)
	}); err != nil || !found {
		return 0, err
	}
	err = s.transacting(ctx, "stamp", func(tx *gorm.DB) error {
		stamped = 0
		var position int64
		err := queryRow(raw(tx, nextPositionSQLite, micros(now)), domain.ErrNotFound, &position)
		if errors.Is(err, domain.ErrNotFound) { // another process has stamped it
			return nil
		}
		if err != nil {
			return err
		}
		for _, statement := range []string{stampTokensSQLite, stampMarksSQLite, stampKeysSQLite} {
			written := tx.Exec(statement, position, limit)
			if written.Error != nil {
				return written.Error
			}
			stamped = max(stamped, int(written.RowsAffected))
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return stamped, nil
}

// Beat implements port.Reach. A file cannot be replaced while it is open (see sqliteFile), so SQLite keeps beats in
// memory. PostgreSQL has rolled back an attempt that feeding repeats.
func (s *Store) Beat(ctx context.Context, reader string, at time.Time) error {
	if s.engine.checkServer == nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		s.beats.set(reader, at)
		return nil
	}
	err := s.feeding(ctx, "beat", func(db *gorm.DB) error { return db.Exec(beat, reader, micros(at)).Error })
	if err == nil {
		s.beats.set(reader, at)
	}
	return err
}

// beats holds the last beat of each reader that was confirmed. The zero value is ready to use.
type beats struct {
	mu     sync.Mutex
	last   map[string]time.Time
	reader string // of the latest of all
}

func (b *beats) set(reader string, at time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.last == nil {
		b.last = make(map[string]time.Time)
	}
	b.last[reader], b.reader = at, reader
}

// latest returns the last beat of all; that of a process, which has one reader.
func (b *beats) latest() (reader string, at time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.reader, b.last[b.reader]
}

func (b *beats) of(reader string) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.last[reader]
}

// LongestAccessTTL implements port.Reach. If the server that answers lacks a confirmed beat, it asks once more, with a
// new connection.
func (s *Store) LongestAccessTTL(ctx context.Context, tenantID string) (time.Duration, error) {
	var ttl, shown int64
	reader, confirmed := s.beats.latest()
	read := func() error {
		return s.feeding(ctx, "longest access TTL", func(db *gorm.DB) error {
			if s.engine.checkServer == nil {
				return queryRow(raw(db, longestAccessTTL, tenantID), domain.ErrNotFound, &ttl)
			}
			return queryRow(raw(db, longestAccessTTLAndBeat, tenantID, reader), sql.ErrNoRows, &ttl, &shown)
		})
	}
	isReplaced := func() bool { return s.engine.checkServer != nil && !confirmed.IsZero() && shown < micros(confirmed) }
	err := read()
	if err == nil && isReplaced() {
		s.renewFeed()
		err = read()
	}
	switch {
	case err != nil:
		return 0, err
	case isReplaced():
		return 0, fmt.Errorf("gormstore: longest access TTL: %w", errReplaced)
	case ttl < 0:
		return 0, fmt.Errorf("gormstore: longest access TTL: %w", domain.ErrNotFound)
	}
	return duration(ttl), nil
}
