package memstore

import (
	"bytes"
	"cmp"
	"context"
	"slices"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// Revoke implements port.Revocations.
func (s *Store) Revoke(
	ctx context.Context, tenantID string, id domain.ID, r port.Revocation, e domain.Event,
) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if _, done := s.events.stored(e); done {
		return nil
	}
	t, ok := s.tokens[id]
	if !ok || t.TenantID != tenantID || !s.alive(t, instant(r.At)) {
		return domain.ErrNotFound
	}
	s.revoke(t, r)
	s.events.add(e, 0, t)
	return nil
}

// RevokeScope implements port.Revocations.
func (s *Store) RevokeScope(
	ctx context.Context, scope domain.Scope, except domain.ID, r port.Revocation, e domain.Event,
) (uint64, error) {
	if err := s.lock(ctx); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	if before, done := s.events.stored(e); done {
		return uint64(before.Version), nil
	}
	if _, ok := s.tenants[scope.TenantID]; !ok {
		return 0, domain.ErrNotFound
	}
	if _, ok := s.applications[scope.TenantID][scope.ApplicationID]; !ok && scope.ApplicationID != "" {
		return 0, domain.ErrNotFound
	}
	spared, ok := s.tokens[except]
	if !except.IsZero() && (!ok || !scope.Covers(spared) || !s.alive(spared, instant(r.At))) {
		return 0, domain.ErrNotFound
	}
	epoch := s.mark(scope, except, r)
	if !except.IsZero() {
		spared.IssuedEpoch = epoch
		s.tokens[except] = spared
	}
	s.events.add(e, domain.Version(epoch))
	return epoch, nil
}

// KeepNewest implements port.Revocations.
func (s *Store) KeepNewest(
	ctx context.Context, scope domain.Scope, keep int, r port.Revocation, e domain.Event,
) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if _, done := s.events.stored(e); done {
		return nil
	}
	var alive []domain.RefreshToken
	for id := range s.ofUser[scope] {
		if t := s.tokens[id]; s.alive(t, instant(r.At)) {
			alive = append(alive, t)
		}
	}
	slices.SortFunc(alive, func(a, b domain.RefreshToken) int {
		return cmp.Or(cmp.Compare(b.Ordinal, a.Ordinal), bytes.Compare(b.ID[:], a.ID[:]))
	})
	ended := alive[min(len(alive), keep):]
	for _, t := range ended {
		s.revoke(t, r)
	}
	if len(ended) > 0 {
		s.events.add(e, 0, ended...)
	}
	return nil
}

func (s *Store) revoke(t domain.RefreshToken, r port.Revocation) {
	t.RevokedAt, t.RevokedReason = instant(r.At), r.Reason
	s.put(t)
}

// mark is a stored mark and the refresh token that its epoch spared; zero for none.
type mark struct {
	domain.Mark
	except domain.ID
}

// mark raises the tenant's epoch, and writes the scope's mark with it.
func (s *Store) mark(scope domain.Scope, except domain.ID, r port.Revocation) uint64 {
	s.epochs[scope.TenantID]++
	m := domain.NewMark(scope, s.epochs[scope.TenantID], instant(r.At), r.Reason, s.longest[scope.TenantID].refresh)
	if before := s.marks[scope].KeepUntil; before.After(m.KeepUntil) {
		m.KeepUntil = before
	}
	s.marks[scope] = mark{m, except}
	s.reach.add(factKey{mark: scope})
	return m.Epoch
}
