// Package manifest reads and writes the documents of tenants, applications, API keys and imported signing keys, in JSON
// and YAML: kickstart files, and every other complete representation of one.
//
// Each type implements [strict.Object]. It lists its members once, with the places of their values in the domain's
// entity, and both readers and both writers use that list. The names of settings are the domain's, which uses them in
// its errors. A dot in such a name is a nested object here.
//
// Administration has one object in a document: see [BareTenant] and [StoredAPIKey]. [Patch] changes one.
//
// A document does not have the hash and the id of an API key, the tenant of an application, which contains it, and
// versions, which a store sets. An API key itself and a private key are read and never written: the variable is, that
// it will come from.
package manifest

import (
	"slices"
	"strings"
	"time"

	"github.com/refreshd/refreshd/adapter/web/strict"
	"github.com/refreshd/refreshd/domain"
)

// Document has tenants, API keys and imported signing keys, or the sealed keys of a deployment.
type Document struct {
	Tenants    []Tenant
	APIKeys    []APIKey
	Keys       []SigningKey
	SealedKeys string // see Seal; empty for none
}

// Tenant is a tenant with its applications.
type Tenant struct {
	domain.Tenant
	Applications []Application
}

// Application is an application within its tenant: TenantID and the secrets of its Client are not set.
type Application struct {
	domain.Application
	// Secrets are the texts of its client secrets, the newest first. Nil if the document has none, which changes none; an
	// empty list makes it a public client.
	Secrets []ClientSecret
}

// ClientSecret is the text of a client secret. Secret is zero if the document has none.
type ClientSecret struct {
	Secret   domain.Secret
	Variable string // as in an APIKey
}

// Members implements strict.Object.
func (s *ClientSecret) Members() strict.Members {
	return strict.Members{{Name: "secret", Into: &secret{&s.Secret, s.Variable}}}
}

// APIKey is an API key; Hash is not set. Key is zero if the document has none.
type APIKey struct {
	domain.APIKey
	Key      domain.Secret
	Variable string // of the environment, which is written in place of the key; empty for none
}

// SigningKey is a signing key that was made elsewhere. Private is zero if the document has none.
type SigningKey struct {
	ID, TenantID, Name string
	Algorithm          domain.Algorithm // empty for the default of the private key
	KnownSince         time.Time
	Private            domain.Secret // in PEM or as a JWK
	Variable           string        // as in an APIKey
}

// BareTenant is a tenant without its applications, which administration has as objects of their own.
type BareTenant struct{ domain.Tenant }

// Signing is what signs the access tokens of a tenant or an application now, if the policy wants another algorithm.
// Only the service sets it. A reader ignores it, because it may have changed since the document was written.
type Signing struct {
	Algorithm domain.Algorithm // empty if it is the wanted one
	StartsMS  int64            // when the wanted one signs, in milliseconds since 1970; 0 if no stored key will
}

func (s *Signing) members() strict.Members {
	return strict.Members{
		{Name: "effectiveAlgorithm", Into: &s.Algorithm}, {Name: "algorithmStartsInstant", Into: &s.StartsMS},
	}
}

// StoredTenant is a tenant as administration has it, with what only the service sets.
type StoredTenant struct {
	BareTenant
	Signing Signing
}

// Members implements strict.Object.
func (t *StoredTenant) Members() strict.Members {
	return append(t.BareTenant.Members(), t.Signing.members()...)
}

// StoredApplication is an application as administration has it, with what only the service sets.
type StoredApplication struct {
	domain.Application
	Secrets []StoredSecret // the newest first; nil if they are not set
	Signing Signing
}

// StoredSecret is what administration shows of a client secret.
type StoredSecret struct {
	CreatedMS int64 // when it was made, in milliseconds since 1970
}

// Members implements strict.Object.
func (s *StoredSecret) Members() strict.Members {
	return strict.Members{{Name: "createdInstant", Into: &s.CreatedMS}}
}

// Members implements strict.Object.
func (a *StoredApplication) Members() strict.Members {
	return append(membersOfApplication(&a.Application, &a.Secrets), a.Signing.members()...)
}

// StoredAPIKey is an API key as administration has it, with what only the service sets. The embedded ID is not set.
type StoredAPIKey struct {
	APIKey
	IDText         string // empty if it is not set
	HasPreviousKey *bool  // nil if it is not set
}

// Members implements strict.Object.
func (d *Document) Members() strict.Members {
	return strict.Members{
		{Name: "tenants", Into: &d.Tenants}, {Name: "apiKeys", Into: &d.APIKeys}, {Name: "keys", Into: &d.Keys},
		{Name: "sealedKeys", Into: &d.SealedKeys},
	}
}

// Members implements strict.Object.
func (k *SigningKey) Members() strict.Members {
	return strict.Members{
		{Name: "id", Into: &k.ID},
		{Name: "tenantId", Into: (*tenantID)(&k.TenantID)},
		{Name: "algorithm", Into: &k.Algorithm},
		{Name: "name", Into: &k.Name},
		{Name: "privateKey", Into: &secret{&k.Private, k.Variable}},
		{Name: "knownSince", Into: (*instant)(&k.KnownSince)},
	}
}

// Members implements strict.Object.
func (t *Tenant) Members() strict.Members {
	return append(membersOfTenant(&t.Tenant), strict.Member{Name: "applications", Into: &t.Applications})
}

// Members implements strict.Object.
func (t *BareTenant) Members() strict.Members {
	return append(membersOfTenant(&t.Tenant), strict.Member{
		Name: "applications", Into: strict.Elsewhere("is not changed with the tenant: send each application to /application"),
	})
}

func membersOfTenant(t *domain.Tenant) strict.Members {
	return slices.Concat(
		strict.Members{
			{Name: "id", Into: &t.ID}, {Name: "name", Into: &t.Name}, {Name: "issuer", Into: &t.Issuer},
			{Name: domain.FieldAuthorizationEndpoint, Into: &t.Login.Authorization},
			{Name: domain.FieldEndSessionEndpoint, Into: &t.Login.EndSession},
			{Name: domain.FieldUserinfoEndpoint, Into: &t.Login.Userinfo},
		},
		settings(&t.Settings))
}

// Members implements strict.Object.
func (a *Application) Members() strict.Members {
	return membersOfApplication(&a.Application, &a.Secrets)
}

// membersOfApplication returns the members of an application, whose client secrets are in a list of their own.
func membersOfApplication(a *domain.Application, secrets any) strict.Members {
	return slices.Concat(
		strict.Members{
			{Name: "id", Into: &a.ID}, {Name: "name", Into: &a.Name},
			{Name: domain.FieldAudiences, Into: &a.Client.Audiences},
			{Name: domain.FieldOrigins, Into: &a.Client.Origins},
			{Name: domain.FieldClientKeys, Into: (*strict.Raw)(&a.Client.Keys)},
			{Name: domain.FieldClientSecrets, Into: secrets},
		},
		settings(&a.Settings))
}

// Members implements strict.Object. It makes Permissions not nil, as stores return them, so that the same document is
// no change.
func (k *APIKey) Members() strict.Members {
	if k.Permissions == nil {
		k.Permissions = domain.Permissions{}
	}
	return strict.Members{
		{Name: "name", Into: &k.Name},
		{Name: "key", Into: &secret{&k.Key, k.Variable}},
		{Name: "tenantId", Into: (*tenantID)(&k.TenantID)},
		{Name: "permissions", Into: strict.Members{{Name: "endpoints", Into: &k.Permissions}}},
		{Name: "expiresAt", Into: (*instant)(&k.ExpiresAt)},
	}
}

// Members implements strict.Object.
func (k *StoredAPIKey) Members() strict.Members {
	return slices.Concat(
		strict.Members{{Name: "id", Into: &k.IDText}}, k.APIKey.Members(),
		strict.Members{{Name: "hasPreviousKey", Into: &k.HasPreviousKey}})
}

// settings returns the members of the settings of a tenant or an application.
func settings(s *domain.Settings) (ms strict.Members) {
	for _, f := range s.Fields() {
		ms = within(ms, f.Name, f.Into)
	}
	return ms
}

// within adds a member at a path, with the objects around it.
func within(ms strict.Members, path string, into any) strict.Members {
	name, rest, nested := strings.Cut(path, ".")
	if !nested {
		return append(ms, strict.Member{Name: name, Into: into})
	}
	i := slices.IndexFunc(ms, func(m strict.Member) bool { return m.Name == name })
	if i < 0 {
		i = len(ms)
		ms = append(ms, strict.Member{Name: name, Into: strict.Members{}})
	}
	ms[i].Into = within(ms[i].Into.(strict.Members), rest, into)
	return ms
}

// secret is read into a place, and written as the variable that it will come from.
type secret struct {
	place    *domain.Secret
	variable string
}

func (s *secret) SetText(text string) string {
	*s.place = domain.NewSecret(text)
	return ""
}

func (*secret) Want() string { return "" }

// tenantID refuses the empty text, which would make a key valid for every tenant.
type tenantID string

func (id *tenantID) SetText(text string) string {
	if text == "" {
		return "is empty: name the tenant, or omit tenantId for a key of all tenants"
	}
	*id = tenantID(text)
	return ""
}

func (*tenantID) Want() string { return "" }

// instant is a time in the precision of the stores, so that the same document is no change. The zero time means never,
// so it is refused.
type instant time.Time

func (i *instant) SetText(text string) string {
	t, err := time.Parse(time.RFC3339, text)
	t = t.UTC().Truncate(time.Microsecond) // before the check, because the year in UTC may be another
	if err != nil || t.Year() < 2000 || t.Year() > 9999 {
		return "must be " + i.Want() + ", from the year 2000 to 9999"
	}
	*i = instant(t)
	return ""
}

func (*instant) Want() string { return "a time as in RFC 3339, such as 2030-01-31T12:00:00Z" }
