package domain

import "strings"

// The names of the cookies where the policy sets none.
const (
	DefaultCookieName = "refresh_token"
	defaultAccessName = "access_token"
	accessNameSuffix  = "_access"
)

const maxCookieName = 64 // bytes

// cookieNameAlphabet is that of an HTTP token (RFC 9110, section 5.6.2), which the name of a cookie is (RFC 6265,
// section 4.1.1).
const cookieNameAlphabet = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// CheckCookieName adds a problem with field unless name is a valid name for a refresh token's cookie. The name of an
// access token's cookie is not: one cookie would overwrite the other, of this application or of another one on the same
// host.
func CheckCookieName(p *Problems, field, name string) {
	switch {
	case name == "":
		p.Add(field, Blank, "send the name of a cookie, or leave this out")
	case len(name) > maxCookieName:
		p.Add(field, TooLong, "use at most 64 bytes")
	case strings.Trim(name, cookieNameAlphabet) != "":
		p.Add(field, Malformed, "use letters, digits and !#$%&'*+-.^_`|~")
	case name == defaultAccessName || strings.HasSuffix(name, accessNameSuffix):
		p.Add(field, Malformed, "this is the name of an access token's cookie: use one that does not end in _access")
	}
}

// AccessCookieName returns the name of the access token's cookie beside a refresh token's cookie of that name.
func AccessCookieName(name string) string {
	if name == DefaultCookieName {
		return defaultAccessName
	}
	return name + accessNameSuffix
}

// CookieNames returns the names of the two cookies of the application.
func (p Policy) CookieNames() (refresh, access string) {
	refresh = p.CookieName
	if refresh == "" {
		refresh = DefaultCookieName
	}
	return refresh, AccessCookieName(refresh)
}

// IsHostOnlyName reports whether browsers accept a cookie of that name only without a Domain. They compare the prefix
// without regard to case (RFC 6265bis, section 5.6).
func IsHostOnlyName(name string) bool { return hasFoldedPrefix(name, "__Host-") }

// IsSecureName reports whether browsers accept a cookie of that name only if it is Secure.
func IsSecureName(name string) bool {
	return IsHostOnlyName(name) || hasFoldedPrefix(name, "__Secure-") || hasFoldedPrefix(name, "__Http-")
}

func hasFoldedPrefix(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}
