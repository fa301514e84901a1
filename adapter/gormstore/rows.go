package gormstore

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/refreshd/refreshd/domain"
)

// columns writes names as a list, each with prefix before it.
func columns(prefix string, names []string) string {
	return prefix + strings.Join(names, ", "+prefix)
}

// placeholders are $1 to $n.
func placeholders(n int) string { return placeholdersFrom(1, n) }

// placeholdersFrom are n of them, from $first on.
func placeholdersFrom(first, n int) string {
	out := make([]string, n)
	for i := range out {
		out[i] = "$" + strconv.Itoa(first+i)
	}
	return strings.Join(out, ", ")
}

// Instants are microseconds since 1970 in both engines; 0 stands for the zero instant.

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func instant(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

func duration(us int64) time.Duration { return time.Duration(us) * time.Microsecond }

// Flags are 0 and 1 in both engines, so that one text serves both.
func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// tokenColumns are all of refresh_tokens, in the order of tokenRow.dest. Who has just advanced a refresh token knows the first of
// them, and reads the others: each column costs an exchange a third of a microsecond.
var (
	advancedColumns = []string{
		"id", "generation", "rotated_at", "last_used_at", "client_address", "recovered_at", "revoked_at", "revoked_reason",
	}
	otherColumns = []string{
		"tenant_id", "application_id", "user_id", "issued_at", "expires_at", "recovery_paid_until",
		"binding", "roles", "scopes", "claims", "device_name", "device_type", "device_description", "data",
		"ordinal", "issued_epoch", // which an insert finds in the store
	}
	tokenColumns = slices.Concat(advancedColumns, otherColumns)
)

// tokenRow is a row of refresh_tokens.
type tokenRow struct {
	id                                                             []byte
	tenantID, applicationID, userID                                string
	generation, issuedAt, rotatedAt, lastUsedAt, expiresAt         int64
	ordinal, recoveredAt, recoveryPaidUntil, issuedEpoch           int64
	binding                                                        []byte
	revokedAt                                                      int64
	revokedReason                                                  string
	roles, scopes                                                  []byte
	claims                                                         string
	deviceName, deviceType, deviceDescription, clientAddress, data string
}

func (r *tokenRow) dest() []any {
	return []any{
		&r.id, &r.generation, &r.rotatedAt, &r.lastUsedAt, &r.clientAddress, &r.recoveredAt, &r.revokedAt,
		&r.revokedReason, &r.tenantID, &r.applicationID, &r.userID, &r.issuedAt, &r.expiresAt, &r.recoveryPaidUntil,
		&r.binding, &r.roles, &r.scopes, &r.claims, &r.deviceName, &r.deviceType, &r.deviceDescription, &r.data,
		&r.ordinal, &r.issuedEpoch,
	}
}

// otherDest is dest for otherColumns.
func (r *tokenRow) otherDest() []any { return r.dest()[len(advancedColumns):] }

// advanced is the refresh token that the exchange e has just written, of which r holds what was read.
func (r *tokenRow) advanced(e *exchange) (domain.RefreshToken, error) {
	r.id, r.generation = e.id[:], int64(e.call.Generation)+1
	r.rotatedAt, r.lastUsedAt, r.clientAddress = micros(e.call.Now), micros(e.call.Now), e.call.ClientAddress
	return r.token() // not revoked, or it would not have been written, and no longer recovered
}

// inserted is t as it was stored, of which r holds what was read.
func (r *tokenRow) inserted(t domain.RefreshToken) domain.RefreshToken {
	t.Ordinal, t.IssuedEpoch = r.ordinal, uint64(r.issuedEpoch)
	t.Roles, t.Scopes = slices.Clone(t.Roles), slices.Clone(t.Scopes)
	for _, at := range []*time.Time{&t.IssuedAt, &t.RotatedAt, &t.LastUsedAt, &t.ExpiresAt, &t.RecoveredAt, &t.RevokedAt} {
		*at = instant(micros(*at))
	}
	return t
}

func (r *tokenRow) token() (domain.RefreshToken, error) {
	t := domain.RefreshToken{
		TenantID: r.tenantID, ApplicationID: r.applicationID, UserID: r.userID,
		Generation: uint32(r.generation),
		IssuedAt:   instant(r.issuedAt), RotatedAt: instant(r.rotatedAt),
		LastUsedAt: instant(r.lastUsedAt), ExpiresAt: instant(r.expiresAt),
		Ordinal: r.ordinal, RecoveredAt: instant(r.recoveredAt), RecoveryPaidUntil: r.recoveryPaidUntil,
		IssuedEpoch: uint64(r.issuedEpoch), Binding: string(r.binding),
		RevokedAt: instant(r.revokedAt), RevokedReason: domain.RevocationReason(r.revokedReason),
		Claims: domain.Object(r.claims),
		MetaData: domain.MetaData{
			Device:        domain.Device{Name: r.deviceName, Type: r.deviceType, Description: r.deviceDescription},
			ClientAddress: r.clientAddress, Data: domain.Object(r.data),
		},
	}
	copy(t.ID[:], r.id)
	var err error
	if t.Roles, err = decodeList(r.roles); err != nil {
		return domain.RefreshToken{}, err
	}
	if t.Scopes, err = decodeList(r.scopes); err != nil {
		return domain.RefreshToken{}, err
	}
	return t, nil
}

// tokenArgs are the values of tokenColumns but the last two, which an insert finds in the store.
func tokenArgs(t domain.RefreshToken) ([]any, error) {
	roles, err := encodeList(t.Roles)
	if err != nil {
		return nil, err
	}
	scopes, err := encodeList(t.Scopes)
	if err != nil {
		return nil, err
	}
	return []any{
		t.ID[:], int64(t.Generation), micros(t.RotatedAt), micros(t.LastUsedAt), t.MetaData.ClientAddress,
		micros(t.RecoveredAt), micros(t.RevokedAt), string(t.RevokedReason),
		t.TenantID, t.ApplicationID, t.UserID, micros(t.IssuedAt), micros(t.ExpiresAt), t.RecoveryPaidUntil,
		[]byte(t.Binding), roles, scopes, string(t.Claims),
		t.MetaData.Device.Name, t.MetaData.Device.Type, t.MetaData.Device.Description, string(t.MetaData.Data),
	}, nil
}

const emptyList = "[]"

func encodeList(list []string) (string, error) {
	if len(list) == 0 {
		return emptyList, nil
	}
	text, err := json.Marshal(list)
	return string(text), err
}

func decodeList(text []byte) (list []string, err error) {
	if string(text) == emptyList {
		return nil, nil
	}
	return list, json.Unmarshal(text, &list)
}

// policyColumns are the effective policy beside an application: what statements compare, and all of it as one text, because a
// column costs an exchange more than a byte.
var policyColumns = []string{
	"active", "require_authentication", "access_token_ttl", "usage_policy", "grace_period", "slide_window", "slide_maximum", "policy",
}

// policyArgs are the values of policyColumns.
func policyArgs(p domain.Policy) ([]any, error) {
	text, err := json.Marshal(policyJSON(p))
	window, maximum := p.Slide()
	return []any{
		flag(p.Active), flag(p.RequireAuthentication), p.AccessTokenTTL.Microseconds(), string(p.Usage), p.GracePeriod.Microseconds(),
		window.Microseconds(), maximum.Microseconds(), string(text),
	}, err
}

// policyJSON is domain.Policy as the policy column holds it. The conversion between the two breaks when a field is added to only
// one of them.
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

// policies are texts that were read before: a text always says the same, so nothing in here grows old. They are as many as there are
// tenants with an issuer of their own, and a read one is about a kilobyte.
var policies = struct {
	sync.RWMutex
	read map[policyText]domain.Policy
}{read: map[policyText]domain.Policy{}}

const mostPolicies = 4096

// policy is what the text says.
func (text policyText) policy() (domain.Policy, error) {
	policies.RLock()
	known, ok := policies.read[text]
	policies.RUnlock()
	if ok {
		return known, nil
	}
	var read policyJSON
	if err := json.Unmarshal([]byte(text), &read); err != nil {
		return domain.Policy{}, fmt.Errorf("read the policy: %w", err)
	}
	policies.Lock()
	defer policies.Unlock()
	if len(policies.read) >= mostPolicies {
		for one := range policies.read { // whichever
			delete(policies.read, one)
			break
		}
	}
	policies.read[text] = domain.Policy(read)
	return domain.Policy(read), nil
}

// settingsJSON is domain.Settings as the settings columns hold it. The conversion between the two breaks when a field is
// added to only one of them.
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
