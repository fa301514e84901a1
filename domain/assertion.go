package domain

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Assertion is a JWT by which a client authenticates (RFC 7523, section 3), whose signature was verified with one of
// the client's keys.
type Assertion struct {
	Issuer, Subject string
	Audience        []string
	ID              string // `jti`
	ExpiresAt       time.Time
	NotBefore       time.Time // zero for none
	IssuedAt        time.Time // zero for none
}

// Limits of an assertion.
const (
	// MaxAssertion is the longest assertion, in bytes of its compact form.
	MaxAssertion = 8 << 10
	// MaxAssertionAge is how far ahead `exp` may be, and so how long its use is remembered.
	MaxAssertionAge = 10 * time.Minute
	maxAssertionID  = 256 // bytes
)

// Check returns an ErrUnauthorized, with the reason for the operator's log, unless a was made by the client for one of
// the audiences, and is valid now (RFC 7523, section 3). It does not know whether a was used before.
func (a Assertion) Check(clientID string, audiences []string, now time.Time) error {
	refuse := func(reason string) error {
		return fmt.Errorf("the client's assertion is refused: %s: %w", reason, ErrUnauthorized)
	}
	switch {
	case clientID == "" || a.Issuer != clientID || a.Subject != clientID:
		return refuse("its iss and sub are not both the client_id")
	case !slices.ContainsFunc(a.Audience, func(s string) bool { return s != "" && slices.Contains(audiences, s) }):
		return refuse("its aud is neither the issuer nor the token endpoint of the tenant")
	case a.ExpiresAt.IsZero():
		return refuse("it has no exp")
	case !a.ExpiresAt.Add(MaxClockSkew).After(now):
		return refuse("it has expired")
	case a.ExpiresAt.After(now.Add(MaxAssertionAge + MaxClockSkew)):
		return refuse("its exp is more than 10 minutes ahead")
	case a.NotBefore.After(now.Add(MaxClockSkew)):
		return refuse("its nbf is ahead")
	case a.IssuedAt.After(now.Add(MaxClockSkew)):
		return refuse("its iat is ahead")
	case a.ID == "" || len(a.ID) > maxAssertionID:
		return refuse("its jti is missing, or longer than 256 bytes")
	}
	return nil
}

// AssertionSubject returns the client that an assertion names, which nothing has verified: it says whose keys to verify
// with (RFC 7521, section 4.2). It is empty if text is not a JWT that names one.
func AssertionSubject(text Secret) string {
	if len(text.Reveal()) > MaxAssertion {
		return ""
	}
	segments := strings.Split(text.Reveal(), ".")
	if len(segments) != 3 {
		return ""
	}
	payload, err := base64.RawURLEncoding.DecodeString(segments[1])
	var claims map[string]json.RawMessage
	var subject string
	if err != nil || json.Unmarshal(payload, &claims) != nil || json.Unmarshal(claims["sub"], &subject) != nil {
		return ""
	}
	return subject
}
