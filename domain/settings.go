package domain

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Settings are what a tenant or an application says about its policy; nil where it says nothing. The units are the
// wire's.
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

// setting is one field of Settings: what it is called, what it may say, and which field of Policy it moves. To add a
// setting is to add it to both structs and a row here; what reads and writes settings goes by these rows.
type setting struct {
	name  string
	of    func(*Settings) any // where the setting is: a pointer to its field
	words []string            // the only ones that it may say; nil if others may be said
	low   int64               // the bounds of a number; both 0 for what is none
	high  int64
	text  func(Settings) string
	copy  func(to, from *Settings) // sets it as from does, in memory of its own
	check func(Settings, *Problems)
	apply func(Settings, *Policy)
	list  func(*Policy, *Settings) // sets it to what the policy has
}

// settings are in the order in which people read them.
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
		func(p *Policy) *ExpirationPolicy { return &p.Expiration }, Fixed, SlidingWindow, SlidingWindowWithMaximumLifetime),
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

// A check notes what is wrong with a value that is set.
type check[T any] func(p *Problems, field string, v T)

// field is a setting that a Policy holds as it is.
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

// number is a setting that is a number from low to high.
func number(name string, of func(*Settings) **int64, to func(*Policy) *int64, low, high int64) setting {
	n := field(name, of, to, between(low, high))
	n.low, n.high = low, high
	return n
}

// duration is a setting in units, which a Policy holds as a duration.
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

// oneOf is a setting that says one of these.
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

// Clone is s in memory of its own.
func (s Settings) Clone() (clone Settings) {
	for _, one := range settings {
		one.copy(&clone, &s)
	}
	return clone
}

// SettingField is one of Settings, for what reads and writes all of them.
type SettingField struct {
	Name  string   // FieldActive and so on
	Words []string // the only ones that it may say; nil if others may be said
	Low   int64    // the bounds of a number; both 0 for what is none
	High  int64
	Into  any // a pointer to the field itself
}

// Fields are the fields of s in an order that does not change, so that what is set through them is set in s.
func (s *Settings) Fields() []SettingField {
	all := make([]SettingField, len(settings))
	for i, one := range settings {
		all[i] = SettingField{Name: one.name, Words: one.words, Low: one.low, High: one.high, Into: one.of(s)}
	}
	return all
}

// Setting is one of Settings, for people.
type Setting struct {
	Field string
	Value string // empty if it is not set
}

// List is every setting, also those that are not set, in the order of Fields.
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

// Settings are those that p follows from, all of them set.
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

// apply lays the settings over p.
func (s Settings) apply(p *Policy) {
	active := p.Active
	for _, one := range settings {
		one.apply(s, p)
	}
	// Active is the one setting that an application cannot win back from its tenant.
	p.Active = p.Active && active
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}
