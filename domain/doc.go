// Package domain holds the rules of refreshd: what a refresh token is, how a token string is made and checked, what an
// exchange decides, what a revocation covers, and who may do what.
//
// It is pure: values in, values out. It takes no context, does no I/O, and has no clock and no randomness; callers pass
// an instant or an io.Reader. It knows no wire format and no table, so its types carry no tags. It imports the standard
// library only.
//
// Read [Snapshot.Decide] first: it is the whole decision table of an exchange, in the order in which the cases are
// tried. Then read [RefreshToken], the one record that a session has from issue to end, and [TokenKey.Mint], which
// derives the client's secret from that record. So nothing secret is stored, and a retry gets the same bytes.
//
// Each word has one meaning. A refresh token is the stored record. A token string is the secret that a client holds. A
// generation is the number that ties the two together.
//
// # Decisions
//
// The successor of a token string is derived, not random. A random successor would have to be stored, and then a stolen
// database could mint sessions; or it would have to be forgotten, and then a lost response would end the session. A MAC
// over id and generation avoids both.
//
// The revocation of many tokens compares counters ([Mark]). It does not update many rows, and it does not compare
// clocks: the clocks of replicas differ, and a counter under one row lock does not.
package domain
