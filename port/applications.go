package port

import (
	"context"

	"github.com/refreshd/refreshd/domain"
)

// Applications keeps applications.
//
// Beside each application it keeps [domain.Combine] of the application and its tenant, combined again in the same step
// as either is saved: this is the policy that Advance, Snapshot and Policy speak of. A save that would make a
// combination impossible writes nothing, also when tenant and application are saved concurrently: what is stored can
// always be combined.
type Applications interface {
	// SaveApplication creates the application, where expect is 0, or replaces it, where expect is its version, and
	// returns the version that it then has. ErrNotFound if its tenant does not exist; ErrStale if its version is not
	// expect, it exists though expect is 0, or it does not exist; the *Invalid of [domain.Combine] if the two cannot be
	// combined. Then nothing is written. Where several are so, it may return any.
	SaveApplication(
		ctx context.Context, a domain.Application, expect domain.Version, e domain.Event,
	) (domain.Version, error)

	// Application returns ErrNotFound if it or its tenant does not exist.
	Application(ctx context.Context, tenantID, id string) (domain.Application, error)
	// Applications returns a page of the tenant's applications whose id is above after, by id, byte by byte; none if
	// the tenant does not exist. limit is at least 1. See [MaxListBytes].
	Applications(
		ctx context.Context, tenantID, after string, limit int,
	) (page []domain.Application, next string, err error)
	// Policy is the effective policy of the application. ErrNotFound as above.
	Policy(ctx context.Context, tenantID, applicationID string) (domain.Policy, error)

	// DeleteApplication revokes its refresh tokens, as RevokeScope does at e.At, and removes it, in one step.
	// ErrNotFound if it does not exist; ErrStale, with nothing written, if its version is not expect. Created again, it
	// begins without the refresh tokens of before.
	DeleteApplication(ctx context.Context, tenantID, id string, expect domain.Version, e domain.Event) error
}
