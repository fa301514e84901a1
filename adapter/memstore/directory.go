package memstore

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// SaveTenant implements port.Tenants.
func (s *Store) SaveTenant(ctx context.Context, t domain.Tenant, with ...domain.Application) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if other, taken := s.byIssuer[t.Issuer]; taken && other != t.ID {
		return domain.ErrDuplicate
	}
	own := make(map[string]domain.Application)
	for id, a := range s.applications[t.ID] {
		own[id] = a.Application
	}
	for _, a := range with {
		a.TenantID = t.ID
		own[a.ID] = cloneApplication(a)
	}
	policies, err := domain.CombineAll(t, own)
	if err != nil {
		return err
	}
	delete(s.byIssuer, s.tenants[t.ID].Issuer)
	if t.Issuer != "" {
		s.byIssuer[t.Issuer] = t.ID
	}
	s.tenants[t.ID] = cloneTenant(t)
	delete(s.deleted, t.ID)
	for id, a := range own {
		s.store(a, policies[id])
	}
	return nil
}

// store keeps a with its effective policy.
func (s *Store) store(a domain.Application, p domain.Policy) {
	if s.applications[a.TenantID] == nil {
		s.applications[a.TenantID] = make(map[string]application)
	}
	s.applications[a.TenantID][a.ID] = application{a, p}
	s.longest[a.TenantID] = max(s.longest[a.TenantID], p.TTL)
}

// SaveApplication implements port.Applications.
func (s *Store) SaveApplication(ctx context.Context, a domain.Application) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	t, ok := s.tenants[a.TenantID]
	if !ok {
		return domain.ErrNotFound
	}
	p, err := domain.Combine(t, a)
	if err != nil {
		return err
	}
	s.store(cloneApplication(a), p)
	return nil
}

// Tenant implements port.Tenants.
func (s *Store) Tenant(ctx context.Context, id string) (domain.Tenant, error) {
	if err := s.lock(ctx); err != nil {
		return domain.Tenant{}, err
	}
	defer s.mu.Unlock()
	t, ok := s.tenants[id]
	if !ok {
		return domain.Tenant{}, domain.ErrNotFound
	}
	return cloneTenant(t), nil
}

// TenantByIssuer implements port.Tenants.
func (s *Store) TenantByIssuer(ctx context.Context, issuer string) (domain.Tenant, error) {
	if err := s.lock(ctx); err != nil {
		return domain.Tenant{}, err
	}
	defer s.mu.Unlock()
	id, ok := s.byIssuer[issuer]
	if !ok {
		return domain.Tenant{}, domain.ErrNotFound
	}
	return cloneTenant(s.tenants[id]), nil
}

// Tenants implements port.Tenants.
func (s *Store) Tenants(ctx context.Context, after string, limit int) (page []domain.Tenant, next string, err error) {
	if err := s.lock(ctx); err != nil {
		return nil, "", err
	}
	defer s.mu.Unlock()
	ids, next := pageOf(slices.Sorted(maps.Keys(s.tenants)), after, limit, func(id string) int {
		return port.TenantBytes(s.tenants[id])
	})
	for _, id := range ids {
		page = append(page, cloneTenant(s.tenants[id]))
	}
	return page, next, nil
}

// pageOf is the page of these ids, from low to high, that begins above after, and what after is for the next one.
func pageOf(ids []string, after string, limit int, size func(id string) int) (page []string, next string) {
	from, found := slices.BinarySearch(ids, after)
	if found {
		from++
	}
	to, bytes := from, 0
	for to < len(ids) && to-from < min(limit, port.MaxListRows) && bytes < port.MaxListBytes {
		bytes += size(ids[to])
		to++
	}
	if to > from && to < len(ids) {
		next = ids[to-1]
	}
	return ids[from:to], next
}

// Application implements port.Applications.
func (s *Store) Application(ctx context.Context, tenantID, id string) (domain.Application, error) {
	if err := s.lock(ctx); err != nil {
		return domain.Application{}, err
	}
	defer s.mu.Unlock()
	a, ok := s.applications[tenantID][id]
	if !ok {
		return domain.Application{}, domain.ErrNotFound
	}
	return cloneApplication(a.Application), nil
}

// Applications implements port.Applications.
func (s *Store) Applications(
	ctx context.Context, tenantID, after string, limit int,
) (page []domain.Application, next string, err error) {
	if err := s.lock(ctx); err != nil {
		return nil, "", err
	}
	defer s.mu.Unlock()
	own := s.applications[tenantID]
	ids, next := pageOf(slices.Sorted(maps.Keys(own)), after, limit, func(id string) int {
		return port.ApplicationBytes(own[id].Application)
	})
	for _, id := range ids {
		page = append(page, cloneApplication(own[id].Application))
	}
	return page, next, nil
}

// Policy implements port.Applications.
func (s *Store) Policy(ctx context.Context, tenantID, applicationID string) (domain.Policy, error) {
	if err := s.lock(ctx); err != nil {
		return domain.Policy{}, err
	}
	defer s.mu.Unlock()
	a, ok := s.applications[tenantID][applicationID]
	if !ok {
		return domain.Policy{}, domain.ErrNotFound
	}
	return a.policy, nil
}

// DeleteApplication implements port.Applications.
func (s *Store) DeleteApplication(ctx context.Context, tenantID, id string, at time.Time) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if _, ok := s.applications[tenantID][id]; !ok {
		return domain.ErrNotFound
	}
	delete(s.applications[tenantID], id)
	s.mark(domain.Scope{TenantID: tenantID, ApplicationID: id}, port.Revocation{At: at, Reason: domain.RevokedByDelete})
	return nil
}

// DeleteTenant implements port.Tenants.
func (s *Store) DeleteTenant(ctx context.Context, id string, at time.Time) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	t, ok := s.tenants[id]
	if !ok {
		return domain.ErrNotFound
	}
	delete(s.byIssuer, t.Issuer)
	delete(s.tenants, id)
	delete(s.applications, id)
	for name, k := range s.apiKeys {
		if k.TenantID == id {
			delete(s.byHash, k.Hash)
			delete(s.apiKeys, name)
		}
	}
	s.deleted[id] = instant(at)
	s.mark(domain.Scope{TenantID: id}, port.Revocation{At: at, Reason: domain.RevokedByDelete})
	return nil
}
