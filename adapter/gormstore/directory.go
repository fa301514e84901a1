package gormstore

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"gorm.io/gorm"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

const (
	// createTenant and replaceTenant take the row lock under which policies are combined, so that two concurrent saves
	// never combine with a setting that the other replaces. A deleted tenant leaves its row.
	createTenant = `
INSERT INTO tenants (id, name, issuer, settings, login, epoch, longest_ttl, deleted_at, version, version_counter)
VALUES ($1, $2, $3, $4, $5, 0, 0, 0, 1, 1)
ON CONFLICT (id) DO UPDATE SET
  name = excluded.name, issuer = excluded.issuer, settings = excluded.settings, login = excluded.login,
  deleted_at = 0, ` + newVersion + `
WHERE tenants.deleted_at <> 0 RETURNING version`
	replaceTenant = `
UPDATE tenants SET name = $2, issuer = $3, settings = $4, login = $5, ` + newVersion + `
WHERE id = $1 AND deleted_at = 0 AND version = $6 RETURNING version`

	// newVersion gives a tenant the next of the versions that it shares with its applications.
	newVersion = `version = tenants.version_counter + 1, version_counter = tenants.version_counter + 1`

	raiseLongestTTL = `
UPDATE tenants SET
  longest_ttl = CASE WHEN longest_ttl < $1 THEN $1 ELSE longest_ttl END,
  longest_access_ttl = CASE WHEN longest_access_ttl < $2 THEN $2 ELSE longest_access_ttl END
WHERE id = $3 AND (longest_ttl < $1 OR longest_access_ttl < $2)`

	// lockTenant changes nothing. It is SELECT … FOR UPDATE in a form that both engines accept.
	lockTenant = `
UPDATE tenants SET epoch = epoch WHERE id = $1 AND deleted_at = 0 RETURNING ` + tenantColumns
	// lockTenantForVersion is lockTenant, and draws the next version for an application.
	lockTenantForVersion = raiseVersion + tenantColumns + `, version_counter`
	drawVersion          = raiseVersion + `version_counter`

	raiseVersion = `
UPDATE tenants SET version_counter = version_counter + 1 WHERE id = $1 AND deleted_at = 0 RETURNING `

	tenantColumns = `id, name, issuer, settings, login, version`

	selectTenant = `SELECT ` + tenantColumns + ` FROM tenants WHERE id = $1 AND deleted_at = 0`
	// selectTenants looks at port.MaxListRows rows, and returns the last of them even if its tenant is deleted, because
	// the next page begins after it.
	selectTenants = `
SELECT ` + tenantColumns + `, deleted_at, n FROM (
  SELECT ` + tenantColumns + `, deleted_at, row_number() OVER (ORDER BY id) AS n
  FROM tenants WHERE id > $1 ORDER BY id LIMIT $2
) AS looked_at
WHERE deleted_at = 0 OR n = $2 ORDER BY id LIMIT $3`
	// tenantByIssuer repeats the condition of the index. A deleted tenant has no issuer.
	tenantByIssuer = `SELECT ` + tenantColumns + ` FROM tenants WHERE issuer = $1 AND issuer <> ''`

	selectPolicy = `SELECT policy FROM applications WHERE tenant_id = $1 AND id = $2`

	// ownColumns are those of applications, apart from the policy.
	ownColumns         = `tenant_id, id, name, settings, client, version`
	selectApplication  = `SELECT ` + ownColumns + ` FROM applications WHERE tenant_id = $1 AND id = $2`
	selectApplications = `
SELECT ` + ownColumns + ` FROM applications WHERE tenant_id = $1 AND id > $2 ORDER BY id LIMIT $3`
	// selectClients reads the whole table: a hash key is retired rarely, and no other statement needs an index on it.
	selectClients = `
SELECT ` + ownColumns + ` FROM applications WHERE client <> '' ORDER BY tenant_id, id`

	replaceClient = `
UPDATE applications SET client = $1, version = $5 WHERE tenant_id = $2 AND id = $3 AND client = $4`

	applicationsWithPolicy = `
SELECT ` + ownColumns + `, policy FROM applications WHERE tenant_id = $1`
	applicationVersion = `SELECT version FROM applications WHERE tenant_id = $1 AND id = $2`

	deleteApplication  = `DELETE FROM applications WHERE tenant_id = $1 AND id = $2 AND version = $3`
	deleteApplications = `DELETE FROM applications WHERE tenant_id = $1`
	deleteAPIKeys      = `DELETE FROM api_keys WHERE tenant_id = $1`
	// passVersions is passVersion for the API keys of a tenant.
	passVersions = `
UPDATE key_ring SET deleted_api_key_version = (
  SELECT max(version) FROM (
    SELECT version FROM api_keys WHERE tenant_id = $1 UNION ALL SELECT deleted_api_key_version
  ) AS passed
) WHERE one = 1`
	// deleteTenant keeps epoch, longest_ttl and version_counter, from which a new tenant of that id continues. It frees
	// the issuer.
	deleteTenant = `
UPDATE tenants SET name = '', issuer = '', settings = '{}', login = '', deleted_at = $1 WHERE id = $2 AND version = $3`
)

// applicationColumns are all columns of applications, in the order of applicationArgs.
var applicationColumns = slices.Concat(
	[]string{"tenant_id", "id", "name", "settings", "client", "version"}, policyColumns)

// saveApplications returns the statement that stores n applications.
func saveApplications(n int) string {
	rows := make([]string, n)
	width := len(applicationColumns)
	for i := range rows {
		rows[i] = "(" + placeholdersFrom(1+i*width, width) + ")"
	}
	return `INSERT INTO applications (` + columns("", applicationColumns) + `) VALUES ` + strings.Join(rows, ", ") + `
ON CONFLICT (tenant_id, id) DO UPDATE SET ` + assignments(applicationColumns[2:])
}

// maxSaved is how many applications one statement stores: some hundreds of values, which both engines accept.
const maxSaved = 64

var saveMostApplications = saveApplications(maxSaved)

// assignments returns those of an upsert.
func assignments(names []string) (text string) {
	for i, name := range names {
		if i > 0 {
			text += ", "
		}
		text += name + " = excluded." + name
	}
	return text
}

// scanner is the Scan of *sql.Rows, or queryRow.
type scanner func(dest ...any) error

func scanTenant(scan scanner) (t domain.Tenant, err error) {
	var settings, login string
	if err := scan(&t.ID, &t.Name, &t.Issuer, &settings, &login, &t.Version); err != nil {
		return domain.Tenant{}, err
	}
	if t.Login, err = decodeLogin(login); err != nil {
		return domain.Tenant{}, err
	}
	t.Settings, err = decodeSettings(settings)
	return t, err
}

func scanApplication(scan scanner) (a domain.Application, err error) {
	var settings, client string
	if err := scan(&a.TenantID, &a.ID, &a.Name, &settings, &client, &a.Version); err != nil {
		return domain.Application{}, err
	}
	if a.Client, err = decodeClient(client); err != nil {
		return domain.Application{}, err
	}
	a.Settings, err = decodeSettings(settings)
	return a, err
}

// one is a scanner for the only row of a query.
func one(query *gorm.DB) scanner {
	return func(dest ...any) error { return queryRow(query, domain.ErrNotFound, dest...) }
}

// SaveTenant implements port.Tenants. Its lock makes revocations of the tenant wait, so it writes only what has
// changed: for a tenant with thousands of applications that is usually the tenant alone.
func (s *Store) SaveTenant(
	ctx context.Context, t domain.Tenant, expect domain.Version, e domain.Event, with ...port.ApplicationWrite,
) (domain.Version, error) {
	return s.once(ctx, e, func() (version domain.Version, err error) {
		err = s.tenantWriting(ctx, "save tenant", t.ID, func(tx *gorm.DB) error {
			if version, err = writeTenant(tx, t, expect); err != nil {
				return err
			}
			events, err := writeApplications(tx, t, version, with)
			if err != nil {
				return err
			}
			return appendEvents(tx, append(events, e), version)
		})
		return version, duplicateOrStale(err, expect, func() error {
			_, err := s.Tenant(ctx, t.ID)
			return err
		})
	})
}

// writeTenant stores t and returns its new version.
func writeTenant(tx *gorm.DB, t domain.Tenant, expect domain.Version) (version domain.Version, err error) {
	settings, err := encodeSettings(t.Settings)
	if err != nil {
		return 0, err
	}
	login, err := encodeLogin(t.Login)
	if err != nil {
		return 0, err
	}
	text, args := createTenant, []any{t.ID, t.Name, t.Issuer, settings, login}
	if expect != 0 {
		text, args = replaceTenant, append(args, int64(expect))
	}
	err = queryRow(tx.Raw(text, args...), domain.ErrStale, &version)
	return version, err
}

// writeApplications stores these applications of t with that version, and every other application of t whose policy
// changes because of t. It returns the events. The caller holds the lock on the tenant.
func writeApplications(
	tx *gorm.DB, t domain.Tenant, version domain.Version, with []port.ApplicationWrite,
) (events []domain.Event, err error) {
	applications, stored, err := applicationsOf(tx, t.ID)
	if err != nil {
		return nil, err
	}
	written := make(map[string]bool)
	for _, w := range with {
		a := w.Application
		if applications[a.ID].Version != w.Expect || written[a.ID] {
			return nil, domain.ErrStale
		}
		a.TenantID, a.Version = t.ID, version
		applications[a.ID], written[a.ID], events = a, true, append(events, w.Event)
	}
	policies, err := domain.CombineAll(t, applications)
	if err != nil {
		return nil, err
	}
	var (
		changed []any
		longest lifetimes
	)
	for _, id := range slices.Sorted(maps.Keys(applications)) {
		args, err := applicationArgs(applications[id], policies[id])
		if err != nil {
			return nil, err
		}
		if !written[id] && stored[id] == args[len(args)-1] {
			continue
		}
		changed, longest = append(changed, args...), longest.with(policies[id])
	}
	return events, storeApplications(tx, t.ID, changed, longest)
}

// applicationsOf returns the applications of the tenant, and their policies as text.
func applicationsOf(tx *gorm.DB, tenantID string) (map[string]domain.Application, map[string]string, error) {
	applications, policies := make(map[string]domain.Application), make(map[string]string)
	err := queryRows(tx.Raw(applicationsWithPolicy, tenantID), func(rows *sql.Rows) error {
		a, err := scanStored(rows.Scan)
		applications[a.ID], policies[a.ID] = a.Application, a.policy
		return err
	})
	return applications, policies, err
}

// storedApplication is an application with its effective policy, as text.
type storedApplication struct {
	domain.Application
	policy string
}

// SaveApplication implements port.Applications.
func (s *Store) SaveApplication(
	ctx context.Context, a domain.Application, expect domain.Version, e domain.Event,
) (domain.Version, error) {
	return s.once(ctx, e, func() (domain.Version, error) {
		err := s.tenantWriting(ctx, "save application", a.TenantID, func(tx *gorm.DB) error {
			var stored domain.Version
			t, err := scanTenant(func(dest ...any) error {
				return one(tx.Raw(lockTenantForVersion, a.TenantID))(append(dest, &a.Version)...)
			})
			if err != nil {
				return err
			}
			// Without a row, the version is 0.
			if err := queryRow(tx.Raw(applicationVersion, t.ID, a.ID), nil, &stored); err != nil {
				return err
			}
			if stored != expect {
				return domain.ErrStale
			}
			p, err := domain.Combine(t, a)
			if err != nil {
				return err
			}
			args, err := applicationArgs(a, p)
			if err != nil {
				return err
			}
			if err := storeApplications(tx, t.ID, args, lifetimes{}.with(p)); err != nil {
				return err
			}
			return appendEvent(tx, e, a.Version)
		})
		return a.Version, err
	})
}

// applicationArgs are the values of applicationColumns. The last one is the policy as text, from which the other policy
// columns follow.
func applicationArgs(a domain.Application, p domain.Policy) ([]any, error) {
	settings, err := encodeSettings(a.Settings)
	if err != nil {
		return nil, err
	}
	client, err := encodeClient(a.Client)
	if err != nil {
		return nil, err
	}
	policy, err := policyArgs(p)
	if err != nil {
		return nil, err
	}
	return append([]any{a.TenantID, a.ID, a.Name, settings, client, int64(a.Version)}, policy...), nil
}

// storeApplications stores applications of the tenant. args are their values, one application after another, and
// longest is that of their policies. The caller holds the lock on the tenant.
func storeApplications(tx *gorm.DB, tenantID string, args []any, longest lifetimes) error {
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
	return tx.Exec(raiseLongestTTL, longest.refresh.Microseconds(), longest.access.Microseconds(), tenantID).Error
}

// lifetimes are the longest ones of some policies.
type lifetimes struct{ refresh, access time.Duration }

func (l lifetimes) with(p domain.Policy) lifetimes {
	return lifetimes{max(l.refresh, p.TTL), max(l.access, p.AccessTokenTTL)}
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

// RehashClientSecrets implements port.Applications.
func (s *Store) RehashClientSecrets(ctx context.Context, before, after domain.Application) error {
	from, err := encodeClient(before.Client)
	if err != nil {
		return fmt.Errorf("gormstore: rehash client secrets: %w", err)
	}
	client := before.Client
	client.Secrets = after.Client.Secrets
	to, err := encodeClient(client)
	if err != nil {
		return fmt.Errorf("gormstore: rehash client secrets: %w", err)
	}
	return s.tenantWriting(ctx, "rehash client secrets", before.TenantID, func(tx *gorm.DB) error {
		var version domain.Version
		if err := queryRow(tx.Raw(drawVersion, before.TenantID), domain.ErrConflict, &version); err != nil {
			return err
		}
		return wrote(tx.Exec(replaceClient, to, before.TenantID, before.ID, from, version), domain.ErrConflict)
	})
}

// ApplicationsHashedWith implements port.Applications.
func (s *Store) ApplicationsHashedWith(
	ctx context.Context, number uint32, limit int,
) (first []domain.Application, total int, err error) {
	err = s.reading(ctx, "applications hashed with", func(db *gorm.DB) error {
		first, total = nil, 0
		return queryRows(db.Raw(selectClients), func(rows *sql.Rows) error {
			a, err := scanApplication(rows.Scan)
			if err != nil || !a.Client.HashedWith(number) {
				return err
			}
			if total++; total <= limit {
				first = append(first, a)
			}
			return nil
		})
	})
	if err != nil {
		return nil, 0, err
	}
	return first, total, nil
}

// DeleteApplication implements port.Applications.
func (s *Store) DeleteApplication(
	ctx context.Context, tenantID, id string, expect domain.Version, e domain.Event,
) error {
	return s.deleting(ctx, "delete application", domain.Scope{TenantID: tenantID, ApplicationID: id}, e,
		func(tx *gorm.DB) error {
			return wrote(tx.Exec(deleteApplication, tenantID, id, int64(expect)), domain.ErrStale)
		})
}

// DeleteTenant implements port.Tenants.
func (s *Store) DeleteTenant(ctx context.Context, id string, expect domain.Version, e domain.Event) error {
	return s.deleting(ctx, "delete tenant", domain.Scope{TenantID: id}, e, func(tx *gorm.DB) error {
		if err := wrote(tx.Exec(deleteTenant, micros(e.At), id, int64(expect)), domain.ErrStale); err != nil {
			return err
		}
		for _, statement := range []string{deleteApplications, passVersions, deleteAPIKeys} {
			if err := tx.Exec(statement, id).Error; err != nil {
				return err
			}
		}
		return nil
	})
}

// deleting revokes the scope, and then runs remove, which deletes the tenant or the application of the scope.
func (s *Store) deleting(
	ctx context.Context, operation string, scope domain.Scope, e domain.Event, remove func(tx *gorm.DB) error,
) error {
	return s.onceOnly(ctx, e, func() error {
		return s.tenantWriting(ctx, operation, scope.TenantID, func(tx *gorm.DB) error {
			r := port.Revocation{At: e.At, Reason: domain.RevokedByDelete}
			if _, err := revokeScope(tx, scope, domain.ID{}, r); err != nil {
				return err
			}
			if err := remove(tx); err != nil {
				return err
			}
			return appendEvent(tx, e, 0)
		})
	})
}
