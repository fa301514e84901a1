package domain

import (
	"net/url"
)

// Tenant is a customer of the service with users, applications and keys of its own. Nothing of one tenant is visible to
// another.
type Tenant struct {
	ID       string
	Name     string
	Issuer   string // `iss` of its access tokens; empty for one derived from the public URL. Unique
	Settings Settings
}

// Application is what users log in to. Its id is unique within its tenant.
type Application struct {
	TenantID string
	ID       string
	Name     string
	Settings Settings
}

// IsTenantID tells whether a tenant could have this id. What cannot be one is not worth asking a store for, and some stores fail
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
	}
	t.Settings.validate(&p)
	if p.Err() == nil {
		_, err := Combine(t, Application{})
		p.Merge("", err)
	}
	return p.Err()
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
