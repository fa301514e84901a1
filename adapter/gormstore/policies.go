package gormstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/pressly/goose/v3"
	"gorm.io/gorm"

	"github.com/refreshd/refreshd/domain"
)

// An application is stored with its policy, as the last program to save it combined it. A program with another default,
// or with one setting more, combines it differently. So Migrate combines all policies again.

const (
	selectPolicies = `
SELECT t.id, t.name, t.issuer, t.settings, a.tenant_id, a.id, a.name, a.settings, a.client, a.version, a.policy
FROM applications AS a CROSS JOIN tenants AS t
WHERE t.id = a.tenant_id AND (a.tenant_id, a.id) > ($1, $2)
ORDER BY a.tenant_id, a.id LIMIT $3`

	applicationWithPolicy = `
SELECT ` + ownColumns + `, policy FROM applications WHERE tenant_id = $1 AND id = $2`

	// raiseAccessTTLs is for applications that an older program has saved.
	raiseAccessTTLs = `
UPDATE tenants SET longest_access_ttl = (
  SELECT max(a.access_token_ttl) FROM applications AS a WHERE a.tenant_id = tenants.id)
WHERE longest_access_ttl < (SELECT max(a.access_token_ttl) FROM applications AS a WHERE a.tenant_id = tenants.id)`

	// policiesRead is how many applications one statement reads.
	policiesRead = 1000
)

// scanStored reads dest, followed by an application with its policy.
func scanStored(scan scanner, dest ...any) (a storedApplication, err error) {
	a.Application, err = scanApplication(func(own ...any) error {
		return scan(slices.Concat(dest, own, []any{&a.policy})...)
	})
	return a, err
}

// combined returns the values of applicationColumns for a, and the policy; nil values if that policy is stored already.
func (a storedApplication) combined(t domain.Tenant) ([]any, domain.Policy, error) {
	p, err := domain.Combine(t, a.Application)
	if err != nil {
		return nil, p, fmt.Errorf("the application %s of the tenant %s keeps its policy: %w", a.ID, a.TenantID, err)
	}
	args, err := applicationArgs(a.Application, p)
	if err != nil || args[len(args)-1] == a.policy {
		return nil, p, err
	}
	return args, p, nil
}

// combineAgain stores the policies that this program combines differently. It reports to progress their number, and
// each application that can no longer be combined: it keeps its policy, so that the service can start.
func (s *Store) combineAgain(ctx context.Context, progress func(string)) error {
	written, last := 0, domain.Application{}
	for read := policiesRead; read == policiesRead; {
		var stale []domain.Application
		var failed []error
		if err := s.reading(ctx, "read policies", func(db *gorm.DB) error {
			read, stale, failed = 0, nil, nil
			after := last
			return queryRows(raw(db, selectPolicies, after.TenantID, after.ID, policiesRead), func(rows *sql.Rows) error {
				var t domain.Tenant
				var settings string
				a, err := scanStored(rows.Scan, &t.ID, &t.Name, &t.Issuer, &settings)
				if err != nil {
					return err
				}
				if t.Settings, err = decodeSettings(settings); err != nil {
					return err
				}
				read, last = read+1, a.Application
				args, _, err := a.combined(t)
				if err != nil {
					failed = append(failed, err)
				}
				if args != nil {
					stale = append(stale, a.Application)
				}
				return nil
			})
		}); err != nil {
			return err
		}
		for _, err := range failed {
			progress(err.Error())
		}
		for len(stale) > 0 {
			n := s.engine.perTransaction(stale)
			stored, err := s.combineStored(ctx, stale[:n])
			if err != nil {
				return err
			}
			written, stale = written+stored, stale[n:]
		}
	}
	if err := s.writingMany(ctx, "raise access TTLs", func(db *gorm.DB) error {
		return db.Exec(raiseAccessTTLs).Error
	}); err != nil {
		return err
	}
	if written > 0 {
		progress(fmt.Sprintf("combined the policies of %d applications again", written))
	}
	return nil
}

// perTransaction returns how many of these applications, ordered by tenant, one transaction stores. On PostgreSQL they
// are of one tenant, so that a transaction holds only one of the locks. In SQLite there is one lock, and the commit
// is what costs.
func (e engine) perTransaction(applications []domain.Application) (n int) {
	for n < len(applications) && n < maxSaved {
		if e.name != goose.DialectSQLite3 && applications[n].TenantID != applications[0].TenantID {
			break
		}
		n++
	}
	return n
}

// combineStored combines these applications, as they are stored once their tenants are locked, and returns how many it
// wrote.
func (s *Store) combineStored(ctx context.Context, applications []domain.Application) (written int, err error) {
	err = s.transacting(ctx, "combine again", func(tx *gorm.DB) error {
		written = 0
		for _, a := range applications {
			// The transaction keeps the lock, so only the first application of a tenant waits for it.
			t, err := scanTenant(one(tx.Raw(lockTenant, a.TenantID)))
			if err == nil {
				err = combineOne(tx, t, a.ID, &written)
			}
			if err != nil && !errors.Is(err, domain.ErrNotFound) { // deleted meanwhile
				return err
			}
		}
		return nil
	})
	return written, err
}

func combineOne(tx *gorm.DB, t domain.Tenant, id string, written *int) error {
	a, err := scanStored(one(tx.Raw(applicationWithPolicy, t.ID, id)))
	if err != nil {
		return err
	}
	args, p, err := a.combined(t)
	if err != nil || args == nil {
		return err
	}
	*written++
	return storeApplications(tx, t.ID, args, lifetimes{}.with(p))
}
