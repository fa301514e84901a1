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

// Beside an application is stored its policy, as the program combined it that saved it last. A program that has another
// default, or one setting more, would combine it otherwise. So Migrate combines all of them again.

const (
	selectPolicies = `
SELECT t.id, t.name, t.issuer, t.settings, a.tenant_id, a.id, a.name, a.settings, a.version, a.policy
FROM applications AS a CROSS JOIN tenants AS t
WHERE t.id = a.tenant_id AND (a.tenant_id, a.id) > ($1, $2)
ORDER BY a.tenant_id, a.id LIMIT $3`

	applicationWithPolicy = `
SELECT tenant_id, id, name, settings, version, policy FROM applications WHERE tenant_id = $1 AND id = $2`

	// policiesRead is how many applications are read by one statement.
	policiesRead = 1000
)

// scanStored reads what follows dest and is an application with its policy.
func scanStored(scan scanner, dest ...any) (a storedApplication, err error) {
	a.Application, err = scanApplication(func(own ...any) error {
		return scan(slices.Concat(dest, own, []any{&a.policy})...)
	})
	return a, err
}

// combined are the values of applicationColumns for a, and the policy, if that is not the one stored with it; else nil.
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

// combineAgain stores the policy of each application that this program combines otherwise. It tells progress how many
// those were, and of each application that can no longer be combined: it keeps its policy, and the service starts.
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
			n := s.engine.share(stale)
			stored, err := s.combineStored(ctx, stale[:n])
			if err != nil {
				return err
			}
			written, stale = written+stored, stale[n:]
		}
	}
	if written > 0 {
		progress(fmt.Sprintf("combined the policies of %d applications again", written))
	}
	return nil
}

// share is how many of these applications, by tenant, are stored in one transaction. On PostgreSQL they are of one
// tenant, so that none waits for another one's lock. In SQLite all wait for one lock, and what costs is the commit.
func (e engine) share(applications []domain.Application) (n int) {
	for n < len(applications) && n < maxSaved {
		if e.name != goose.DialectSQLite3 && applications[n].TenantID != applications[0].TenantID {
			break
		}
		n++
	}
	return n
}

// combineStored combines these applications under the locks of their tenants, as they are stored then, and returns how
// many it wrote.
func (s *Store) combineStored(ctx context.Context, applications []domain.Application) (written int, err error) {
	err = s.transacting(ctx, "combine again", func(tx *gorm.DB) error {
		written = 0
		for _, a := range applications {
			// The lock is the transaction's: of the applications of one tenant all but the first find it taken.
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
	return storeApplications(tx, t.ID, args, p.TTL)
}
