package gormstore

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"gorm.io/gorm"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

const (
	// createAPIKey does not change an existing key of that id. A name or hash that another key has is an error. The
	// version is above those of all deleted keys, because a deleted key leaves no row that has its version.
	createAPIKey = `
INSERT INTO api_keys
  (id, name, hash, previous_hash, hash_key, previous_hash_key, tenant_id, permissions, expires_at, version)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, (SELECT deleted_api_key_version + 1 FROM key_ring WHERE one = 1))
ON CONFLICT (id) DO NOTHING RETURNING version`
	replaceAPIKey = `
UPDATE api_keys SET
  name = $2, hash = $3, previous_hash = $4, hash_key = $5, previous_hash_key = $6, tenant_id = $7, permissions = $8,
  expires_at = $9, version = version + 1
WHERE id = $1 AND version = $10 RETURNING version`
	rehashAPIKey = `
UPDATE api_keys SET hash = $1, previous_hash = $2, hash_key = $3, previous_hash_key = $4, version = version + 1
WHERE id = $5 AND hash = $6 AND previous_hash IS NOT DISTINCT FROM $7`
	// No index compares the two columns: one that has a hash in either of them is found under a lock. That of the keys
	// serves, as both are written rarely.
	lockAPIKeys = `UPDATE key_ring SET revision = revision WHERE one = 1`
	countHashes = `
SELECT count(*) FROM api_keys WHERE id <> $1 AND (hash IN ($2, $3) OR previous_hash IN ($2, $3))`
	// passVersion locks the keys before the row of the API key, in the order in which a save locks them.
	passVersion = `
UPDATE key_ring SET deleted_api_key_version =
  CASE WHEN deleted_api_key_version < $1 THEN $1 ELSE deleted_api_key_version END
WHERE one = 1`
	deleteAPIKey = `DELETE FROM api_keys WHERE id = $1 AND version = $2`
	countAPIKeys = `SELECT count(*) FROM api_keys WHERE id = $1`

	selectAPIKey = `
SELECT id, name, hash, previous_hash, hash_key, CASE WHEN previous_hash IS NULL THEN 0 ELSE previous_hash_key END,
  tenant_id, permissions, expires_at, version
FROM api_keys`
	apiKeyByID   = selectAPIKey + ` WHERE id = $1`
	apiKeyByName = selectAPIKey + ` WHERE name = $1`
	apiKeysAfter = selectAPIKey + ` WHERE id > $1 ORDER BY id LIMIT $2`
	// apiKeysOfTenant reads the index api_keys_tenant.
	apiKeysOfTenant = selectAPIKey + ` WHERE id > $1 AND tenant_id = $3 ORDER BY tenant_id, id LIMIT $2`

	// hashedWith reads the whole table: a hash key is retired rarely, and no other statement needs an index on its number.
	hashedWith = ` WHERE hash_key = $1 OR previous_hash IS NOT NULL AND previous_hash_key = $1`

	countHashedWith = `SELECT count(*) FROM api_keys` + hashedWith
	firstHashedWith = selectAPIKey + hashedWith + ` ORDER BY name LIMIT $2`
)

// apiKeyByHash returns the statement for n hashes. For each hash it probes one index, and the other one only if that
// has no row.
func apiKeyByHash(n int) string {
	probes := make([]string, n)
	for i := range probes {
		hash := "$" + strconv.Itoa(i+1)
		probes[i] = selectAPIKey + ` WHERE hash = ` + hash + ` UNION ALL ` + selectAPIKey + ` WHERE previous_hash = ` + hash
	}
	return strings.Join(probes, ` UNION ALL `) + ` LIMIT 1`
}

// apiKeyByHashes are the statements for one hash, and for two: there are no more hash keys.
var apiKeyByHashes = [...]string{apiKeyByHash(1), apiKeyByHash(2)}

// SaveAPIKey implements port.APIKeys.
func (s *Store) SaveAPIKey(
	ctx context.Context, k domain.APIKey, expect domain.Version, e domain.Event,
) (version domain.Version, err error) {
	permissions := k.Permissions
	if permissions == nil {
		permissions = domain.Permissions{}
	}
	text, err := json.Marshal(permissions)
	if err != nil {
		return 0, err
	}
	statement := createAPIKey
	args := append([]any{k.ID[:], k.Name}, hashesOf(k)...)
	args = append(args, k.TenantID, string(text), micros(k.ExpiresAt))
	if expect != 0 {
		statement, args = replaceAPIKey, append(args, int64(expect))
	}
	return s.once(ctx, e, func() (domain.Version, error) {
		err := s.tenantWriting(ctx, "save API key", k.TenantID, func(tx *gorm.DB) error {
			if k.TenantID != "" {
				// Under the lock, so that the tenant is not deleted, with its keys, before this key is stored.
				if _, err := scanTenant(one(tx.Raw(lockTenant, k.TenantID))); err != nil {
					return err
				}
			}
			if err := checkHashes(tx, k); err != nil {
				return err
			}
			if err := queryRow(tx.Raw(statement, args...), domain.ErrStale, &version); err != nil {
				return err
			}
			return appendEvent(tx, e, version)
		})
		return version, duplicateOrStale(err, expect, func() error {
			_, err := s.APIKey(ctx, k.ID)
			return err
		})
	})
}

// hashesOf are the two hashes, the previous one NULL for none, and the numbers of their keys.
func hashesOf(k domain.APIKey) []any {
	previous := []byte(nil)
	if k.PreviousHash != "" {
		previous = []byte(k.PreviousHash)
	}
	return []any{[]byte(k.Hash), previous, int64(k.HashKey), int64(k.PreviousHashKey)}
}

// checkHashes returns ErrDuplicate if another key has one of k's hashes, and keeps other saves out until tx ends.
func checkHashes(tx *gorm.DB, k domain.APIKey) error {
	if err := tx.Exec(lockAPIKeys).Error; err != nil {
		return err
	}
	others, previous := 0, cmp.Or(k.PreviousHash, k.Hash)
	err := queryRow(tx.Raw(countHashes, k.ID[:], []byte(k.Hash), []byte(previous)), nil, &others)
	if err == nil && others > 0 {
		return domain.ErrDuplicate
	}
	return err
}

// duplicateOrStale maps the error of a save. If two calls create the same object concurrently, PostgreSQL refuses one
// by the unique index that it checks first, possibly that of the name or the issuer. No other object has that name
// then.
func duplicateOrStale(err error, expect domain.Version, read func() error) error {
	if expect != 0 || !errors.Is(err, domain.ErrDuplicate) {
		return err
	}
	switch found := read(); {
	case found == nil:
		return domain.ErrStale
	case errors.Is(found, domain.ErrNotFound):
		return err
	default:
		return found
	}
}

// DeleteAPIKey implements port.APIKeys.
func (s *Store) DeleteAPIKey(ctx context.Context, id domain.ID, expect domain.Version, e domain.Event) error {
	return s.onceOnly(ctx, e, func() error {
		return s.transacting(ctx, "delete API key", func(tx *gorm.DB) error {
			if err := tx.Exec(passVersion, int64(expect)).Error; err != nil {
				return err
			}
			if err := wrote(tx.Exec(deleteAPIKey, id[:], int64(expect)), domain.ErrStale); err != nil {
				return cmp.Or(exists(tx.Raw(countAPIKeys, id[:])), err)
			}
			return appendEvent(tx, e, 0)
		})
	})
}

// APIKey implements port.APIKeys.
func (s *Store) APIKey(ctx context.Context, id domain.ID) (domain.APIKey, error) {
	return s.apiKey(ctx, "API key", apiKeyByID, id[:])
}

// APIKeyByName implements port.APIKeys.
func (s *Store) APIKeyByName(ctx context.Context, name string) (domain.APIKey, error) {
	return s.apiKey(ctx, "API key by name", apiKeyByName, name)
}

// APIKeyByHash implements port.APIKeys.
func (s *Store) APIKeyByHash(ctx context.Context, hashes ...string) (domain.APIKey, error) {
	args := make([]any, len(hashes))
	for i, hash := range hashes {
		args[i] = []byte(hash)
	}
	var query string
	switch n := len(hashes); {
	case n == 0:
		return domain.APIKey{}, domain.ErrNotFound
	case n <= len(apiKeyByHashes):
		query = apiKeyByHashes[n-1]
	default:
		query = apiKeyByHash(n)
	}
	return s.apiKey(ctx, "API key by hash", query, args...)
}

// RehashAPIKey implements port.APIKeys. It takes the lock of lockAPIKeys first.
func (s *Store) RehashAPIKey(ctx context.Context, before, after domain.APIKey) error {
	return s.keyWriting(ctx, "rehash API key", func(tx *gorm.DB) error {
		after.ID = before.ID
		if err := checkHashes(tx, after); err != nil {
			return err
		}
		args := append(hashesOf(after), before.ID[:])
		return wrote(tx.Exec(rehashAPIKey, append(args, hashesOf(before)[:2]...)...), domain.ErrConflict)
	})
}

// APIKeysHashedWith implements port.APIKeys.
func (s *Store) APIKeysHashedWith(
	ctx context.Context, number uint32, limit int,
) (first []domain.APIKey, total int, err error) {
	err = s.reading(ctx, "API keys by hash key", func(db *gorm.DB) error {
		first = nil
		if err := queryRow(db.Raw(countHashedWith, int64(number)), sql.ErrNoRows, &total); err != nil {
			return err
		}
		return queryRows(db.Raw(firstHashedWith, int64(number), limit), func(rows *sql.Rows) error {
			k, err := scanAPIKey(rows.Scan)
			first = append(first, k)
			return err
		})
	})
	if err != nil {
		return nil, 0, err
	}
	return first, total, nil
}

func (s *Store) apiKey(ctx context.Context, operation, query string, args ...any) (k domain.APIKey, err error) {
	err = s.reading(ctx, operation, func(db *gorm.DB) (err error) {
		k, err = scanAPIKey(one(db.Raw(query, args...)))
		return err
	})
	return k, err
}

// APIKeys implements port.APIKeys.
func (s *Store) APIKeys(
	ctx context.Context, tenantID string, after domain.ID, limit int,
) (page []domain.APIKey, next domain.ID, err error) {
	limit = min(limit, port.MaxListRows)
	query, args := apiKeysAfter, []any{after[:], limit + 1}
	if tenantID != "" {
		query, args = apiKeysOfTenant, append(args, tenantID)
	}
	err = s.reading(ctx, "API keys", func(db *gorm.DB) error {
		page, next = nil, domain.ID{}
		bytes := 0
		return queryRows(db.Raw(query, args...), func(rows *sql.Rows) error {
			if full(len(page), limit, bytes) {
				next = page[len(page)-1].ID
				return errPageEnds
			}
			k, err := scanAPIKey(rows.Scan)
			page, bytes = append(page, k), bytes+port.APIKeyBytes(k)
			return err
		})
	})
	if err != nil {
		return nil, domain.ID{}, err
	}
	return page, next, nil
}

func scanAPIKey(scan scanner) (k domain.APIKey, err error) {
	var (
		id, hash, previous, permissions []byte
		hashKey, previousKey, expiresAt int64
	)
	if err := scan(&id, &k.Name, &hash, &previous, &hashKey, &previousKey, &k.TenantID, &permissions, &expiresAt,
		&k.Version); err != nil {
		return domain.APIKey{}, err
	}
	copy(k.ID[:], id)
	k.HashKey, k.PreviousHashKey = uint32(hashKey), uint32(previousKey)
	k.Hash, k.PreviousHash, k.ExpiresAt = string(hash), string(previous), instant(expiresAt)
	return k, json.Unmarshal(permissions, &k.Permissions)
}
