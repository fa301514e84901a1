package domain

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// RefreshToken is the record of one session of a user in an application, from issue to end. A rotation updates it in
// place. It holds no secret.
//
// Instants are UTC, in whole microseconds.
type RefreshToken struct {
	ID            ID
	TenantID      string
	ApplicationID string
	UserID        string

	// Generation is the generation of the current token string: 1 at issue, one more after each rotation. The last one
	// is MaxGeneration, which does not rotate.
	Generation uint32
	IssuedAt   time.Time // expiry counts from it; an import may set it back
	RotatedAt  time.Time // of the last rotation; at generation 1 of the insert
	LastUsedAt time.Time // of the last exchange that wrote
	ExpiresAt  time.Time // the first instant at which it is expired; a whole second

	// Ordinal orders the refresh tokens of a user in an application by issue: 1 + the greatest among those that were
	// not revoked at the insert. The store sets it. Two issues that overlap may have the same. The store may set it to
	// 0 for a refresh token that has ended.
	Ordinal int64

	// RecoveredAt is the instant of the first recovery of the current generation; zero if there was none.
	RecoveredAt time.Time
	// RecoveryPaidUntil is the generation up to which the recoveries so far have used up the budget.
	RecoveryPaidUntil int64

	// IssuedEpoch is the tenant's revocation epoch at issue: every mark with a higher epoch that covers the record
	// revokes it.
	IssuedEpoch uint64
	// Binding identifies the key that an exchange must prove possession of; empty for none. At most MaxBinding bytes.
	Binding string

	RevokedAt     time.Time // zero if it is not revoked by itself; a mark does not set it
	RevokedReason RevocationReason

	// Claims about the user in the access tokens.
	Roles  []string
	Scopes []string
	Claims Object

	MetaData MetaData
}

// MetaData describes where a refresh token is used. No rule depends on it.
type MetaData struct {
	Device Device
	// ClientAddress is the client address of the last rotation, or of the issue if there was none; empty if unknown.
	ClientAddress string
	Data          Object
}

// Device describes the user's device, as the caller sent it.
type Device struct{ Name, Type, Description string }

// DescribedBy returns d with a User-Agent header as its description, cut to the maximum length, if d has none.
func (d Device) DescribedBy(userAgent string) Device {
	if d.Description != "" {
		return d
	}
	d.Description = strings.TrimSpace(userAgent)
	if end := maxDeviceField; len(d.Description) > end {
		for !utf8.RuneStart(d.Description[end]) {
			end--
		}
		d.Description = strings.TrimSpace(d.Description[:end])
	}
	return d
}

// RevocationReason says why a refresh token was revoked.
type RevocationReason string

const (
	RevokedByRequest RevocationReason = "revoked"  // by a request to the API
	RevokedByReplay  RevocationReason = "replayed" // an old token string was used
	RevokedByLimit   RevocationReason = "limit"    // maximumActiveTokens
	RevokedByDelete  RevocationReason = "deleted"  // its application or tenant was deleted

	RevokedWithKey RevocationReason = "keyRevoked" // the token key that made its current token string was revoked
)

// reservedClaims lists the names that a caller may not set, because the service sets or reserves them.
var reservedClaims = []string{
	"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "sid", "tid", "client_id", "applicationId", "roles", "scope",
	"cnf", "act", "events", "rve", "rsid",
}

// MaxGeneration is the last generation. A refresh token that has reached it is expired.
const MaxGeneration = math.MaxUint32

// NewRefreshToken returns the record of a new session, issued at now under policy p. Of t it uses id, owner, roles,
// scopes, claims, metadata and binding. The store adds the epoch and the ordinal.
//
// An import may set t.IssuedAt, from which the expiry then counts, at most [MaxClockSkew] ahead of now; and
// t.ExpiresAt, which is rounded down to the second. Zero stands for now and for the policy's expiry. NewRefreshToken
// returns an *Invalid that names what is wrong.
func NewRefreshToken(t RefreshToken, p Policy, now time.Time) (RefreshToken, error) {
	if err := t.Validate(); err != nil {
		return RefreshToken{}, err
	}
	t.Roles, t.Scopes = slices.Clone(t.Roles), slices.Clone(t.Scopes)
	t.Generation = 1
	t.RotatedAt, t.LastUsedAt = now, now
	if t.IssuedAt.IsZero() {
		t.IssuedAt = now
	}
	wanted := t.ExpiresAt.Truncate(time.Second)
	if p.Expiration == Fixed {
		t.ExpiresAt = t.IssuedAt.Add(p.TTL).Truncate(time.Second)
	} else {
		t.ExpiresAt = t.slid(p, now)
	}
	var problems Problems
	switch {
	case t.IssuedAt.UnixMicro() <= 0: // a store keeps the zero instant as 0
		problems.Add("insertInstant", Malformed, "send a time after 1970-01-01T00:00:00Z, or leave it out")
	case t.IssuedAt.After(now.Add(MaxClockSkew)):
		problems.Add("insertInstant", Malformed, "this is in the future: send the time of the original issue")
	case !t.ExpiresAt.After(now):
		problems.Add("insertInstant", Malformed,
			"a refresh token that was issued then has expired: let the user log in")
	case wanted.IsZero():
	case !wanted.After(now):
		problems.Add("expirationInstant", Malformed, "this is not in the future: choose a later time, or leave it out")
	case wanted.After(t.ExpiresAt):
		problems.Add("expirationInstant", Malformed,
			"the policy lets the refresh token expire before that: choose an earlier time, or leave it out")
	default:
		t.ExpiresAt = wanted
	}
	return t, problems.Err()
}

// Validate returns an *Invalid that names every value of t that a caller chose and that cannot be stored.
func (t RefreshToken) Validate() error {
	var p Problems
	if t.ID.IsZero() {
		p.Add("refreshTokenId", Malformed, "this must be a UUID")
	}
	checkTenantID(&p, "tenantId", t.TenantID)
	checkOwnerID(&p, "applicationsId", t.ApplicationID)
	checkOwnerID(&p, "userId", t.UserID)
	if len(t.Binding) > MaxBinding {
		p.Add("binding", TooLong, "use at most 255 bytes")
	}
	t.checkContent(&p)
	return p.Err()
}

// checkContent adds the problems of roles, scopes, claims and metadata, which a caller may change later.
func (t RefreshToken) checkContent(p *Problems) {
	checkEntries(p, "roles", t.Roles, func(p *Problems, field, s string) { checkOwnerID(p, field, s) })
	checkEntries(p, "scopes", t.Scopes, checkScope)
	if len(t.Claims) > maxObject {
		p.Add("claims", TooLong, "use at most 4096 bytes of JSON")
	}
	for _, name := range t.Claims.names() {
		checkClaimName(p, name)
	}
	d := t.MetaData.Device
	checkText(p, "metaData.device.name", d.Name, maxDeviceField)
	checkText(p, "metaData.device.type", d.Type, maxDeviceField)
	checkText(p, "metaData.device.description", d.Description, maxDeviceField)
	if len(d.Name)+len(d.Type)+len(d.Description)+len(t.MetaData.Data) > maxObject {
		p.Add("metaData", TooLong, "use at most 4096 bytes of JSON")
	}
}

func checkClaimName(p *Problems, name string) {
	// Some verifiers match names without regard to case (Go's encoding/json does), so `Sub` is as dangerous as `sub`.
	if i := slices.IndexFunc(reservedClaims, func(r string) bool { return strings.EqualFold(r, name) }); i >= 0 {
		p.Add("claims."+reservedClaims[i], Conflict, "the service sets this claim: choose another name")
	}
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
			p.Add(name, Repeated, "this entry is repeated: remove it")
		}
		seen[s] = true
	}
}

// SameIssue reports whether the request that asked describes could have issued t: same id, owner and content. The
// instants of asked are those that its caller sent; zero for none.
//
// An import is the same only until its first rotation, which overwrites the instant of its insert, and with it the key
// of its first token string. The expiry is compared only if asked has one and no exchange can have moved it.
func (t RefreshToken) SameIssue(asked RefreshToken) bool {
	imported := !t.IssuedAt.Equal(t.RotatedAt)
	if t.Generation > 1 {
		// Only an import begins before its id was made, by more than the clock skew.
		made, ok := t.ID.Time()
		imported = !ok || t.IssuedAt.Before(made.Add(-MaxClockSkew)) || !asked.IssuedAt.IsZero()
	}
	unused := t.Generation == 1 && t.LastUsedAt.Equal(t.RotatedAt)
	switch {
	case imported && !(t.Generation == 1 && t.IssuedAt.Equal(asked.IssuedAt)):
		return false
	case !imported && !asked.IssuedAt.IsZero() && !t.IssuedAt.Equal(asked.IssuedAt):
		return false
	case !asked.ExpiresAt.IsZero() && unused && !t.ExpiresAt.Equal(asked.ExpiresAt.Truncate(time.Second)):
		return false
	}
	return t.ID == asked.ID && t.TenantID == asked.TenantID && t.ApplicationID == asked.ApplicationID &&
		t.UserID == asked.UserID && t.Binding == asked.Binding && t.SameContent(asked)
}

// SameContent reports whether t and u have the same fields that a [Patch] changes: roles, scopes, claims, device and
// data.
func (t RefreshToken) SameContent(u RefreshToken) bool {
	return slices.Equal(t.Roles, u.Roles) && slices.Equal(t.Scopes, u.Scopes) && t.Claims == u.Claims &&
		t.MetaData.Device == u.MetaData.Device && t.MetaData.Data == u.MetaData.Data
}

// AsIssued returns t as its insert stored it, in the fields from which the response to a repeated issue is made.
func (t RefreshToken) AsIssued() RefreshToken {
	if t.Generation > 1 {
		t.Generation, t.RotatedAt, t.RecoveredAt = 1, t.IssuedAt, time.Time{}
	}
	return t
}

// Rotated returns t after a rotation at now: the record that a store's Advance stores.
func (t RefreshToken) Rotated(p Policy, now time.Time, clientAddress string) RefreshToken {
	t.Generation++
	t.RotatedAt = now
	t.RecoveredAt = time.Time{}
	t.MetaData.ClientAddress = clientAddress
	return t.used(p, now)
}

// used returns t after a use at now, which moves the last use and, if the policy slides, the expiry.
func (t RefreshToken) used(p Policy, now time.Time) RefreshToken {
	t.LastUsedAt = now
	if window, _ := p.Slide(); window > 0 {
		t.ExpiresAt = t.slid(p, now)
	}
	return t
}

// slid returns the expiry after a use at now, under a policy that slides.
func (t RefreshToken) slid(p Policy, now time.Time) time.Time {
	window, maximum := p.Slide()
	return earlier(now.Add(window), t.IssuedAt.Add(maximum)).Truncate(time.Second)
}

// MayMove reports whether a use at now would move the expiry to a later instant than now. After the policy was
// shortened it may not; the refresh token is then expired, whatever expiry is stored.
func (t RefreshToken) MayMove(p Policy, now time.Time) bool {
	window, _ := p.Slide()
	return window == 0 || t.slid(p, now).After(now)
}

// InGracePeriod reports whether now is within the grace period of the last response with the current generation. A
// request then gets that response again, and nothing is written. The period extends to both sides of that instant: the
// clocks of replicas differ, and a clock that was far ahead must not block rotations until the others reach its time.
// At generation 1 there was no exchange yet.
func (t RefreshToken) InGracePeriod(p Policy, now time.Time) bool {
	return t.Generation > 1 && now.Sub(t.lastAnswer()).Abs() < p.GracePeriod
}

// lastAnswer is the instant of the last response with the current generation: its first recovery, or otherwise its
// rotation. Neither a retry nor a repeated recovery moves it. Otherwise the holder of the previous token string could
// delay the next rotation forever.
func (t RefreshToken) lastAnswer() time.Time {
	if t.RecoveredAt.IsZero() {
		return t.RotatedAt
	}
	return t.RecoveredAt
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
