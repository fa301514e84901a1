package port

import (
	"context"

	"github.com/refreshd/refreshd/domain"
)

// Applications stores applications.
//
// With each application it stores [domain.Combine] of the application and its tenant, computed again in the same step
// as either is saved. This is the policy that Advance, Snapshot and Policy use. A save that would make a combination
// impossible writes nothing, also when tenant and application are saved concurrently: the stored objects can always be
// combined.
type Applications interface {
	// SaveApplication creates the application if expect is 0, or replaces it if expect is its version, and returns its
	// new version. It returns ErrNotFound if its tenant does not exist; ErrStale if its version is not expect, if it
	// exists and expect is 0, or if it does not exist; and the *Invalid of [domain.Combine] if the two cannot be
	// combined. Nothing is written then. If several of these apply, it may return any.
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
	// Policy returns the effective policy of the application. It returns ErrNotFound as Application does.
	Policy(ctx context.Context, tenantID, applicationID string) (domain.Policy, error)

	// RehashClientSecrets replaces the client secrets of an application by those in after, in one step, if the
	// application still has the Client that before has; otherwise, and if it does not exist, it returns ErrConflict, with
	// nothing written. The application gets a new version: a concurrent save, which has the former hashes, must not
	// put them back.
	RehashClientSecrets(ctx context.Context, before, after domain.Application) error
	// ApplicationsHashedWith returns the number of the applications of which one client secret was hashed by the hash key
	// of that number, and the first of them by tenant and id in byte order, at most limit (at least 1).
	ApplicationsHashedWith(
		ctx context.Context, number uint32, limit int,
	) (first []domain.Application, total int, err error)

	// DeleteApplication revokes the application's refresh tokens, as RevokeScope does at e.At, and removes it, in one
	// step. It returns ErrNotFound if it does not exist, and ErrStale, with nothing written, if its version is not
	// expect. An application that is created again has none of the earlier refresh tokens.
	DeleteApplication(ctx context.Context, tenantID, id string, expect domain.Version, e domain.Event) error
}
