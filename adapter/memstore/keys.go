package memstore

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
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
	for _, at := range []*time.Time{&k.CreatedAt, &k.KnownAt, &k.StartsAt, &k.UnusedAt, &k.RetiredAt,
		&k.RevokedAt} {
		*at = instant(*at)
	}
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
	return s.ChangeKeys(ctx, e, port.KeyChange{Add: keys})
}

// ChangeKeys implements port.KeyChanges.
func (s *Store) ChangeKeys(ctx context.Context, e domain.Event, c port.KeyChange) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if _, done := s.events.stored(e); done {
		return nil
	}
	if err := s.ring.check(c); err != nil {
		return err
	}
	for _, k := range c.Add {
		if k.ID != "" {
			s.ring.byID[k.ID] = nameOf(k)
		}
		s.ring.ofTenant[k.TenantID] = append(s.ring.ofTenant[k.TenantID], nameOf(k))
		s.ring.write(k)
		s.revokedKey(k)
	}
	for _, after := range c.Replace {
		k := s.ring.keys[nameOf(after)]
		k.Name, k.KnownAt, k.StartsAt = after.Name, after.KnownAt, after.StartsAt
		k.UnusedAt, k.RetiredAt, k.RevokedAt = after.UnusedAt, after.RetiredAt, after.RevokedAt
		s.ring.write(k)
		s.revokedKey(k)
	}
	s.events.add(e, 0)
	return nil
}

// revokedKey makes a fact of a signing key that is revoked, unless it is one.
func (s *Store) revokedKey(k domain.SealedKey) {
	fact := factKey{key: nameOf(k)}
	if _, ok := s.reach.positions[fact]; !ok && k.Kind == domain.KeySigning && !k.RevokedAt.IsZero() {
		s.reach.add(fact)
	}
}

// check returns the error of a change that must not be made.
func (r *keyRing) check(c port.KeyChange) error {
	names, ids := make(map[keyName]bool), make(map[string]bool)
	for _, k := range c.Replace {
		name := nameOf(k)
		stored, ok := r.keys[name]
		if !ok || stored.ID != k.ID || stored.Revision != k.Revision || names[name] {
			return domain.ErrStale
		}
		names[name] = true
	}
	for _, k := range c.Add {
		name := nameOf(k)
		_, nameTaken := r.keys[name]
		_, idTaken := r.byID[k.ID]
		if nameTaken || names[name] || k.ID != "" && (idTaken || ids[k.ID]) {
			return domain.ErrDuplicate
		}
		names[name], ids[k.ID] = true, true
	}
	inForce := r.keys[keyName{kind: domain.KeyCheck, number: 1}].SealedBy
	for _, k := range c.Add {
		if k.Kind == domain.KeyCheck {
			inForce = k.SealedBy
		}
	}
	if inForce != "" && slices.ContainsFunc(c.Add, func(k domain.SealedKey) bool { return k.SealedBy != inForce }) {
		return domain.ErrConflict
	}
	return nil
}

// Reseal implements port.Keys.
func (s *Store) Reseal(ctx context.Context, before domain.SealedKey, sealed, sealedBy string) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	return s.ring.reseal(before, sealed, sealedBy)
}

func (r *keyRing) reseal(before domain.SealedKey, sealed, sealedBy string) error {
	k, ok := r.keys[nameOf(before)]
	if !ok || k.ID != before.ID || k.Sealed != before.Sealed {
		return domain.ErrConflict
	}
	k.Sealed, k.SealedBy = sealed, sealedBy
	r.write(k)
	return nil
}

// TurnCheck implements port.KeyChanges.
func (s *Store) TurnCheck(ctx context.Context, e domain.Event, before, after domain.SealedKey) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if _, done := s.events.stored(e); done {
		return nil
	}
	for _, k := range s.ring.keys {
		if k.Kind != domain.KeyCheck && k.SealedBy != after.SealedBy {
			return domain.ErrConflict
		}
	}
	if err := s.ring.reseal(before, after.Sealed, after.SealedBy); err != nil {
		return err
	}
	s.events.add(e, 0)
	return nil
}

// SigningKeys implements port.KeyChanges.
func (s *Store) SigningKeys(
	ctx context.Context, after string, limit int,
) (page []domain.SealedKey, next string, err error) {
	if err := s.lock(ctx); err != nil {
		return nil, "", err
	}
	defer s.mu.Unlock()
	read := 0
	for _, tenantID := range slices.Sorted(maps.Keys(s.ring.ofTenant)) {
		if tenantID <= after {
			continue
		}
		if read >= limit {
			return page, next, nil
		}
		for _, name := range s.ring.ofTenant[tenantID] {
			k := s.ring.keys[name]
			if read++; k.RetiredAt.IsZero() && k.RevokedAt.IsZero() {
				page = append(page, k)
			}
		}
		next = tenantID
	}
	return page, "", nil
}

// HasData implements port.Store.
func (s *Store) HasData(ctx context.Context) (bool, error) {
	if err := s.lock(ctx); err != nil {
		return false, err
	}
	defer s.mu.Unlock()
	return len(s.tenants)+len(s.apiKeys)+len(s.tokens) > 0, nil
}
