package gormstore

import (
	"context"
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

// advance is the exchange, in one statement; the two engines differ in how it can give the policy back.
//
// A grace period of 0 is always over, also where another replica's clock was ahead.
func advance(returning string) string {
	const graceOver = `refresh_tokens.grace_since = 0 OR a.grace_period = 0 OR $1 - refresh_tokens.grace_since >= a.grace_period`
	return `
UPDATE refresh_tokens SET
  generation = refresh_tokens.generation + 1, rotated_at = $1, last_used_at = $1, client_address = $2,
  expires_at = CASE
    WHEN a.slide_window = 0 THEN refresh_tokens.expires_at
    WHEN $1 + a.slide_window < refresh_tokens.issued_at + a.slide_maximum THEN $1 + a.slide_window
    ELSE refresh_tokens.issued_at + a.slide_maximum END,
  grace_generation = CASE WHEN ` + graceOver + ` THEN refresh_tokens.generation ELSE refresh_tokens.grace_generation END,
  grace_since = CASE WHEN ` + graceOver + ` THEN $1 ELSE refresh_tokens.grace_since END
FROM applications AS a
WHERE refresh_tokens.id = $3 AND refresh_tokens.generation = $4
  AND ` + ofApplication + `
  AND ` + unended("$1") + `
  AND ($5 = '' OR refresh_tokens.tenant_id = $5)
  AND (refresh_tokens.binding = $6 OR length(refresh_tokens.binding) = 0)
  AND a.active = 1 AND a.usage_policy = 'OneTimeUse' AND a.require_authentication <= $7 AND a.access_token_ttl >= $8
RETURNING ` + returning
}

var (
	advancePostgres = advance(columns("refresh_tokens.", tokenColumns) + ", " + columns("a.", policyColumns))
	// In SQLite RETURNING knows the updated table only. One subquery for all columns costs less than one for each.
	advanceSQLite = advance(columns("", tokenColumns) +
		", (SELECT json_array(" + columns("a.", policyColumns) + ") FROM applications AS a WHERE " + ofApplication + ")")
)

// Advance implements port.RefreshTokens.
func (s *Store) Advance(ctx context.Context, id domain.ID, c domain.Call) (domain.RefreshToken, domain.Policy, error) {
	var (
		token  tokenRow
		policy policyRow
		t      domain.RefreshToken
	)
	dest := append(token.dest(), s.engine.policyDest(&policy)...)
	err := s.writing(ctx, "advance", func(db *gorm.DB) (err error) {
		if err := queryRow(db.Raw(s.engine.advance, micros(c.Now), c.ClientAddress, id[:], int64(c.Generation), c.TenantID,
			[]byte(c.Binding), flag(c.Authenticated), c.AccessTokenTTL.Microseconds()), domain.ErrConflict, dest...); err != nil {
			return err
		}
		t, err = token.token()
		return err
	})
	if err != nil {
		return domain.RefreshToken{}, domain.Policy{}, err
	}
	return t, policy.policy(), nil
}

// insert takes the epoch from the tenant in the statement that stores the row. A revocation that commits while it runs
// leaves a mark above the epoch that it took.
var insert = `
INSERT INTO refresh_tokens (` + columns("", tokenColumns) + `)
SELECT ` + placeholders(len(tokenColumns)-1) + `, t.epoch
FROM tenants AS t JOIN applications AS a ON a.tenant_id = t.id
WHERE t.id = $2 AND a.id = $3 AND a.active = 1`

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
  a.id IS NULL, ` + columnsOr("''", "a.", policyTexts) + `, ` + columnsOr("0", "a.", policyNumbers) + `
FROM refresh_tokens LEFT JOIN applications AS a ON ` + ofApplication + `
WHERE refresh_tokens.id = $1`

// Snapshot implements port.RefreshTokens.
func (s *Store) Snapshot(ctx context.Context, id domain.ID) (domain.Snapshot, error) {
	var (
		token  tokenRow
		epoch  int64
		gone   bool
		policy policyRow
		shot   domain.Snapshot
	)
	dest := append(append(token.dest(), &epoch, &gone), policy.dest()...)
	err := s.reading(ctx, "snapshot", func(db *gorm.DB) (err error) {
		if err := queryRow(db.Raw(snapshot, id[:]), domain.ErrNotFound, dest...); err != nil {
			return err
		}
		shot.Token, err = token.token()
		return err
	})
	if err != nil {
		return domain.Snapshot{}, err
	}
	shot.MarkEpoch, shot.Gone = uint64(epoch), gone
	if !gone {
		shot.Policy = policy.policy()
	}
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
