package gormstore

import (
	"context"
	"database/sql"
	"errors"

	"gorm.io/gorm"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// The janitor walks the primary keys of refresh tokens, marks and tenants, and keeps in the table janitor who walks and how far.
// A step is one short transaction. It takes the row of that table first, so steps happen one after another whatever the lease
// says, and what a step deletes commits together with where it has got to.
//
// Why a row that is gone is never missed:
//
// A refresh token that is dead stays dead. What ended it can only be a revocation, which nothing takes back, an expiry, which is
// moved only while it is alive, or a mark, and what lifts a refresh token above a mark (the one that RevokeScope spares) is
// committed with that mark. The clock that says so is the janitor's; s.Before lies behind it by more than clocks differ, and
// PostgreSQL, whose clock all processes can ask, is asked in each step: a process that is a month ahead would otherwise delete
// what would have lived for a month. It is asked with the step and not once a pass, because a clock can be set in between, and
// because nothing can then delete without asking. SQLite has the clock of the machine, as the process has: there is no second
// one to ask.
//
// A mark is not needed after its keep_until. It covers what was stored before it was written, and nothing of that has been
// extended since; so all of it expires by revoked_at plus the longest TTL until then. That TTL is read under the lock on the
// tenant, and a policy is saved under the same lock: whoever exchanges by a longer one sees the mark, too. That policies change
// later, or longest_ttl grows, extends nothing that is dead. domain.MarkSlack is for clocks and for exchanges that were waiting.
// A revocation that raises a mark while it is being deleted waits, and then makes it anew.
//
// A tenant goes last, and its epoch with it. A mark that survived its tenant would kill what is issued after the tenant is created
// again, at birth, because that begins at epoch 0; a refresh token that survived the marks would be alive again. So a step
//
//   - locks the tenant's row, and goes on only if it is deleted and owns no refresh token. SaveTenant and every revocation take
//     this lock first: none of them makes the tenant or a mark come back before the step has committed, and one that was
//     faster is seen, because PostgreSQL looks again at a row that it had to wait for;
//   - deletes marks, and the row only if no mark is left. Until then the epoch is there, above all marks, and a tenant that is
//     created meanwhile goes on from it;
//   - relies on s.Before for one thing: an Insert that was under way when the tenant was deleted holds no lock, and would store its
//     refresh token after the step has found none. The tenant was deleted at or before s.Before, minutes ago, and an Insert
//     takes no longer than statement_timeout, ten seconds.
//
// A process that knows nothing of the janitor may serve beside this one, and is right all the same.

const (
	stageTokens = iota
	stageMarks
	stageTenants
)

// position is where a pass has got to.
type position struct {
	stage                                    int64
	afterToken                               domain.ID // zero at the beginning
	afterTenant, afterApplication, afterUser string
}

const (
	// clockPostgres is the time now, not that at which the transaction began, in microseconds.
	clockPostgres = `SELECT (EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::bigint`

	// lease is an upsert, so that an empty table will do. What is later than $5 and $7 was left by a clock that was wrong.
	lease = `
INSERT INTO janitor (one, holder, lease_until, stage, after_token, after_tenant, after_application, after_user, ended_at)
VALUES (1, $1, $2, 0, $3, '', '', '', 0)
ON CONFLICT (one) DO UPDATE SET holder = excluded.holder, lease_until = excluded.lease_until
WHERE (janitor.holder = excluded.holder OR janitor.lease_until <= $4 OR janitor.lease_until > $5)
  AND (janitor.ended_at <= $6 OR $6 = 0 OR janitor.ended_at > $7 OR janitor.stage <> 0 OR janitor.after_token <> $3)
RETURNING stage, after_token, after_tenant, after_application, after_user`

	moveJanitor = `
UPDATE janitor SET stage = $1, after_token = $2, after_tenant = $3, after_application = $4, after_user = $5`

	// endPass frees the lease.
	endPass = `
UPDATE janitor SET stage = 0, after_token = $1, after_tenant = '', after_application = '', after_user = '',
  lease_until = 0, ended_at = $2`

	nextTokens = `SELECT id FROM refresh_tokens WHERE id > $1 ORDER BY id LIMIT $2`

	wasDead = `(refresh_tokens.revoked_at <> 0 AND refresh_tokens.revoked_at <= $3 OR refresh_tokens.expires_at <= $3
  OR EXISTS (SELECT 1 FROM marks AS m WHERE ` + covering + `
    AND m.epoch > refresh_tokens.issued_epoch AND m.revoked_at <= $3))`

	purgeTokensSQLite = `DELETE FROM refresh_tokens WHERE id > $1 AND id <= $2 AND ` + wasDead

	// What another session holds is passed over. An array is computed once, and leads to the rows by their key; IN would leave it
	// to PostgreSQL to join, and to read the table for that.
	purgeTokensPostgres = `
DELETE FROM refresh_tokens WHERE id = ANY (ARRAY(
  SELECT refresh_tokens.id FROM refresh_tokens WHERE id > $1 AND id <= $2 AND ` + wasDead + `
  FOR UPDATE SKIP LOCKED))`

	nextMarks = `
SELECT tenant_id, application_id, user_id FROM marks WHERE (tenant_id, application_id, user_id) > ($1, $2, $3)
ORDER BY tenant_id, application_id, user_id LIMIT $4`

	purgeMarks = `
DELETE FROM marks WHERE (tenant_id, application_id, user_id) > ($1, $2, $3)
  AND (tenant_id, application_id, user_id) <= ($4, $5, $6) AND keep_until <= $7`

	nextTenants = `SELECT id, deleted_at FROM tenants WHERE id > $1 ORDER BY id LIMIT $2`

	// lockDeletedTenant changes nothing, as lockTenant.
	lockDeletedTenant = `
UPDATE tenants SET epoch = epoch WHERE id = $1 AND deleted_at <> 0 AND deleted_at <= $2
  AND NOT EXISTS (SELECT 1 FROM refresh_tokens WHERE tenant_id = $1)`

	nextMarksOfTenant = `
SELECT application_id, user_id FROM marks WHERE tenant_id = $1 ORDER BY application_id, user_id LIMIT $2`

	purgeMarksOfTenant = `DELETE FROM marks WHERE tenant_id = $1 AND (application_id, user_id) <= ($2, $3)`

	purgeTenant = `DELETE FROM tenants WHERE id = $1`
)

// Purge implements port.Janitor.
func (s *Store) Purge(ctx context.Context, step port.PurgeStep) (done port.Purged, err error) {
	err = s.transacting(ctx, "purge", func(tx *gorm.DB) (err error) {
		done, err = s.purge(tx, step)
		return err
	})
	if err != nil {
		return port.Purged{}, err
	}
	return done, nil
}

func (s *Store) purge(tx *gorm.DB, step port.PurgeStep) (done port.Purged, err error) {
	var (
		at    position
		start domain.ID
		after []byte
	)
	if err := s.compareClocks(tx, step); err != nil {
		return port.Purged{}, err
	}
	if err := queryRow(tx.Raw(lease, step.Holder, micros(step.LeaseUntil), start[:], micros(step.Now),
		micros(step.LeaseUntil.Add(step.MayDiffer)), micros(step.EndedBefore), micros(step.Now.Add(step.MayDiffer))), domain.ErrConflict,
		&at.stage, &after, &at.afterTenant, &at.afterApplication, &at.afterUser); err != nil {
		return port.Purged{}, err
	}
	copy(at.afterToken[:], after)
	switch at.stage {
	case stageTokens:
		err = s.purgeTokens(tx, step, &at, &done)
	case stageMarks:
		err = purgeSomeMarks(tx, step, &at, &done)
	default:
		err = purgeOneTenant(tx, step, &at, &done)
	}
	if err != nil {
		return port.Purged{}, err
	}
	if done.Done {
		return done, tx.Exec(endPass, start[:], micros(step.Now)).Error
	}
	return done, tx.Exec(moveJanitor, at.stage, at.afterToken[:], at.afterTenant, at.afterApplication, at.afterUser).Error
}

func (s *Store) compareClocks(tx *gorm.DB, step port.PurgeStep) error {
	if s.engine.clock == "" {
		return nil
	}
	var now int64
	if err := queryRow(tx.Raw(s.engine.clock), errors.New("the database does not know the time"), &now); err != nil {
		return err
	}
	return domain.ClockFault(step.Now, instant(now), step.MayDiffer)
}

func (s *Store) purgeTokens(tx *gorm.DB, step port.PurgeStep, at *position, done *port.Purged) error {
	from, last := at.afterToken, []byte(nil)
	if err := queryRows(tx.Raw(nextTokens, from[:], step.Limit), func(rows *sql.Rows) error {
		done.LookedAt++
		return rows.Scan(&last)
	}); err != nil {
		return err
	}
	if done.LookedAt > 0 {
		copy(at.afterToken[:], last)
		deleted := tx.Exec(s.engine.purgeTokens, from[:], last, micros(step.Before))
		if deleted.Error != nil {
			return deleted.Error
		}
		done.Deleted = int(deleted.RowsAffected)
	}
	if done.LookedAt < step.Limit {
		*at = position{stage: stageMarks}
	}
	return nil
}

func purgeSomeMarks(tx *gorm.DB, step port.PurgeStep, at *position, done *port.Purged) error {
	from, seen := *at, 0
	if err := queryRows(tx.Raw(nextMarks, from.afterTenant, from.afterApplication, from.afterUser, step.Limit),
		func(rows *sql.Rows) error {
			seen++
			return rows.Scan(&at.afterTenant, &at.afterApplication, &at.afterUser)
		}); err != nil {
		return err
	}
	if seen > 0 {
		deleted := tx.Exec(purgeMarks, from.afterTenant, from.afterApplication, from.afterUser,
			at.afterTenant, at.afterApplication, at.afterUser, micros(step.Before))
		if deleted.Error != nil {
			return deleted.Error
		}
		done.Marks = int(deleted.RowsAffected)
	}
	if seen < step.Limit {
		*at = position{stage: stageTenants}
	}
	return nil
}

// purgeOneTenant goes on to the next tenant that was deleted, or to the last of those that it looked at. One with many marks takes
// several steps.
func purgeOneTenant(tx *gorm.DB, step port.PurgeStep, at *position, done *port.Purged) error {
	var (
		from  = at.afterTenant
		seen  int
		found string // empty if none; no tenant has that id
	)
	if err := queryRows(tx.Raw(nextTenants, from, step.Limit), func(rows *sql.Rows) error {
		var (
			id        string
			deletedAt int64
		)
		if err := rows.Scan(&id, &deletedAt); err != nil || found != "" {
			return err
		}
		seen++
		at.afterTenant = id
		if deletedAt != 0 && deletedAt <= micros(step.Before) {
			found = id
		}
		return nil
	}); err != nil {
		return err
	}
	if found == "" {
		done.Done = seen < step.Limit
		return nil
	}
	locked := tx.Exec(lockDeletedTenant, found, micros(step.Before))
	if locked.Error != nil || locked.RowsAffected == 0 {
		return locked.Error
	}
	var applicationID, userID string // of the last of the next few marks
	if err := queryRows(tx.Raw(nextMarksOfTenant, found, step.Limit), func(rows *sql.Rows) error {
		done.Marks++
		return rows.Scan(&applicationID, &userID)
	}); err != nil {
		return err
	}
	if done.Marks > 0 {
		if err := tx.Exec(purgeMarksOfTenant, found, applicationID, userID).Error; err != nil {
			return err
		}
	}
	if done.Marks == step.Limit {
		at.afterTenant = from // there may be more of them
		return nil
	}
	done.Tenants = 1
	return tx.Exec(purgeTenant, found).Error
}
