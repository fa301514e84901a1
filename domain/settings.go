package domain

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Settings are the policy settings of a tenant or an application; nil for a setting that is not set. The units are
// those of the wire.
type Settings struct {
	Active                *bool
	RequireAuthentication *bool
	CookieOnly            *bool
	CookieName            *string
	CookieDomain          *string
	CookieHostOnly        *bool

	AccessTokenSeconds  *int64
	AccessTokenType     *AccessTokenType
	Algorithm           *Algorithm
	Expiration          *ExpirationPolicy
	TTLMinutes          *int64
	MaximumTTLMinutes   *int64
	Usage               *UsagePolicy
	GraceSeconds        *int64
	RecoveryBurst       *int64
	RecoveryInterval    *int64
	RevokeOnReplay      *bool
	MaximumActiveTokens *int64
}

// The names of the settings on the wire and in the kickstart file.
const (
	FieldActive                = "active"
	FieldRequireAuthentication = "requireAuthentication"
	FieldCookieOnly            = "cookieOnly"
	FieldCookieName            = "cookieName"
	FieldCookieDomain          = "cookieDomain"
	FieldCookieHostOnly        = "cookieHostOnly"
	FieldAccessTokenSeconds    = "jwtConfiguration.timeToLiveInSeconds"
	FieldAccessTokenType       = "jwtConfiguration.accessTokenType"
	FieldAlgorithm             = "jwtConfiguration.algorithm"
	FieldExpiration            = "jwtConfiguration.refreshTokenExpirationPolicy"
	FieldTTLMinutes            = "jwtConfiguration.refreshTokenTimeToLiveInMinutes"
	FieldMaximumTTLMinutes     = "jwtConfiguration.refreshTokenSlidingWindowConfiguration.maximumTimeToLiveInMinutes"
	FieldUsage                 = "jwtConfiguration.refreshTokenUsagePolicy"
	FieldGraceSeconds          = "jwtConfiguration.refreshTokenOneTimeUseConfiguration.gracePeriodInSeconds"
	FieldRecoveryBurst         = "jwtConfiguration.refreshTokenOneTimeUseConfiguration.recoveryBurst"
	FieldRecoveryInterval      = "jwtConfiguration.refreshTokenOneTimeUseConfiguration.recoveryInterval"
	FieldRevokeOnReplay        = "jwtConfiguration.refreshTokenRevocationPolicy.onOneTimeTokenReuse"
	FieldMaximumActiveTokens   = "jwtConfiguration.maximumActiveTokens"
)

// setting describes one field of Settings: its name, its allowed values, and the field of Policy that it sets. To add a
// setting, add a field to both structs and a row to settings; all code that reads or writes settings uses these rows.
type setting struct {
	name  string
	of    func(*Settings) any // returns a pointer to the field
	words []string            // the allowed values; nil if the setting is not an enumeration
	low   int64               // the bounds of a number; both 0 if the setting is not a number
	high  int64
	text  func(Settings) string
	copy  func(to, from *Settings) // copies the field to new memory
	check func(Settings, *Problems)
	apply func(Settings, *Policy)
	list  func(*Policy, *Settings) // sets the field to the policy's value
}

// settings lists the settings in the order of documents and lists.
var settings = []setting{
	field(FieldActive, func(s *Settings) **bool { return &s.Active }, func(p *Policy) *bool { return &p.Active }),
	field(FieldRequireAuthentication, func(s *Settings) **bool { return &s.RequireAuthentication },
		func(p *Policy) *bool { return &p.RequireAuthentication }),
	field(FieldCookieOnly, func(s *Settings) **bool { return &s.CookieOnly },
		func(p *Policy) *bool { return &p.CookieOnly }),
	field(FieldCookieName, func(s *Settings) **string { return &s.CookieName },
		func(p *Policy) *string { return &p.CookieName }, checkCookieNameSetting),
	field(FieldCookieDomain, func(s *Settings) **string { return &s.CookieDomain },
		func(p *Policy) *string { return &p.CookieDomain }, checkCookieDomain),
	field(FieldCookieHostOnly, func(s *Settings) **bool { return &s.CookieHostOnly },
		func(p *Policy) *bool { return &p.CookieHostOnly }),

	duration(FieldAccessTokenSeconds, func(s *Settings) **int64 { return &s.AccessTokenSeconds },
		func(p *Policy) *time.Duration { return &p.AccessTokenTTL }, time.Second, 1, 86_400),
	oneOf(FieldAccessTokenType, func(s *Settings) **AccessTokenType { return &s.AccessTokenType },
		func(p *Policy) *AccessTokenType { return &p.AccessTokenType }, AccessTokenTypes...),
	oneOf(FieldAlgorithm, func(s *Settings) **Algorithm { return &s.Algorithm },
		func(p *Policy) *Algorithm { return &p.Algorithm }, Algorithms...),
	oneOf(FieldExpiration, func(s *Settings) **ExpirationPolicy { return &s.Expiration },
		func(p *Policy) *ExpirationPolicy { return &p.Expiration },
		Fixed, SlidingWindow, SlidingWindowWithMaximumLifetime),
	duration(FieldTTLMinutes, func(s *Settings) **int64 { return &s.TTLMinutes },
		func(p *Policy) *time.Duration { return &p.TTL }, time.Minute, 1, tenYears),
	duration(FieldMaximumTTLMinutes, func(s *Settings) **int64 { return &s.MaximumTTLMinutes },
		func(p *Policy) *time.Duration { return &p.MaximumTTL }, time.Minute, 1, tenYears),
	oneOf(FieldUsage, func(s *Settings) **UsagePolicy { return &s.Usage },
		func(p *Policy) *UsagePolicy { return &p.Usage }, OneTimeUse, Reusable),
	duration(FieldGraceSeconds, func(s *Settings) **int64 { return &s.GraceSeconds },
		func(p *Policy) *time.Duration { return &p.GracePeriod }, time.Second, 0, 3_600),
	number(FieldRecoveryBurst, func(s *Settings) **int64 { return &s.RecoveryBurst },
		func(p *Policy) *int64 { return &p.RecoveryBurst }, 0, 100),
	number(FieldRecoveryInterval, func(s *Settings) **int64 { return &s.RecoveryInterval },
		func(p *Policy) *int64 { return &p.RecoveryInterval }, 2, 1_000),
	field(FieldRevokeOnReplay, func(s *Settings) **bool { return &s.RevokeOnReplay },
		func(p *Policy) *bool { return &p.RevokeOnReplay }),
	number(FieldMaximumActiveTokens, func(s *Settings) **int64 { return &s.MaximumActiveTokens },
		func(p *Policy) *int64 { return &p.MaximumActiveTokens }, 0, 10_000),
}

const tenYears = 10 * 366 * 24 * 60 // minutes

// A check adds a problem if a value that is set is not valid.
type check[T any] func(p *Problems, field string, v T)

// field returns a setting that a Policy holds with the same type.
func field[T any](name string, of func(*Settings) **T, to func(*Policy) *T, checks ...check[T]) setting {
	return setting{
		name: name,
		of:   func(s *Settings) any { return of(s) },
		text: func(s Settings) string { return text(*of(&s)) },
		copy: func(to, from *Settings) {
			if v := *of(from); v != nil {
				*of(to) = new(*v)
			}
		},
		check: func(s Settings, p *Problems) {
			if v := *of(&s); v != nil {
				for _, check := range checks {
					check(p, name, *v)
				}
			}
		},
		apply: func(s Settings, p *Policy) { set(to(p), *of(&s)) },
		list:  func(p *Policy, s *Settings) { *of(s) = to(p) },
	}
}

// number returns a setting that is a number from low to high.
func number(name string, of func(*Settings) **int64, to func(*Policy) *int64, low, high int64) setting {
	n := field(name, of, to, between(low, high))
	n.low, n.high = low, high
	return n
}

// duration returns a setting that is a number of units, and a duration in a Policy.
func duration(
	name string, of func(*Settings) **int64, to func(*Policy) *time.Duration, unit time.Duration, low, high int64,
) setting {
	d := number(name, of, nil, low, high)
	d.apply = func(s Settings, p *Policy) {
		if v := *of(&s); v != nil {
			*to(p) = time.Duration(*v) * unit
		}
	}
	d.list = func(p *Policy, s *Settings) { *of(s) = new(int64(*to(p) / unit)) }
	return d
}

// oneOf returns a setting with these allowed values.
func oneOf[T ~string](name string, of func(*Settings) **T, to func(*Policy) *T, allowed ...T) setting {
	words := make([]string, len(allowed))
	for i, a := range allowed {
		words[i] = string(a)
	}
	o := field(name, of, to, func(p *Problems, field string, v T) {
		if !slices.Contains(allowed, v) {
			p.Add(field, Malformed, "use one of "+strings.Join(words, ", "))
		}
	})
	o.words = words
	return o
}

func between(low, high int64) check[int64] {
	return func(p *Problems, field string, v int64) {
		if v < low || v > high {
			p.Add(field, Malformed, fmt.Sprintf("use %d to %d", low, high))
		}
	}
}

func checkCookieNameSetting(p *Problems, field, name string) {
	if name != "" {
		CheckCookieName(p, field, name)
	}
}

func checkCookieDomain(p *Problems, field, name string) {
	if name != "" && !IsDomainName(name) {
		p.Add(field, Malformed, "use a host name such as example.com, without scheme, port or leading dot")
	}
}

// Clone returns a deep copy of s.
func (s Settings) Clone() (clone Settings) {
	for _, one := range settings {
		one.copy(&clone, &s)
	}
	return clone
}

// SettingField is one field of Settings, for code that reads and writes all of them.
type SettingField struct {
	Name  string   // FieldActive and so on
	Words []string // the allowed values; nil if the setting is not an enumeration
	Low   int64    // the bounds of a number; both 0 if the setting is not a number
	High  int64
	Into  any // a pointer to the field
}

// Fields returns the fields of s, always in the same order. A value that is set through Into is set in s.
func (s *Settings) Fields() []SettingField {
	all := make([]SettingField, len(settings))
	for i, one := range settings {
		all[i] = SettingField{Name: one.name, Words: one.words, Low: one.low, High: one.high, Into: one.of(s)}
	}
	return all
}

// Setting is one setting as text, for people.
type Setting struct {
	Field string
	Value string // empty if it is not set
}

// List returns all settings, also those that are not set, in the order of Fields.
func (s Settings) List() []Setting {
	all := make([]Setting, len(settings))
	for i, one := range settings {
		all[i] = Setting{one.name, one.text(s)}
	}
	return all
}

func text[T any](v *T) string {
	if v == nil {
		return ""
	}
	if s := fmt.Sprint(*v); s != "" {
		return s
	}
	return `""`
}

// Settings returns the settings that result in p, all of them set.
func (p Policy) Settings() (s Settings) {
	for _, one := range settings {
		one.list(&p, &s)
	}
	return s
}

// validate checks each setting by itself.
func (s Settings) validate(p *Problems) {
	for _, one := range settings {
		one.check(s, p)
	}
}

// apply overwrites p with the settings that are set.
func (s Settings) apply(p *Policy) {
	active := p.Active
	for _, one := range settings {
		one.apply(s, p)
	}
	// An application of an inactive tenant is inactive, whatever it sets.
	p.Active = p.Active && active
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}
