package port

import "context"

// Store is everything that refreshd keeps, in one place, so that one handle can be opened and closed. Use cases ask for the
// part that they need.
//
// A context that is done ends a call that waits for its turn: for a connection, or behind another call. What has begun
// in the database runs to its end, or to a deadline of the store's own, some seconds; so a caller that leaves costs
// those that stay nothing, and learns no sooner how its call ended. Every wait has such a bound, also with a context
// that is never done. A call that returned an operational error may or may not have happened.
//
// Many calls that wait for one record, because somebody holds it, do not keep those for other records waiting.
type Store interface {
	RefreshTokens
	Revocations
	Tenants
	Applications
	APIKeys
	Keys
	Events
	Janitor
	Jobs

	// Ready returns nil if the store answers, lets this process write, and has a schema that this program can work on;
	// else an error that says which of these fails and what to do about it, fit for an operator. It writes nothing.
	Ready(ctx context.Context) error
	// HasData reports whether the store holds anything at all besides sealed keys: a tenant, an API key, a refresh
	// token. A store with data and without the check value of its master key has lost something, and must not be
	// written to.
	HasData(ctx context.Context) (bool, error)
	// Close frees the handle. Calls under way may fail; nothing that was answered is lost.
	Close() error
}
