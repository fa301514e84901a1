package domain

import (
	"cmp"
	"time"
)

// Session is a refresh token as a reader sees it, active or ended, with the store's information about its end. A
// session that was purged is unknown.
type Session struct {
	Token RefreshToken
	// Mark is the mark that ended it: the one with the smallest epoch among those that cover it and have an epoch above
	// its IssuedEpoch; zero if there is none.
	Mark Mark
	// Deleted reports that its application or its tenant was deleted.
	Deleted bool
}

// Alive reports whether the session is active, as [Snapshot.Alive] of the same record does.
func (s Session) Alive(now time.Time) bool {
	_, ended := s.End(now)
	return !ended
}

// EndReason is the reason of a session's end: a RevocationReason, or EndedByExpiry.
type EndReason string

// EndedByExpiry is the reason of a session that was not exchanged in time, or reached its maximum lifetime.
const EndedByExpiry EndReason = "expired"

// Ending is the end of a session.
type Ending struct {
	// At is zero if the time is unknown: the application or the tenant was deleted, and the mark of the deletion
	// purged.
	At     time.Time
	Reason EndReason
}

// End reports whether the session has ended at now, and its first end. A revocation counts as soon as it is stored,
// whatever its instant: the clock of the process that wrote it may be ahead. Of several ends the earliest counts; of
// several at one instant the session's own revocation, then the mark, then the expiry.
//
// A mark that was raised holds the revocation that raised it, which may be later than the one that ended the session.
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

// SessionState selects the sessions of a list. The zero value selects none.
type SessionState string

const (
	ActiveSessions SessionState = "active"
	EndedSessions  SessionState = "ended"
	AllSessions    SessionState = "all"
)

// OrActive returns s, or ActiveSessions if s is empty.
func (s SessionState) OrActive() SessionState { return cmp.Or(s, ActiveSessions) }

// Includes reports whether a list of that state shows a session that is active, or one that has ended.
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

// Change replaces the claims about a session's user and the description of its device. Before is the record as it was
// read, After the record as it is to be. Only Roles, Scopes, Claims, MetaData.Device and MetaData.Data are compared and
// stored.
type Change struct{ Before, After RefreshToken }
