package domain

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Algorithm signs access tokens (RFC 7518, section 3.1; RFC 8037).
type Algorithm string

const (
	EdDSA Algorithm = "EdDSA"
	ES256 Algorithm = "ES256" // the default: many verifiers do not know EdDSA
	RS256 Algorithm = "RS256"
	PS256 Algorithm = "PS256"
)

// Algorithms lists all signature algorithms.
var Algorithms = []Algorithm{EdDSA, ES256, RS256, PS256}

// ExpirationPolicy says how ExpiresAt of a refresh token moves.
type ExpirationPolicy string

const (
	// Fixed: set at issue, never moved.
	Fixed ExpirationPolicy = "Fixed"
	// SlidingWindow: moved to now + TTL by each use, without a maximum.
	SlidingWindow ExpirationPolicy = "SlidingWindow"
	// SlidingWindowWithMaximumLifetime: moved to now + TTL by each use, but never past issue + MaximumTTL.
	SlidingWindowWithMaximumLifetime ExpirationPolicy = "SlidingWindowWithMaximumLifetime"
)

// UsagePolicy says whether an exchange rotates.
type UsagePolicy string

const (
	OneTimeUse UsagePolicy = "OneTimeUse"
	Reusable   UsagePolicy = "Reusable"
)

// Policy is the effective policy for the refresh tokens of one application: defaults, tenant and application, merged by
// [Combine]. Every field has a value.
type Policy struct {
	Active                bool   // of the application and of its tenant
	RequireAuthentication bool   // an exchange also requires an API key, or that the client authenticates
	CookieOnly            bool   // the response to an exchange by cookie holds no token string in its body
	CookieName            string // of the refresh token's cookie; empty for DefaultCookieName
	CookieDomain          string
	CookieHostOnly        bool   // cookies without a Domain may be set at issue
	Issuer                string // of the tenant; empty for the one derived from the public URL

	AccessTokenTTL  time.Duration
	AccessTokenType AccessTokenType
	Algorithm       Algorithm

	Expiration ExpirationPolicy
	TTL        time.Duration // of a refresh token, from issue or from its last use
	MaximumTTL time.Duration // from issue; used by SlidingWindowWithMaximumLifetime only

	Usage            UsagePolicy
	GracePeriod      time.Duration // after a rotation, in which the replaced token string counts as a retry
	RecoveryBurst    int64         // 0 turns recovery off
	RecoveryInterval int64         // generations that earn one more recovery

	RevokeOnReplay      bool
	MaximumActiveTokens int64 // of a user in an application; 0 for no limit
}

// DefaultPolicy returns the policy of an application that sets nothing, of a tenant that sets nothing.
func DefaultPolicy() Policy {
	return Policy{
		Active:           true,
		CookieOnly:       true,
		AccessTokenTTL:   15 * time.Minute,
		AccessTokenType:  TypeATJWT,
		Algorithm:        ES256,
		Expiration:       SlidingWindowWithMaximumLifetime,
		TTL:              30 * 24 * time.Hour,
		MaximumTTL:       365 * 24 * time.Hour,
		Usage:            OneTimeUse,
		GracePeriod:      30 * time.Second,
		RecoveryBurst:    2,
		RecoveryInterval: 10,
		RevokeOnReplay:   true,
	}
}

// UsesCookies reports whether clients of the application may hold their tokens in cookies.
func (p Policy) UsesCookies() bool {
	return p.CookieName != "" || p.CookieDomain != "" || p.CookieHostOnly
}

// forever stands for no maximum. It is longer than any lifetime, and small enough that adding it to an instant in
// microseconds cannot overflow.
const forever = 100 * 365 * 24 * time.Hour

// Slide returns how an exchange moves ExpiresAt, as the two durations that a store needs: ExpiresAt becomes the earlier
// of now + window and issue + maximum. A window of 0 leaves it unchanged.
func (p Policy) Slide() (window, maximum time.Duration) {
	switch p.Expiration {
	case SlidingWindow:
		return p.TTL, forever
	case SlidingWindowWithMaximumLifetime:
		return p.TTL, p.MaximumTTL
	default:
		return 0, forever
	}
}

// IsDomainName reports whether s is a host name of RFC 1123, section 2.1, with at least two labels, and not an address.
// The last label must begin with a letter: browsers take a name that ends in a number for an address, in decimal or
// hexadecimal (127.1 is 127.0.0.1), or reject it.
func IsDomainName(s string) bool {
	isLetter := func(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }
	labels := strings.Split(s, ".")
	if len(s) > 253 || len(labels) < 2 {
		return false
	}
	for _, l := range labels {
		if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' {
			return false
		}
		for _, c := range []byte(l) {
			if c != '-' && (c < '0' || c > '9') && !isLetter(c) {
				return false
			}
		}
	}
	return isLetter(labels[len(labels)-1][0])
}

// Combine merges the defaults with the settings of tenant and application, field by field. It returns an *Invalid for
// an impossible combination. It does not check each setting by itself, which [Tenant.Validate] and
// [Application.Validate] do. A store calls it whenever an application is written, under the lock of its tenant, and
// stores the result with the application.
func Combine(t Tenant, a Application) (Policy, error) {
	p := DefaultPolicy()
	t.Settings.apply(&p)
	a.Settings.apply(&p)
	p.Issuer = t.Issuer
	p.RequireAuthentication = p.RequireAuthentication || a.Client.Confidential()
	if err := p.validate(); err != nil {
		return Policy{}, err
	}
	return p, nil
}

// CombineAll is [Combine] for all applications of t, by id. A store calls it whenever the tenant is written. It also
// returns an *Invalid if the settings of t are impossible without any application. A field of an application is named
// like `applications["shop"].jwtConfiguration.refreshTokenTimeToLiveInMinutes`.
func CombineAll(t Tenant, as map[string]Application) (map[string]Policy, error) {
	if _, err := Combine(t, Application{}); err != nil {
		return nil, err
	}
	var p Problems
	policies := make(map[string]Policy, len(as))
	for _, id := range slices.Sorted(maps.Keys(as)) {
		var err error
		policies[id], err = Combine(t, as[id])
		p.Merge(fmt.Sprintf("applications[%q].", id), err)
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	return policies, nil
}

// validate returns an *Invalid for an impossible combination. Each value has been checked before.
func (p Policy) validate() error {
	var problems Problems
	if p.Expiration == SlidingWindowWithMaximumLifetime && p.MaximumTTL < p.TTL {
		problems.Add(FieldMaximumTTLMinutes, Conflict,
			"the maximum lifetime is shorter than refreshTokenTimeToLiveInMinutes: raise it, or lower the other")
	}
	// A retry does not move the expiry, so a refresh token in use may expire up to a grace period early.
	if p.GracePeriod > p.TTL/2 {
		problems.Add(FieldGraceSeconds, Conflict,
			"gracePeriodInSeconds is above half of refreshTokenTimeToLiveInMinutes: lower it, or raise the other")
	}
	// An owner and a thief who alternate earn a recovery every interval-1 collisions: with a shorter interval the
	// budget would allow more collisions than the burst.
	if p.RecoveryInterval <= p.RecoveryBurst {
		problems.Add(FieldRecoveryInterval, Conflict,
			"recoveryInterval is not above recoveryBurst: raise it, or lower the other")
	}
	switch {
	case p.CookieDomain == "":
	case IsHostOnlyName(p.CookieName):
		problems.Add(FieldCookieDomain, Conflict,
			"a cookie whose name begins with __Host- has no domain: "+
				"set cookieDomain to \"\", or choose another cookieName")
	case p.CookieHostOnly:
		problems.Add(FieldCookieDomain, Conflict,
			"cookieHostOnly is for cookies without a domain: set cookieDomain to \"\", or cookieHostOnly to false")
	}
	return problems.Err()
}

// Warnings returns a sentence for the operator for each combination that is allowed and probably not intended.
func (p Policy) Warnings() []string {
	var w []string
	if p.Usage == OneTimeUse && p.GracePeriod > p.AccessTokenTTL/2 {
		w = append(w, fmt.Sprintf(
			"%s (%s) is above half of %s (%s): a stolen token string that is used as often as the owner's is then "+
				"never detected",
			FieldGraceSeconds, p.GracePeriod, FieldAccessTokenSeconds, p.AccessTokenTTL))
	}
	if p.AccessTokenTTL > p.TTL {
		w = append(w, fmt.Sprintf(
			"%s (%s) is above %s (%s): an access token expires with its refresh token at the latest",
			FieldAccessTokenSeconds, p.AccessTokenTTL, FieldTTLMinutes, p.TTL))
	}
	if p.Expiration == SlidingWindow && p.Usage == OneTimeUse {
		w = append(w, fmt.Sprintf(
			"%s is SlidingWindow: a stolen token string that is used within every grace period never expires",
			FieldExpiration))
	}
	return w
}
