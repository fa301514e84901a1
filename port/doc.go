// Package port holds the interfaces that refreshd needs: a store, and a signer of access tokens. The use cases depend
// on nothing else, so a store or a signer is one package that implements these interfaces. The exported suite in
// test/storagetest reports whether a store keeps the contract.
//
// # The contract of every method of a store
//
// Concurrency: any number of goroutines, in any number of processes on one database, may call any method at any time. A
// method that compares before it writes does both in one atomic step.
//
// Durability: a write that returned nil survives the process and the machine, and every read that starts later, in any
// process, sees it. A store that caches, or reads from a lagging replica, breaks this.
//
// Values: arguments and results are copies; neither side sees later changes of the other. Instants have microsecond
// precision and are UTC. They are after the beginning of 1970, or zero, which stays zero. Text and bytes keep every
// byte. An empty list and nil are the same.
//
// Errors: a method returns the sentinels of domain that its comment names, wrapped or bare. Any other error is
// operational: the call may or may not have happened, and it is safe to call again with the same arguments. A context
// that is done ends the call with an error. An operational error never is or wraps a sentinel of domain: a failed
// database is not ErrNotFound.
//
// Rules: a store has none. It compares the values that it is told to compare, and stores the values that it is given.
// The two calculations that an exchange in one statement needs are specified at [RefreshTokens.Advance].
//
// Not required: an order between calls that overlap; exactly-once execution; that the store makes the ids of refresh
// tokens; any record of users, who exist only as text in refresh tokens.
//
// # Decisions
//
// A store offers compare-and-swap and no transactions. A transaction in the contract would put rules into closures that
// the store runs, would require a round trip for each step, and would exclude stores without transactions. The price is
// that a method such as [Revocations.RevokeScope] must do its two or three writes atomically by itself.
package port
