package metrics

import (
	"context"
	"errors"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// Store returns s with the duration of every call measured. Its Close is that of s.
func (m *Metrics) Store(s port.Store) port.Store { return &store{Store: s, m: m} }

type store struct {
	port.Store
	m *Metrics
}

func timed[T any](s *store, call string, f func() (T, error)) (T, error) {
	start := time.Now()
	v, err := f()
	s.m.calls.WithLabelValues(call, result(err)).Observe(time.Since(start).Seconds())
	return v, err
}

func timedOnly(s *store, call string, f func() error) error {
	_, err := timed(s, call, func() (struct{}, error) { return struct{}{}, f() })
	return err
}

func result(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, domain.ErrNotFound), errors.Is(err, domain.ErrConflict), errors.Is(err, domain.ErrDuplicate),
		errors.Is(err, domain.ErrStale):
		return "answer"
	default:
		return "error"
	}
}

func (s *store) Ready(ctx context.Context) error {
	return timedOnly(s, "ready", func() error { return s.Store.Ready(ctx) })
}

func (s *store) Insert(ctx context.Context, t domain.RefreshToken) (domain.RefreshToken, error) {
	return timed(s, "insert", func() (domain.RefreshToken, error) { return s.Store.Insert(ctx, t) })
}

func (s *store) Advance(
	ctx context.Context, id domain.ID, c domain.Call,
) (t domain.RefreshToken, p domain.Policy, err error) {
	err = timedOnly(s, "advance", func() error {
		t, p, err = s.Store.Advance(ctx, id, c)
		return err
	})
	return t, p, err
}

func (s *store) Snapshot(ctx context.Context, id domain.ID) (domain.Snapshot, error) {
	return timed(s, "snapshot", func() (domain.Snapshot, error) { return s.Store.Snapshot(ctx, id) })
}

func (s *store) Use(ctx context.Context, before, after domain.RefreshToken, now time.Time) error {
	return timedOnly(s, "use", func() error { return s.Store.Use(ctx, before, after, now) })
}

func (s *store) Swap(ctx context.Context, before, after domain.RefreshToken, now time.Time, e domain.Event) error {
	return timedOnly(s, "swap", func() error { return s.Store.Swap(ctx, before, after, now, e) })
}

func (s *store) Rebind(ctx context.Context, before, after domain.RefreshToken, now time.Time, e domain.Event) error {
	return timedOnly(s, "rebind", func() error { return s.Store.Rebind(ctx, before, after, now, e) })
}

func (s *store) Once(ctx context.Context, key []byte, now, until time.Time) error {
	return timedOnly(s, "once", func() error { return s.Store.Once(ctx, key, now, until) })
}

func (s *store) Find(ctx context.Context, tenantID string, id domain.ID) (domain.Session, error) {
	return timed(s, "find", func() (domain.Session, error) { return s.Store.Find(ctx, tenantID, id) })
}

func (s *store) List(ctx context.Context, q port.ListQuery) (port.Page, error) {
	return timed(s, "list", func() (port.Page, error) { return s.Store.List(ctx, q) })
}

func (s *store) Count(ctx context.Context, q port.ListQuery) (n int, more bool, err error) {
	err = timedOnly(s, "count", func() error {
		n, more, err = s.Store.Count(ctx, q)
		return err
	})
	return n, more, err
}

func (s *store) Change(
	ctx context.Context, tenantID string, changes []domain.Change, now time.Time, e domain.Event,
) error {
	return timedOnly(s, "change", func() error { return s.Store.Change(ctx, tenantID, changes, now, e) })
}

func (s *store) Revoke(
	ctx context.Context, tenantID string, id domain.ID, r port.Revocation, e domain.Event,
) error {
	return timedOnly(s, "revoke", func() error { return s.Store.Revoke(ctx, tenantID, id, r, e) })
}

func (s *store) RevokeScope(
	ctx context.Context, scope domain.Scope, except domain.ID, r port.Revocation, e domain.Event,
) (uint64, error) {
	return timed(s, "revoke_scope", func() (uint64, error) { return s.Store.RevokeScope(ctx, scope, except, r, e) })
}

func (s *store) KeepNewest(
	ctx context.Context, scope domain.Scope, keep int, r port.Revocation, e domain.Event,
) error {
	return timedOnly(s, "keep_newest", func() error { return s.Store.KeepNewest(ctx, scope, keep, r, e) })
}

func (s *store) SaveTenant(
	ctx context.Context, t domain.Tenant, expect domain.Version, e domain.Event, with ...port.ApplicationWrite,
) (domain.Version, error) {
	return timed(s, "save_tenant", func() (domain.Version, error) {
		return s.Store.SaveTenant(ctx, t, expect, e, with...)
	})
}

func (s *store) SaveApplication(
	ctx context.Context, a domain.Application, expect domain.Version, e domain.Event,
) (domain.Version, error) {
	return timed(s, "save_application", func() (domain.Version, error) {
		return s.Store.SaveApplication(ctx, a, expect, e)
	})
}

func (s *store) Tenant(ctx context.Context, id string) (domain.Tenant, error) {
	return timed(s, "tenant", func() (domain.Tenant, error) { return s.Store.Tenant(ctx, id) })
}

func (s *store) TenantByIssuer(ctx context.Context, issuer string) (domain.Tenant, error) {
	return timed(s, "tenant_by_issuer", func() (domain.Tenant, error) { return s.Store.TenantByIssuer(ctx, issuer) })
}

func (s *store) Tenants(
	ctx context.Context, after string, limit int,
) (page []domain.Tenant, next string, err error) {
	err = timedOnly(s, "tenants", func() error {
		page, next, err = s.Store.Tenants(ctx, after, limit)
		return err
	})
	return page, next, err
}

func (s *store) Application(ctx context.Context, tenantID, id string) (domain.Application, error) {
	return timed(s, "application", func() (domain.Application, error) { return s.Store.Application(ctx, tenantID, id) })
}

func (s *store) Applications(
	ctx context.Context, tenantID, after string, limit int,
) (page []domain.Application, next string, err error) {
	err = timedOnly(s, "applications", func() error {
		page, next, err = s.Store.Applications(ctx, tenantID, after, limit)
		return err
	})
	return page, next, err
}

func (s *store) Policy(ctx context.Context, tenantID, applicationID string) (domain.Policy, error) {
	return timed(s, "policy", func() (domain.Policy, error) { return s.Store.Policy(ctx, tenantID, applicationID) })
}

func (s *store) DeleteApplication(
	ctx context.Context, tenantID, id string, expect domain.Version, e domain.Event,
) error {
	return timedOnly(s, "delete_application", func() error {
		return s.Store.DeleteApplication(ctx, tenantID, id, expect, e)
	})
}

func (s *store) DeleteTenant(ctx context.Context, id string, expect domain.Version, e domain.Event) error {
	return timedOnly(s, "delete_tenant", func() error { return s.Store.DeleteTenant(ctx, id, expect, e) })
}

func (s *store) SaveAPIKey(
	ctx context.Context, k domain.APIKey, expect domain.Version, e domain.Event,
) (domain.Version, error) {
	return timed(s, "save_api_key", func() (domain.Version, error) { return s.Store.SaveAPIKey(ctx, k, expect, e) })
}

func (s *store) DeleteAPIKey(ctx context.Context, id domain.ID, expect domain.Version, e domain.Event) error {
	return timedOnly(s, "delete_api_key", func() error { return s.Store.DeleteAPIKey(ctx, id, expect, e) })
}

func (s *store) APIKey(ctx context.Context, id domain.ID) (domain.APIKey, error) {
	return timed(s, "api_key", func() (domain.APIKey, error) { return s.Store.APIKey(ctx, id) })
}

func (s *store) APIKeys(
	ctx context.Context, tenantID string, after domain.ID, limit int,
) (page []domain.APIKey, next domain.ID, err error) {
	err = timedOnly(s, "api_keys", func() error {
		page, next, err = s.Store.APIKeys(ctx, tenantID, after, limit)
		return err
	})
	return page, next, err
}

func (s *store) APIKeyByName(ctx context.Context, name string) (domain.APIKey, error) {
	return timed(s, "api_key_by_name", func() (domain.APIKey, error) { return s.Store.APIKeyByName(ctx, name) })
}

func (s *store) APIKeyByHash(ctx context.Context, hashes ...string) (domain.APIKey, error) {
	return timed(s, "api_key_by_hash", func() (domain.APIKey, error) { return s.Store.APIKeyByHash(ctx, hashes...) })
}

func (s *store) RehashAPIKey(ctx context.Context, before, after domain.APIKey) error {
	return timedOnly(s, "rehash_api_key", func() error { return s.Store.RehashAPIKey(ctx, before, after) })
}

func (s *store) RehashClientSecrets(ctx context.Context, before, after domain.Application) error {
	return timedOnly(s, "rehash_client_secrets",
		func() error { return s.Store.RehashClientSecrets(ctx, before, after) })
}

func (s *store) ApplicationsHashedWith(
	ctx context.Context, number uint32, limit int,
) (first []domain.Application, total int, err error) {
	err = timedOnly(s, "applications_hashed_with", func() error {
		first, total, err = s.Store.ApplicationsHashedWith(ctx, number, limit)
		return err
	})
	return first, total, err
}

func (s *store) APIKeysHashedWith(
	ctx context.Context, number uint32, limit int,
) (first []domain.APIKey, total int, err error) {
	err = timedOnly(s, "api_keys_hashed_with", func() error {
		first, total, err = s.Store.APIKeysHashedWith(ctx, number, limit)
		return err
	})
	return first, total, err
}

func (s *store) KeyRevision(ctx context.Context) (uint64, error) {
	return timed(s, "key_revision", func() (uint64, error) { return s.Store.KeyRevision(ctx) })
}

func (s *store) KeysSince(ctx context.Context, revision uint64, limit int) ([]domain.SealedKey, error) {
	return timed(s, "keys_since", func() ([]domain.SealedKey, error) { return s.Store.KeysSince(ctx, revision, limit) })
}

func (s *store) KeysOfTenant(ctx context.Context, tenantID string) ([]domain.SealedKey, error) {
	return timed(s, "keys_of_tenant", func() ([]domain.SealedKey, error) { return s.Store.KeysOfTenant(ctx, tenantID) })
}

func (s *store) KeyByID(ctx context.Context, id string) (domain.SealedKey, error) {
	return timed(s, "key_by_id", func() (domain.SealedKey, error) { return s.Store.KeyByID(ctx, id) })
}

func (s *store) AddKeys(ctx context.Context, e domain.Event, keys ...domain.SealedKey) error {
	return timedOnly(s, "add_keys", func() error { return s.Store.AddKeys(ctx, e, keys...) })
}

func (s *store) Reseal(ctx context.Context, before domain.SealedKey, sealed, sealedBy string) error {
	return timedOnly(s, "reseal", func() error { return s.Store.Reseal(ctx, before, sealed, sealedBy) })
}

func (s *store) ChangeKeys(ctx context.Context, e domain.Event, c port.KeyChange) error {
	return timedOnly(s, "change_keys", func() error { return s.Store.ChangeKeys(ctx, e, c) })
}

func (s *store) TurnCheck(ctx context.Context, e domain.Event, before, after domain.SealedKey) error {
	return timedOnly(s, "turn_check", func() error { return s.Store.TurnCheck(ctx, e, before, after) })
}

func (s *store) SigningKeys(
	ctx context.Context, after string, limit int,
) (page []domain.SealedKey, next string, err error) {
	err = timedOnly(s, "signing_keys", func() error {
		page, next, err = s.Store.SigningKeys(ctx, after, limit)
		return err
	})
	return page, next, err
}

func (s *store) OldestRotation(ctx context.Context) (began, oldest time.Time, err error) {
	err = timedOnly(s, "oldest_rotation", func() error {
		began, oldest, err = s.Store.OldestRotation(ctx)
		return err
	})
	return began, oldest, err
}

func (s *store) HasData(ctx context.Context) (bool, error) {
	return timed(s, "has_data", func() (bool, error) { return s.Store.HasData(ctx) })
}

func (s *store) Record(ctx context.Context, e domain.Event) error {
	return timedOnly(s, "record", func() error { return s.Store.Record(ctx, e) })
}

func (s *store) Events(ctx context.Context, q port.EventQuery) (port.EventPage, error) {
	return timed(s, "events", func() (port.EventPage, error) { return s.Store.Events(ctx, q) })
}

func (s *store) Lease(ctx context.Context, l port.JobLease) error {
	return timedOnly(s, "lease", func() error { return s.Store.Lease(ctx, l) })
}

func (s *store) Release(ctx context.Context, job, holder string) error {
	return timedOnly(s, "release", func() error { return s.Store.Release(ctx, job, holder) })
}

func (s *store) Purge(ctx context.Context, step port.PurgeStep) (port.Purged, error) {
	return timed(s, "purge", func() (port.Purged, error) { return s.Store.Purge(ctx, step) })
}

func (s *store) Revoked(ctx context.Context, q port.FactQuery, each func(domain.Fact)) (port.Reading, error) {
	return timed(s, "revoked", func() (port.Reading, error) { return s.Store.Revoked(ctx, q, each) })
}

func (s *store) Stamp(ctx context.Context, now time.Time, limit int) (int, error) {
	return timed(s, "stamp", func() (int, error) { return s.Store.Stamp(ctx, now, limit) })
}

func (s *store) Beat(ctx context.Context, reader string, at time.Time) error {
	return timedOnly(s, "beat", func() error { return s.Store.Beat(ctx, reader, at) })
}

func (s *store) LongestAccessTTL(ctx context.Context, tenantID string) (time.Duration, error) {
	return timed(s, "longest_access_ttl", func() (time.Duration, error) {
		return s.Store.LongestAccessTTL(ctx, tenantID)
	})
}
