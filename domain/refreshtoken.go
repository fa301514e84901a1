package domain

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// RefreshToken is one session of a user in an application, from issue to its end: one record, however often it is rotated.
// It holds no secret.
//
// Instants are UTC, in whole microseconds.
type RefreshToken struct {
	ID            ID
	TenantID      string
	ApplicationID string
	UserID        string

	// Generation is the one whose token string is current: 1 at issue, one more at each rotation.
	Generation uint32
	IssuedAt   time.Time
	RotatedAt  time.Time // IssuedAt at generation 1
	LastUsedAt time.Time // the last exchange that wrote
	ExpiresAt  time.Time // the first instant at which it is dead

	// Token strings from GraceGeneration on are retries while GraceSince is younger than the grace period: so several
	// rotations within one grace period count as one. Zero before the first rotation.
	GraceGeneration uint32
	GraceSince      time.Time

	// RecoveredGeneration is the last generation that a recovery was answered with; 0 for none.
	RecoveredGeneration uint32
	// RecoveryPaidUntil is the generation up to which the recoveries so far have used up the budget.
	RecoveryPaidUntil int64

	// IssuedEpoch is the tenant's revocation epoch at issue: every mark above it that covers the record revokes it.
	IssuedEpoch uint64
	// Binding is what a caller must prove besides the token string; empty for nothing. At most MaxBinding bytes.
	Binding string

	RevokedAt     time.Time // zero while it is not revoked itself
	RevokedReason RevocationReason

	// What its access tokens say about the user, as it was at issue.
	Roles  []string
	Scopes []string
	Claims Object

	MetaData MetaData
}

// MetaData describes where a refresh token is used. It decides nothing.
type MetaData struct {
	Device Device
	// ClientAddress is the address that the last rotation came from; empty before the first, and if unknown.
	ClientAddress string
	Data          Object
}

// Device is what the caller says of the user's device.
type Device struct{ Name, Type, Description string }

// RevocationReason says why a refresh token was revoked.
type RevocationReason string

const (
	RevokedByCall   RevocationReason = "revoked"  // a call of the API asked for it
	RevokedByReplay RevocationReason = "replayed" // an old token string was used
	RevokedByLimit  RevocationReason = "limit"    // maximumActiveTokens
	RevokedByDelete RevocationReason = "deleted"  // its application or tenant was deleted
)

// reservedClaims are the names that a caller may not set: we do.
var reservedClaims = []string{
	"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "sid", "tid", "client_id", "applicationId", "roles", "scope", "cnf", "act",
	"events",
}

// NewRefreshToken makes the record of a new session: t with id, owner, roles, scopes, claims, metadata and binding filled in,
// completed for issue at now under policy p. The store adds the epoch. It returns an *Invalid that names what is wrong.
func NewRefreshToken(t RefreshToken, p Policy, now time.Time) (RefreshToken, error) {
	if err := t.Validate(); err != nil {
		return RefreshToken{}, err
	}
	t.Roles, t.Scopes = slices.Clone(t.Roles), slices.Clone(t.Scopes)
	t.Generation = 1
	t.IssuedAt, t.RotatedAt, t.LastUsedAt = now, now, now
	t.ExpiresAt = now.Add(p.TTL)
	if p.Expiration == SlidingWindowWithMaximumLifetime {
		t.ExpiresAt = earlier(t.ExpiresAt, now.Add(p.MaximumTTL))
	}
	return t, nil
}

// Validate returns an *Invalid that names everything in t that a caller chose and that cannot be stored.
func (t RefreshToken) Validate() error {
	var p Problems
	if t.ID.IsZero() {
		p.Add("refreshTokenId", Malformed, "this must be a UUID")
	}
	checkTenantID(&p, "tenantId", t.TenantID)
	checkOwnerID(&p, "applicationsId", t.ApplicationID)
	checkOwnerID(&p, "userId", t.UserID)
	checkEntries(&p, "roles", t.Roles, func(p *Problems, field, s string) { checkOwnerID(p, field, s) })
	checkEntries(&p, "scopes", t.Scopes, checkScope)
	if len(t.Binding) > MaxBinding {
		p.Add("binding", TooLong, "use at most 255 bytes")
	}
	if len(t.Claims) > maxObject {
		p.Add("claims", TooLong, "use at most 4096 bytes of JSON")
	}
	for _, name := range t.Claims.names() {
		// Some verifiers match names in any case (Go's encoding/json does), so `Sub` is as dangerous as `sub`.
		if i := slices.IndexFunc(reservedClaims, func(r string) bool { return strings.EqualFold(r, name) }); i >= 0 {
			p.Add("claims."+reservedClaims[i], Conflict, "this claim is ours to set: choose another name")
		}
	}
	d := t.MetaData.Device
	checkText(&p, "metaData.device.name", d.Name, maxDeviceField)
	checkText(&p, "metaData.device.type", d.Type, maxDeviceField)
	checkText(&p, "metaData.device.description", d.Description, maxDeviceField)
	if len(d.Name)+len(d.Type)+len(d.Description)+len(t.MetaData.Data) > maxObject {
		p.Add("metaData", TooLong, "use at most 4096 bytes of JSON")
	}
	return p.Err()
}

func checkEntries(p *Problems, field string, entries []string, check func(*Problems, string, string)) {
	if len(entries) > maxEntries {
		p.Add(field, TooLong, "use at most 100 entries")
		return
	}
	seen := make(map[string]bool, len(entries))
	for i, s := range entries {
		name := fmt.Sprintf("%s[%d]", field, i)
		check(p, name, s)
		if seen[s] {
			p.Add(name, Repeated, "this entry is there twice")
		}
		seen[s] = true
	}
}

// SameIssue tells whether u could be the outcome of the same call that made t: same id, owner and content. Instants may differ.
func (t RefreshToken) SameIssue(u RefreshToken) bool {
	return t.ID == u.ID && t.TenantID == u.TenantID && t.ApplicationID == u.ApplicationID && t.UserID == u.UserID &&
		t.Binding == u.Binding && slices.Equal(t.Roles, u.Roles) && slices.Equal(t.Scopes, u.Scopes) && t.Claims == u.Claims &&
		t.MetaData.Device == u.MetaData.Device && t.MetaData.Data == u.MetaData.Data
}

// Rotated is t one generation on: what a store's Advance makes of the record, in SQL or otherwise.
func (t RefreshToken) Rotated(p Policy, now time.Time, clientAddress string) RefreshToken {
	if t.GraceSince.IsZero() || age(t.GraceSince, now) >= p.GracePeriod {
		t.GraceGeneration, t.GraceSince = t.Generation, now
	}
	t.Generation++
	t.RotatedAt = now
	t.MetaData.ClientAddress = clientAddress
	return t.used(p, now)
}

// used moves the last use and, where the policy slides, the expiry.
func (t RefreshToken) used(p Policy, now time.Time) RefreshToken {
	t.LastUsedAt = now
	if window, maximum := p.Slide(); window > 0 {
		t.ExpiresAt = earlier(now.Add(window), t.IssuedAt.Add(maximum))
	}
	return t
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// age is how long ago since was. Replicas' clocks differ: what lies ahead is zero old.
func age(since, now time.Time) time.Duration { return max(0, now.Sub(since)) }
