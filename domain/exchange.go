package domain

import (
	"errors"
	"time"
)

// Outcome is the result of an exchange, in one word: the same in code, logs, metrics and the Refreshd-Outcome header.
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

// Outcomes lists all outcomes.
var Outcomes = []Outcome{
	Rotated, Retried, Recovered, Unchanged,
	RefusedInvalid, RefusedExpired, RefusedRevoked, RefusedInactive, RefusedReplayed,
}

// Reasons of a refusal, for logs and statuses that need more than the outcome.
var (
	// ErrAuthenticationRequired: the application requires an API key, and the request has no valid one. The refusal is
	// not final: the token string may still be exchanged.
	ErrAuthenticationRequired = errors.New("the application requires authentication")
	// ErrProofRequired: the refresh token is bound to a key, and the request does not prove possession of it (RFC
	// 7800). This refusal is not final either.
	ErrProofRequired = errors.New("the refresh token is bound to a key, and the request has no proof of possession")
	// ErrAhead: the token string is genuine, and its generation is later than the stored one. The store went back in
	// time, or a token key leaked.
	ErrAhead = errors.New("the token string is of a later generation than the stored one")
	// ErrLifetimeTooLong: the request asks for a longer lifetime of the access token than the policy allows.
	ErrLifetimeTooLong = errors.New("the access token's lifetime would be longer than the policy allows")
)

// Call is the input of an exchange: the generation of a genuine token string, and what the caller named and proved
// besides.
type Call struct {
	Generation    uint32
	Now           time.Time
	TenantID      string // the tenant that the request names; empty for none
	ApplicationID string // the application that the request names as its client; empty for none
	// Authenticated: the request has an API key with the permission, valid for TenantID, or the client authenticated as
	// ApplicationID.
	Authenticated  bool
	Binding        string        // the key that the caller proved possession of; empty for none
	AccessTokenTTL time.Duration // the lifetime that the request asks for; 0 for the policy's
	ClientAddress  string
	// Restored says that the store was restored from a backup, so that a token string of a later generation is the
	// owner's.
	Restored bool
}

// Snapshot is the state of a refresh token in one consistent read of the store.
type Snapshot struct {
	Token RefreshToken
	// MarkEpoch is the highest epoch of the marks that cover the token; 0 if there are none.
	MarkEpoch uint64
	// Deleted reports that the application or the tenant was deleted; Policy is then zero.
	Deleted bool
	Policy  Policy
}

// Alive reports whether the token is active: not revoked, not covered by a later mark, not expired, and its application
// not deleted. It is the one definition: a store's condition must agree with it.
func (s Snapshot) Alive(now time.Time) bool { return !s.revoked() && now.Before(s.Token.ExpiresAt) }

func (s Snapshot) revoked() bool {
	return s.Deleted || !s.Token.RevokedAt.IsZero() || s.MarkEpoch > s.Token.IssuedEpoch
}

// expired reports whether no exchange can succeed: the token has expired, the policy in force would move its expiry to
// a time that has passed, or it has reached the last generation.
func (s Snapshot) expired(now time.Time) bool {
	return !now.Before(s.Token.ExpiresAt) || s.Token.Generation == MaxGeneration || !s.Token.MayMove(s.Policy, now)
}

// Decision is the result of [Snapshot.Decide]: the outcome, and what to store before the response is sent.
type Decision struct {
	Outcome Outcome
	// Why is set for some refusals: ErrAuthenticationRequired, ErrProofRequired, ErrAhead or ErrLifetimeTooLong.
	Why error
	// After is the token as it is to be stored. The response holds the token string of its Generation.
	After RefreshToken
	// Write reports that After differs from the stored token, and must be durable before the response is sent.
	Write bool
	// Event is the kind of the write's event; empty for a write that moves only the last use and the expiry.
	Event EventKind
	// AnsweredAt is the instant of the response, from which the access token's lifetime counts.
	AnsweredAt time.Time
	// AddressChanged reports that a retry with the previous token string came from another client address than the
	// rotation.
	AddressChanged bool
}

// Decide decides an exchange. An exchange that would succeed with a lifetime of the access token above the policy's is
// refused with ErrLifetimeTooLong, and nothing is written. Other refusals take precedence, so that a replay is
// detected.
func (s Snapshot) Decide(c Call) Decision {
	d := s.decide(c)
	if !d.Outcome.Refused() && c.AccessTokenTTL > s.Policy.AccessTokenTTL {
		return s.refuse(RefusedInvalid, ErrLifetimeTooLong)
	}
	return d
}

// decide is the decision table of an exchange. The first case that fits decides. The order of the cases is part of the
// rule: checks of what the caller has to prove come before anything that it could learn or change.
func (s Snapshot) decide(c Call) Decision {
	t, p := s.Token, s.Policy
	current, before := c.Generation == t.Generation, c.Generation == t.Generation-1
	switch {
	case c.Generation == 0: // no token string has it, and it would count as the one before the first generation
		return s.refuse(RefusedInvalid, nil)
	case c.TenantID != "" && c.TenantID != t.TenantID:
		return s.refuse(RefusedInvalid, nil)
	case c.ApplicationID != "" && c.ApplicationID != t.ApplicationID:
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

// answer returns a decision to succeed and to store after.
func (s Snapshot) answer(o Outcome, after RefreshToken, now time.Time) Decision {
	return Decision{Outcome: o, After: after, Write: true, AnsweredAt: now}
}

// recoverable reports whether the previous token string may get the current generation after the grace period: if it
// already did, if the policy knows no replay, or if the budget allows one more recovery. An owner and a thief who
// alternate reach this limit at their third collision.
func (t RefreshToken) recoverable(p Policy) bool {
	if !t.RecoveredAt.IsZero() || p.Usage == Reusable {
		return true
	}
	return p.RecoveryBurst > 0 && t.RecoveryPaidUntil-int64(t.Generation) <= (p.RecoveryBurst-1)*p.RecoveryInterval
}

// recovered charges the recovery of the current generation once, and sets its instant. Under Reusable it is free.
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
