package domain

import (
	"fmt"
	"net/url"
	"strings"
)

// Tenant is a customer of the service with users, applications and keys of its own. Nothing of one tenant is visible to
// another.
type Tenant struct {
	ID       string
	Name     string
	Issuer   string // `iss` of its access tokens; empty for one derived from the public URL. Unique
	Settings Settings
	Version  Version // set by the store, which ignores it where the tenant is saved
}

// Application is what users log in to. Its id is unique within its tenant.
type Application struct {
	TenantID string
	ID       string
	Name     string
	Settings Settings
	Version  Version // as a tenant's
}

// IsTenantID reports whether a tenant could have this id. What cannot be one is not worth asking a store for, and some stores fail
// on text that is no text.
func IsTenantID(id string) bool {
	var p Problems
	checkTenantID(&p, "", id)
	return p.Err() == nil
}

// Validate returns an *Invalid that names every field that is wrong.
func (t Tenant) Validate() error {
	var p Problems
	checkTenantID(&p, "id", t.ID)
	checkText(&p, "name", t.Name, maxName)
	if t.Issuer != "" && !isIssuer(t.Issuer) {
		p.Add("issuer", Malformed, "use an https or http URL without query, fragment and user, of at most 255 characters")
	} else if other := derivedFor(t.Issuer); other != "" && other != t.ID {
		p.Add("issuer", Conflict, fmt.Sprintf(
			"this is the default issuer of tenant %q: use one that does not end in /t/ and the id of another tenant",
			other))
	}
	t.Settings.validate(&p)
	if p.Err() == nil {
		_, err := Combine(t, Application{})
		p.Merge("", err)
	}
	return p.Err()
}

// derivedIssuer comes between the public URL and the tenant's id in an issuer that is not set.
const derivedIssuer = "/t/"

// Issuer is `iss` of the tenant's access tokens: set, or else derived from the public URL.
func Issuer(publicURL, tenantID, set string) string {
	if set != "" {
		return set
	}
	return strings.TrimSuffix(publicURL, "/") + derivedIssuer + tenantID
}

// derivedFor is the id of the tenant for which Issuer derives this issuer from some public URL; empty if there is none.
// The public URL is not known where tenants are written, and may change, so that any will do. Whether the tenant exists
// does not matter either: it may come.
func derivedFor(issuer string) (tenantID string) {
	u, err := url.Parse(issuer)
	if err != nil {
		return ""
	}
	i := strings.LastIndex(u.EscapedPath(), derivedIssuer)
	if i < 0 {
		return ""
	}
	if id := u.EscapedPath()[i+len(derivedIssuer):]; IsTenantID(id) {
		return id
	}
	return ""
}

// isIssuer: RFC 8414, section 2, and http beside https so that a developer can begin.
func isIssuer(s string) bool {
	u, err := url.Parse(s)
	return err == nil && len(s) <= 255 && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" &&
		u.User == nil && u.RawQuery == "" && !u.ForceQuery && u.Fragment == "" && u.String() == s
}

// Validate returns an *Invalid that names every field that is wrong, by itself or together with what t sets.
func (a Application) Validate(t Tenant) error {
	var p Problems
	checkOwnerID(&p, "id", a.ID)
	checkText(&p, "name", a.Name, maxName)
	a.Settings.validate(&p)
	if p.Err() == nil {
		_, err := Combine(t, a)
		p.Merge("", err)
	}
	return p.Err()
}
