package gormstore

import (
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/refreshd/refreshd/domain"
)

// policyColumns are the effective policy of an application: the parts that statements compare, and the whole as one
// text, because a column costs an exchange more than a byte.
var policyColumns = []string{
	"active", "require_authentication", "access_token_ttl", "usage_policy", "grace_period", "slide_window",
	"slide_maximum", "policy",
}

// policyArgs are the values of policyColumns.
func policyArgs(p domain.Policy) ([]any, error) {
	text, err := json.Marshal(policyJSON(p))
	window, maximum := p.Slide()
	return []any{
		flag(p.Active), flag(p.RequireAuthentication), p.AccessTokenTTL.Microseconds(), string(p.Usage),
		p.GracePeriod.Microseconds(), window.Microseconds(), maximum.Microseconds(), string(text),
	}, err
}

// policyJSON is domain.Policy in the policy column. The conversion between the two does not compile if a field is added
// to only one of them.
type policyJSON struct {
	Active                bool   `json:"active"`
	RequireAuthentication bool   `json:"requireAuthentication"`
	CookieOnly            bool   `json:"cookieOnly"`
	CookieName            string `json:"cookieName"`
	CookieDomain          string `json:"cookieDomain"`
	CookieHostOnly        bool   `json:"cookieHostOnly"`
	Issuer                string `json:"issuer"`

	AccessTokenTTL  time.Duration          `json:"accessTokenTtl"`
	AccessTokenType domain.AccessTokenType `json:"accessTokenType"`
	Algorithm       domain.Algorithm       `json:"algorithm"`

	Expiration domain.ExpirationPolicy `json:"expiration"`
	TTL        time.Duration           `json:"ttl"`
	MaximumTTL time.Duration           `json:"maximumTtl"`

	Usage            domain.UsagePolicy `json:"usage"`
	GracePeriod      time.Duration      `json:"gracePeriod"`
	RecoveryBurst    int64              `json:"recoveryBurst"`
	RecoveryInterval int64              `json:"recoveryInterval"`

	RevokeOnReplay      bool  `json:"revokeOnReplay"`
	MaximumActiveTokens int64 `json:"maximumActiveTokens"`
}

// policyText is the policy column.
type policyText string

// policyCache contains the policies of texts that were decoded before. A text always means the same policy, so no entry
// becomes stale. There are as many as there are tenants with an issuer of their own, and an entry takes about a
// kilobyte. The zero value is empty.
type policyCache struct {
	mu   sync.RWMutex
	read map[policyText]domain.Policy
}

const maxCachedPolicies = 4096

// decode returns the policy of the text.
func (c *policyCache) decode(text policyText) (domain.Policy, error) {
	c.mu.RLock()
	known, ok := c.read[text]
	c.mu.RUnlock()
	if ok {
		return known, nil
	}
	var read policyJSON
	if err := json.Unmarshal([]byte(text), &read); err != nil {
		return domain.Policy{}, fmt.Errorf("read the policy: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.read == nil {
		c.read = make(map[policyText]domain.Policy)
	}
	if len(c.read) >= maxCachedPolicies {
		for one := range c.read { // the first in random order
			delete(c.read, one)
			break
		}
	}
	c.read[text] = domain.Policy(read)
	return domain.Policy(read), nil
}

// settingsJSON is domain.Settings in the settings columns. The conversion between the two does not compile if a field
// is added to only one of them.
type settingsJSON struct {
	Active                *bool   `json:"active,omitempty"`
	RequireAuthentication *bool   `json:"requireAuthentication,omitempty"`
	CookieOnly            *bool   `json:"cookieOnly,omitempty"`
	CookieName            *string `json:"cookieName,omitempty"`
	CookieDomain          *string `json:"cookieDomain,omitempty"`
	CookieHostOnly        *bool   `json:"cookieHostOnly,omitempty"`

	AccessTokenSeconds  *int64                   `json:"accessTokenSeconds,omitempty"`
	AccessTokenType     *domain.AccessTokenType  `json:"accessTokenType,omitempty"`
	Algorithm           *domain.Algorithm        `json:"algorithm,omitempty"`
	Expiration          *domain.ExpirationPolicy `json:"expiration,omitempty"`
	TTLMinutes          *int64                   `json:"ttlMinutes,omitempty"`
	MaximumTTLMinutes   *int64                   `json:"maximumTtlMinutes,omitempty"`
	Usage               *domain.UsagePolicy      `json:"usage,omitempty"`
	GraceSeconds        *int64                   `json:"graceSeconds,omitempty"`
	RecoveryBurst       *int64                   `json:"recoveryBurst,omitempty"`
	RecoveryInterval    *int64                   `json:"recoveryInterval,omitempty"`
	RevokeOnReplay      *bool                    `json:"revokeOnReplay,omitempty"`
	MaximumActiveTokens *int64                   `json:"maximumActiveTokens,omitempty"`
}

func encodeSettings(s domain.Settings) (string, error) {
	text, err := json.Marshal(settingsJSON(s))
	return string(text), err
}

func decodeSettings(text string) (domain.Settings, error) {
	var s settingsJSON
	err := json.Unmarshal([]byte(text), &s)
	return domain.Settings(s), err
}
