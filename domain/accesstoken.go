package domain

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// AccessTokenType is the `typ` in the header of access tokens.
type AccessTokenType string

const (
	// TypeATJWT is the type of RFC 9068, section 2.1.
	TypeATJWT AccessTokenType = "at+jwt"
	// TypeJWT is for verifiers that refuse the other one.
	TypeJWT AccessTokenType = "JWT"
)

// AccessTokenTypes lists the types that the service signs.
var AccessTokenTypes = []AccessTokenType{TypeATJWT, TypeJWT}

// AccessToken holds the claims of an access token (RFC 9068): those that a signer signs, or those of a token that was
// verified.
type AccessToken struct {
	Type     AccessTokenType // `typ`, in the header
	Issuer   string
	Subject  string // the user
	Audience string // the application, or one of its audiences
	// ID is `jti` of a verified token. A signer ignores it and derives `jti` from everything else that the token holds.
	ID            string
	IssuedAt      time.Time
	ExpiresAt     time.Time
	SessionID     string // `sid`: the id of the refresh token
	TenantID      string // `tid`
	ApplicationID string
	IssuedEpoch   uint64 // `rve`: the tenant's revocation epoch when the refresh token was issued
	Roles         []string
	Scopes        []string
	// Confirmation is `cnf.jkt`: the thumbprint of the key whose proof the bearer needs (RFC 9449, section 6.1); empty
	// for none.
	Confirmation string
	// Actors are `act` (RFC 8693, section 4.1): first the party that acts for the user, then the one that acts for that
	// party, and so on, at most MaxTokenActors; empty for none.
	Actors []TokenActor
	Claims Object // the caller's own
}

// TokenActor is a party that acts for the user of an access token (RFC 8693, section 4.1): the user of another access
// token.
type TokenActor struct {
	Subject       string // `sub`
	ApplicationID string // `client_id`: the application that the other access token was issued to; empty if unknown
}

// MaxTokenActors is the maximum number of actors of an access token.
const MaxTokenActors = 3

// AsActor returns the Actors of an access token for another user, for whom the user of t acts. Those of t follow. ok is
// false if they are too many.
func (t AccessToken) AsActor() (actors []TokenActor, ok bool) {
	actors = append([]TokenActor{{Subject: t.Subject, ApplicationID: t.ApplicationID}}, t.Actors...)
	return actors, len(actors) <= MaxTokenActors
}

// AuthenticatesUser reports whether t, which was verified, authenticates its user by itself. Its audience must be its
// own application. It must not be made for a party that acts for the user (`act`, RFC 8693, section 4.1), nor be bound
// to a key (`cnf`, RFC 7800), because the bearer has not proved possession of that key.
func (t AccessToken) AuthenticatesUser() bool {
	return t.Audience == t.ApplicationID && t.Confirmation == "" && len(t.Actors) == 0 &&
		!slices.ContainsFunc(t.Claims.names(), func(name string) bool { return name == "act" || name == "cnf" })
}

// NewAccessToken returns the claims of an access token for t at now, where from is the instant of the response that it
// belongs to. Its lifetime, of at least a second, counts from `from`, or from a later instant that is a whole number of
// half lifetimes after it. So retries within half a lifetime get the same claims, and each gets at least half of the
// lifetime, unless the session ends sooner. ExpiresAt is after now whenever t.ExpiresAt is.
//
// Instants in a JWT are whole seconds here (RFC 7519, section 2, NumericDate): `from` is rounded down, and lifetime and
// t.ExpiresAt are whole seconds.
func NewAccessToken(t RefreshToken, p Policy, issuer string, from, now time.Time, lifetime time.Duration) AccessToken {
	from = from.Truncate(time.Second)
	half := max(time.Second, (lifetime / 2).Truncate(time.Second))
	if passed := now.Sub(from); passed > 0 {
		from = from.Add(passed / half * half)
	}
	expires := from.Add(lifetime)
	if t.ExpiresAt.Before(expires) {
		expires = t.ExpiresAt
	}
	return AccessToken{
		Type: p.AccessTokenType, Issuer: issuer, Subject: t.UserID, Audience: t.ApplicationID,
		IssuedAt: from, ExpiresAt: expires,
		SessionID: t.ID.String(), TenantID: t.TenantID, ApplicationID: t.ApplicationID, IssuedEpoch: t.IssuedEpoch,
		Roles: t.Roles, Scopes: t.Scopes, Claims: t.Claims,
	}
}

// Limits of an access token, in bytes.
const (
	maxAccessTokenInCookie = 4000 // browsers take cookies of 4 096 bytes, name and attributes included
	maxAccessToken         = 8 << 10
)

// Header and claims of an access token without the texts whose length varies. The numbers are the largest possible.
const (
	accessTokenHeader = `{"alg":"EdDSA","kid":"","typ":"at+jwt"}`
	maxKeyID          = 64
	accessTokenClaims = `{"iss":,"sub":,"aud":,"client_id":,"iat":253402300799,"exp":253402300799,` +
		`"sid":"018f2a3b-4c5d-766e-877f-8091a2b3c4d5","tid":,"applicationId":,"rve":18446744073709551615,` +
		`"roles":[],"scope":,"cnf":{"jkt":"0123456789012345678901234567890123456789012"},,"jti":"0123456789012345678901"}`
	accessTokenActor = `"act":{"sub":,"client_id":},`
)

// AccessTokenSize returns an upper bound of the length in bytes of an access token for t, in compact form, signed with
// the policy's algorithm, bound to a key, with these actors, and, unless a cookie may have it, for the longest
// audience. A cookie never has one for another audience than the application, nor one with actors. Until verifiers know
// a first key of that algorithm, one of RSA may sign in place of a smaller one, see [SigningKeys.SigningAt]. To count
// it always would take 600 bytes from the claims of every other tenant.
func AccessTokenSize(t RefreshToken, p Policy, issuer string, actors ...TokenActor) int {
	claims, audience := len(accessTokenClaims)+len(t.Claims), jsonSize(t.ApplicationID)
	if !inCookie(p, actors) {
		audience = max(audience, maxAudience+len(`""`))
	}
	claims += audience
	for _, actor := range actors {
		claims += len(accessTokenActor) + jsonSize(actor.Subject) + jsonSize(actor.ApplicationID)
	}
	for _, s := range []string{
		issuer, t.UserID, t.ApplicationID, t.TenantID, t.ApplicationID, strings.Join(t.Scopes, " "),
	} {
		claims += jsonSize(s)
	}
	for _, role := range t.Roles {
		claims += jsonSize(role) + len(",")
	}
	signature := 64
	if p.Algorithm == RS256 || p.Algorithm == PS256 {
		signature = 512 // a key of 4096 bits
	}
	size := base64.RawURLEncoding.EncodedLen
	return size(len(accessTokenHeader)+maxKeyID) + len(".") + size(claims) + len(".") + size(signature)
}

// inCookie reports whether a cookie may have the access token.
func inCookie(p Policy, actors []TokenActor) bool { return p.UsesCookies() && len(actors) == 0 }

// jsonSize is the length of s as a JSON string, as encoding/json writes it.
func jsonSize(s string) int {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // encoding/json encodes every string
	}
	return len(text)
}

// CheckAccessTokenSize returns an *Invalid if an access token for t with these actors could be too large for its
// carrier: a cookie if the policy uses cookies and there are no actors, otherwise the Authorization header, of which
// common servers read 8 KiB.
func CheckAccessTokenSize(t RefreshToken, p Policy, issuer string, actors ...TokenActor) error {
	limit, carrier := maxAccessToken, "a request header"
	if inCookie(p, actors) {
		limit, carrier = maxAccessTokenInCookie, "a cookie"
	}
	size := AccessTokenSize(t, p, issuer, actors...)
	if size < limit {
		return nil
	}
	return NewInvalid("", TooLong, fmt.Sprintf(
		"roles, scopes and claims together make the access token too large for %s: up to %d bytes, "+
			"and it must stay below %d: shorten them", carrier, size, limit))
}
