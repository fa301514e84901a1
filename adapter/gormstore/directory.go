package gormstore

import (
	"context"
	"database/sql"
	"maps"
	"reflect"
	"slices"
	"strings"
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

	selectTenant = `SELECT id, name, issuer, settings FROM tenants WHERE id = $1 AND deleted_at = 0`
	// selectTenants looks at port.MaxListRows rows, and returns the last of them also if its tenant was deleted: the
	// page that follows begins above it.
	selectTenants = `
SELECT id, name, issuer, settings, deleted_at, n FROM (
  SELECT id, name, issuer, settings, deleted_at, row_number() OVER (ORDER BY id) AS n
  FROM tenants WHERE id > $1 ORDER BY id LIMIT $2
) AS looked_at
WHERE deleted_at = 0 OR n = $2 ORDER BY id LIMIT $3`
	// tenantByIssuer repeats the condition of the index. A deleted tenant has no issuer.
	tenantByIssuer = `SELECT id, name, issuer, settings FROM tenants WHERE issuer = $1 AND issuer <> ''`

	selectPolicy = `SELECT policy FROM applications WHERE tenant_id = $1 AND id = $2`

	selectApplication  = `SELECT tenant_id, id, name, settings FROM applications WHERE tenant_id = $1 AND id = $2`
	selectApplications = `
SELECT tenant_id, id, name, settings FROM applications WHERE tenant_id = $1 AND id > $2 ORDER BY id LIMIT $3`

	applicationsWithPolicy = `SELECT tenant_id, id, name, settings, policy FROM applications WHERE tenant_id = $1`

	deleteApplication  = `DELETE FROM applications WHERE tenant_id = $1 AND id = $2`
	deleteApplications = `DELETE FROM applications WHERE tenant_id = $1`
	deleteAPIKeys      = `DELETE FROM api_keys WHERE tenant_id = $1`
	// deleteTenant leaves epoch and longest_ttl, from which a tenant of that id goes on, and frees the issuer.
	deleteTenant = `UPDATE tenants SET name = '', issuer = '', settings = '{}', deleted_at = $1 WHERE id = $2`
)

// applicationColumns are all of applications, in the order of applicationArgs.
var applicationColumns = slices.Concat([]string{"tenant_id", "id", "name", "settings"}, policyColumns)

// saveApplications stores n applications.
func saveApplications(n int) string {
	rows := make([]string, n)
	width := len(applicationColumns)
	for i := range rows {
		rows[i] = "(" + placeholdersFrom(1+i*width, width) + ")"
	}
	return `INSERT INTO applications (` + columns("", applicationColumns) + `) VALUES ` + strings.Join(rows, ", ") + `
ON CONFLICT (tenant_id, id) DO UPDATE SET name = excluded.name, settings = excluded.settings, ` + assignments(policyColumns)
}

// maxSaved is how many applications one statement stores: as many as engines take in few hundreds of values.
const maxSaved = 64

var saveMostApplications = saveApplications(maxSaved)

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

// SaveTenant implements port.Tenants. The lock that it takes makes revocations of the tenant wait, so it writes no
// more than has changed: of a tenant with thousands of applications that is usually nothing but the tenant.
func (s *Store) SaveTenant(ctx context.Context, t domain.Tenant, with ...domain.Application) error {
	return s.tenantWriting(ctx, "save tenant", t.ID, func(tx *gorm.DB) error {
		settings, err := encodeSettings(t.Settings)
		if err != nil {
			return err
		}
		if err := tx.Exec(saveTenant, t.ID, t.Name, t.Issuer, settings).Error; err != nil {
			return err
		}
		applications := make(map[string]domain.Application)
		stored := make(map[string]storedApplication)
		if err := queryRows(tx.Raw(applicationsWithPolicy, t.ID), func(rows *sql.Rows) error {
			var policy string
			a, err := scanApplication(func(dest ...any) error { return rows.Scan(append(dest, &policy)...) })
			applications[a.ID], stored[a.ID] = a, storedApplication{a, policy}
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
		changed, longest := []any{}, time.Duration(0)
		for _, id := range slices.Sorted(maps.Keys(applications)) {
			args, err := applicationArgs(applications[id], policies[id])
			if err != nil {
				return err
			}
			before := stored[id]
			if reflect.DeepEqual(before.Application, applications[id]) && before.policy == args[len(args)-1] {
				continue
			}
			changed, longest = append(changed, args...), max(longest, policies[id].TTL)
		}
		return storeApplications(tx, t.ID, changed, longest)
	})
}

// storedApplication is an application with its effective policy, as text.
type storedApplication struct {
	domain.Application
	policy string
}

// SaveApplication implements port.Applications.
func (s *Store) SaveApplication(ctx context.Context, a domain.Application) error {
	return s.tenantWriting(ctx, "save application", a.TenantID, func(tx *gorm.DB) error {
		t, err := scanTenant(one(tx.Raw(lockTenant, a.TenantID)))
		if err != nil {
			return err
		}
		p, err := domain.Combine(t, a)
		if err != nil {
			return err
		}
		args, err := applicationArgs(a, p)
		if err != nil {
			return err
		}
		return storeApplications(tx, t.ID, args, p.TTL)
	})
}

// applicationArgs are the values of applicationColumns. The last one is the policy as text, on which the others depend.
func applicationArgs(a domain.Application, p domain.Policy) ([]any, error) {
	settings, err := encodeSettings(a.Settings)
	if err != nil {
		return nil, err
	}
	policy, err := policyArgs(p)
	if err != nil {
		return nil, err
	}
	return append([]any{a.TenantID, a.ID, a.Name, settings}, policy...), nil
}

// storeApplications writes applications of the tenant, of which args has the values one after another, and longest is
// the longest TTL. The caller holds the lock on the tenant.
func storeApplications(tx *gorm.DB, tenantID string, args []any, longest time.Duration) error {
	if len(args) == 0 {
		return nil
	}
	for chunk := range slices.Chunk(args, maxSaved*len(applicationColumns)) {
		text := saveMostApplications
		if n := len(chunk) / len(applicationColumns); n < maxSaved {
			text = saveApplications(n)
		}
		if err := tx.Exec(text, chunk...).Error; err != nil {
			return err
		}
	}
	return tx.Exec(raiseLongestTTL, longest.Microseconds(), tenantID).Error
}

// Tenant implements port.Tenants.
func (s *Store) Tenant(ctx context.Context, id string) (t domain.Tenant, err error) {
	err = s.reading(ctx, "tenant", func(db *gorm.DB) (err error) {
		t, err = scanTenant(one(db.Raw(selectTenant, id)))
		return err
	})
	return t, err
}

// TenantByIssuer implements port.Tenants.
func (s *Store) TenantByIssuer(ctx context.Context, issuer string) (t domain.Tenant, err error) {
	err = s.reading(ctx, "tenant by issuer", func(db *gorm.DB) (err error) {
		t, err = scanTenant(one(db.Raw(tenantByIssuer, issuer)))
		return err
	})
	return t, err
}

// Tenants implements port.Tenants.
func (s *Store) Tenants(ctx context.Context, after string, limit int) (page []domain.Tenant, next string, err error) {
	err = s.reading(ctx, "tenants", func(db *gorm.DB) (err error) {
		page, next = nil, ""
		bytes := 0
		return queryRows(db.Raw(selectTenants, after, port.MaxListRows, limit+1), func(rows *sql.Rows) error {
			var deletedAt, n int64
			t, err := scanTenant(func(dest ...any) error { return rows.Scan(append(dest, &deletedAt, &n)...) })
			switch {
			case err != nil:
				return err
			case full(len(page), limit, bytes):
				next = page[len(page)-1].ID
				return errPageEnds
			case n == port.MaxListRows:
				next = t.ID
			}
			if deletedAt == 0 {
				page, bytes = append(page, t), bytes+port.TenantBytes(t)
			}
			return nil
		})
	})
	if err != nil {
		return nil, "", err
	}
	return page, next, nil
}

// Application implements port.Applications.
func (s *Store) Application(ctx context.Context, tenantID, id string) (a domain.Application, err error) {
	err = s.reading(ctx, "application", func(db *gorm.DB) (err error) {
		a, err = scanApplication(one(db.Raw(selectApplication, tenantID, id)))
		return err
	})
	return a, err
}

// Applications implements port.Applications.
func (s *Store) Applications(
	ctx context.Context, tenantID, after string, limit int,
) (page []domain.Application, next string, err error) {
	limit = min(limit, port.MaxListRows)
	err = s.reading(ctx, "applications", func(db *gorm.DB) error {
		page, next = nil, ""
		bytes := 0
		return queryRows(db.Raw(selectApplications, tenantID, after, limit+1), func(rows *sql.Rows) error {
			if full(len(page), limit, bytes) {
				next = page[len(page)-1].ID
				return errPageEnds
			}
			a, err := scanApplication(rows.Scan)
			page, bytes = append(page, a), bytes+port.ApplicationBytes(a)
			return err
		})
	})
	if err != nil {
		return nil, "", err
	}
	return page, next, nil
}

// Policy implements port.Applications.
func (s *Store) Policy(ctx context.Context, tenantID, applicationID string) (domain.Policy, error) {
	var text policyText
	if err := s.reading(ctx, "policy", func(db *gorm.DB) error {
		return queryRow(db.Raw(selectPolicy, tenantID, applicationID), domain.ErrNotFound, (*string)(&text))
	}); err != nil {
		return domain.Policy{}, err
	}
	return s.policies.decode(text)
}

// DeleteApplication implements port.Applications.
func (s *Store) DeleteApplication(ctx context.Context, tenantID, id string, at time.Time) error {
	return s.tenantWriting(ctx, "delete application", tenantID, func(tx *gorm.DB) error {
		scope := domain.Scope{TenantID: tenantID, ApplicationID: id}
		if _, err := revokeScope(tx, scope, domain.ID{}, port.Revocation{At: at, Reason: domain.RevokedByDelete}); err != nil {
			return err
		}
		return tx.Exec(deleteApplication, tenantID, id).Error
	})
}

// DeleteTenant implements port.Tenants.
func (s *Store) DeleteTenant(ctx context.Context, id string, at time.Time) error {
	return s.tenantWriting(ctx, "delete tenant", id, func(tx *gorm.DB) error {
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
