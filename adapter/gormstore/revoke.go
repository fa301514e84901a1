package gormstore

import (
	"context"
	"fmt"
	"math"

	"gorm.io/gorm"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

var revoke = newTokenWrite(`
UPDATE refresh_tokens SET revoked_at = $1, revoked_reason = $2
WHERE id = $3 AND `+tenantIs("$4")+` AND `+aliveSQL("$1"), 4)

// Revoke implements port.Revocations.
func (s *Store) Revoke(
	ctx context.Context, tenantID string, id domain.ID, r port.Revocation, e domain.Event,
) error {
	return s.writeToken(ctx, "revoke", id, revoke, e, domain.ErrNotFound,
		micros(r.At), string(r.Reason), id[:], tenantID)
}

// RevokeScope implements port.Revocations.
func (s *Store) RevokeScope(
	ctx context.Context, scope domain.Scope, except domain.ID, r port.Revocation, e domain.Event,
) (uint64, error) {
	epoch, err := s.once(ctx, e, func() (epoch domain.Version, err error) {
		if except.IsZero() && s.engine.writesInWith {
			err = s.inTurn(ctx, "revoke scope", rowName{tenantID: scope.TenantID}, func() error {
				return s.writing(ctx, "revoke scope", func(db *gorm.DB) error {
					args := append([]any{scope.TenantID, scope.ApplicationID, scope.UserID, micros(r.At), string(r.Reason),
						domain.MarkRetention.Microseconds()}, eventArgs(e)...)
					return queryRow(raw(db, revokeScopePostgres, args...), domain.ErrNotFound, &epoch)
				})
			})
			return epoch, err
		}
		err = s.tenantWriting(ctx, "revoke scope", scope.TenantID, func(tx *gorm.DB) error {
			raised, err := revokeScope(tx, scope, except, r)
			if err != nil {
				return err
			}
			epoch = domain.Version(raised)
			return appendEvent(tx, e, epoch)
		})
		return epoch, err
	})
	if err != nil {
		return 0, err
	}
	return uint64(epoch), nil
}

// revokeScopePostgres is revokeScope in one statement: the tenant's row is locked for one round trip and the commit,
// and not for the four round trips of a transaction. SQLite cannot write in a WITH, and has no round trips.
var revokeScopePostgres = `
WITH raised AS (
  UPDATE tenants SET epoch = epoch + 1
  WHERE id = $1 AND deleted_at = 0 AND ($2 = '' OR EXISTS (SELECT 1 FROM applications WHERE tenant_id = $1 AND id = $2))
  RETURNING epoch, longest_ttl
), marked AS (
  INSERT INTO marks (tenant_id, application_id, user_id, epoch, revoked_at, reason, keep_until)
  SELECT $1, $2, $3, epoch, $4::bigint, $5, $4::bigint + longest_ttl + $6::bigint FROM raised` + upsertMark + `
)
` + eventFrom(7, `raised`, `epoch`, `''`) + `
RETURNING version`

const (
	// raiseEpoch is the first statement: its row lock orders the revocations of a tenant.
	raiseEpoch = `UPDATE tenants SET epoch = epoch + 1 WHERE id = $1 AND deleted_at = 0 RETURNING epoch, longest_ttl`

	countApplication = `SELECT count(*) FROM applications WHERE tenant_id = $1 AND id = $2`

	mark = `
INSERT INTO marks (tenant_id, application_id, user_id, epoch, revoked_at, reason, keep_until, except_id, except_epoch)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)` + upsertMark

	// upsertMark raises an existing mark. Its epoch is the tenant's, which only grows. It needs no position: it is no
	// longer the stamped one.
	upsertMark = `
ON CONFLICT (tenant_id, application_id, user_id) DO UPDATE SET
  epoch = excluded.epoch, revoked_at = excluded.revoked_at, reason = excluded.reason,
  except_id = excluded.except_id, except_epoch = excluded.except_epoch,
  keep_until = CASE WHEN marks.keep_until > excluded.keep_until THEN marks.keep_until ELSE excluded.keep_until END`
)

// spare lifts one refresh token above the mark that is about to be written. It has to run before the mark, which would
// end the refresh token.
var spare = `
UPDATE refresh_tokens SET issued_epoch = $1
WHERE id = $2 AND ` + tenantIs("$3") + ` AND ($4 = '' OR application_id = $4) AND ($5 = '' OR user_id = $5)
  AND ` + aliveSQL("$6")

func revokeScope(tx *gorm.DB, scope domain.Scope, except domain.ID, r port.Revocation) (epoch uint64, err error) {
	var raised, longestTTL int64
	if err := queryRow(tx.Raw(raiseEpoch, scope.TenantID), domain.ErrNotFound, &raised, &longestTTL); err != nil {
		return 0, err
	}
	if scope.ApplicationID != "" {
		if err := exists(tx.Raw(countApplication, scope.TenantID, scope.ApplicationID)); err != nil {
			return 0, err
		}
	}
	if !except.IsZero() {
		if err := wrote(tx.Exec(spare, raised, except[:], scope.TenantID, scope.ApplicationID, scope.UserID,
			micros(r.At)), domain.ErrNotFound); err != nil {
			return 0, err
		}
	}
	m := domain.NewMark(scope, uint64(raised), r.At, r.Reason, duration(longestTTL))
	spared, sparedEpoch := []byte{}, int64(0)
	if !except.IsZero() {
		spared, sparedEpoch = except[:], raised
	}
	return m.Epoch, tx.Exec(mark, scope.TenantID, scope.ApplicationID, scope.UserID, raised, micros(m.At),
		string(m.Reason), micros(m.KeepUntil), spared, sparedEpoch).Error
}

// limited selects the rows in the index on the newest refresh tokens of a user in an application: all that a limit can
// count.
//
// Tenant and application are compared as one text, which only that index has. Otherwise the index of users would be as
// good wherever PostgreSQL expects one row: without statistics of a table that has been vacuumed, or with those of a
// table with a row for each tenant. A login would then read all that the user ever had.
func limited(tenantID, applicationID, userID string) string {
	return `refresh_tokens.tenant_id || ' ' || refresh_tokens.application_id = ` + tenantID + ` || ' ' || ` +
		applicationID + ` AND refresh_tokens.user_id = ` + userID +
		` AND refresh_tokens.revoked_at = 0 AND refresh_tokens.ordinal > 0`
}

// byOrdinal is an order of limited rows that is also that of the index.
func byOrdinal(direction string) string { return `refresh_tokens.ordinal ` + direction }

// keepNewest revokes the refresh tokens that which selects. If two run concurrently and lock rows in different orders,
// PostgreSQL aborts one, which runs again.
func keepNewest(which string) string {
	return `
UPDATE refresh_tokens SET revoked_at = $1, revoked_reason = $5
` + which + ` AND refresh_tokens.revoked_at = 0
RETURNING refresh_tokens.id, refresh_tokens.application_id, refresh_tokens.user_id`
}

// The mark with the greatest epoch decides about all rows of a user in an application, so it is looked up once.
var newestMark = `COALESCE((SELECT max(m.epoch) FROM (` + covering{"$2", "$3", "$4"}.marks("m.epoch", "") +
	`) AS m), 0)`

// beyond selects the keys of those that a limit of $6 ends: all active ones but the newest. SQLite has no OFFSET
// without a LIMIT.
func beyond(key string) string {
	return fmt.Sprintf(`
  SELECT refresh_tokens.%s FROM refresh_tokens
  WHERE %s
    AND refresh_tokens.expires_at > $1 AND refresh_tokens.issued_epoch >= %s
    AND EXISTS (SELECT 1 FROM applications AS a WHERE a.tenant_id = $2 AND a.id = $3)
  ORDER BY %s, refresh_tokens.id DESC LIMIT %d OFFSET $6`,
		key, limited("$2", "$3", "$4"), newestMark, byOrdinal("DESC"), math.MaxInt64)
}

// maxForgotten bounds what one login writes for the limit. A refresh token that a mark or its expiry has ended is not
// revoked itself. It would stay in the index until it is purged, and each login would read it. So its ordinal becomes
// 0, which removes it from the index. That must not happen before it has ended for good, because nothing restores an
// ordinal. A mark is final. An expiry is final once no process can move it any more: twice domain.MaxClockSkew
// later, once for a clock that is behind and once for a call that began before the expiry. The oldest come first, so
// that the scan ends early.
const maxForgotten = 500

// ended selects the keys of refresh tokens that leave the index.
func ended(key, now string) string {
	return fmt.Sprintf(`
  SELECT refresh_tokens.%s FROM refresh_tokens
  WHERE %s
    AND (refresh_tokens.expires_at <= %s - %d OR refresh_tokens.issued_epoch < %s)
  ORDER BY %s LIMIT %d`,
		key, limited("$2", "$3", "$4"), now, (2 * domain.MaxClockSkew).Microseconds(), newestMark, byOrdinal("ASC"),
		maxForgotten)
}

var (
	// keepNewestPostgres does both in one statement, for one round trip. The two write different rows: in one snapshot
	// no row is both active and ended, and a row that has ended for good in it has ended in each later version. It
	// waits for no row that leaves the index. A clock that is ahead of the server's ends nothing for good.
	//
	// The keys are read once, and joined to the rows one by one. With id = ANY (ARRAY(...)) PostgreSQL 18 skips through
	// the index of users instead of the primary key, if the statistics are of a time with few users.
	keepNewestPostgres = `
WITH leaving AS MATERIALIZED (` +
		ended("id", `LEAST($1, (`+clockPostgres+`))`) + `
  FOR NO KEY UPDATE SKIP LOCKED
), forgotten AS (
  UPDATE refresh_tokens SET ordinal = 0 FROM leaving WHERE refresh_tokens.id = leaving.id
), superfluous AS MATERIALIZED (` + beyond("id") + `
), ended AS (` + keepNewest(`FROM superfluous WHERE refresh_tokens.id = superfluous.id`) + `
)
` + eventFrom(7, `ended`, `0`, `json_agg(`+tokenInEvent+` ORDER BY id)::text`) + `
HAVING count(*) > 0`

	keepNewestSQLite = keepNewest(`WHERE rowid IN (` + beyond("rowid") + `)`)

	forgetEndedSQLite = `UPDATE refresh_tokens SET ordinal = 0 WHERE rowid IN (` + ended("rowid", "$1") + `)`
)

// KeepNewest implements port.Revocations, for a user in an application.
func (s *Store) KeepNewest(
	ctx context.Context, scope domain.Scope, keep int, r port.Revocation, e domain.Event,
) error {
	args := []any{
		micros(r.At), scope.TenantID, scope.ApplicationID, scope.UserID, string(r.Reason), keep,
	}
	of := rowName{tenantID: scope.TenantID, applicationID: scope.ApplicationID, userID: scope.UserID}
	return s.onceOnly(ctx, e, func() error {
		return s.inTurn(ctx, "keep newest", of, func() error {
			if s.engine.writesInWith {
				return s.writingMany(ctx, "keep newest", func(db *gorm.DB) error {
					return db.Exec(keepNewestPostgres, append(args, eventArgs(e)...)...).Error
				})
			}
			return s.transacting(ctx, "keep newest", func(tx *gorm.DB) error {
				if err := tx.Exec(forgetEndedSQLite, args[:4]...).Error; err != nil {
					return err
				}
				tokens, err := tokensWritten(tx.Raw(keepNewestSQLite, args...))
				if err != nil || len(tokens) == 0 {
					return err
				}
				return appendEvent(tx, e, 0, tokens...)
			})
		})
	})
}
