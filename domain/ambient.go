package domain

import (
	"slices"
	"strings"
	"time"
)

// MaxAmbientSessions is the number of different sessions that the token strings in a request's cookies may name. A
// browser holds a cookie of one name in a few forms at most, and each session costs a read.
const MaxAmbientSessions = 4

// IsTokenStringForm reports whether s has the form of a token string, genuine or not: `rt_` and 64 characters of
// base64url. A value of another form may belong to another product.
func IsTokenStringForm(s string) bool {
	rest, ok := strings.CutPrefix(s, tokenStringPrefix)
	return ok && len(s) == tokenStringLength && strings.Trim(rest, base64urlAlphabet) == ""
}

const base64urlAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// Ambient holds the token strings that a request carries in cookies. A browser sends every cookie of a name, no matter
// who set it, and a server cannot tell them apart (RFC 6265, sections 4.1.2 and 5.4). The zero value is empty.
type Ambient struct {
	Sessions []PresentedToken // of each session the highest generation
	// Foreign reports that a value does not have the form of a token string.
	Foreign bool
}

// Add adds a genuine token string.
func (a *Ambient) Add(t PresentedToken) {
	i := slices.IndexFunc(a.Sessions, func(s PresentedToken) bool { return s.ID == t.ID })
	switch {
	case i < 0:
		a.Sessions = append(a.Sessions, t)
	case t.Generation > a.Sessions[i].Generation:
		a.Sessions[i] = t
	}
}

// Candidate is one of several sessions that a request's cookies name.
type Candidate struct {
	Presented PresentedToken
	Known     bool // a record was found, which is Snapshot
	Snapshot  Snapshot
}

// Choice is the result of [Choose].
type Choice struct {
	// Counting are the candidates that count. The request is refused unless there is exactly one.
	Counting []Candidate
	// Ended is a candidate that has ended, if there is one and none counts, and Outcome its refusal. If there is none,
	// Outcome is RefusedInvalid.
	Ended   Candidate
	Outcome Outcome
	// Kept reports that a candidate that does not count may count in another request: it belongs to another tenant or
	// to an inactive application.
	Kept bool
}

// Choose decides which of several candidates counts for a request that names tenantID, or no tenant. Candidates that
// are unknown, have ended, or belong to another tenant do not count, so that a cookie that a browser happened to keep
// locks no user out. A candidate whose application is inactive counts if no other does: the application may become
// active again, and must not make a request end another session.
func Choose(candidates []Candidate, tenantID string, now time.Time) Choice {
	c := Choice{Outcome: RefusedInvalid}
	for _, one := range candidates {
		switch s := one.Snapshot; {
		case !one.Known:
		case tenantID != "" && tenantID != s.Token.TenantID:
			c.Kept = true
		case s.revoked():
			c.Ended, c.Outcome = one, RefusedRevoked
		case s.expired(now):
			if c.Outcome != RefusedRevoked {
				c.Ended, c.Outcome = one, RefusedExpired
			}
		default:
			c.Counting = append(c.Counting, one)
		}
	}
	inactive := func(one Candidate) bool { return !one.Snapshot.Policy.Active }
	active := slices.DeleteFunc(slices.Clone(c.Counting), inactive)
	if len(active) > 0 && len(active) < len(c.Counting) {
		c.Counting, c.Kept = active, true
	}
	return c
}
