package gormstore

import (
	"context"
	"database/sql"

	"gorm.io/gorm"

	"github.com/refreshd/refreshd/domain"
)

const (
	selectKeys = `SELECT kind, tenant_id, algorithm, number, id, created_at, starts_at, retired_at, sealed FROM keys`

	addKey = `
INSERT INTO keys (kind, tenant_id, algorithm, number, id, created_at, starts_at, retired_at, sealed)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`

	reseal = `
UPDATE keys SET sealed = $1
WHERE kind = $2 AND tenant_id = $3 AND algorithm = $4 AND number = $5 AND id = $6 AND sealed = $7`

	// hasData counts a deleted tenant too: its refresh tokens may still be there.
	hasData = `
SELECT CASE WHEN EXISTS (SELECT 1 FROM tenants) OR EXISTS (SELECT 1 FROM api_keys) OR EXISTS (SELECT 1 FROM refresh_tokens)
  THEN 1 ELSE 0 END`
)

// SealedKeys implements port.Keys.
func (s *Store) SealedKeys(ctx context.Context) (keys []domain.SealedKey, err error) {
	err = s.reading(ctx, "sealed keys", func(db *gorm.DB) error {
		keys = nil
		return queryRows(db.Raw(selectKeys), func(rows *sql.Rows) error {
			var (
				k                                      domain.SealedKey
				number, createdAt, startsAt, retiredAt int64
				sealed                                 []byte
			)
			if err := rows.Scan(&k.Kind, &k.TenantID, &k.Algorithm, &number, &k.ID, &createdAt, &startsAt, &retiredAt,
				&sealed); err != nil {
				return err
			}
			k.Number, k.Sealed = uint32(number), string(sealed)
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

// AddKey implements port.Keys.
func (s *Store) AddKey(ctx context.Context, k domain.SealedKey) error {
	return s.writing(ctx, "add key", func(db *gorm.DB) error {
		return db.Exec(addKey, string(k.Kind), k.TenantID, string(k.Algorithm), int64(k.Number), k.ID,
			micros(k.CreatedAt), micros(k.StartsAt), micros(k.RetiredAt), []byte(k.Sealed)).Error
	})
}

// Reseal implements port.Keys.
func (s *Store) Reseal(ctx context.Context, before domain.SealedKey, sealed string) error {
	return s.writing(ctx, "reseal", func(db *gorm.DB) error {
		return wrote(db.Exec(reseal, []byte(sealed), string(before.Kind), before.TenantID, string(before.Algorithm),
			int64(before.Number), before.ID, []byte(before.Sealed)), domain.ErrConflict)
	})
}

// HasData implements port.Keys.
func (s *Store) HasData(ctx context.Context) (has bool, err error) {
	err = s.reading(ctx, "has data", func(db *gorm.DB) error {
		return queryRow(db.Raw(hasData), sql.ErrNoRows, &has)
	})
	return has, err
}
