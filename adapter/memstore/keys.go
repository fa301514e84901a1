package memstore

import (
	"context"
	"slices"

	"github.com/refreshd/refreshd/domain"
)

// SaveAPIKey implements port.APIKeys.
func (s *Store) SaveAPIKey(ctx context.Context, k domain.APIKey) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if _, ok := s.tenants[k.TenantID]; !ok && k.TenantID != "" {
		return domain.ErrNotFound
	}
	if other, ok := s.apiKeyByHash(k.Hash); ok && other.Name != k.Name {
		return domain.ErrDuplicate
	}
	s.apiKeys[k.Name] = cloneAPIKey(k)
	return nil
}

// APIKeyByName implements port.APIKeys.
func (s *Store) APIKeyByName(ctx context.Context, name string) (domain.APIKey, error) {
	if err := s.lock(ctx); err != nil {
		return domain.APIKey{}, err
	}
	defer s.mu.Unlock()
	k, ok := s.apiKeys[name]
	if !ok {
		return domain.APIKey{}, domain.ErrNotFound
	}
	return cloneAPIKey(k), nil
}

// APIKeyByHash implements port.APIKeys.
func (s *Store) APIKeyByHash(ctx context.Context, hash string) (domain.APIKey, error) {
	if err := s.lock(ctx); err != nil {
		return domain.APIKey{}, err
	}
	defer s.mu.Unlock()
	k, ok := s.apiKeyByHash(hash)
	if !ok {
		return domain.APIKey{}, domain.ErrNotFound
	}
	return cloneAPIKey(k), nil
}

func (s *Store) apiKeyByHash(hash string) (domain.APIKey, bool) {
	for _, k := range s.apiKeys {
		if k.Hash == hash {
			return k, true
		}
	}
	return domain.APIKey{}, false
}

// SealedKeys implements port.Keys.
func (s *Store) SealedKeys(ctx context.Context) ([]domain.SealedKey, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	return slices.Clone(s.keys), nil
}

// AddKey implements port.Keys.
func (s *Store) AddKey(ctx context.Context, k domain.SealedKey) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	for _, other := range s.keys {
		if sameName(other, k) || k.ID != "" && other.ID == k.ID {
			return domain.ErrDuplicate
		}
	}
	k.CreatedAt, k.StartsAt, k.RetiredAt = instant(k.CreatedAt), instant(k.StartsAt), instant(k.RetiredAt)
	s.keys = append(s.keys, k)
	return nil
}

// Reseal implements port.Keys.
func (s *Store) Reseal(ctx context.Context, before domain.SealedKey, sealed string) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.keys, func(k domain.SealedKey) bool { return sameName(k, before) && k.Sealed == before.Sealed })
	if i < 0 {
		return domain.ErrConflict
	}
	s.keys[i].Sealed = sealed
	return nil
}

func sameName(a, b domain.SealedKey) bool {
	return a.Kind == b.Kind && a.TenantID == b.TenantID && a.Algorithm == b.Algorithm && a.Number == b.Number
}

// HasData implements port.Keys.
func (s *Store) HasData(ctx context.Context) (bool, error) {
	if err := s.lock(ctx); err != nil {
		return false, err
	}
	defer s.mu.Unlock()
	return len(s.tenants)+len(s.apiKeys)+len(s.tokens) > 0, nil
}
