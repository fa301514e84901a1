package gormstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"

	"github.com/refreshd/refreshd/domain"
)

// What makes a refresh token alive, once for all statements. The names are those of the table, not of an alias, because
// SQLite knows no alias in RETURNING.
const (
	ofApplication = `a.tenant_id = refresh_tokens.tenant_id AND a.id = refresh_tokens.application_id`

	covering = `m.tenant_id = refresh_tokens.tenant_id` +
		` AND m.application_id IN ('', refresh_tokens.application_id) AND m.user_id IN ('', refresh_tokens.user_id)`
)

// unended: not revoked itself, not expired, and not below the epoch of a mark. One probe of the marks' key answers for all
// four kinds of mark.
func unended(now string) string {
	return `refresh_tokens.revoked_at = 0 AND refresh_tokens.expires_at > ` + now +
		` AND NOT EXISTS (SELECT 1 FROM marks AS m WHERE ` + covering + ` AND m.epoch > refresh_tokens.issued_epoch)`
}

// alive is domain.Snapshot.Alive. An application has a row only while its tenant exists.
func alive(now string) string {
	return unended(now) + ` AND EXISTS (SELECT 1 FROM applications AS a WHERE ` + ofApplication + `)`
}

// advance is the exchange, in one statement, from what a call brings, as SQL; from is what else the statement reads. The two
// engines differ in how it can give the policy back.
//
// A grace period of 0 is always over, also where another replica's clock was ahead.
func advance(c callSQL, from, returning string) string {
	graceOver := `refresh_tokens.grace_since = 0 OR a.grace_period = 0 OR ` + c.now + ` - refresh_tokens.grace_since >= a.grace_period`
	return `
UPDATE refresh_tokens SET
  generation = refresh_tokens.generation + 1, rotated_at = ` + c.now + `, last_used_at = ` + c.now + `, client_address = ` + c.clientAddress + `,
  expires_at = CASE
    WHEN a.slide_window = 0 THEN refresh_tokens.expires_at
    WHEN ` + c.now + ` + a.slide_window < refresh_tokens.issued_at + a.slide_maximum THEN ` + c.now + ` + a.slide_window
    ELSE refresh_tokens.issued_at + a.slide_maximum END,
  grace_generation = CASE WHEN ` + graceOver + ` THEN refresh_tokens.generation ELSE refresh_tokens.grace_generation END,
  grace_since = CASE WHEN ` + graceOver + ` THEN ` + c.now + ` ELSE refresh_tokens.grace_since END
FROM ` + from + `applications AS a
WHERE refresh_tokens.id = ` + c.id + ` AND refresh_tokens.generation = ` + c.generation + `
  AND ` + ofApplication + `
  AND ` + unended(c.now) + `
  AND (` + c.tenantID + ` = '' OR refresh_tokens.tenant_id = ` + c.tenantID + `)
  AND (refresh_tokens.binding = ` + c.binding + ` OR length(refresh_tokens.binding) = 0)
  AND a.active = 1 AND a.usage_policy = 'OneTimeUse' AND a.require_authentication <= ` + c.authenticated + `
  AND a.access_token_ttl >= ` + c.accessTokenTTL + `
RETURNING ` + returning
}

// callSQL is where a statement finds the parts of a domain.Call and the id.
type callSQL struct{ now, clientAddress, id, generation, tenantID, binding, authenticated, accessTokenTTL string }

var (
	oneCall  = callSQL{"$1", "$2", "$3", "$4", "$5", "$6", "$7", "$8"}
	eachCall = callSQL{"c.now", "c.client_address", "c.id", "c.generation", "c.tenant_id", "c.binding", "c.authenticated", "c.access_token_ttl"}

	advancePostgres = advance(oneCall, "", columns("refresh_tokens.", otherColumns)+", a.policy")
	// In SQLite RETURNING knows the updated table only.
	advanceSQLite = advance(oneCall, "", columns("", otherColumns)+
		", (SELECT a.policy FROM applications AS a WHERE "+ofApplication+")")

	// advanceMany is advance for many refresh tokens, each still a compare-and-swap of its own. It first locks their rows, in the
	// order of ids, so that two of these never deadlock; and passes over those that somebody else holds, so that none waits for
	// another's.
	advanceMany = `
WITH call AS (
  SELECT * FROM unnest($1::bigint[], $2::text[], $3::bytea[], $4::bigint[], $5::text[], $6::bytea[], $7::smallint[], $8::bigint[])
    WITH ORDINALITY AS c (now, client_address, id, generation, tenant_id, binding, authenticated, access_token_ttl, place)
), locked AS (
  SELECT call.* FROM call JOIN refresh_tokens AS t ON t.id = call.id AND t.generation = call.generation
  ORDER BY t.id FOR NO KEY UPDATE OF t SKIP LOCKED
)` + advance(eachCall, "locked AS c, ", columns("refresh_tokens.", otherColumns)+", a.policy, c.place")
)

// Advance implements port.RefreshTokens.
func (s *Store) Advance(ctx context.Context, id domain.ID, c domain.Call) (domain.RefreshToken, domain.Policy, error) {
	e, run := &exchange{id: id, call: c}, s.advanceAlone
	if s.combiner != nil {
		run = s.combiner.do
	}
	if err := run(ctx, e); err != nil {
		return domain.RefreshToken{}, domain.Policy{}, err
	}
	return e.token, e.policy, nil
}

// advanceAlone is an exchange by itself.
func (s *Store) advanceAlone(ctx context.Context, e *exchange) error {
	return s.writing(ctx, "advance", func(db *gorm.DB) error { return s.advanceIn(db, e) })
}

func (s *Store) advanceIn(db *gorm.DB, e *exchange) (err error) {
	var row tokenRow
	c := e.call
	if err := queryRow(raw(db, s.engine.advance, micros(c.Now), c.ClientAddress, e.id[:], int64(c.Generation), c.TenantID,
		[]byte(c.Binding), flag(c.Authenticated), c.AccessTokenTTL.Microseconds()), domain.ErrConflict,
		append(row.otherDest(), policyText{&e.policy})...); err != nil {
		return err
	}
	e.token, err = row.advanced(e)
	return err
}

// advanceTogether is a batch in one statement. Left unsettled are those that it did not write, whether their rows were held by somebody
// else or there was nothing to do; and all, if the database could not read one of them.
func (s *Store) advanceTogether(ctx context.Context, batch []*exchange) error {
	n := len(batch)
	var (
		now, generation, accessTokenTTL = make([]int64, n), make([]int64, n), make([]int64, n)
		authenticated                   = make([]int64, n)
		clientAddress, tenantID         = make([]string, n), make([]string, n)
		id, binding                     = make([][]byte, n), make([][]byte, n)
	)
	for i, e := range batch {
		c := e.call
		now[i], clientAddress[i], id[i], generation[i], tenantID[i] = micros(c.Now), c.ClientAddress, e.id[:], int64(c.Generation), c.TenantID
		binding[i], authenticated[i], accessTokenTTL[i] = []byte(c.Binding), flag(c.Authenticated), c.AccessTokenTTL.Microseconds()
	}
	unsettle := func() {
		for _, e := range batch {
			e.settled = false
		}
	}
	err := s.writing(ctx, "advance together", func(db *gorm.DB) error {
		unsettle() // what an attempt before this one read was undone
		return queryRows(raw(db, advanceMany, now, clientAddress, id, generation, tenantID, binding, authenticated, accessTokenTTL),
			func(rows *sql.Rows) (err error) {
				var (
					row    tokenRow
					policy domain.Policy
					place  int
				)
				if err := rows.Scan(append(row.otherDest(), policyText{&policy}, &place)...); err != nil {
					return err
				}
				e := batch[place-1]
				e.settled, e.policy = true, policy
				e.token, err = row.advanced(e)
				return err
			})
	})
	if unreadable(err) {
		unsettle()
		return nil
	}
	return err
}

// advanceInTurn is a batch in one transaction. All are left unsettled if one of them fails.
func (s *Store) advanceInTurn(ctx context.Context, batch []*exchange) error {
	var failed error
	err := s.writing(ctx, "advance in turn", func(db *gorm.DB) error {
		return db.Transaction(func(tx *gorm.DB) error {
			for _, e := range batch {
				if e.err = s.advanceIn(tx, e); e.err != nil && !errors.Is(e.err, domain.ErrConflict) {
					failed = e.err
					return failed
				}
			}
			return nil
		})
	})
	if failed != nil {
		return nil // nothing was committed
	}
	for _, e := range batch {
		e.settled = true
		if e.err != nil {
			e.err = fmt.Errorf("gormstore: advance: %w", e.err)
		}
	}
	return err
}

// insert takes the epoch from the tenant in the statement that stores the row. A revocation that commits while it runs
// leaves a mark above the epoch that it took.
var insert = `
INSERT INTO refresh_tokens (` + columns("", tokenColumns) + `)
SELECT ` + placeholders(len(tokenColumns)-1) + `, t.epoch
FROM tenants AS t JOIN applications AS a ON a.tenant_id = t.id
WHERE t.id = $8 AND a.id = $9 AND a.active = 1`

// Insert implements port.RefreshTokens.
func (s *Store) Insert(ctx context.Context, t domain.RefreshToken) error {
	return s.writing(ctx, "insert", func(db *gorm.DB) error {
		args, err := tokenArgs(t)
		if err != nil {
			return err
		}
		return wrote(db.Exec(insert, args...), domain.ErrNotFound)
	})
}

var snapshot = `
SELECT ` + columns("refresh_tokens.", tokenColumns) + `,
  COALESCE((SELECT max(m.epoch) FROM marks AS m WHERE ` + covering + `), 0),
  a.id IS NULL, COALESCE(a.policy, '')
FROM refresh_tokens LEFT JOIN applications AS a ON ` + ofApplication + `
WHERE refresh_tokens.id = $1`

// Snapshot implements port.RefreshTokens.
func (s *Store) Snapshot(ctx context.Context, id domain.ID) (domain.Snapshot, error) {
	var (
		token tokenRow
		epoch int64
		shot  domain.Snapshot
	)
	dest := append(token.dest(), &epoch, &shot.Gone, policyText{&shot.Policy})
	err := s.reading(ctx, "snapshot", func(db *gorm.DB) (err error) {
		if err := queryRow(raw(db, snapshot, id[:]), domain.ErrNotFound, dest...); err != nil {
			return err
		}
		shot.Token, err = token.token()
		return err
	})
	if err != nil {
		return domain.Snapshot{}, err
	}
	shot.MarkEpoch = uint64(epoch)
	return shot, nil
}

var swap = `
UPDATE refresh_tokens SET
  last_used_at = $1, expires_at = $2, recovered_generation = $3, recovery_paid_until = $4, revoked_at = $5, revoked_reason = $6
WHERE id = $7 AND generation = $8 AND recovered_generation = $9 AND recovery_paid_until = $10 AND ` + alive("$11")

// Swap implements port.RefreshTokens.
func (s *Store) Swap(ctx context.Context, before, after domain.RefreshToken, now time.Time) error {
	return s.writing(ctx, "swap", func(db *gorm.DB) error {
		return wrote(db.Exec(swap, micros(after.LastUsedAt), micros(after.ExpiresAt), int64(after.RecoveredGeneration),
			after.RecoveryPaidUntil, micros(after.RevokedAt), string(after.RevokedReason),
			before.ID[:], int64(before.Generation), int64(before.RecoveredGeneration), before.RecoveryPaidUntil,
			micros(now)), domain.ErrConflict)
	})
}
