package domain

import (
	"fmt"
	"net/url"
	"strings"
)

// Tenant is a customer of the service with its own users, applications and keys. No data of a tenant is visible to
// another tenant.
type Tenant struct {
	ID       string
	Name     string
	Issuer   string // `iss` of its access tokens, unique; empty for the one derived from the public URL
	Login    LoginEndpoints
	Settings Settings
	Version  Version // set by the store, which ignores it when the tenant is saved
}

// LoginEndpoints are the URLs of the operator's own login, which the metadata of a tenant repeats (RFC 8414, section 2;
// OpenID Connect Discovery 1.0, section 3): some clients refuse metadata without them. The service has no such endpoint
// itself. Each is empty if there is none.
type LoginEndpoints struct {
	Authorization string // `authorization_endpoint`
	EndSession    string // `end_session_endpoint`
	Userinfo      string // `userinfo_endpoint`
}

// The names of LoginEndpoints on the wire and in the kickstart file.
const (
	FieldAuthorizationEndpoint = "authorizationEndpoint"
	FieldEndSessionEndpoint    = "endSessionEndpoint"
	FieldUserinfoEndpoint      = "userinfoEndpoint"
)

// Fields returns each endpoint by its name, also those that are not set.
func (l LoginEndpoints) Fields() []Setting {
	return []Setting{
		{FieldAuthorizationEndpoint, l.Authorization}, {FieldEndSessionEndpoint, l.EndSession},
		{FieldUserinfoEndpoint, l.Userinfo},
	}
}

func (l LoginEndpoints) validate(p *Problems) {
	for _, e := range l.Fields() {
		u, err := url.Parse(e.Value)
		if e.Value != "" && (err != nil || len(e.Value) > 255 || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" ||
			u.User != nil || u.Fragment != "") {
			p.Add(e.Field, Malformed, "use an https or http URL without fragment and user, of at most 255 characters")
		}
	}
}

// Application is an application that users log in to. Its id is unique within its tenant.
type Application struct {
	TenantID string
	ID       string
	Name     string
	Client   Client
	Settings Settings
	Version  Version // as a tenant's
}

// IsTenantID reports whether id has the form of a tenant's id. The store need not be asked for any other, and some
// stores fail on text that is not valid UTF-8.
func IsTenantID(id string) bool {
	var p Problems
	checkTenantID(&p, "", id)
	return p.Err() == nil
}

// IsApplicationID reports whether id has the form of an application's id, as IsTenantID does for a tenant's.
func IsApplicationID(id string) bool {
	var p Problems
	checkOwnerID(&p, "", id)
	return p.Err() == nil
}

// Validate returns an *Invalid that names every field that is not valid.
func (t Tenant) Validate() error {
	var p Problems
	checkTenantID(&p, "id", t.ID)
	checkName(&p, "name", t.Name)
	if t.Issuer != "" && !isIssuer(t.Issuer) {
		p.Add("issuer", Malformed,
			"use an https or http URL without query, fragment and user, of at most 255 characters")
	} else if other := derivedFor(t.Issuer); other != "" && other != t.ID {
		p.Add("issuer", Conflict, fmt.Sprintf(
			"this is the default issuer of tenant %q: use one that does not end in /t/ and the id of another tenant",
			other))
	}
	t.Login.validate(&p)
	t.Settings.validate(&p)
	if p.Err() == nil {
		_, err := Combine(t, Application{})
		p.Merge("", err)
	}
	return p.Err()
}

// derivedIssuer separates the public URL and the tenant's id in a derived issuer.
const derivedIssuer = "/t/"

// Issuer returns `iss` of the tenant's access tokens: set, or if that is empty the one derived from the public URL.
func Issuer(publicURL, tenantID, set string) string {
	if set != "" {
		return set
	}
	return strings.TrimSuffix(publicURL, "/") + derivedIssuer + tenantID
}

// derivedFor returns the id of the tenant for which Issuer derives this issuer from some public URL; empty if there is
// none. The public URL is not known where tenants are written, and may change, so any public URL matches. The tenant
// need not exist: it may be created later.
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

// isIssuer reports whether s is an issuer of RFC 8414, section 2. It also accepts http, for development.
func isIssuer(s string) bool {
	u, err := url.Parse(s)
	return err == nil && len(s) <= 255 && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" &&
		u.User == nil && u.RawQuery == "" && !u.ForceQuery && u.Fragment == "" && u.String() == s
}

// Validate returns an *Invalid that names every field that is not valid, by itself or in combination with the settings
// of t.
func (a Application) Validate(t Tenant) error {
	var p Problems
	checkOwnerID(&p, "id", a.ID)
	checkName(&p, "name", a.Name)
	a.Client.validate(&p, a.ID)
	a.Settings.validate(&p)
	if p.Err() == nil {
		_, err := Combine(t, a)
		p.Merge("", err)
	}
	return p.Err()
}
