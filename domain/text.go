package domain

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of the values that a caller may store with a refresh token.
const (
	maxTenantID    = 64
	maxOwnerID     = 255 // bytes of an application or user id
	maxEntries     = 100 // roles, scopes
	maxEntry       = 255 // bytes of one role or scope
	maxObject      = 4096
	maxDeviceField = 255
	maxName        = 255
	// MaxBinding is the longest binding, in bytes.
	MaxBinding = 255
)

// Object is the text of a JSON object, compact, as the caller wrote it; empty for none. It is a string so that a copy
// is independent of the original, and numbers keep every digit.
type Object string

// NewObject validates and compacts text. An empty object is the empty Object.
func NewObject(text []byte) (Object, bool) {
	var compact bytes.Buffer
	if err := json.Compact(&compact, text); err != nil || !utf8.Valid(text) ||
		!bytes.HasPrefix(compact.Bytes(), []byte("{")) {
		return "", false
	}
	if compact.String() == "{}" {
		return "", true
	}
	return Object(compact.String()), true
}

// names returns the names of the object's members, sorted.
func (o Object) names() []string {
	if o == "" {
		return nil
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal([]byte(o), &members); err != nil {
		return nil
	}
	return slices.Sorted(maps.Keys(members))
}

// checkTenantID adds a problem unless id matches [A-Za-z0-9._~-]{1,64}, so that it needs no escaping in a URL or an
// issuer.
func checkTenantID(p *Problems, field, id string) {
	switch {
	case id == "":
		p.Add(field, Blank, "name the tenant")
	case len(id) > maxTenantID:
		p.Add(field, TooLong, "use at most 64 characters")
	case strings.ContainsFunc(id, func(r rune) bool { return !strings.ContainsRune(tenantAlphabet, r) }):
		p.Add(field, Malformed, "use only letters, digits and . _ ~ -")
	case id == "." || id == "..":
		p.Add(field, Malformed, "a URL path cannot hold this name: add letters or digits")
	}
}

const tenantAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~-"

// checkOwnerID adds a problem unless id is a valid application id, user id or role: 1 to 255 bytes of UTF-8, no control
// characters, no white space at the ends.
func checkOwnerID(p *Problems, field, id string) {
	if id == "" {
		p.Add(field, Blank, "this is required")
		return
	}
	checkText(p, field, id, maxOwnerID)
}

// checkText adds a problem unless s can be stored and shown. Empty is valid.
func checkText(p *Problems, field, s string, limit int) {
	switch {
	case len(s) > limit:
		p.Add(field, TooLong, fmt.Sprintf("use at most %d bytes", limit))
	case !utf8.ValidString(s):
		p.Add(field, Malformed, "this must be UTF-8")
	case strings.ContainsFunc(s, unicode.IsControl):
		p.Add(field, Malformed, "control characters are not allowed")
	case strings.TrimSpace(s) != s:
		p.Add(field, Malformed, "remove the white space at the ends")
	}
}

// checkName adds a problem unless s can be the name of something that operators administer. In a list on a terminal it
// must not hide characters, reverse its line, or look like another name. Empty is valid.
func checkName(p *Problems, field, s string) {
	if strings.ContainsFunc(s, func(r rune) bool { return unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) }) {
		p.Add(field, Malformed, "invisible characters, line separators and controls of the direction of text are not allowed")
		return
	}
	checkText(p, field, s, maxName)
}

// CheckKeyName adds a problem to p unless name can be the name of a key.
func CheckKeyName(p *Problems, field, name string) { checkName(p, field, name) }

// checkScope adds a problem unless s is a scope-token of RFC 6749, section 3.3.
func checkScope(p *Problems, field, s string) {
	switch {
	case s == "":
		p.Add(field, Blank, "a scope may not be empty")
	case len(s) > maxEntry:
		p.Add(field, TooLong, "use at most 255 bytes for a scope")
	case strings.ContainsFunc(s, func(r rune) bool { return r < 0x21 || r == 0x22 || r == 0x5c || r > 0x7e }):
		p.Add(field, Malformed, "use printable ASCII without spaces, quotes and backslashes (RFC 6749, section 3.3)")
	}
}
