package gormstore

import (
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// The janitor visits the primary keys of refresh tokens, marks, tenants and events in passes, and then used keys. The
// table jobs records which process runs the pass, and its position.
//
// A step is one short transaction. It locks the job's row first, so steps run one after another whatever the lease
// says, and a step's deletions commit together with its position.
//
// Why a deleted row is never missed:
//
// A refresh token that has ended stays ended. Three things end it: a revocation, which is final; an expiry, which moves
// only while it is active; or a mark. A refresh token that RevokeScope spares is lifted above the mark in the same
// commit. The janitor's clock decides about an expiry. s.Before is earlier than now by more than clocks can differ.
// Each step also asks PostgreSQL for its time, because all processes share that clock: a process that is a month ahead
// would otherwise delete refresh tokens that have a month left. It asks in each step and not once a pass, because a
// clock can be set in between, and because no step can then delete without asking. SQLite has no second clock: it is on
// the machine of the process.
//
// A mark is not needed after its keep_until. It covers what was stored before it was written, and nothing of that has
// been extended since. So all of it expires by revoked_at plus the longest TTL at that time. That TTL is read under the
// lock on the tenant, and policies are saved under the same lock: an exchange with a longer TTL sees the mark, too. A
// policy that changes later, or a longest_ttl that grows, extends nothing that has ended. domain.MarkRetention allows
// for clocks and for exchanges that were waiting. A revocation that raises a mark while it is being deleted waits, and
// then inserts it again.
//
// A tenant is deleted last, and its epoch with it. A mark that remained would end what is issued after the tenant is
// created again, because that begins at epoch 0. A refresh token that remained without its mark would be active again.
// So a step
//
//   - locks the tenant's row, and continues only if the tenant is deleted and owns no refresh token. SaveTenant and
//     every revocation take this lock first. So none of them restores the tenant or a mark before the step has
//     committed. One that committed before is seen, because PostgreSQL reads a row again after it had to wait for it;
//   - deletes marks whose facts are out of use, and the row only if no mark remains. Until then the epoch stays, above
//     all marks, and a tenant that is created meanwhile continues from it;
//   - relies on s.Before for one thing: an Insert that was running when the tenant was deleted holds no lock, and would
//     store its refresh token after the step has found none. The tenant was deleted at or before s.Before, minutes ago,
//     and an Insert takes no longer than statement_timeout, ten seconds.
//
// A process without a janitor may serve beside this one.

const (
	stageTokens = iota
	stageMarks
	stageTenants
	stageEvents
	stageOnce // an older program deletes events again, and ends the pass
)

// position is the position of a pass, stored as the cursor of the job. The zero value, an empty cursor, is between two
// passes.
//
// An older program drops Began and Oldest when it makes a step: the pass has then no result, because refresh tokens
// that it has read were not noted.
type position struct {
	Stage       int    `json:"stage"`
	Began       int64  `json:"began,omitempty"`  // when the pass began; like Oldest, in microseconds
	Oldest      int64  `json:"oldest,omitempty"` // the smallest rotated_at that was noted
	ID          string `json:"id,omitempty"`     // in hex; like the next three, of the last row looked at
	Tenant      string `json:"tenant,omitempty"`
	Application string `json:"application,omitempty"`
	User        string `json:"user,omitempty"`
	Until       int64  `json:"until,omitempty"` // of the last used key that was deleted
}

// after is ID, or zeros at the beginning.
func (p position) after() (id domain.ID, err error) {
	if p.ID == "" {
		return id, nil
	}
	if id, err = idOf(p.ID); err != nil {
		return id, fmt.Errorf("read the position of the pass: %w", err)
	}
	return id, nil
}

// begin returns the beginning of a stage of the same pass.
func (p position) begin(stage int) position {
	return position{Stage: stage, Began: p.Began, Oldest: p.Oldest}
}

// note notes the rotated_at of an active refresh token.
func (p *position) note(rotatedAt int64) {
	if p.Oldest == 0 || rotatedAt < p.Oldest {
		p.Oldest = rotatedAt
	}
}

const (
	// clockPostgres selects the time now, in microseconds, and not the time at which the transaction began.
	clockPostgres = `SELECT (EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::bigint`

	// lease is an upsert, so that the table may be empty. A time later than $4 or $6 comes from a wrong clock.
	lease = `
INSERT INTO jobs (name, holder, lease_until, cursor, ended_at) VALUES ('` + port.JobPurge + `', $1, $2, '', 0)
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, lease_until = excluded.lease_until
WHERE (jobs.holder = excluded.holder OR jobs.lease_until <= $3 OR jobs.lease_until > $4)
  AND (jobs.ended_at <= $5 OR $5 = 0 OR jobs.ended_at > $6 OR jobs.cursor <> '')
RETURNING cursor`

	moveJob = `UPDATE jobs SET cursor = $1 WHERE name = '` + port.JobPurge + `'`

	// endPass also returns the lease.
	endPass = `UPDATE jobs SET cursor = '', lease_until = 0, ended_at = $1 WHERE name = '` + port.JobPurge + `'`

	// notePass stores the result of a pass.
	notePass = `UPDATE jobs SET began_at = $1, oldest_rotation = $2 WHERE name = '` + port.JobPurge + `'`

	oldestRotation = `SELECT began_at, oldest_rotation FROM jobs WHERE name = '` + port.JobPurge + `'`

	takeLease = `
INSERT INTO jobs (name, holder, lease_until, cursor, ended_at) VALUES ($1, $2, $3, '', 0)
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, lease_until = excluded.lease_until
WHERE jobs.holder = excluded.holder OR jobs.lease_until <= $4 OR jobs.lease_until > $5`

	release = `UPDATE jobs SET lease_until = 0 WHERE name = $1 AND holder = $2`

	// readerKept is how long the row of a process that reads the feed stays after its last beat.
	readerKept = time.Hour

	// purgeReaders deletes the rows of processes that have ended.
	purgeReaders = `DELETE FROM feed_readers WHERE beat < $1`
)

// outOfUse is true if the position of a session's fact is at or below its domain.FactFloor. No index matches it.
func outOfUse(before string) string {
	return fmt.Sprintf(`refresh_tokens.feed + %d + (
  SELECT t.longest_access_ttl FROM tenants AS t WHERE t.id = refresh_tokens.tenant_id) <= %s`,
		domain.FactRetention.Microseconds(), before)
}

// markOutOfUse is true if the position of a mark is at or below its domain.FactFloor, or domain.TraceFloor if its
// tenant is deleted. A mark that has been raised has no position, whatever its feed is.
func markOutOfUse(before string) string {
	return fmt.Sprintf(`epoch = stamped_epoch AND marks.feed + (
  SELECT CASE WHEN t.deleted_at = 0 THEN t.longest_access_ttl + %d ELSE 3 * t.longest_access_ttl + %d END
  FROM tenants AS t WHERE t.id = marks.tenant_id) <= %s`,
		domain.FactRetention.Microseconds(), domain.TraceRetention.Microseconds(), before)
}

var (
	nextMarks = `
SELECT tenant_id, application_id, user_id FROM marks WHERE (tenant_id, application_id, user_id) > ($1, $2, $3)
ORDER BY tenant_id, application_id, user_id LIMIT $4`

	purgeMarks = `
DELETE FROM marks WHERE (tenant_id, application_id, user_id) > ($1, $2, $3)
  AND (tenant_id, application_id, user_id) <= ($4, $5, $6) AND keep_until <= $7 AND ` + markOutOfUse("$7")

	nextTenants = `SELECT id, deleted_at FROM tenants WHERE id > $1 ORDER BY id LIMIT $2`

	// lockDeletedTenant changes nothing, like lockTenant.
	lockDeletedTenant = `
UPDATE tenants SET epoch = epoch WHERE id = $1 AND deleted_at <> 0 AND deleted_at <= $2
  AND NOT EXISTS (SELECT 1 FROM refresh_tokens WHERE tenant_id = $1)`

	// nextMarksOfTenant and purgeMarksOfTenant include the mark at which they begin: the first one has empty keys.
	nextMarksOfTenant = `
SELECT application_id, user_id FROM marks WHERE tenant_id = $1 AND (application_id, user_id) >= ($2, $3)
ORDER BY application_id, user_id LIMIT $4`

	purgeMarksOfTenant = `
DELETE FROM marks WHERE tenant_id = $1 AND (application_id, user_id) >= ($2, $3)
  AND (application_id, user_id) <= ($4, $5) AND ` + markOutOfUse("$6")

	// purgeTenant keeps a tenant with a mark whose fact is in use.
	purgeTenant = `DELETE FROM tenants WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM marks WHERE tenant_id = $1)`

	nextEvents = `SELECT id FROM events WHERE id > $1 AND id < $2 ORDER BY id LIMIT $3`

	deleteEvents = `DELETE FROM events WHERE id > $1 AND id <= $2`

	// deleteUsedKeys deletes at most $3 keys. It compares the instant of a row twice: a row that it had to wait for may
	// have been stored again, and PostgreSQL then compares the outer condition again.
	deleteUsedKeys = `
DELETE FROM used_keys WHERE until <= $2
  AND key IN (SELECT key FROM used_keys WHERE until >= $1 AND until <= $2 ORDER BY until LIMIT $3)
RETURNING until`
)

// hadEnded is true if a refresh token had ended at the instant before, and its fact, if it is revoked itself, is out of
// use.
func hadEnded(before string) string {
	return `(refresh_tokens.expires_at <= ` + before + `
  OR refresh_tokens.revoked_at <> 0 AND refresh_tokens.revoked_at <= ` + before + ` AND refresh_tokens.feed <> 0
    AND ` + outOfUse(before) + `
  OR refresh_tokens.revoked_at = 0 AND EXISTS (` +
		ofItsMarks.marks("1", aboveItsEpoch+` AND m.revoked_at <= `+before) + `))`
}

// nextTokens selects the next refresh tokens, each with its rotated_at, or 0 if it has ended.
var nextTokens = `
SELECT id, CASE WHEN ` + notEndedSQL("$1", ofItsMarks) + ` THEN rotated_at ELSE 0 END
FROM refresh_tokens WHERE id > $2 ORDER BY id LIMIT $3`

// revokeRotated revokes the refresh tokens that which selects, if they are active at $3 and were rotated in a range.
func revokeRotated(which string) string {
	return `
UPDATE refresh_tokens SET revoked_at = $1, revoked_reason = $2
` + which + `
RETURNING refresh_tokens.id, refresh_tokens.application_id, refresh_tokens.user_id`
}

// rotated is true for a refresh token that is active at $3 and was rotated from $4 until before $5.
var rotated = notEndedSQL("$3", ofItsMarks) + ` AND refresh_tokens.rotated_at >= $4 AND refresh_tokens.rotated_at < $5`

var (
	revokeRotatedSQLite = revokeRotated(`WHERE ` + rotated + ` AND id > $6 AND id <= $7`)

	// revokeRotatedPostgres skips rows that another session has locked, and looks each row up by its id, as
	// purgeTokensPostgres.
	revokeRotatedPostgres = `
WITH locked AS MATERIALIZED (
  SELECT refresh_tokens.id FROM unnest($6::bytea[]) AS step (id), refresh_tokens
  WHERE refresh_tokens.id = step.id AND ` + rotated + `
  FOR NO KEY UPDATE OF refresh_tokens SKIP LOCKED
)` + revokeRotated(`FROM locked WHERE refresh_tokens.id = locked.id`)
)

var (
	purgeTokensSQLite = `DELETE FROM refresh_tokens WHERE id > $1 AND id <= $2 AND ` + hadEnded("$3")

	// purgeTokensPostgres skips rows that another session has locked. It looks each row up by its id. For a range of ids,
	// or an array of them, PostgreSQL 18 may search the index of users instead of the primary key.
	purgeTokensPostgres = `
WITH locked AS MATERIALIZED (
  SELECT refresh_tokens.id FROM unnest($1::bytea[]) AS step (id), refresh_tokens
  WHERE refresh_tokens.id = step.id AND ` + hadEnded("$2") + `
  FOR UPDATE OF refresh_tokens SKIP LOCKED
)
DELETE FROM refresh_tokens USING locked WHERE refresh_tokens.id = locked.id`
)

// purgeRangeSQLite deletes those of the refresh tokens above after, of which there are ids, that had ended.
func purgeRangeSQLite(tx *gorm.DB, after []byte, ids [][]byte, before int64) *gorm.DB {
	return tx.Exec(purgeTokensSQLite, after, ids[len(ids)-1], before)
}

// purgeIDsPostgres deletes those of ids that had ended.
func purgeIDsPostgres(tx *gorm.DB, _ []byte, ids [][]byte, before int64) *gorm.DB {
	return tx.Exec(purgeTokensPostgres, ids, before)
}

// revokeRangeSQLite returns the statement that revokes those of the refresh tokens above after, of which there are ids,
// that were rotated within r.
func revokeRangeSQLite(tx *gorm.DB, after []byte, ids [][]byte, now, before int64, r port.RotationRange) *gorm.DB {
	return tx.Raw(revokeRotatedSQLite, now, string(domain.RevokedWithKey), before, micros(r.From), micros(r.To), after,
		ids[len(ids)-1])
}

// revokeIDsPostgres returns the statement that revokes those of ids that were rotated within r.
func revokeIDsPostgres(tx *gorm.DB, _ []byte, ids [][]byte, now, before int64, r port.RotationRange) *gorm.DB {
	return tx.Raw(revokeRotatedPostgres, now, string(domain.RevokedWithKey), before, micros(r.From), micros(r.To), ids)
}

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
	if err := s.compareClocks(tx, step); err != nil {
		return port.Purged{}, err
	}
	var (
		at     position
		cursor string
	)
	if err := queryRow(tx.Raw(lease, step.LeaseHolder, micros(step.LeaseUntil), micros(step.Now),
		micros(step.LeaseUntil.Add(step.MaxClockSkew)), micros(step.EndedBefore),
		micros(step.Now.Add(step.MaxClockSkew))),
		domain.ErrConflict, &cursor); err != nil {
		return port.Purged{}, err
	}
	if cursor != "" {
		if err := json.Unmarshal([]byte(cursor), &at); err != nil {
			return port.Purged{}, fmt.Errorf("read the position of the pass: %w", err)
		}
	} else {
		at.Began = micros(step.Now)
	}
	switch at.Stage {
	case stageTokens:
		err = s.purgeTokens(tx, step, &at, &done)
	case stageMarks:
		err = purgeSomeMarks(tx, step, &at, &done)
	case stageTenants:
		err = purgeOneTenant(tx, step, &at, &done)
	case stageEvents:
		err = purgeEvents(tx, step, &at, &done)
	default:
		err = purgeUsedKeys(tx, step, &at, &done)
	}
	if err != nil {
		return port.Purged{}, err
	}
	if done.Done {
		if s.engine.checkServer != nil {
			if err := tx.Exec(purgeReaders, micros(step.Now.Add(-readerKept))).Error; err != nil {
				return port.Purged{}, err
			}
		}
		if at.Began != 0 {
			if err := tx.Exec(notePass, at.Began, at.Oldest).Error; err != nil {
				return port.Purged{}, err
			}
		}
		return done, tx.Exec(endPass, micros(step.Now)).Error
	}
	moved, err := json.Marshal(at)
	if err != nil {
		return port.Purged{}, err
	}
	return done, tx.Exec(moveJob, string(moved)).Error
}

// OldestRotation implements port.KeyChanges.
func (s *Store) OldestRotation(ctx context.Context) (began, oldest time.Time, err error) {
	var beganAt, rotatedAt int64
	err = s.reading(ctx, "oldest rotation", func(db *gorm.DB) error {
		return queryRow(db.Raw(oldestRotation), nil, &beganAt, &rotatedAt)
	})
	return instant(beganAt), instant(rotatedAt), err
}

// Lease implements port.Jobs.
func (s *Store) Lease(ctx context.Context, l port.JobLease) error {
	return s.writing(ctx, "lease", func(db *gorm.DB) error {
		done := db.Exec(takeLease, l.Job, l.Holder, micros(l.Until), micros(l.Now), micros(l.Until.Add(l.MaxClockSkew)))
		if done.Error == nil && done.RowsAffected == 0 {
			return domain.ErrConflict
		}
		return done.Error
	})
}

// Release implements port.Jobs.
func (s *Store) Release(ctx context.Context, job, holder string) error {
	return s.writing(ctx, "release", func(db *gorm.DB) error { return db.Exec(release, job, holder).Error })
}

func (s *Store) compareClocks(tx *gorm.DB, step port.PurgeStep) error {
	if s.engine.clock == "" {
		return nil
	}
	var now int64
	if err := queryRow(tx.Raw(s.engine.clock), errors.New("the database returned no time"), &now); err != nil {
		return err
	}
	return domain.CheckClocks(step.Now, instant(now), step.MaxClockSkew)
}

func (s *Store) purgeTokens(tx *gorm.DB, step port.PurgeStep, at *position, done *port.Purged) error {
	from, err := at.after()
	if err != nil {
		return err
	}
	var ids [][]byte
	active := make(map[domain.ID]int64) // their rotated_at
	if err := queryRows(tx.Raw(nextTokens, micros(step.Before), from[:], step.Limit), func(rows *sql.Rows) error {
		var (
			id        []byte
			rotatedAt int64
		)
		err := rows.Scan(&id, &rotatedAt)
		if ids = append(ids, id); rotatedAt != 0 {
			active[domain.ID(id)] = rotatedAt
		}
		return err
	}); err != nil {
		return err
	}
	if done.LookedAt = len(ids); done.LookedAt > 0 {
		at.ID = hex.EncodeToString(ids[len(ids)-1])
		revoked, err := s.revokeRotated(tx, step, from, ids)
		if err != nil {
			return err
		}
		done.Revoked = len(revoked)
		for _, t := range revoked {
			delete(active, t.ID)
		}
		for _, rotatedAt := range active {
			at.note(rotatedAt)
		}
		deleted := s.engine.purgeTokens(tx, from[:], ids, micros(step.Before))
		if deleted.Error != nil {
			return deleted.Error
		}
		done.Deleted = int(deleted.RowsAffected)
	}
	if done.LookedAt < step.Limit {
		*at = at.begin(stageMarks)
	}
	return nil
}

// revokeRotated revokes those of ids, all that there are above after, that were rotated within one of step.Ended.
func (s *Store) revokeRotated(
	tx *gorm.DB, step port.PurgeStep, after domain.ID, ids [][]byte,
) (revoked []domain.EndedToken, err error) {
	for _, r := range step.Ended {
		tokens, err := tokensWritten(s.engine.revokeRotated(tx, after[:], ids, micros(step.Now), micros(step.Before), r))
		if err != nil {
			return nil, err
		}
		revoked = append(revoked, tokens...)
	}
	if len(revoked) == 0 {
		return nil, nil
	}
	return revoked, appendEvent(tx, step.Event, 0, revoked...)
}

func purgeSomeMarks(tx *gorm.DB, step port.PurgeStep, at *position, done *port.Purged) error {
	from, seen := *at, 0
	if err := queryRows(tx.Raw(nextMarks, from.Tenant, from.Application, from.User, step.Limit),
		func(rows *sql.Rows) error {
			seen++
			return rows.Scan(&at.Tenant, &at.Application, &at.User)
		}); err != nil {
		return err
	}
	if seen > 0 {
		deleted := tx.Exec(purgeMarks, from.Tenant, from.Application, from.User,
			at.Tenant, at.Application, at.User, micros(step.Before))
		if deleted.Error != nil {
			return deleted.Error
		}
		done.Marks = int(deleted.RowsAffected)
	}
	if seen < step.Limit {
		*at = at.begin(stageTenants)
	}
	return nil
}

// purgeOneTenant advances to the next deleted tenant, or to the last row that it looked at. A tenant with many marks
// takes several steps: at then stays before it, with the next mark to look at.
func purgeOneTenant(tx *gorm.DB, step port.PurgeStep, at *position, done *port.Purged) error {
	var (
		from  = at.Tenant
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
		at.Tenant = id
		if deletedAt != 0 && deletedAt <= micros(step.Before) {
			found = id
		}
		return nil
	}); err != nil {
		return err
	}
	if found == "" {
		if seen < step.Limit {
			*at = at.begin(stageEvents)
		}
		return nil
	}
	first, last, next, marks := *at, *at, *at, 0
	at.Application, at.User = "", ""
	locked := tx.Exec(lockDeletedTenant, found, micros(step.Before))
	if locked.Error != nil || locked.RowsAffected == 0 {
		return locked.Error
	}
	if err := queryRows(tx.Raw(nextMarksOfTenant, found, first.Application, first.User, step.Limit+1),
		func(rows *sql.Rows) error {
			marks++
			last = next
			return rows.Scan(&next.Application, &next.User)
		}); err != nil {
		return err
	}
	if marks <= step.Limit {
		last = next
	}
	deleted := tx.Exec(purgeMarksOfTenant, found, first.Application, first.User, last.Application, last.User,
		micros(step.Before))
	if deleted.Error != nil {
		return deleted.Error
	}
	done.Marks = int(deleted.RowsAffected)
	if marks > step.Limit || done.Marks == step.Limit {
		*at = next
		at.Tenant = from // there are more marks of it, or there is the tenant itself
		return nil
	}
	purged := tx.Exec(purgeTenant, found)
	done.Tenants = int(purged.RowsAffected)
	return purged.Error
}

// purgeEvents continues after the last id of the previous step, and not from the lowest id: there PostgreSQL would read
// all rows that the pass has deleted, until a vacuum.
func purgeEvents(tx *gorm.DB, step port.PurgeStep, at *position, done *port.Purged) error {
	from, err := at.after()
	if err != nil {
		return err
	}
	var last []byte
	if err := queryRows(tx.Raw(nextEvents, from[:], step.EventsBefore[:], step.Limit), func(rows *sql.Rows) error {
		done.Events++
		return rows.Scan(&last)
	}); err != nil {
		return err
	}
	if done.Events > 0 {
		at.ID = hex.EncodeToString(last)
		if err := tx.Exec(deleteEvents, from[:], last).Error; err != nil {
			return err
		}
	}
	if done.Events < step.Limit {
		*at = at.begin(stageOnce)
	}
	return nil
}

// purgeUsedKeys begins at the last instant of the previous step, for the reason of purgeEvents.
func purgeUsedKeys(tx *gorm.DB, step port.PurgeStep, at *position, done *port.Purged) error {
	from := at.Until
	if err := queryRows(tx.Raw(deleteUsedKeys, from, micros(step.OnceBefore), step.Limit), func(rows *sql.Rows) error {
		var until int64
		err := rows.Scan(&until)
		at.Until = max(at.Until, until)
		done.OnceKeys++
		return err
	}); err != nil {
		return err
	}
	done.Done = done.OnceKeys < step.Limit
	return nil
}
