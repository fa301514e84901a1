package memstore

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// Insert implements port.RefreshTokens.
func (s *Store) Insert(ctx context.Context, t domain.RefreshToken) (domain.RefreshToken, error) {
	if err := s.lock(ctx); err != nil {
		return domain.RefreshToken{}, err
	}
	defer s.mu.Unlock()
	if _, ok := s.tokens[t.ID]; ok {
		return domain.RefreshToken{}, domain.ErrDuplicate
	}
	if a, ok := s.applications[t.TenantID][t.ApplicationID]; !ok || !a.policy.Active {
		return domain.RefreshToken{}, domain.ErrNotFound
	}
	t = cloneToken(t)
	t.IssuedEpoch = s.epochs[t.TenantID]
	t.Ordinal = 1
	own := owner(t)
	for id := range s.ofUser[own] {
		if other := s.tokens[id]; other.RevokedAt.IsZero() {
			t.Ordinal = max(t.Ordinal, other.Ordinal+1)
		}
	}
	if s.ofUser[own] == nil {
		s.ofUser[own] = make(map[domain.ID]bool)
	}
	s.ofUser[own][t.ID] = true
	s.put(t)
	for _, scope := range listed(t) {
		all := s.ids[scope]
		at, _ := slices.BinarySearchFunc(all, t.ID, compareIDs)
		s.ids[scope] = slices.Insert(all, at, t.ID)
	}
	s.owned[t.TenantID]++
	s.janitor.inserted(t.ID)
	return cloneToken(t), nil
}

// Advance implements port.RefreshTokens.
func (s *Store) Advance(ctx context.Context, id domain.ID, c domain.Call) (domain.RefreshToken, domain.Policy, error) {
	if err := s.lock(ctx); err != nil {
		return domain.RefreshToken{}, domain.Policy{}, err
	}
	defer s.mu.Unlock()
	now := instant(c.Now)
	t, ok := s.tokens[id]
	p := s.applications[t.TenantID][t.ApplicationID].policy
	if !ok || !s.alive(t, now) || t.Generation != c.Generation || t.Generation == domain.MaxGeneration ||
		t.InGracePeriod(p, now) || !t.MayMove(p, now) ||
		c.TenantID != "" && c.TenantID != t.TenantID ||
		c.ApplicationID != "" && c.ApplicationID != t.ApplicationID ||
		t.Binding != "" && t.Binding != c.Binding ||
		!p.Active || p.Usage == domain.Reusable || p.RequireAuthentication && !c.Authenticated ||
		c.AccessTokenTTL > p.AccessTokenTTL {
		return domain.RefreshToken{}, domain.Policy{}, domain.ErrConflict
	}
	t = t.Rotated(p, now, c.ClientAddress)
	s.tokens[id] = t
	return cloneToken(t), p, nil
}

// Snapshot implements port.RefreshTokens.
func (s *Store) Snapshot(ctx context.Context, id domain.ID) (domain.Snapshot, error) {
	if err := s.lock(ctx); err != nil {
		return domain.Snapshot{}, err
	}
	defer s.mu.Unlock()
	t, ok := s.tokens[id]
	if !ok {
		return domain.Snapshot{}, domain.ErrNotFound
	}
	snapshot := s.snapshot(t)
	snapshot.Token = cloneToken(t)
	return snapshot, nil
}

// current returns the stored record if it still equals before.
func (s *Store) current(before domain.RefreshToken, now time.Time) (domain.RefreshToken, error) {
	t, ok := s.tokens[before.ID]
	if !ok || !s.alive(t, instant(now)) || t.Generation != before.Generation ||
		!t.RecoveredAt.Equal(instant(before.RecoveredAt)) || t.RecoveryPaidUntil != before.RecoveryPaidUntil {
		return domain.RefreshToken{}, domain.ErrConflict
	}
	return t, nil
}

// Use implements port.RefreshTokens.
func (s *Store) Use(ctx context.Context, before, after domain.RefreshToken, now time.Time) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	t, err := s.current(before, now)
	if err != nil {
		return err
	}
	t.LastUsedAt, t.ExpiresAt = instant(after.LastUsedAt), instant(after.ExpiresAt)
	s.tokens[t.ID] = t
	return nil
}

// Swap implements port.RefreshTokens.
func (s *Store) Swap(ctx context.Context, before, after domain.RefreshToken, now time.Time, e domain.Event) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if _, done := s.events.stored(e); done {
		return nil
	}
	t, err := s.current(before, now)
	if err != nil {
		return err
	}
	t.Generation, t.RotatedAt = after.Generation, instant(after.RotatedAt)
	t.MetaData.ClientAddress = after.MetaData.ClientAddress
	t.LastUsedAt, t.ExpiresAt = instant(after.LastUsedAt), instant(after.ExpiresAt)
	t.RecoveredAt, t.RecoveryPaidUntil = instant(after.RecoveredAt), after.RecoveryPaidUntil
	t.RevokedAt, t.RevokedReason = instant(after.RevokedAt), after.RevokedReason
	s.put(t)
	s.events.add(e, 0, t)
	return nil
}

// Rebind implements port.RefreshTokens.
func (s *Store) Rebind(ctx context.Context, before, after domain.RefreshToken, now time.Time, e domain.Event) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if _, done := s.events.stored(e); done {
		return nil
	}
	t, ok := s.tokens[before.ID]
	if !ok || t.Binding != before.Binding || !s.alive(t, instant(now)) {
		return domain.ErrConflict
	}
	t.Binding = after.Binding
	s.tokens[t.ID] = t
	s.events.add(e, 0, t)
	return nil
}

// Change implements port.RefreshTokens.
func (s *Store) Change(
	ctx context.Context, tenantID string, changes []domain.Change, now time.Time, e domain.Event,
) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if _, done := s.events.stored(e); done || len(changes) == 0 {
		return nil
	}
	changed := make(map[domain.ID]domain.RefreshToken, len(changes))
	for _, c := range changes {
		t, ok := s.tokens[c.Before.ID]
		if _, twice := changed[c.Before.ID]; !ok || twice || t.TenantID != tenantID || !t.SameContent(c.Before) ||
			!s.alive(t, instant(now)) {
			return domain.ErrConflict
		}
		after := cloneToken(c.After)
		t.Roles, t.Scopes, t.Claims = after.Roles, after.Scopes, after.Claims
		t.MetaData.Device, t.MetaData.Data = after.MetaData.Device, after.MetaData.Data
		changed[t.ID] = t
	}
	maps.Copy(s.tokens, changed)
	s.events.add(e, 0, slices.Collect(maps.Values(changed))...)
	return nil
}

// Find implements port.RefreshTokens.
func (s *Store) Find(ctx context.Context, tenantID string, id domain.ID) (domain.Session, error) {
	if err := s.lock(ctx); err != nil {
		return domain.Session{}, err
	}
	defer s.mu.Unlock()
	t, ok := s.tokens[id]
	if !ok || t.TenantID != tenantID {
		return domain.Session{}, domain.ErrNotFound
	}
	return s.session(t), nil
}

// List implements port.RefreshTokens.
func (s *Store) List(ctx context.Context, q port.ListQuery) (page port.Page, err error) {
	if err := s.lock(ctx); err != nil {
		return port.Page{}, err
	}
	defer s.mu.Unlock()
	ids := s.ids[lookedAt(q)]
	left := len(ids)
	if !q.Below.IsZero() {
		left, _ = slices.BinarySearchFunc(ids, q.Below, compareIDs)
	}
	size := 0
	for looked := 1; left > 0; looked++ {
		left--
		t := s.tokens[ids[left]]
		if s.selects(q, t) {
			page.Sessions = append(page.Sessions, s.session(t))
			size += port.PageBytes(t)
		}
		if len(page.Sessions) == q.Limit || size >= q.MaxBytes || looked == q.MaxRows {
			if left > 0 {
				page.Next = t.ID
			}
			break
		}
	}
	return page, nil
}

// Count implements port.RefreshTokens.
func (s *Store) Count(ctx context.Context, q port.ListQuery) (n int, more bool, err error) {
	if err := s.lock(ctx); err != nil {
		return 0, false, err
	}
	defer s.mu.Unlock()
	ids := s.ids[lookedAt(q)]
	for _, id := range ids[max(0, len(ids)-q.MaxRows):] {
		if s.selects(q, s.tokens[id]) {
			n++
		}
	}
	return min(n, q.Limit), n > q.Limit || len(ids) > q.MaxRows, nil
}

// lookedAt returns the scope of the refresh tokens that a list reads.
func lookedAt(q port.ListQuery) domain.Scope {
	if q.UserID != "" {
		return domain.Scope{TenantID: q.TenantID, UserID: q.UserID}
	}
	return domain.Scope{TenantID: q.TenantID, ApplicationID: q.ApplicationID}
}

// listed returns the scopes of the lists that contain t.
func listed(t domain.RefreshToken) [3]domain.Scope {
	return [...]domain.Scope{
		{TenantID: t.TenantID, UserID: t.UserID},
		{TenantID: t.TenantID, ApplicationID: t.ApplicationID},
		{TenantID: t.TenantID},
	}
}

// selects reports whether q selects t, which is in its list.
func (s *Store) selects(q port.ListQuery, t domain.RefreshToken) bool {
	return (q.ApplicationID == "" || q.ApplicationID == t.ApplicationID) && q.State.Includes(s.alive(t, instant(q.Now)))
}

// session returns a copy of t with the mark that ended it.
func (s *Store) session(t domain.RefreshToken) domain.Session {
	found := domain.Session{Token: cloneToken(t), Deleted: s.snapshot(t).Deleted}
	for _, m := range s.covering(t) {
		if m.Epoch > t.IssuedEpoch && (found.Mark.Epoch == 0 || m.Epoch < found.Mark.Epoch) {
			found.Mark = m
		}
	}
	return found
}

func compareIDs(a, b domain.ID) int { return bytes.Compare(a[:], b[:]) }

// owner returns the scope of the refresh tokens of t's user in t's application.
func owner(t domain.RefreshToken) domain.Scope {
	return domain.Scope{TenantID: t.TenantID, ApplicationID: t.ApplicationID, UserID: t.UserID}
}

// snapshot returns the snapshot of t. It does not copy t.
func (s *Store) snapshot(t domain.RefreshToken) domain.Snapshot {
	a, ok := s.applications[t.TenantID][t.ApplicationID]
	return domain.Snapshot{Token: t, MarkEpoch: s.markEpoch(t), Deleted: !ok, Policy: a.policy}
}

func (s *Store) alive(t domain.RefreshToken, now time.Time) bool { return s.snapshot(t).Alive(now) }

// markEpoch returns the highest epoch of the marks that cover t, or 0.
func (s *Store) markEpoch(t domain.RefreshToken) (highest uint64) {
	for _, m := range s.covering(t) {
		highest = max(highest, m.Epoch)
	}
	return highest
}

// covering returns the marks that cover t; the zero mark in place of a missing one.
func (s *Store) covering(t domain.RefreshToken) [4]domain.Mark {
	return [...]domain.Mark{
		s.marks[domain.Scope{TenantID: t.TenantID}].Mark,
		s.marks[domain.Scope{TenantID: t.TenantID, ApplicationID: t.ApplicationID}].Mark,
		s.marks[domain.Scope{TenantID: t.TenantID, UserID: t.UserID}].Mark,
		s.marks[domain.Scope{TenantID: t.TenantID, ApplicationID: t.ApplicationID, UserID: t.UserID}].Mark,
	}
}
