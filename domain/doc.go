// Package domain holds the rules of refreshd: what a refresh token is, what a token string proves, what an exchange answers,
// what a revocation covers, who may do what. Everything else moves bytes.
//
// It is pure: values in, values out. It has no context, does no I/O, owns no clock and no randomness; both are handed to it
// (an instant, an io.Reader). It knows no wire and no table, so its types carry no tags. It imports the standard library only.
//
// Read [Snapshot.Decide] first: it is the whole table of what an exchange answers, in the order in which it is decided. Then
// [RefreshToken], the one row a session has for its whole life, and [TokenKey.Mint], which derives the client's secret from
// that row so that nothing secret is stored and a retry can be answered with the same bytes.
//
// Words are used in one sense only: a refresh token is the stored record, a token string the secret a client holds, a
// generation the number that ties the two together.
//
// # Decisions
//
// The successor of a token string is derived, not drawn at random. Random successors would have to be stored (a stolen
// database then mints sessions) or forgotten (a lost answer then ends the session). A MAC over id and generation is neither.
//
// Revocation of many tokens is a counter comparison ([Mark]), not an update of many rows, and not a comparison of clocks:
// replicas' clocks differ, a counter under one row lock does not.
package domain
