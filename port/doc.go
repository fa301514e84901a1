// Package port is what refreshd needs from outside: a place to keep things, and something that signs. The use cases
// know nothing else of either, so a store or a signer of your own is one package that implements these interfaces; the
// exported suite in test/storagetest reports whether a store does.
//
// # What every method of a store promises
//
// Concurrency: any number of goroutines, in any number of processes on one database, may call any method at any time.
// Where a method compares before it writes, comparison and write are one step that nothing comes between.
//
// Durability: a write that returned nil survives the process and the machine, and every read that starts later,
// anywhere, sees it. A store that caches breaks this; so does one that answers from a lagging replica.
//
// Values: what goes in and what comes out are copies; neither side sees the other's later changes. Instants keep
// their microsecond and are UTC; they are after the beginning of 1970, or zero, which stays zero. Text and bytes keep
// every byte. Empty and nil lists are one.
//
// Errors: a method returns the sentinels of domain that its comment names, wrapped or bare. Any other error is
// operational: the call may or may not have happened, and calling it again with the same arguments is safe. A context
// that is done ends the call with an error. An operational error never looks like an answer: no sentinel for a database
// that is down.
//
// Rules: a store has none. It compares what it is told to compare, and stores what it is given. The two pieces of
// arithmetic that the one-statement exchange needs are spelled out at [RefreshTokens.Advance].
//
// Not required: an order between calls that overlap; exactly-once; that ids of refresh tokens are drawn by the store;
// anything for users, who exist only as text in refresh tokens.
//
// # Decisions
//
// A store offers compare-and-swap and no transactions. A transaction in the contract would put rules into closures run
// by the store, ask for a round trip a step, and exclude stores that have none. The price is that a method such as
// [Revocations.RevokeScope] must do its two or three writes as one by itself.
package port
