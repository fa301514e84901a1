package domain

import (
	"slices"
	"strings"
	"time"
)

// MaxAmbientSessions is how many different sessions the token strings that a request did not choose, in cookies, may
// name. A browser holds a cookie of one name in a few forms at most, and each session costs a read.
const MaxAmbientSessions = 4

// IsTokenStringForm reports whether s has the form of a token string: `rt_` and 64 characters of base64url, genuine or
// not. Any other may be another product's.
func IsTokenStringForm(s string) bool {
	rest, ok := strings.CutPrefix(s, tokenStringPrefix)
	return ok && len(s) == tokenStringLength && strings.Trim(rest, base64urlAlphabet) == ""
}

const base64urlAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// Ambient is what a request carries of token strings that its sender did not choose: a browser sends every cookie of a
// name, whoever set it, and a server cannot tell them apart (RFC 6265, section 4.1.2 and 5.4). The zero value is empty.
type Ambient struct {
	Sessions []PresentedToken // of each session the highest generation
	// Foreign reports that a value has not the form of a token string.
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

// Choice is what several candidates come to.
type Choice struct {
	// Counting are the candidates that count: the request is refused unless there is one.
	Counting []Candidate
	// Ended is a candidate that has ended, if there is one and none counts, and Outcome its refusal; else RefusedInvalid.
	Ended   Candidate
	Outcome Outcome
	// Kept reports that a candidate that does not count may count in another request: it is another tenant's, or of an
	// inactive application.
	Kept bool
}

// Choose decides which of several candidates a request means that names tenantID, or no tenant. Those do not count that
// are unknown, have ended, or are of another tenant: a cookie that a browser happened to keep shuts nobody out. One
// whose application is inactive counts where no other does: it may come back, and is no reason to end another.
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
	if active := slices.DeleteFunc(slices.Clone(c.Counting), inactive); len(active) > 0 && len(active) < len(c.Counting) {
		c.Counting, c.Kept = active, true
	}
	return c
}
