package gormstore

import (
	"context"
	"database/sql"
	"maps"
	"slices"
	"time"

	"gorm.io/gorm"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

const (
	// saveTenant takes the row lock under which policies are merged: two that save never merge with what the other replaces.
	saveTenant = `
INSERT INTO tenants (id, name, issuer, settings, epoch, longest_ttl, deleted_at) VALUES ($1, $2, $3, $4, 0, 0, 0)
ON CONFLICT (id) DO UPDATE SET name = excluded.name, issuer = excluded.issuer, settings = excluded.settings, deleted_at = 0`

	raiseLongestTTL = `UPDATE tenants SET longest_ttl = $1 WHERE id = $2 AND longest_ttl < $1`

	// lockTenant changes nothing. It is SELECT … FOR UPDATE in a form that both engines know.
	lockTenant = `
UPDATE tenants SET epoch = epoch WHERE id = $1 AND deleted_at = 0 RETURNING id, name, issuer, settings`

	selectTenant  = `SELECT id, name, issuer, settings FROM tenants WHERE id = $1 AND deleted_at = 0`
	selectTenants = `SELECT id, name, issuer, settings FROM tenants WHERE deleted_at = 0 ORDER BY id LIMIT $1`

	selectPolicy = `SELECT policy FROM applications WHERE tenant_id = $1 AND id = $2`

	selectApplication  = `SELECT tenant_id, id, name, settings FROM applications WHERE tenant_id = $1 AND id = $2`
	selectApplications = `SELECT tenant_id, id, name, settings FROM applications WHERE tenant_id = $1`

	deleteApplication  = `DELETE FROM applications WHERE tenant_id = $1 AND id = $2`
	deleteApplications = `DELETE FROM applications WHERE tenant_id = $1`
	deleteAPIKeys      = `DELETE FROM api_keys WHERE tenant_id = $1`
	// deleteTenant leaves epoch and longest_ttl, from which a tenant of that id goes on, and frees the issuer.
	deleteTenant = `UPDATE tenants SET name = '', issuer = '', settings = '{}', deleted_at = $1 WHERE id = $2`
)

var (
	saveApplication = `
INSERT INTO applications (tenant_id, id, name, settings, ` + columns("", policyColumns) + `)
VALUES (` + placeholders(4+len(policyColumns)) + `)
ON CONFLICT (tenant_id, id) DO UPDATE SET name = excluded.name, settings = excluded.settings, ` + assignments(policyColumns)
)

// assignments are for an upsert.
func assignments(names []string) (text string) {
	for i, name := range names {
		if i > 0 {
			text += ", "
		}
		text += name + " = excluded." + name
	}
	return text
}

// scanner is *sql.Rows, or queryRow.
type scanner func(dest ...any) error

func scanTenant(scan scanner) (t domain.Tenant, err error) {
	var settings string
	if err := scan(&t.ID, &t.Name, &t.Issuer, &settings); err != nil {
		return domain.Tenant{}, err
	}
	t.Settings, err = decodeSettings(settings)
	return t, err
}

func scanApplication(scan scanner) (a domain.Application, err error) {
	var settings string
	if err := scan(&a.TenantID, &a.ID, &a.Name, &settings); err != nil {
		return domain.Application{}, err
	}
	a.Settings, err = decodeSettings(settings)
	return a, err
}

// one is a scanner for the only row of a query.
func one(query *gorm.DB) scanner {
	return func(dest ...any) error { return queryRow(query, domain.ErrNotFound, dest...) }
}

// SaveTenant implements port.Directory.
func (s *Store) SaveTenant(ctx context.Context, t domain.Tenant, with ...domain.Application) error {
	return s.transacting(ctx, "save tenant", func(tx *gorm.DB) error {
		settings, err := encodeSettings(t.Settings)
		if err != nil {
			return err
		}
		if err := tx.Exec(saveTenant, t.ID, t.Name, t.Issuer, settings).Error; err != nil {
			return err
		}
		applications := make(map[string]domain.Application)
		if err := queryRows(tx.Raw(selectApplications, t.ID), func(rows *sql.Rows) error {
			a, err := scanApplication(rows.Scan)
			applications[a.ID] = a
			return err
		}); err != nil {
			return err
		}
		for _, a := range with {
			a.TenantID = t.ID
			applications[a.ID] = a
		}
		policies, err := domain.CombineAll(t, applications)
		if err != nil {
			return err
		}
		for _, id := range slices.Sorted(maps.Keys(applications)) {
			if err := storeApplication(tx, applications[id], policies[id]); err != nil {
				return err
			}
		}
		return nil
	})
}

// SaveApplication implements port.Directory.
func (s *Store) SaveApplication(ctx context.Context, a domain.Application) error {
	return s.transacting(ctx, "save application", func(tx *gorm.DB) error {
		t, err := scanTenant(one(tx.Raw(lockTenant, a.TenantID)))
		if err != nil {
			return err
		}
		p, err := domain.Combine(t, a)
		if err != nil {
			return err
		}
		return storeApplication(tx, a, p)
	})
}

// storeApplication writes a with its effective policy. The caller holds the lock on the tenant.
func storeApplication(tx *gorm.DB, a domain.Application, p domain.Policy) error {
	settings, err := encodeSettings(a.Settings)
	if err != nil {
		return err
	}
	policy, err := policyArgs(p)
	if err != nil {
		return err
	}
	args := append([]any{a.TenantID, a.ID, a.Name, settings}, policy...)
	if err := tx.Exec(saveApplication, args...).Error; err != nil {
		return err
	}
	return tx.Exec(raiseLongestTTL, p.TTL.Microseconds(), a.TenantID).Error
}

// Tenant implements port.Directory.
func (s *Store) Tenant(ctx context.Context, id string) (t domain.Tenant, err error) {
	err = s.reading(ctx, "tenant", func(db *gorm.DB) (err error) {
		t, err = scanTenant(one(db.Raw(selectTenant, id)))
		return err
	})
	return t, err
}

// Tenants implements port.Directory.
func (s *Store) Tenants(ctx context.Context, limit int) (tenants []domain.Tenant, err error) {
	err = s.reading(ctx, "tenants", func(db *gorm.DB) error {
		tenants = nil
		return queryRows(db.Raw(selectTenants, limit), func(rows *sql.Rows) error {
			t, err := scanTenant(rows.Scan)
			tenants = append(tenants, t)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return tenants, nil
}

// Application implements port.Directory.
func (s *Store) Application(ctx context.Context, tenantID, id string) (a domain.Application, err error) {
	err = s.reading(ctx, "application", func(db *gorm.DB) (err error) {
		a, err = scanApplication(one(db.Raw(selectApplication, tenantID, id)))
		return err
	})
	return a, err
}

// Policy implements port.Directory.
func (s *Store) Policy(ctx context.Context, tenantID, applicationID string) (domain.Policy, error) {
	var text policyText
	if err := s.reading(ctx, "policy", func(db *gorm.DB) error {
		return queryRow(db.Raw(selectPolicy, tenantID, applicationID), domain.ErrNotFound, (*string)(&text))
	}); err != nil {
		return domain.Policy{}, err
	}
	return text.policy()
}

// DeleteApplication implements port.Directory.
func (s *Store) DeleteApplication(ctx context.Context, tenantID, id string, at time.Time) error {
	return s.transacting(ctx, "delete application", func(tx *gorm.DB) error {
		scope := domain.Scope{TenantID: tenantID, ApplicationID: id}
		if _, err := revokeScope(tx, scope, domain.ID{}, port.Revocation{At: at, Reason: domain.RevokedByDelete}); err != nil {
			return err
		}
		return tx.Exec(deleteApplication, tenantID, id).Error
	})
}

// DeleteTenant implements port.Directory.
func (s *Store) DeleteTenant(ctx context.Context, id string, at time.Time) error {
	return s.transacting(ctx, "delete tenant", func(tx *gorm.DB) error {
		scope := domain.Scope{TenantID: id}
		if _, err := revokeScope(tx, scope, domain.ID{}, port.Revocation{At: at, Reason: domain.RevokedByDelete}); err != nil {
			return err
		}
		for _, statement := range []string{deleteApplications, deleteAPIKeys} {
			if err := tx.Exec(statement, id).Error; err != nil {
				return err
			}
		}
		return tx.Exec(deleteTenant, micros(at), id).Error
	})
}
