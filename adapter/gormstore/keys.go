package gormstore

import (
	"context"
	"database/sql"
	"slices"

	"gorm.io/gorm"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

const (
	keyRevision = `SELECT revision FROM key_ring WHERE one = 1`

	// sealedBy is sealed_by while it holds, see 00007.
	sealedBy = `CASE WHEN sealed_revision = revision THEN sealed_by ELSE '' END`

	selectKeys = `
SELECT kind, tenant_id, algorithm, number, id, name, created_at, known_at, starts_at, unused_at, retired_at, revoked_at,
  sealed, ` + sealedBy + `, revision
FROM keys`
	keysSince    = selectKeys + ` WHERE revision > $1 ORDER BY revision LIMIT $2`
	keysOfTenant = selectKeys + ` WHERE tenant_id = $1`
	keyByID      = selectKeys + ` WHERE id = $1 AND id <> ''`

	// nextKeyRevisions locks the row that orders all writes of keys, and returns the last of the revisions that it
	// draws. It is the first statement of a transaction, so revisions are committed in their order, as port.Keys
	// promises to readers.
	nextKeyRevisions = `UPDATE key_ring SET revision = revision + $1 WHERE one = 1 RETURNING revision`

	addKey = `
INSERT INTO keys (kind, tenant_id, algorithm, number, id, name, created_at, known_at, starts_at, unused_at, retired_at,
  revoked_at, sealed, sealed_by, sealed_revision, revision)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $15)`

	replaceKey = `
UPDATE keys SET name = $1, known_at = $2, starts_at = $3, unused_at = $4, retired_at = $5, revoked_at = $6,
  sealed_by = ` + sealedBy + `, sealed_revision = $7, revision = $7
WHERE kind = $8 AND tenant_id = $9 AND algorithm = $10 AND number = $11 AND id = $12 AND revision = $13`

	reseal = `
UPDATE keys SET sealed = $1, sealed_by = $2, sealed_revision = $3, revision = $3
WHERE kind = $4 AND tenant_id = $5 AND algorithm = $6 AND number = $7 AND id = $8 AND sealed = $9`

	// masterInForce selects the id of the master key that sealed the check value.
	masterInForce = `SELECT ` + sealedBy + ` FROM keys
WHERE kind = 'check' AND tenant_id = '' AND algorithm = '' AND number = 1`

	// otherMaster selects whether a key other than the check value was not sealed by $1. It reads all keys.
	otherMaster = `
SELECT CASE WHEN EXISTS (SELECT 1 FROM keys WHERE kind <> 'check' AND ` + sealedBy + ` <> $1) THEN 1 ELSE 0 END`

	// lastOfPage selects the tenant of the $2-th of the signing keys of tenants above $1.
	lastOfPage = `
SELECT tenant_id FROM keys WHERE kind = 'signing' AND tenant_id > $1
ORDER BY tenant_id, algorithm, number LIMIT 1 OFFSET $2`
	signingKeys = selectKeys + ` WHERE kind = 'signing' AND tenant_id > $1 AND tenant_id <= $2
  AND retired_at = 0 AND revoked_at = 0
ORDER BY tenant_id, algorithm, number`
	// lastSigningKeys is signingKeys of all tenants above $1.
	lastSigningKeys = selectKeys + ` WHERE kind = 'signing' AND tenant_id > $1
  AND retired_at = 0 AND revoked_at = 0
ORDER BY tenant_id, algorithm, number`

	// hasData counts a deleted tenant too: its refresh tokens may still be stored.
	hasData = `
SELECT CASE WHEN EXISTS (SELECT 1 FROM tenants) OR EXISTS (SELECT 1 FROM api_keys)` +
		` OR EXISTS (SELECT 1 FROM refresh_tokens)
  THEN 1 ELSE 0 END`
)

// KeyRevision implements port.Keys.
func (s *Store) KeyRevision(ctx context.Context) (revision uint64, err error) {
	err = s.reading(ctx, "key revision", func(db *gorm.DB) error {
		return queryRow(db.Raw(keyRevision), sql.ErrNoRows, &revision)
	})
	return revision, err
}

// KeysSince implements port.Keys.
func (s *Store) KeysSince(ctx context.Context, revision uint64, limit int) ([]domain.SealedKey, error) {
	return s.sealedKeys(ctx, "keys since a revision", keysSince, int64(revision), limit)
}

// KeysOfTenant implements port.Keys.
func (s *Store) KeysOfTenant(ctx context.Context, tenantID string) ([]domain.SealedKey, error) {
	return s.sealedKeys(ctx, "keys of a tenant", keysOfTenant, tenantID)
}

// KeyByID implements port.Keys.
func (s *Store) KeyByID(ctx context.Context, id string) (domain.SealedKey, error) {
	keys, err := s.sealedKeys(ctx, "key by id", keyByID, id)
	if err != nil {
		return domain.SealedKey{}, err
	}
	if len(keys) == 0 {
		return domain.SealedKey{}, domain.ErrNotFound
	}
	return keys[0], nil
}

func (s *Store) sealedKeys(
	ctx context.Context, operation, query string, args ...any,
) (keys []domain.SealedKey, err error) {
	err = s.reading(ctx, operation, func(db *gorm.DB) error {
		keys = nil
		return queryRows(db.Raw(query, args...), func(rows *sql.Rows) error {
			var (
				k                                                    domain.SealedKey
				number, revision                                     int64
				createdAt, knownAt, starts, unused, retired, revoked int64
				sealed                                               []byte
			)
			if err := rows.Scan(&k.Kind, &k.TenantID, &k.Algorithm, &number, &k.ID, &k.Name, &createdAt, &knownAt,
				&starts, &unused, &retired, &revoked, &sealed, &k.SealedBy, &revision); err != nil {
				return err
			}
			k.Number, k.Sealed, k.Revision = uint32(number), string(sealed), uint64(revision)
			k.CreatedAt, k.KnownAt, k.StartsAt = instant(createdAt), instant(knownAt), instant(starts)
			k.UnusedAt, k.RetiredAt, k.RevokedAt = instant(unused), instant(retired), instant(revoked)
			keys = append(keys, k)
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return keys, nil
}

// keyWriting runs f in a transaction that begins with nextKeyRevisions. It waits for no other row, because every writer
// of keys holds that one.
func (s *Store) keyWriting(ctx context.Context, operation string, f func(tx *gorm.DB) error) error {
	return s.inTurn(ctx, operation, rowName{keyRing: true}, func() error {
		return s.writing(ctx, operation, func(db *gorm.DB) error { return db.Transaction(f) })
	})
}

// AddKeys implements port.Keys.
func (s *Store) AddKeys(ctx context.Context, e domain.Event, keys ...domain.SealedKey) error {
	return s.ChangeKeys(ctx, e, port.KeyChange{Add: keys})
}

// ChangeKeys implements port.KeyChanges.
func (s *Store) ChangeKeys(ctx context.Context, e domain.Event, c port.KeyChange) error {
	return s.onceOnly(ctx, e, func() error {
		return s.keyWriting(ctx, "change keys", func(tx *gorm.DB) error {
			revision, err := drawRevisions(tx, len(c.Add)+len(c.Replace))
			if err != nil {
				return err
			}
			for _, k := range c.Replace {
				if err := wrote(tx.Exec(replaceKey, append([]any{k.Name, micros(k.KnownAt), micros(k.StartsAt),
					micros(k.UnusedAt), micros(k.RetiredAt), micros(k.RevokedAt), revision},
					append(keyName(k), int64(k.Revision))...)...),
					domain.ErrStale); err != nil {
					return err
				}
				revision++
			}
			for _, k := range c.Add {
				if err := tx.Exec(addKey, append(keyName(k), k.Name, micros(k.CreatedAt), micros(k.KnownAt),
					micros(k.StartsAt), micros(k.UnusedAt), micros(k.RetiredAt), micros(k.RevokedAt), []byte(k.Sealed),
					k.SealedBy, revision)...).Error; err != nil {
					return err
				}
				revision++
			}
			if err := checkSealedBy(tx, c.Add); err != nil {
				return err
			}
			return appendEvent(tx, e, 0)
		})
	})
}

// checkSealedBy returns ErrConflict if one of the keys was sealed by another master key than the check value, in a
// transaction that holds the row of the key ring: the check value is not turned before it ends.
func checkSealedBy(tx *gorm.DB, keys []domain.SealedKey) error {
	if len(keys) == 0 {
		return nil
	}
	var inForce string
	err := queryRow(tx.Raw(masterInForce), nil, &inForce)
	if err == nil && inForce != "" &&
		slices.ContainsFunc(keys, func(k domain.SealedKey) bool { return k.SealedBy != inForce }) {
		return domain.ErrConflict
	}
	return err
}

// drawRevisions returns the first of the next n revisions. It is the first statement of a transaction.
func drawRevisions(tx *gorm.DB, n int) (first int64, err error) {
	var last int64
	err = queryRow(tx.Raw(nextKeyRevisions, n), sql.ErrNoRows, &last)
	return last - int64(n) + 1, err
}

// keyName is the primary key of k, and its id.
func keyName(k domain.SealedKey) []any {
	return []any{string(k.Kind), k.TenantID, string(k.Algorithm), int64(k.Number), k.ID}
}

// Reseal implements port.Keys.
func (s *Store) Reseal(ctx context.Context, before domain.SealedKey, sealed, sealedBy string) error {
	return s.keyWriting(ctx, "reseal", func(tx *gorm.DB) error { return resealKey(tx, before, sealed, sealedBy) })
}

func resealKey(tx *gorm.DB, before domain.SealedKey, sealed, sealedBy string) error {
	revision, err := drawRevisions(tx, 1)
	if err != nil {
		return err
	}
	args := append([]any{[]byte(sealed), sealedBy, revision}, keyName(before)...)
	return wrote(tx.Exec(reseal, append(args, []byte(before.Sealed))...), domain.ErrConflict)
}

// TurnCheck implements port.KeyChanges.
func (s *Store) TurnCheck(ctx context.Context, e domain.Event, before, after domain.SealedKey) error {
	return s.onceOnly(ctx, e, func() error {
		return s.keyWriting(ctx, "turn the check value", func(tx *gorm.DB) error {
			if err := resealKey(tx, before, after.Sealed, after.SealedBy); err != nil {
				return err
			}
			var other bool
			if err := queryRow(tx.Raw(otherMaster, after.SealedBy), sql.ErrNoRows, &other); err != nil {
				return err
			}
			if other {
				return domain.ErrConflict
			}
			return appendEvent(tx, e, 0)
		})
	})
}

// SigningKeys implements port.KeyChanges.
func (s *Store) SigningKeys(
	ctx context.Context, after string, limit int,
) (page []domain.SealedKey, next string, err error) {
	err = s.reading(ctx, "last tenant of a page of signing keys", func(db *gorm.DB) error {
		next = ""
		return queryRow(db.Raw(lastOfPage, after, limit-1), nil, &next)
	})
	if err != nil {
		return nil, "", err
	}
	if next == "" {
		page, err = s.sealedKeys(ctx, "signing keys", lastSigningKeys, after)
	} else {
		page, err = s.sealedKeys(ctx, "signing keys", signingKeys, after, next)
	}
	return page, next, err
}

// HasData implements port.Store.
func (s *Store) HasData(ctx context.Context) (has bool, err error) {
	err = s.reading(ctx, "has data", func(db *gorm.DB) error {
		return queryRow(db.Raw(hasData), sql.ErrNoRows, &has)
	})
	return has, err
}
