package domain

import (
	"cmp"
	"time"
)

// Session is a refresh token as a reader sees it, active or ended, with what a store knows of its end. A session that
// was purged is unknown.
type Session struct {
	Token RefreshToken
	// Mark is the mark that ended it: of the marks that cover it and have an epoch above its IssuedEpoch the one with
	// the smallest epoch; zero if there is none.
	Mark Mark
	// Deleted reports that its application or its tenant was deleted.
	Deleted bool
}

// Alive reports whether the session is active. It is [Snapshot.Alive] of the same record.
func (s Session) Alive(now time.Time) bool {
	_, ended := s.End(now)
	return !ended
}

// EndReason says why a session ended: a RevocationReason, or EndedByExpiry.
type EndReason string

// EndedByExpiry says that a session was not exchanged in time, or reached its maximum lifetime.
const EndedByExpiry EndReason = "expired"

// Ending is when a session ended, and why.
type Ending struct {
	// At is zero if nothing says when: the application or the tenant is deleted, and the mark of the deletion purged.
	At     time.Time
	Reason EndReason
}

// End reports whether the session has ended at now, and how it ended first. A revocation counts from when it was
// stored, whatever its instant is: the clock of the process that wrote it may be ahead. Of several ends the earliest
// counts; of those at one instant the session's own revocation, then the mark, then the expiry.
//
// A mark that was raised since tells of the revocation that raised it, which may be later than the one that ended the
// session.
func (s Session) End(now time.Time) (ending Ending, ended bool) {
	end := func(at time.Time, reason EndReason) {
		if !ended || at.Before(ending.At) {
			ending, ended = Ending{At: at, Reason: reason}, true
		}
	}
	if !s.Token.RevokedAt.IsZero() {
		end(s.Token.RevokedAt, EndReason(s.Token.RevokedReason))
	}
	if s.Mark.Epoch > s.Token.IssuedEpoch {
		end(s.Mark.At, EndReason(s.Mark.Reason))
	}
	if !now.Before(s.Token.ExpiresAt) {
		end(s.Token.ExpiresAt, EndedByExpiry)
	}
	if s.Deleted && !ended {
		return Ending{Reason: EndReason(RevokedByDelete)}, true
	}
	return ending, ended
}

// SessionState is which sessions a list shows. The zero value shows none.
type SessionState string

const (
	ActiveSessions SessionState = "active"
	EndedSessions  SessionState = "ended"
	AllSessions    SessionState = "all"
)

// OrActive is s, or ActiveSessions where a caller does not say.
func (s SessionState) OrActive() SessionState { return cmp.Or(s, ActiveSessions) }

// Includes reports whether a list of that state shows a session that is alive, or one that is not.
func (s SessionState) Includes(alive bool) bool {
	switch s {
	case AllSessions:
		return true
	case EndedSessions:
		return !alive
	case ActiveSessions:
		return alive
	default:
		return false
	}
}

// Change replaces what the access tokens of a session say about its user, and how its device is described. Before is
// the record as it was read, After the record as it is to be: of it Roles, Scopes, Claims, MetaData.Device and
// MetaData.Data count, and nothing else.
type Change struct{ Before, After RefreshToken }
