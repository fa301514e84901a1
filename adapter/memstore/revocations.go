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
func (s *Store) Revoke(ctx context.Context, tenantID string, id domain.ID, r port.Revocation) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	t, ok := s.tokens[id]
	if !ok || t.TenantID != tenantID || !s.alive(t, instant(r.At)) {
		return domain.ErrNotFound
	}
	s.revoke(t, r)
	return nil
}

// RevokeScope implements port.Revocations.
func (s *Store) RevokeScope(ctx context.Context, scope domain.Scope, except domain.ID, r port.Revocation) (uint64, error) {
	if err := s.lock(ctx); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	if _, ok := s.tenants[scope.TenantID]; !ok {
		return 0, domain.ErrNotFound
	}
	if _, ok := s.applications[scope.TenantID][scope.ApplicationID]; !ok && scope.ApplicationID != "" {
		return 0, domain.ErrNotFound
	}
	if except.IsZero() {
		return s.mark(scope, r), nil
	}
	spared, ok := s.tokens[except]
	if !ok || !scope.Covers(spared) || !s.alive(spared, instant(r.At)) {
		return 0, domain.ErrNotFound
	}
	spared.IssuedEpoch = s.mark(scope, r)
	s.tokens[except] = spared
	return spared.IssuedEpoch, nil
}

// KeepNewest implements port.Revocations.
func (s *Store) KeepNewest(ctx context.Context, scope domain.Scope, keep int, r port.Revocation) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	var alive []domain.RefreshToken
	for id := range s.ofUser[scope] {
		if t := s.tokens[id]; s.alive(t, instant(r.At)) {
			alive = append(alive, t)
		}
	}
	slices.SortFunc(alive, func(a, b domain.RefreshToken) int {
		return cmp.Or(cmp.Compare(b.Ordinal, a.Ordinal), bytes.Compare(b.ID[:], a.ID[:]))
	})
	for _, t := range alive[min(len(alive), keep):] {
		s.revoke(t, r)
	}
	return nil
}

func (s *Store) revoke(t domain.RefreshToken, r port.Revocation) {
	t.RevokedAt, t.RevokedReason = instant(r.At), r.Reason
	s.tokens[t.ID] = t
}

// mark raises the tenant's epoch and the scope's mark with it.
func (s *Store) mark(scope domain.Scope, r port.Revocation) uint64 {
	s.epochs[scope.TenantID]++
	m := domain.NewMark(scope, s.epochs[scope.TenantID], instant(r.At), r.Reason, s.longest[scope.TenantID])
	if before := s.marks[scope].KeepUntil; before.After(m.KeepUntil) {
		m.KeepUntil = before
	}
	s.marks[scope] = m
	return m.Epoch
}
