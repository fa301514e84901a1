package domain

import (
	"slices"
	"time"
)

// Scope is the extent of a wide revocation: a tenant, narrowed to an application, a user, or both. An empty id does not
// narrow it.
type Scope struct {
	TenantID      string
	ApplicationID string
	UserID        string
}

// Covers reports whether t lies within the scope.
func (s Scope) Covers(t RefreshToken) bool {
	return s.TenantID == t.TenantID &&
		(s.ApplicationID == "" || s.ApplicationID == t.ApplicationID) &&
		(s.UserID == "" || s.UserID == t.UserID)
}

// Mark is the stored record of a wide revocation. Every refresh token within the scope whose IssuedEpoch is below Epoch
// is revoked, however many there are. A scope has one mark; a later revocation raises it.
type Mark struct {
	Scope     Scope
	Epoch     uint64
	At        time.Time
	Reason    RevocationReason
	KeepUntil time.Time // until then a refresh token that it revoked may be stored and unexpired
}

// NewMark returns the mark of a revocation that gave the tenant this epoch, where longestTTL is the longest TTL that a
// policy of the tenant has ever had. By KeepUntil every refresh token that the mark revokes has expired, because a
// revoked one cannot be extended.
func NewMark(s Scope, epoch uint64, at time.Time, reason RevocationReason, longestTTL time.Duration) Mark {
	return Mark{Scope: s, Epoch: epoch, At: at, Reason: reason, KeepUntil: at.Add(longestTTL + MarkRetention)}
}

// MarkRetention is how long a mark is kept after the longest lifetime of a refresh token in its tenant.
const MarkRetention = 24 * time.Hour

// Selector names the refresh tokens of a request. Exactly one of its forms is set, as ParseSelector ensures.
type Selector struct {
	// TokenID names one refresh token; zero if Scope is set.
	TokenID ID
	// Scope names all refresh tokens of a user, of an application, of a user in an application, or of a tenant.
	Scope Scope
	// Except is the refresh token of the user that is kept; zero for none.
	Except ID
}

// IsToken reports whether the selector names a single refresh token.
func (s Selector) IsToken() bool { return !s.TokenID.IsZero() }

// SelectorInput is a selector as a caller sent it. A nil field was not sent.
type SelectorInput struct {
	TokenID       *string
	UserID        *string
	ApplicationID *string
	ExceptTokenID *string
	AllInTenant   *bool
}

// ParseSelector returns the selector that in describes. It never widens a selector: an empty field, or a combination
// that is not a selector, is an *Invalid. A malformed id is ErrNotFound.
func ParseSelector(tenantID string, in SelectorInput) (Selector, error) {
	if err := in.validate(); err != nil {
		return Selector{}, err
	}
	s := Selector{Scope: Scope{
		TenantID: tenantID, ApplicationID: valueOf(in.ApplicationID), UserID: valueOf(in.UserID),
	}}
	var ok bool
	if in.TokenID != nil {
		if s.TokenID, ok = ParseID(*in.TokenID); !ok {
			return Selector{}, ErrNotFound
		}
	}
	if in.ExceptTokenID != nil {
		if s.Except, ok = ParseID(*in.ExceptTokenID); !ok {
			return Selector{}, ErrNotFound
		}
	}
	return s, nil
}

// valueOf returns what v points to, or the empty string if it is nil.
func valueOf(v *string) string {
	if v == nil {
		return ""
	}
	return *v
}

func (in SelectorInput) validate() error {
	var p Problems
	if in.ApplicationID != nil {
		checkOwnerID(&p, "applicationsId", *in.ApplicationID)
	}
	if in.UserID != nil {
		checkOwnerID(&p, "userId", *in.UserID)
	}
	alone := func(field string, others ...bool) {
		if slices.Contains(others, true) {
			p.Add(field, Conflict, "this cannot be combined with another selector: send only one of them")
		}
	}
	if in.TokenID != nil {
		alone("tokenId", in.UserID != nil, in.ApplicationID != nil, in.ExceptTokenID != nil, in.AllInTenant != nil)
		if *in.TokenID == "" {
			p.Add("tokenId", Blank, "send the id of the refresh token")
		}
	}
	if in.AllInTenant != nil {
		alone("allInTenant", in.UserID != nil, in.ApplicationID != nil, in.ExceptTokenID != nil)
		if !*in.AllInTenant {
			p.Add("allInTenant", Malformed, "use true, or leave it out")
		}
	}
	if in.ExceptTokenID != nil {
		if in.UserID == nil || in.ApplicationID != nil {
			p.Add("exceptTokenId", Conflict, "use this with userId and no other selector")
		}
		if *in.ExceptTokenID == "" {
			p.Add("exceptTokenId", Blank, "send the id of the refresh token to keep")
		}
	}
	if in == (SelectorInput{}) {
		p.Add("", Blank, "name what to revoke: tokenId, tokenString, userId, applicationsId, "+
			"userId and applicationsId, userId and exceptTokenId, or allInTenant")
	}
	return p.Err()
}
