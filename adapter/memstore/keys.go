package memstore

import (
	"context"

	"github.com/refreshd/refreshd/domain"
)

// keyName identifies a sealed key.
type keyName struct {
	kind      domain.KeyKind
	tenantID  string
	algorithm domain.Algorithm
	number    uint32
}

func nameOf(k domain.SealedKey) keyName { return keyName{k.Kind, k.TenantID, k.Algorithm, k.Number} }

// keyRing contains the sealed keys.
type keyRing struct {
	keys     map[keyName]domain.SealedKey
	byID     map[string]keyName
	ofTenant map[string][]keyName
	written  []keyName // the key of each write; index i is revision i+1
}

func newKeyRing() keyRing {
	return keyRing{
		keys: make(map[keyName]domain.SealedKey), byID: make(map[string]keyName), ofTenant: make(map[string][]keyName),
	}
}

// write stores k with the next revision.
func (r *keyRing) write(k domain.SealedKey) {
	name := nameOf(k)
	r.written = append(r.written, name)
	k.Revision = uint64(len(r.written))
	r.keys[name] = k
}

// KeyRevision implements port.Keys.
func (s *Store) KeyRevision(ctx context.Context) (uint64, error) {
	if err := s.lock(ctx); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	return uint64(len(s.ring.written)), nil
}

// KeysSince implements port.Keys.
func (s *Store) KeysSince(ctx context.Context, revision uint64, limit int) (keys []domain.SealedKey, err error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	for i := revision; i < uint64(len(s.ring.written)) && len(keys) < limit; i++ {
		if k := s.ring.keys[s.ring.written[i]]; k.Revision == i+1 { // otherwise the key was written again
			keys = append(keys, k)
		}
	}
	return keys, nil
}

// KeysOfTenant implements port.Keys.
func (s *Store) KeysOfTenant(ctx context.Context, tenantID string) (keys []domain.SealedKey, err error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	for _, name := range s.ring.ofTenant[tenantID] {
		keys = append(keys, s.ring.keys[name])
	}
	return keys, nil
}

// KeyByID implements port.Keys.
func (s *Store) KeyByID(ctx context.Context, id string) (domain.SealedKey, error) {
	if err := s.lock(ctx); err != nil {
		return domain.SealedKey{}, err
	}
	defer s.mu.Unlock()
	name, ok := s.ring.byID[id]
	if !ok {
		return domain.SealedKey{}, domain.ErrNotFound
	}
	return s.ring.keys[name], nil
}

// AddKeys implements port.Keys.
func (s *Store) AddKeys(ctx context.Context, e domain.Event, keys ...domain.SealedKey) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if _, done := s.events.stored(e); done {
		return nil
	}
	names, ids := make(map[keyName]bool), make(map[string]bool)
	for _, k := range keys {
		name := nameOf(k)
		_, nameTaken := s.ring.keys[name]
		_, idTaken := s.ring.byID[k.ID]
		if nameTaken || names[name] || k.ID != "" && (idTaken || ids[k.ID]) {
			return domain.ErrDuplicate
		}
		names[name], ids[k.ID] = true, true
	}
	for _, k := range keys {
		if k.ID != "" {
			s.ring.byID[k.ID] = nameOf(k)
		}
		s.ring.ofTenant[k.TenantID] = append(s.ring.ofTenant[k.TenantID], nameOf(k))
		k.CreatedAt, k.StartsAt, k.RetiredAt = instant(k.CreatedAt), instant(k.StartsAt), instant(k.RetiredAt)
		s.ring.write(k)
	}
	s.events.add(e, 0)
	return nil
}

// Reseal implements port.Keys.
func (s *Store) Reseal(ctx context.Context, before domain.SealedKey, sealed string) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	k, ok := s.ring.keys[nameOf(before)]
	if !ok || k.ID != before.ID || k.Sealed != before.Sealed {
		return domain.ErrConflict
	}
	k.Sealed = sealed
	s.ring.write(k)
	return nil
}

// HasData implements port.Store.
func (s *Store) HasData(ctx context.Context) (bool, error) {
	if err := s.lock(ctx); err != nil {
		return false, err
	}
	defer s.mu.Unlock()
	return len(s.tenants)+len(s.apiKeys)+len(s.tokens) > 0, nil
}
