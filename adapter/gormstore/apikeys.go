package gormstore

import (
	"context"
	"encoding/json"

	"gorm.io/gorm"

	"github.com/refreshd/refreshd/domain"
)

const (
	saveAPIKey = `
INSERT INTO api_keys (name, hash, tenant_id, permissions, expires_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (name) DO UPDATE SET
  hash = excluded.hash, tenant_id = excluded.tenant_id, permissions = excluded.permissions, expires_at = excluded.expires_at`

	apiKeyByName = `SELECT name, hash, tenant_id, permissions, expires_at FROM api_keys WHERE name = $1`
	apiKeyByHash = `SELECT name, hash, tenant_id, permissions, expires_at FROM api_keys WHERE hash = $1`
)

// SaveAPIKey implements port.APIKeys.
func (s *Store) SaveAPIKey(ctx context.Context, k domain.APIKey) error {
	return s.tenantWriting(ctx, "save API key", k.TenantID, func(tx *gorm.DB) error {
		permissions := k.Permissions
		if permissions == nil {
			permissions = domain.Permissions{}
		}
		text, err := json.Marshal(permissions)
		if err != nil {
			return err
		}
		if k.TenantID != "" {
			// Under the lock, so that the tenant is not deleted, with its keys, before this one is there.
			if _, err := scanTenant(one(tx.Raw(lockTenant, k.TenantID))); err != nil {
				return err
			}
		}
		return tx.Exec(saveAPIKey, k.Name, []byte(k.Hash), k.TenantID, string(text), micros(k.ExpiresAt)).Error
	})
}

// APIKeyByName implements port.APIKeys.
func (s *Store) APIKeyByName(ctx context.Context, name string) (domain.APIKey, error) {
	return s.apiKey(ctx, "API key by name", apiKeyByName, name)
}

// APIKeyByHash implements port.APIKeys.
func (s *Store) APIKeyByHash(ctx context.Context, hash string) (domain.APIKey, error) {
	return s.apiKey(ctx, "API key by hash", apiKeyByHash, []byte(hash))
}

func (s *Store) apiKey(ctx context.Context, operation, query string, arg any) (k domain.APIKey, err error) {
	err = s.reading(ctx, operation, func(db *gorm.DB) error {
		var (
			hash, permissions []byte
			expiresAt         int64
		)
		if err := queryRow(db.Raw(query, arg), domain.ErrNotFound,
			&k.Name, &hash, &k.TenantID, &permissions, &expiresAt); err != nil {
			return err
		}
		k.Hash, k.ExpiresAt = string(hash), instant(expiresAt)
		return json.Unmarshal(permissions, &k.Permissions)
	})
	if err != nil {
		return domain.APIKey{}, err
	}
	return k, nil
}
