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

// Refused reports whether o is a refusal.
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
	// ErrAuthenticationRequired: the application asks for an API key, and the request has none that serves. It is not
	// final: the token string may still be exchanged.
	ErrAuthenticationRequired = errors.New("the application asks for authentication")
	// ErrProofRequired: the refresh token is bound to a key, and the request does not prove possession of it (RFC 7800).
	// It is not final either.
	ErrProofRequired = errors.New("the refresh token is bound to a key, and the request does not prove possession of it")
	// ErrAhead: a genuine token string of a generation that is yet to come. The store went back in time, or a token key leaked.
	ErrAhead = errors.New("the token string is of a later generation than the stored one")
	// ErrLifetimeTooLong: the request asks for an access token that lives longer than the policy allows.
	ErrLifetimeTooLong = errors.New("the access token's lifetime would be longer than the policy allows")
)

// Call is what an exchange presents: the generation of a genuine token string, and what else the caller named and
// proved.
type Call struct {
	Generation     uint32
	Now            time.Time
	TenantID       string        // the tenant that the request names; empty for none
	Authenticated  bool          // an API key with the permission, for TenantID, came along
	Binding        string        // what the caller proved; empty for nothing
	AccessTokenTTL time.Duration // the lifetime that the request asks for; 0 for the policy's
	ClientAddress  string
	// Restored says that the store was restored from a backup, so that a token string of a later generation is its
	// owner's.
	Restored bool
}

// Snapshot is what one consistent read of the store says of a refresh token.
type Snapshot struct {
	Token RefreshToken
	// MarkEpoch is the highest epoch of the marks that cover the token; 0 for none.
	MarkEpoch uint64
	// Deleted reports that the application or the tenant was deleted; Policy is then zero.
	Deleted bool
	Policy  Policy
}

// Alive reports whether the token is neither revoked, nor covered by a mark, nor expired, nor its application gone.
// It is the one definition; a store's "alive" must agree with it.
func (s Snapshot) Alive(now time.Time) bool { return !s.revoked() && now.Before(s.Token.ExpiresAt) }

func (s Snapshot) revoked() bool {
	return s.Deleted || !s.Token.RevokedAt.IsZero() || s.MarkEpoch > s.Token.IssuedEpoch
}

// expired reports whether no exchange may answer: the expiry has come, or the policy in force would move it to where
// it has, or there is no generation left.
func (s Snapshot) expired(now time.Time) bool {
	return !now.Before(s.Token.ExpiresAt) || s.Token.Generation == MaxGeneration || !s.Token.MayMove(s.Policy, now)
}

// Decision is what an exchange comes to: what to answer, and what to store first.
type Decision struct {
	Outcome Outcome
	// Why is set for some refusals, see ErrAuthenticationRequired and its siblings.
	Why error
	// After is the token as it will be stored. Its Generation is the one to answer with.
	After RefreshToken
	// Write reports that After differs from what is stored, and must be durable before anything is answered.
	Write bool
	// Event is how the audit trail reports the write; empty if it moves nothing but the last use and the expiry.
	Event EventKind
	// AnsweredAt is the instant of the answer, from which the access token's life counts.
	AnsweredAt time.Time
	// AddressChanged reports that a retry with the string before the current one came from another client address than the
	// rotation.
	AddressChanged bool
}

// Decide decides what an exchange answers. What it would answer with an access token that lives longer than the
// policy allows is refused instead, with ErrLifetimeTooLong, and nothing is written; a refusal stands, so that a replay
// is caught.
func (s Snapshot) Decide(c Call) Decision {
	d := s.decide(c)
	if !d.Outcome.Refused() && c.AccessTokenTTL > s.Policy.AccessTokenTTL {
		return s.refuse(RefusedInvalid, ErrLifetimeTooLong)
	}
	return d
}

// decide is the table of what an exchange answers. The order of the cases is part of the rule: what a caller has not
// proved comes before what it could learn or change; the first case that fits decides.
func (s Snapshot) decide(c Call) Decision {
	t, p := s.Token, s.Policy
	current, before := c.Generation == t.Generation, c.Generation == t.Generation-1
	switch {
	case c.Generation == 0: // no token string names it; taken for the one before the first, it would be answered
		return s.refuse(RefusedInvalid, nil)
	case c.TenantID != "" && c.TenantID != t.TenantID:
		return s.refuse(RefusedInvalid, nil)
	case p.RequireAuthentication && !c.Authenticated:
		return s.refuse(RefusedInvalid, ErrAuthenticationRequired)
	case t.Binding != "" && t.Binding != c.Binding:
		return s.refuse(RefusedInvalid, ErrProofRequired)
	case s.revoked():
		return s.refuse(RefusedRevoked, nil)
	case s.expired(c.Now):
		return s.refuse(RefusedExpired, nil)
	case !p.Active:
		return s.refuse(RefusedInactive, nil)
	case c.Generation > t.Generation && c.Restored && c.Generation < MaxGeneration:
		t.Generation = c.Generation
		d := s.answer(Rotated, t.Rotated(p, c.Now, c.ClientAddress), c.Now)
		d.Event = TokenRestored
		return d
	case c.Generation > t.Generation:
		return s.refuse(RefusedInvalid, ErrAhead)

	case current && p.Usage == Reusable:
		return s.answer(Unchanged, t.used(p, c.Now), c.Now)
	case (current || before) && t.InGracePeriod(p, c.Now):
		moved := c.ClientAddress != "" && t.MetaData.ClientAddress != "" && c.ClientAddress != t.MetaData.ClientAddress
		return Decision{Outcome: Retried, After: t, AnsweredAt: t.lastAnswer(), AddressChanged: before && moved}
	case current:
		return s.answer(Rotated, t.Rotated(p, c.Now, c.ClientAddress), c.Now)
	case before && t.recoverable(p):
		d := s.answer(Recovered, t.recovered(p, c.Now).used(p, c.Now), c.Now)
		if t.RecoveredAt.IsZero() {
			d.Event = TokenRecovered
		}
		return d
	case p.RevokeOnReplay:
		t.RevokedAt, t.RevokedReason = c.Now, RevokedByReplay
		return Decision{Outcome: RefusedReplayed, After: t, Write: true, Event: TokenReplayed}
	default:
		return s.refuse(RefusedReplayed, nil)
	}
}

func (s Snapshot) refuse(o Outcome, why error) Decision {
	return Decision{Outcome: o, Why: why, After: s.Token}
}

// answer is a decision that writes.
func (s Snapshot) answer(o Outcome, after RefreshToken, now time.Time) Decision {
	return Decision{Outcome: o, After: after, Write: true, AnsweredAt: now}
}

// recoverable reports whether the current generation may be answered to the string before it, late: it was already,
// or the policy knows no replay of it, or the budget allows one more. Owner and thief who take turns meet this limit
// at their third collision.
func (t RefreshToken) recoverable(p Policy) bool {
	if !t.RecoveredAt.IsZero() || p.Usage == Reusable {
		return true
	}
	return p.RecoveryBurst > 0 && t.RecoveryPaidUntil-int64(t.Generation) <= (p.RecoveryBurst-1)*p.RecoveryInterval
}

// recovered charges the recovery of the current generation, once, and notes its instant. Under Reusable it costs
// nothing.
func (t RefreshToken) recovered(p Policy, now time.Time) RefreshToken {
	if !t.RecoveredAt.IsZero() {
		return t
	}
	t.RecoveredAt = now
	if p.Usage != Reusable {
		t.RecoveryPaidUntil = max(t.RecoveryPaidUntil, int64(t.Generation)) + p.RecoveryInterval
	}
	return t
}
