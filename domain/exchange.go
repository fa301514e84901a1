package domain

import (
	"errors"
	"time"
)

// Outcome is how an exchange ended, in one word: the same in code, logs, metrics and the Refreshd-Outcome header.
type Outcome string

const (
	Rotated   Outcome = "rotated"
	Retried   Outcome = "retried"
	Recovered Outcome = "recovered"
	Unchanged Outcome = "unchanged"

	RefusedInvalid  Outcome = "invalid"
	RefusedExpired  Outcome = "expired"
	RefusedRevoked  Outcome = "revoked"
	RefusedInactive Outcome = "inactive"
	RefusedReplayed Outcome = "replayed"
)

// Refused tells whether o is a refusal.
func (o Outcome) Refused() bool {
	switch o {
	case Rotated, Retried, Recovered, Unchanged:
		return false
	default:
		return true
	}
}

// Outcomes are all of them.
var Outcomes = []Outcome{
	Rotated, Retried, Recovered, Unchanged, RefusedInvalid, RefusedExpired, RefusedRevoked, RefusedInactive, RefusedReplayed,
}

// Why says more than the outcome where a log or a status needs it.
var (
	// ErrUnproved: the application asks for an API key, and the call brought none that serves.
	ErrUnproved = errors.New("the application asks for authentication")
	// ErrAhead: a genuine token string of a generation that is yet to come. The store went back in time, or a token key leaked.
	ErrAhead = errors.New("the token string is of a later generation than the stored one")
	// ErrLifeTooLong: the call asks for an access token that outlives what the policy allows.
	ErrLifeTooLong = errors.New("the access token's life would be longer than the policy allows")
)

// Call is what an exchange brings: the generation of a genuine token string, and what else the caller named and proved.
type Call struct {
	Generation     uint32
	Now            time.Time
	TenantID       string        // the tenant that the call names; empty for none
	Authenticated  bool          // an API key with the permission, for TenantID, came along
	Binding        string        // what the caller proved; empty for nothing
	AccessTokenTTL time.Duration // the life that the call asks for; 0 for the policy's
	ClientAddress  string
}

// Snapshot is what one consistent read of the store says of a refresh token.
type Snapshot struct {
	Token RefreshToken
	// MarkEpoch is the highest epoch of the marks that cover the token; 0 for none.
	MarkEpoch uint64
	// Gone: the application or the tenant is no more; Policy is then zero.
	Gone   bool
	Policy Policy
}

// Alive tells whether the token is neither revoked, nor covered by a mark, nor expired, nor its application gone. It is the
// one definition; a store's "alive" must agree with it.
func (s Snapshot) Alive(now time.Time) bool { return !s.revoked() && !s.expired(now) }

func (s Snapshot) revoked() bool {
	return s.Gone || !s.Token.RevokedAt.IsZero() || s.MarkEpoch > s.Token.IssuedEpoch
}

func (s Snapshot) expired(now time.Time) bool { return !now.Before(s.Token.ExpiresAt) }

// Decision is what an exchange comes to: what to answer, and what to store first.
type Decision struct {
	Outcome Outcome
	// Why is set for some refusals, see ErrUnproved and its siblings.
	Why error
	// After is the token as it will be stored. Its Generation is the one to answer with.
	After RefreshToken
	// Write tells that After differs from what is stored, and must be durable before anything is answered.
	Write bool
	// AccessTokenFrom is the instant from which the access token's life counts.
	AccessTokenFrom time.Time
	// Stranger tells that a retry came from another client address than the rotation.
	Stranger bool
}

// Decide is the table of what an exchange answers. The order of the cases is part of the rule: what a caller has not proved
// comes before what it could learn or change; the first case that fits decides.
func (s Snapshot) Decide(c Call) Decision {
	t, p := s.Token, s.Policy
	switch {
	case c.Generation == 0: // no token string names it; taken for the one before the first, it would be answered
		return s.refuse(RefusedInvalid, nil)
	case c.TenantID != "" && c.TenantID != t.TenantID:
		return s.refuse(RefusedInvalid, nil)
	case p.RequireAuthentication && !c.Authenticated:
		return s.refuse(RefusedInvalid, ErrUnproved)
	case t.Binding != "" && t.Binding != c.Binding:
		return s.refuse(RefusedInvalid, nil)
	case s.revoked():
		return s.refuse(RefusedRevoked, nil)
	case s.expired(c.Now):
		return s.refuse(RefusedExpired, nil)
	case !p.Active:
		return s.refuse(RefusedInactive, nil)
	case c.Generation > t.Generation:
		return s.refuse(RefusedInvalid, ErrAhead)
	case c.AccessTokenTTL > p.AccessTokenTTL:
		return s.refuse(RefusedInvalid, ErrLifeTooLong)

	case c.Generation == t.Generation && p.Usage == Reusable:
		return Decision{Outcome: Unchanged, After: t.used(p, c.Now), Write: true, AccessTokenFrom: c.Now}
	case c.Generation == t.Generation:
		return Decision{Outcome: Rotated, After: t.Rotated(p, c.Now, c.ClientAddress), Write: true, AccessTokenFrom: c.Now}
	case t.retriedBy(c, p):
		stranger := c.ClientAddress != "" && t.MetaData.ClientAddress != "" && c.ClientAddress != t.MetaData.ClientAddress
		return Decision{Outcome: Retried, After: t, AccessTokenFrom: t.RotatedAt, Stranger: stranger}
	case c.Generation == t.Generation-1 && t.recoverable(p):
		return Decision{Outcome: Recovered, After: t.recovered(p).used(p, c.Now), Write: true, AccessTokenFrom: c.Now}
	case p.RevokeOnReplay:
		t.RevokedAt, t.RevokedReason = c.Now, RevokedByReplay
		return Decision{Outcome: RefusedReplayed, After: t, Write: true}
	default:
		return s.refuse(RefusedReplayed, nil)
	}
}

func (s Snapshot) refuse(o Outcome, why error) Decision {
	return Decision{Outcome: o, Why: why, After: s.Token}
}

// retriedBy tells whether the presented generation left currency less than a grace period ago, as far as the record can tell.
func (t RefreshToken) retriedBy(c Call, p Policy) bool {
	if c.Generation == t.Generation-1 && age(t.RotatedAt, c.Now) < p.GracePeriod {
		return true
	}
	return t.GraceGeneration > 0 && c.Generation >= t.GraceGeneration && age(t.GraceSince, c.Now) < p.GracePeriod
}

// recoverable tells whether the current generation may be answered to the string before it, late: it was already, or the
// budget allows one more. Owner and thief who take turns meet this limit at their third collision.
func (t RefreshToken) recoverable(p Policy) bool {
	if t.RecoveredGeneration == t.Generation {
		return true
	}
	return p.RecoveryBurst > 0 && t.RecoveryPaidUntil-int64(t.Generation) <= (p.RecoveryBurst-1)*p.RecoveryInterval
}

// recovered charges the recovery of the current generation, once.
func (t RefreshToken) recovered(p Policy) RefreshToken {
	if t.RecoveredGeneration != t.Generation {
		t.RecoveryPaidUntil = max(t.RecoveryPaidUntil, int64(t.Generation)) + p.RecoveryInterval
		t.RecoveredGeneration = t.Generation
	}
	return t
}
