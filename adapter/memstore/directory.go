package memstore

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// SaveTenant implements port.Tenants.
func (s *Store) SaveTenant(
	ctx context.Context, t domain.Tenant, expect domain.Version, e domain.Event, with ...port.ApplicationWrite,
) (domain.Version, error) {
	if err := s.lock(ctx); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	if before, ok := s.events.stored(e); ok {
		return before.Version, nil
	}
	if s.tenants[t.ID].Version != expect {
		return 0, domain.ErrStale
	}
	if other, taken := s.byIssuer[t.Issuer]; taken && other != t.ID {
		return 0, domain.ErrDuplicate
	}
	own, written := make(map[string]domain.Application), make(map[string]bool)
	for id, a := range s.applications[t.ID] {
		own[id] = a.Application
	}
	version := s.versions[t.ID] + 1
	for _, w := range with {
		a := cloneApplication(w.Application)
		if own[a.ID].Version != w.Expect || written[a.ID] {
			return 0, domain.ErrStale
		}
		a.TenantID, a.Version, written[a.ID] = t.ID, version, true
		own[a.ID] = a
	}
	policies, err := domain.CombineAll(t, own)
	if err != nil {
		return 0, err
	}
	delete(s.byIssuer, s.tenants[t.ID].Issuer)
	if t.Issuer != "" {
		s.byIssuer[t.Issuer] = t.ID
	}
	t = cloneTenant(t)
	t.Version, s.versions[t.ID] = version, version
	s.tenants[t.ID] = t
	delete(s.deleted, t.ID)
	for id, a := range own {
		s.store(a, policies[id])
	}
	s.events.add(e, version)
	for _, w := range with {
		s.events.add(w.Event, version)
	}
	return version, nil
}

// store stores a with its effective policy.
func (s *Store) store(a domain.Application, p domain.Policy) {
	if s.applications[a.TenantID] == nil {
		s.applications[a.TenantID] = make(map[string]application)
	}
	s.applications[a.TenantID][a.ID] = application{a, p}
	before := s.longest[a.TenantID]
	s.longest[a.TenantID] = longest{max(before.refresh, p.TTL), max(before.access, p.AccessTokenTTL)}
}

// SaveApplication implements port.Applications.
func (s *Store) SaveApplication(
	ctx context.Context, a domain.Application, expect domain.Version, e domain.Event,
) (domain.Version, error) {
	if err := s.lock(ctx); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	if before, ok := s.events.stored(e); ok {
		return before.Version, nil
	}
	t, ok := s.tenants[a.TenantID]
	if !ok {
		return 0, domain.ErrNotFound
	}
	if s.applications[a.TenantID][a.ID].Version != expect {
		return 0, domain.ErrStale
	}
	p, err := domain.Combine(t, a)
	if err != nil {
		return 0, err
	}
	s.versions[t.ID]++
	a = cloneApplication(a)
	a.Version = s.versions[t.ID]
	s.store(a, p)
	s.events.add(e, a.Version)
	return a.Version, nil
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
	ids, next := pageOf(slices.Sorted(maps.Keys(s.tenants)), cmp.Compare, after, limit, func(id string) int {
		return port.TenantBytes(s.tenants[id])
	})
	for _, id := range ids {
		page = append(page, cloneTenant(s.tenants[id]))
	}
	return page, next, nil
}

// pageOf returns the page of the ascending ids that begins above after, and the value of after for the next page.
func pageOf[ID any](
	ids []ID, compare func(a, b ID) int, after ID, limit int, size func(ID) int,
) (page []ID, next ID) {
	from, found := slices.BinarySearchFunc(ids, after, compare)
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
	ids, next := pageOf(slices.Sorted(maps.Keys(own)), cmp.Compare, after, limit, func(id string) int {
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
func (s *Store) DeleteApplication(
	ctx context.Context, tenantID, id string, expect domain.Version, e domain.Event,
) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if _, ok := s.events.stored(e); ok {
		return nil
	}
	a, ok := s.applications[tenantID][id]
	if err := isAt(ok, a.Version, expect); err != nil {
		return err
	}
	delete(s.applications[tenantID], id)
	r := port.Revocation{At: e.At, Reason: domain.RevokedByDelete}
	s.mark(domain.Scope{TenantID: tenantID, ApplicationID: id}, domain.ID{}, r)
	s.events.add(e, 0)
	return nil
}

// isAt returns nil if the object to delete exists and has the expected version.
func isAt(exists bool, version, expect domain.Version) error {
	switch {
	case !exists:
		return domain.ErrNotFound
	case version != expect:
		return domain.ErrStale
	default:
		return nil
	}
}

// DeleteTenant implements port.Tenants.
func (s *Store) DeleteTenant(ctx context.Context, id string, expect domain.Version, e domain.Event) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if _, ok := s.events.stored(e); ok {
		return nil
	}
	t, ok := s.tenants[id]
	if err := isAt(ok, t.Version, expect); err != nil {
		return err
	}
	delete(s.byIssuer, t.Issuer)
	delete(s.tenants, id)
	delete(s.applications, id)
	for _, k := range s.apiKeys {
		if k.TenantID == id {
			s.removeAPIKey(k)
		}
	}
	s.deleted[id] = instant(e.At)
	s.mark(domain.Scope{TenantID: id}, domain.ID{}, port.Revocation{At: e.At, Reason: domain.RevokedByDelete})
	s.events.add(e, 0)
	return nil
}

// RehashClientSecrets implements port.Applications.
func (s *Store) RehashClientSecrets(ctx context.Context, before, after domain.Application) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	a, ok := s.applications[before.TenantID][before.ID]
	if !ok || !a.Client.Equal(before.Client) {
		return domain.ErrConflict
	}
	a.Client.Secrets = after.Client.Clone().Secrets
	s.versions[before.TenantID]++
	a.Version = s.versions[before.TenantID]
	s.applications[before.TenantID][before.ID] = a
	return nil
}

// ApplicationsHashedWith implements port.Applications.
func (s *Store) ApplicationsHashedWith(
	ctx context.Context, number uint32, limit int,
) (first []domain.Application, total int, err error) {
	if err := s.lock(ctx); err != nil {
		return nil, 0, err
	}
	defer s.mu.Unlock()
	for _, tenantID := range slices.Sorted(maps.Keys(s.applications)) {
		for _, id := range slices.Sorted(maps.Keys(s.applications[tenantID])) {
			a := s.applications[tenantID][id]
			if !a.Client.HashedWith(number) {
				continue
			}
			if total++; total <= limit {
				first = append(first, cloneApplication(a.Application))
			}
		}
	}
	return first, total, nil
}
