package memstore

import (
	"context"
	"maps"
	"slices"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// SaveAPIKey implements port.APIKeys.
func (s *Store) SaveAPIKey(
	ctx context.Context, k domain.APIKey, expect domain.Version, e domain.Event,
) (domain.Version, error) {
	if err := s.lock(ctx); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	if before, ok := s.events.stored(e); ok {
		return before.Version, nil
	}
	before := s.apiKeys[k.ID]
	if before.Version != expect {
		return 0, domain.ErrStale
	}
	if _, ok := s.tenants[k.TenantID]; !ok && k.TenantID != "" {
		return 0, domain.ErrNotFound
	}
	if taken(s.byName, k.Name, k.ID) || taken(s.byHash, k.Hash, k.ID) || taken(s.byHash, k.PreviousHash, k.ID) {
		return 0, domain.ErrDuplicate
	}
	if expect != 0 {
		s.forget(before)
	}
	k = cloneAPIKey(k)
	k.Version = expect + 1
	if expect == 0 {
		k.Version += s.deletedAPIKey
	}
	s.remember(k)
	s.events.add(e, k.Version)
	return k.Version, nil
}

// taken reports whether value is that of another key than id.
func taken(by map[string]domain.ID, value string, id domain.ID) bool {
	other, ok := by[value]
	return ok && other != id
}

// DeleteAPIKey implements port.APIKeys.
func (s *Store) DeleteAPIKey(ctx context.Context, id domain.ID, expect domain.Version, e domain.Event) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if _, ok := s.events.stored(e); ok {
		return nil
	}
	k, ok := s.apiKeys[id]
	if err := isAt(ok, k.Version, expect); err != nil {
		return err
	}
	s.removeAPIKey(k)
	s.events.add(e, 0)
	return nil
}

func (s *Store) remember(k domain.APIKey) {
	s.apiKeys[k.ID], s.byName[k.Name], s.byHash[k.Hash] = k, k.ID, k.ID
	if k.PreviousHash != "" {
		s.byHash[k.PreviousHash] = k.ID
	}
}

func (s *Store) forget(k domain.APIKey) {
	delete(s.apiKeys, k.ID)
	delete(s.byName, k.Name)
	delete(s.byHash, k.Hash)
	delete(s.byHash, k.PreviousHash)
}

func (s *Store) removeAPIKey(k domain.APIKey) {
	s.deletedAPIKey = max(s.deletedAPIKey, k.Version)
	s.forget(k)
}

// APIKey implements port.APIKeys.
func (s *Store) APIKey(ctx context.Context, id domain.ID) (domain.APIKey, error) {
	return s.apiKey(ctx, func() domain.ID { return id })
}

// APIKeyByName implements port.APIKeys.
func (s *Store) APIKeyByName(ctx context.Context, name string) (domain.APIKey, error) {
	return s.apiKey(ctx, func() domain.ID { return s.byName[name] })
}

// APIKeyByHash implements port.APIKeys.
func (s *Store) APIKeyByHash(ctx context.Context, hashes ...string) (domain.APIKey, error) {
	return s.apiKey(ctx, func() (id domain.ID) {
		for _, hash := range hashes {
			if id = s.byHash[hash]; !id.IsZero() {
				break
			}
		}
		return id
	})
}

// RehashAPIKey implements port.APIKeys.
func (s *Store) RehashAPIKey(ctx context.Context, before, after domain.APIKey) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	k, ok := s.apiKeys[before.ID]
	if !ok || k.Hash != before.Hash || k.PreviousHash != before.PreviousHash {
		return domain.ErrConflict
	}
	if taken(s.byHash, after.Hash, k.ID) || taken(s.byHash, after.PreviousHash, k.ID) {
		return domain.ErrDuplicate
	}
	s.forget(k)
	k.Hash, k.HashKey, k.PreviousHash, k.PreviousHashKey = after.Hash, after.HashKey, after.PreviousHash,
		after.PreviousHashKey
	k.Version++
	s.remember(k)
	return nil
}

// APIKeysHashedWith implements port.APIKeys.
func (s *Store) APIKeysHashedWith(
	ctx context.Context, number uint32, limit int,
) (first []domain.APIKey, total int, err error) {
	if err := s.lock(ctx); err != nil {
		return nil, 0, err
	}
	defer s.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(s.byName)) {
		k := s.apiKeys[s.byName[name]]
		if k.HashKey != number && (k.PreviousHash == "" || k.PreviousHashKey != number) {
			continue
		}
		if total++; total <= limit {
			first = append(first, cloneAPIKey(k))
		}
	}
	return first, total, nil
}

// apiKey returns the key of the id that find returns. It calls find while it holds the lock.
func (s *Store) apiKey(ctx context.Context, find func() domain.ID) (domain.APIKey, error) {
	if err := s.lock(ctx); err != nil {
		return domain.APIKey{}, err
	}
	defer s.mu.Unlock()
	k, ok := s.apiKeys[find()]
	if !ok {
		return domain.APIKey{}, domain.ErrNotFound
	}
	return cloneAPIKey(k), nil
}

// APIKeys implements port.APIKeys.
func (s *Store) APIKeys(
	ctx context.Context, tenantID string, after domain.ID, limit int,
) (page []domain.APIKey, next domain.ID, err error) {
	if err := s.lock(ctx); err != nil {
		return nil, domain.ID{}, err
	}
	defer s.mu.Unlock()
	all := slices.DeleteFunc(slices.SortedFunc(maps.Keys(s.apiKeys), compareIDs), func(id domain.ID) bool {
		return tenantID != "" && s.apiKeys[id].TenantID != tenantID
	})
	ids, next := pageOf(all, compareIDs, after, limit,
		func(id domain.ID) int { return port.APIKeyBytes(s.apiKeys[id]) })
	for _, id := range ids {
		page = append(page, cloneAPIKey(s.apiKeys[id]))
	}
	return page, next, nil
}
