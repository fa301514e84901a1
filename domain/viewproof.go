package domain

import "time"

// ViewProof is what a service signs for a resource server about its view of the revocations: with the facts up to
// Cursor, it had everything that was revoked until CompleteAfter had passed since its request. Its nonce, which the
// resource server chose for this request, shows that the statement is not an old one.
type ViewProof struct {
	Issuer        string // of the tenant
	Nonce         string
	Cursor        Position
	CompleteAfter time.Duration // from the arrival of the request, whole milliseconds; below zero if it was before
	IssuedAt      time.Time     // whole seconds
}

// ViewProofType is the `typ` of a proof. It is none of the AccessTokenTypes.
const ViewProofType = "rvp+jwt"

// FloorMilliseconds returns d in whole milliseconds, rounded down also below zero: no view may seem newer than it is.
func FloorMilliseconds(d time.Duration) time.Duration {
	whole := d.Truncate(time.Millisecond)
	if whole > d {
		whole -= time.Millisecond
	}
	return whole
}
