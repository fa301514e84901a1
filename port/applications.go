package port

import (
	"context"
	"time"

	"github.com/refreshd/refreshd/domain"
)

// Applications keeps applications.
//
// Beside each application it keeps [domain.Combine] of the application and its tenant, combined again in the same step
// as either is saved: this is the policy that Advance, Snapshot and Policy speak of. A save that would make a
// combination impossible writes nothing, also when tenant and application are saved concurrently: what is stored can
// always be combined.
type Applications interface {
	// SaveApplication creates or replaces the application. ErrNotFound if its tenant does not exist; the *Invalid of
	// [domain.Combine], with nothing written, if the two cannot be combined.
	SaveApplication(ctx context.Context, a domain.Application) error

	// Application returns ErrNotFound if it or its tenant does not exist.
	Application(ctx context.Context, tenantID, id string) (domain.Application, error)
	// Applications returns a page of the tenant's applications whose id is above after, by id, byte by byte; none if the
	// tenant does not exist. limit is at least 1. See [MaxListBytes].
	Applications(
		ctx context.Context, tenantID, after string, limit int,
	) (page []domain.Application, next string, err error)
	// Policy is the effective policy of the application. ErrNotFound as above.
	Policy(ctx context.Context, tenantID, applicationID string) (domain.Policy, error)

	// DeleteApplication revokes its refresh tokens, as RevokeScope does, and removes it, in one step. ErrNotFound if it does
	// not exist. Created again, it begins without the refresh tokens of before.
	DeleteApplication(ctx context.Context, tenantID, id string, at time.Time) error
}
