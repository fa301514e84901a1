package gormstore

import (
	"context"
	"database/sql"

	"gorm.io/gorm"

	"github.com/refreshd/refreshd/domain"
)

const (
	keyRevision = `SELECT revision FROM key_ring WHERE one = 1`

	selectKeys = `
SELECT kind, tenant_id, algorithm, number, id, created_at, starts_at, retired_at, sealed, revision FROM keys`
	keysSince    = selectKeys + ` WHERE revision > $1 ORDER BY revision LIMIT $2`
	keysOfTenant = selectKeys + ` WHERE tenant_id = $1`
	keyByID      = selectKeys + ` WHERE id = $1 AND id <> ''`

	// nextKeyRevisions locks the row that orders all writes of keys, and returns the last of the revisions that it
	// draws. It is the first statement of a transaction, so revisions are committed in their order, as port.Keys
	// promises to readers.
	nextKeyRevisions = `UPDATE key_ring SET revision = revision + $1 WHERE one = 1 RETURNING revision`

	addKey = `
INSERT INTO keys (kind, tenant_id, algorithm, number, id, created_at, starts_at, retired_at, sealed, revision)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`

	reseal = `
UPDATE keys SET sealed = $1, revision = $2
WHERE kind = $3 AND tenant_id = $4 AND algorithm = $5 AND number = $6 AND id = $7 AND sealed = $8`

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
				k                                                domain.SealedKey
				number, createdAt, startsAt, retiredAt, revision int64
				sealed                                           []byte
			)
			if err := rows.Scan(&k.Kind, &k.TenantID, &k.Algorithm, &number, &k.ID, &createdAt, &startsAt, &retiredAt,
				&sealed, &revision); err != nil {
				return err
			}
			k.Number, k.Sealed, k.Revision = uint32(number), string(sealed), uint64(revision)
			k.CreatedAt, k.StartsAt, k.RetiredAt = instant(createdAt), instant(startsAt), instant(retiredAt)
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
	return s.onceOnly(ctx, e, func() error {
		return s.keyWriting(ctx, "add keys", func(tx *gorm.DB) error {
			var last int64
			if err := queryRow(tx.Raw(nextKeyRevisions, len(keys)), sql.ErrNoRows, &last); err != nil {
				return err
			}
			for i, k := range keys {
				revision := last - int64(len(keys)-1-i)
				if err := tx.Exec(addKey, string(k.Kind), k.TenantID, string(k.Algorithm), int64(k.Number), k.ID,
					micros(k.CreatedAt), micros(k.StartsAt), micros(k.RetiredAt), []byte(k.Sealed),
					revision).Error; err != nil {
					return err
				}
			}
			return appendEvent(tx, e, 0)
		})
	})
}

// Reseal implements port.Keys.
func (s *Store) Reseal(ctx context.Context, before domain.SealedKey, sealed string) error {
	return s.keyWriting(ctx, "reseal", func(tx *gorm.DB) error {
		var revision int64
		if err := queryRow(tx.Raw(nextKeyRevisions, 1), sql.ErrNoRows, &revision); err != nil {
			return err
		}
		return wrote(tx.Exec(reseal, []byte(sealed), revision, string(before.Kind), before.TenantID,
			string(before.Algorithm), int64(before.Number), before.ID, []byte(before.Sealed)), domain.ErrConflict)
	})
}

// HasData implements port.Store.
func (s *Store) HasData(ctx context.Context) (has bool, err error) {
	err = s.reading(ctx, "has data", func(db *gorm.DB) error {
		return queryRow(db.Raw(hasData), sql.ErrNoRows, &has)
	})
	return has, err
}
