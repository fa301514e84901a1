package gormstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"gorm.io/gorm"

	"github.com/refreshd/refreshd/domain"
)

// The conditions of an active refresh token, shared by all statements. They name the table and not an alias,
// because SQLite knows no alias in RETURNING.

// ofApplication leads from a refresh token to its application, and not back: see tenantIs.
const ofApplication = `a.tenant_id = refresh_tokens.tenant_id || '' AND a.id = refresh_tokens.application_id`

// hasApplication is true for a refresh token whose application exists. With EXISTS, PostgreSQL may read all
// applications of all tenants for each page of a list, to look up those of its rows in a hash table.
const hasApplication = `(SELECT 1 FROM applications AS a WHERE ` + ofApplication + `) IS NOT NULL`

// ofItsMarks leads from a refresh token to the marks that cover it.
var ofItsMarks = covering{"refresh_tokens.tenant_id", "refresh_tokens.application_id", "refresh_tokens.user_id"}

// covering names the tenant, the application and the user whose marks are looked up.
type covering struct{ tenantID, applicationID, userID string }

// marks returns the query of their columns, with a SELECT for each kind of mark that satisfies the condition and.
//
// Each compares the whole key, and PostgreSQL cannot join it to anything else. With IN for each part that a mark leaves
// open, there is one SELECT, but with statistics of few marks for each tenant, or none, PostgreSQL searches by the
// tenant alone, and reads all marks of the tenant. With a join for each kind, as NOT EXISTS is, it may read all marks
// if they were analysed while there were none.
//
// A search ends at the first mark. So the kinds are in the order of how many refresh tokens they usually end: a list
// may look at thousands that have ended for each one that it returns.
func (c covering) marks(columns, and string) string {
	kinds := []struct{ applicationID, userID string }{
		{`''`, c.userID}, {c.applicationID, `''`}, {c.applicationID, c.userID}, {`''`, `''`},
	}
	texts := make([]string, len(kinds))
	for i, kind := range kinds {
		texts[i] = `SELECT ` + columns + ` FROM marks AS m WHERE m.tenant_id = ` + c.tenantID +
			` AND m.application_id = ` + kind.applicationID + ` AND m.user_id = ` + kind.userID + and
	}
	return strings.Join(texts, ` UNION ALL `)
}

// aboveItsEpoch is true for a mark that has ended a refresh token that it covers.
const aboveItsEpoch = ` AND m.epoch > refresh_tokens.issued_epoch`

// tenantIs compares the tenant of a refresh token that is looked up by its id. It is written so that no index matches:
// while the table is new, PostgreSQL has no reason to prefer the primary key to the index of users, which begins with
// the tenant. Until its next plan it would then read all entries of a tenant there to find one.
func tenantIs(id string) string { return `refresh_tokens.tenant_id || '' = ` + id }

// notEndedSQL is true if a refresh token is not revoked itself, not expired, and not below the epoch of a mark.
func notEndedSQL(now string, its covering) string {
	return `refresh_tokens.revoked_at = 0 AND refresh_tokens.expires_at > ` + now +
		` AND NOT EXISTS (` + its.marks("1", aboveItsEpoch) + `)`
}

// aliveSQL is domain.Snapshot.Alive. An application has a row only while its tenant exists.
func aliveSQL(now string) string {
	return notEndedSQL(now, ofItsMarks) + ` AND ` + hasApplication
}

// callSQL names the placeholders or columns of a domain.Call and the id in a statement.
type callSQL struct {
	now, clientAddress, id, generation, tenantID, applicationID, binding, authenticated, accessTokenTTL string
}

// advanceable returns the conditions of an exchange, where a is the application.
//
// The marks are those of the application's own key, so that PostgreSQL looks them up last. Their cost at the refresh
// token would let it join each exchange to all applications first, while these were never analysed.
func advanceable(c callSQL) string {
	itsMarks := covering{"a.tenant_id", "a.id", "refresh_tokens.user_id"}
	return `refresh_tokens.id = ` + c.id + ` AND refresh_tokens.generation = ` + c.generation + `
  AND refresh_tokens.generation < 4294967295
  AND ` + ofApplication + `
  AND (refresh_tokens.generation = 1 OR abs(` + c.now +
		` - COALESCE(NULLIF(refresh_tokens.recovered_at, 0), refresh_tokens.rotated_at)) >= a.grace_period)
  AND (a.slide_window = 0 OR ` + wholeSeconds(`refresh_tokens.issued_at + a.slide_maximum`) + ` > ` + c.now + `)
  AND ` + notEndedSQL(c.now, itsMarks) + `
  AND (` + c.tenantID + ` = '' OR refresh_tokens.tenant_id = ` + c.tenantID + `)
  AND (` + c.applicationID + ` = '' OR refresh_tokens.application_id = ` + c.applicationID + `)
  AND (refresh_tokens.binding = ` + c.binding + ` OR length(refresh_tokens.binding) = 0)
  AND a.active = 1 AND a.usage_policy = 'OneTimeUse' AND a.require_authentication <= ` + c.authenticated + `
  AND a.access_token_ttl >= ` + c.accessTokenTTL
}

// wholeSeconds truncates an instant to the second.
func wholeSeconds(instant string) string { return `(` + instant + `) / 1000000 * 1000000` }

// advanced returns the assignments of an exchange, where a contains the policy.
func advanced(c callSQL, a string) string {
	moved, last := c.now+` + `+a+`.slide_window`, `refresh_tokens.issued_at + `+a+`.slide_maximum`
	return `
  generation = refresh_tokens.generation + 1, rotated_at = ` + c.now + `, last_used_at = ` + c.now + `,
  recovered_at = 0, client_address = ` + c.clientAddress + `,
  expires_at = CASE
    WHEN ` + a + `.slide_window = 0 THEN refresh_tokens.expires_at
    WHEN ` + moved + ` < ` + last + ` THEN ` + wholeSeconds(moved) + `
    ELSE ` + wholeSeconds(last) + ` END`
}

// advance returns the statement of an exchange. The engines differ in how it can return the policy.
func advance(returning string) string {
	return `
UPDATE refresh_tokens SET` + advanced(oneCall, "a") + `
FROM applications AS a
WHERE ` + advanceable(oneCall) + `
RETURNING ` + returning
}

var (
	oneCall  = callSQL{"$1", "$2", "$3", "$4", "$5", "$6", "$7", "$8", "$9"}
	eachCall = callSQL{
		"c.now", "c.client_address", "c.id", "c.generation", "c.tenant_id", "c.application_id", "c.binding",
		"c.authenticated", "c.access_token_ttl",
	}

	advancePostgres = advance(columns("refresh_tokens.", otherColumns) + ", a.policy")
	// In SQLite RETURNING knows the updated table only.
	advanceSQLite = advance(columns("", otherColumns) +
		", (SELECT a.policy FROM applications AS a WHERE " + ofApplication + ")")

	// advanceMany is advance for many refresh tokens, each with its own compare-and-swap. It locks the rows that match,
	// and skips those that another session has locked. So it never waits, and needs no order by id against deadlocks.
	// A locked row cannot change until it is written. If a row changed between the beginning of the statement and the
	// lock, PostgreSQL compares the newest version.
	advanceMany = `
WITH locked AS (
  SELECT c.*, a.slide_window, a.slide_maximum, a.policy
  FROM unnest($1::bigint[], $2::text[], $3::bytea[], $4::bigint[], $5::text[], $6::text[], $7::bytea[], $8::bigint[],
    $9::bigint[])
    WITH ORDINALITY AS c (now, client_address, id, generation, tenant_id, application_id, binding, authenticated, ` +
		`access_token_ttl, place),
    refresh_tokens, applications AS a
  WHERE ` + advanceable(eachCall) + `
  FOR NO KEY UPDATE OF refresh_tokens SKIP LOCKED
)
UPDATE refresh_tokens SET` + advanced(eachCall, "c") + `
FROM locked AS c
WHERE refresh_tokens.id = c.id
RETURNING c.place, ` + columns("refresh_tokens.", otherColumns) + `, c.policy`
)

// Advance implements port.RefreshTokens.
func (s *Store) Advance(ctx context.Context, id domain.ID, c domain.Call) (domain.RefreshToken, domain.Policy, error) {
	e, run := &exchange{id: id, call: c}, s.advanceAlone
	if s.groupCommit != nil {
		run = s.groupCommit.do
	}
	if err := run(ctx, e); err != nil {
		return domain.RefreshToken{}, domain.Policy{}, err
	}
	return e.token, e.policy, nil
}

// advanceAlone runs an exchange by itself.
func (s *Store) advanceAlone(ctx context.Context, e *exchange) error {
	return s.inTurn(ctx, "advance", rowName{token: e.id}, func() error {
		return s.writing(ctx, "advance", func(db *gorm.DB) error { return s.advanceIn(db, e) })
	})
}

func (s *Store) advanceIn(db *gorm.DB, e *exchange) error {
	var (
		row    tokenRow
		policy policyText
		c      = e.call
	)
	if err := queryRow(raw(db, s.engine.advance, micros(c.Now), c.ClientAddress, e.id[:], int64(c.Generation), c.TenantID,
		c.ApplicationID, []byte(c.Binding), flag(c.Authenticated), c.AccessTokenTTL.Microseconds()), domain.ErrConflict,
		append(row.otherDest(), (*string)(&policy))...); err != nil {
		return err
	}
	return s.readExchange(e, &row, policy)
}

// readExchange sets the result of e from what its statement returned.
func (s *Store) readExchange(e *exchange, row *tokenRow, policy policyText) (err error) {
	if e.token, err = row.advanced(e); err != nil {
		return err
	}
	e.policy, err = s.policies.decode(policy)
	return err
}

// advanceInStatement runs a batch in one statement. It does not finish those exchanges that the statement did not
// write, because their rows were locked or did not match. It finishes none if the database rejected a value of one of
// them.
func (s *Store) advanceInStatement(ctx context.Context, batch []*exchange) error {
	n := len(batch)
	var (
		clientAddress, tenantID       = make([]string, n), make([]string, n)
		applicationID                 = make([]string, n)
		id, binding                   = make([][]byte, n), make([][]byte, n)
		now, generation               = make([]int64, n), make([]int64, n)
		authenticated, accessTokenTTL = make([]int64, n), make([]int64, n)
	)
	for i, e := range batch {
		c := e.call
		clientAddress[i], tenantID[i], id[i], binding[i] = c.ClientAddress, c.TenantID, e.id[:], []byte(c.Binding)
		applicationID[i] = c.ApplicationID
		now[i], generation[i] = micros(c.Now), int64(c.Generation)
		authenticated[i], accessTokenTTL[i] = flag(c.Authenticated), c.AccessTokenTTL.Microseconds()
	}
	rows, policies := make([]*tokenRow, n), make([]policyText, n)
	err := s.writing(ctx, "advance a batch", func(db *gorm.DB) error {
		clear(rows) // a previous attempt was rolled back
		return queryRows(
			raw(db, advanceMany, now, clientAddress, id, generation, tenantID, applicationID, binding, authenticated,
				accessTokenTTL),
			func(r *sql.Rows) error {
				var (
					place  int
					row    tokenRow
					policy policyText
				)
				if err := r.Scan(append(append([]any{&place}, row.otherDest()...), (*string)(&policy))...); err != nil {
					return err
				}
				rows[place-1], policies[place-1] = &row, policy
				return nil
			})
	})
	if rejected(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for i, e := range batch {
		if rows[i] == nil {
			continue
		}
		e.finished = true
		if err := s.readExchange(e, rows[i], policies[i]); err != nil {
			e.err = fmt.Errorf("gormstore: advance: %w", err)
		}
	}
	return nil
}

// advanceInTransaction runs a batch in one transaction. If one exchange fails, nothing was committed, and it finishes
// none.
func (s *Store) advanceInTransaction(ctx context.Context, batch []*exchange) error {
	failed := false
	err := s.writing(ctx, "advance a batch", func(db *gorm.DB) error {
		return db.Transaction(func(tx *gorm.DB) error {
			for _, e := range batch {
				if e.err = s.advanceIn(tx, e); e.err != nil && !errors.Is(e.err, domain.ErrConflict) {
					failed = true
					return e.err
				}
			}
			return nil
		})
	})
	if failed {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range batch {
		e.finished = true
		if e.err != nil {
			e.err = fmt.Errorf("gormstore: advance: %w", e.err)
		}
	}
	return nil
}

// insert takes the epoch from the tenant in the statement that stores the row. A revocation that commits while it runs
// leaves a mark above that epoch.
var insert = `
INSERT INTO refresh_tokens (` + columns("", tokenColumns) + `)
SELECT ` + placeholders(len(tokenColumns)-2) + `, COALESCE((
  SELECT refresh_tokens.ordinal FROM refresh_tokens WHERE ` + limited("$9", "$10", "$11") + `
  ORDER BY ` + byOrdinal("DESC") + ` LIMIT 1), 0) + 1, t.epoch
FROM tenants AS t JOIN applications AS a ON a.tenant_id = t.id
WHERE t.id = $9 AND a.id = $10 AND a.active = 1
RETURNING ordinal, issued_epoch`

// Insert implements port.RefreshTokens.
func (s *Store) Insert(ctx context.Context, t domain.RefreshToken) (domain.RefreshToken, error) {
	var row tokenRow
	args, err := tokenArgs(t)
	if err != nil {
		return domain.RefreshToken{}, fmt.Errorf("gormstore: insert: %w", err)
	}
	// An insert can wait for another one of the same id.
	err = s.inTurn(ctx, "insert", rowName{token: t.ID}, func() error {
		return s.writing(ctx, "insert", func(db *gorm.DB) error {
			return queryRow(raw(db, insert, args...), domain.ErrNotFound, &row.ordinal, &row.issuedEpoch)
		})
	})
	if err != nil {
		return domain.RefreshToken{}, err
	}
	return row.inserted(t), nil
}

var snapshot = `
SELECT ` + columns("refresh_tokens.", tokenColumns) + `,
  COALESCE((SELECT max(m.epoch) FROM (` + ofItsMarks.marks("m.epoch", "") + `) AS m), 0),
  a.id IS NULL, COALESCE(a.policy, '')
FROM refresh_tokens LEFT JOIN applications AS a ON ` + ofApplication + `
WHERE refresh_tokens.id = $1`

// Snapshot implements port.RefreshTokens.
func (s *Store) Snapshot(ctx context.Context, id domain.ID) (domain.Snapshot, error) {
	var (
		token  tokenRow
		policy policyText
		epoch  int64
		shot   domain.Snapshot
	)
	dest := append(token.dest(), &epoch, &shot.Deleted, (*string)(&policy))
	err := s.reading(ctx, "snapshot", func(db *gorm.DB) (err error) {
		if err := queryRow(raw(db, snapshot, id[:]), domain.ErrNotFound, dest...); err != nil {
			return err
		}
		if shot.Token, err = token.token(); err != nil || shot.Deleted {
			return err
		}
		shot.Policy, err = s.policies.decode(policy)
		return err
	})
	if err != nil {
		return domain.Snapshot{}, err
	}
	shot.MarkEpoch = uint64(epoch)
	return shot, nil
}

// unchanged returns the conditions of Use and Swap, with placeholders from $first: the record as it was read, and now.
func unchanged(first int) string {
	return fmt.Sprintf(`
WHERE id = $%d AND generation = $%d AND recovered_at = $%d AND recovery_paid_until = $%d AND `,
		first, first+1, first+2, first+3) + aliveSQL(fmt.Sprintf("$%d", first+4))
}

// unchangedArgs are the arguments of unchanged.
func unchangedArgs(before domain.RefreshToken, now time.Time) []any {
	return []any{
		before.ID[:], int64(before.Generation), micros(before.RecoveredAt), before.RecoveryPaidUntil, micros(now),
	}
}

var (
	use = `
UPDATE refresh_tokens SET last_used_at = $1, expires_at = $2` + unchanged(3)

	swap = newTokenWrite(`
UPDATE refresh_tokens SET
  generation = $1, rotated_at = $2, last_used_at = $3, client_address = $4, recovered_at = $5, revoked_at = $6,
  revoked_reason = $7, expires_at = $8, recovery_paid_until = $9`+unchanged(10), 14)

	rebind = newTokenWrite(`
UPDATE refresh_tokens SET binding = $1 WHERE id = $2 AND binding = $3 AND `+aliveSQL("$4"), 4)
)

// Use implements port.RefreshTokens.
func (s *Store) Use(ctx context.Context, before, after domain.RefreshToken, now time.Time) error {
	return s.inTurn(ctx, "use", rowName{token: before.ID}, func() error {
		return s.writing(ctx, "use", func(db *gorm.DB) error {
			args := []any{micros(after.LastUsedAt), micros(after.ExpiresAt)}
			return wrote(db.Exec(use, append(args, unchangedArgs(before, now)...)...), domain.ErrConflict)
		})
	})
}

// Swap implements port.RefreshTokens.
func (s *Store) Swap(ctx context.Context, before, after domain.RefreshToken, now time.Time, e domain.Event) error {
	args := []any{
		int64(after.Generation), micros(after.RotatedAt), micros(after.LastUsedAt), after.MetaData.ClientAddress,
		micros(after.RecoveredAt), micros(after.RevokedAt), string(after.RevokedReason), micros(after.ExpiresAt),
		after.RecoveryPaidUntil,
	}
	return s.writeToken(ctx, "swap", before.ID, swap, e, domain.ErrConflict,
		append(args, unchangedArgs(before, now)...)...)
}

// Rebind implements port.RefreshTokens.
func (s *Store) Rebind(ctx context.Context, before, after domain.RefreshToken, now time.Time, e domain.Event) error {
	return s.writeToken(ctx, "rebind", before.ID, rebind, e, domain.ErrConflict,
		[]byte(after.Binding), before.ID[:], []byte(before.Binding), micros(now))
}
