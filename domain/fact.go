package domain

import "time"

// Position is the place of a fact in the order in which facts were stamped. It grows with each stamp, and is a number
// of microseconds since 1970 for people and for retention only: nothing compares it with a clock to decide whether a
// fact is known. The facts of one stamp share it. Zero stands for a fact that has not been stamped yet.
type Position int64

// Fact is what a resource server must know to refuse access tokens whose sessions have ended. It is of one of three
// kinds: a session that is revoked itself (SessionID), the mark of a wide revocation (Epoch), or a signing key that was
// ended in an emergency (KeyID). The fields of the other kinds are zero.
//
// Facts are never withdrawn. They are idempotent, and their order does not matter: of two marks of one scope, the one
// with the greater epoch contains the other.
type Fact struct {
	Position Position
	TenantID string

	SessionID ID

	// A mark covers the access tokens of its scope with an epoch (`rve`) below Epoch, except those of the session Except.
	// Except is zero if no session is spared. An empty ApplicationID or UserID does not narrow the scope.
	Epoch         uint64
	ApplicationID string
	UserID        string
	Except        ID

	KeyID string
}

// FactRetention is how long a fact stays stored after the last access token that it ends has expired. In that time a
// resource server that was cut off resumes, and the clocks by which positions and expiries are made may differ.
const FactRetention = 10 * time.Minute

// FactFloor returns the highest position of the facts that no resource server needs any more at an instant, where
// longest is the longest lifetime of access tokens of the tenant.
func FactFloor(at time.Time, longest time.Duration) Position {
	return Position(at.Add(-longest - FactRetention).UnixMicro())
}

// TraceRetention and TraceFloor are FactRetention and FactFloor for the marks of a deleted tenant, and so for its
// epoch. A tenant that is created again after those are deleted begins at epoch 0. A mark that a feed or a resource
// server still holds would end its new sessions. A feed reads marks that are up to a lifetime and 7 minutes old (at
// least 22), and holds them for as long again. A resource server that it gives them to holds them for a lifetime and
// 5 minutes. The rest of the hour is for copies that are dropped in steps of minutes, and for clocks.
const TraceRetention = time.Hour

// TraceFloor returns the highest position of marks of a deleted tenant that are out of use at an instant: no feed and
// no resource server holds them any more.
func TraceFloor(at time.Time, longest time.Duration) Position {
	return Position(at.Add(-3*longest - TraceRetention).UnixMicro())
}
