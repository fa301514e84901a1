package domain

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// APIKey is the record of an API key and its permissions. The key itself is not stored, only a keyed hash of it.
type APIKey struct {
	ID          ID     // of this creation: a key that is deleted and created again under its name has another
	Name        string // unique; used by operators and the kickstart file
	Hash        string // of the key, see HashAPIKey
	TenantID    string // the only tenant that it is valid for; empty for all
	Permissions Permissions
	ExpiresAt   time.Time // zero for never
	Version     Version   // set by the store; not used twice for one id

	// PreviousHash is the hash of the key that was replaced by the present one and is still valid, so that its users can
	// change to the new one without an outage; empty if there is none.
	PreviousHash string

	// HashKey and PreviousHashKey are the numbers of the keys under which Hash and PreviousHash were made.
	HashKey, PreviousHashKey uint32
}

// Permissions are methods by endpoint, such as "/jwt/refresh": ["GET", "DELETE"]. An empty map permits nothing.
//
// A name covers itself and one further segment. "*" covers every method, or every endpoint except those of
// administration, [SessionsPermission] and [RevocationsPermission], which must be named. It is stored unexpanded, so it
// covers what a later release adds: an expansion would make a backend fail at the first request of a new client.
type Permissions map[string][]string

const (
	apiKeyPrefix    = "ak_"
	minAPIKeyLength = len(apiKeyPrefix) + 24
	maxAPIKeyLength = 256
	apiKeyAlphabet  = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
)

// IsAPIKey reports whether s has the form of an API key: `ak_` and at least 24 more of [A-Za-z0-9_-].
func IsAPIKey(s string) bool {
	return strings.HasPrefix(s, apiKeyPrefix) && len(s) >= minAPIKeyLength && len(s) <= maxAPIKeyLength &&
		!strings.ContainsFunc(s, func(r rune) bool { return !strings.ContainsRune(apiKeyAlphabet, r) })
}

// NewAPIKey makes an API key of 32 bytes of random.
func NewAPIKey(random io.Reader) (Secret, error) {
	var raw [32]byte
	if _, err := io.ReadFull(random, raw[:]); err != nil {
		return Secret{}, fmt.Errorf("make an API key: %w", err)
	}
	return NewSecret(apiKeyPrefix + base64.RawURLEncoding.EncodeToString(raw[:])), nil
}

// HashAPIKey returns the stored hash of a key: HMAC-SHA-256 under the deployment's hash key. Because the hash key is
// sealed, a guess cannot be tested against a stolen database. A lookup of the hash by equality reveals nothing useful
// by its timing, because an attacker cannot choose the hash.
func HashAPIKey(hashKey, key Secret) string {
	h := hmac.New(sha256.New, []byte(hashKey.Reveal()))
	h.Write([]byte(key.Reveal()))
	return string(h.Sum(nil))
}

// Names of permissions that are not paths. Each gives access to the data of a whole tenant, which a leaked key for "*"
// must not have.
const (
	SessionsPermission    = "/sessions"    // GET: lists of an application's or a tenant's refresh tokens
	RevocationsPermission = "/revocations" // GET: the stream of revocations
)

// isWide reports whether endpoint is one of these names.
func isWide(endpoint string) bool {
	return endpoint == SessionsPermission || endpoint == RevocationsPermission
}

// isAdministration reports whether path is of an endpoint of administration.
func isAdministration(path string) bool {
	for _, a := range administration {
		if rest, ok := strings.CutPrefix(path, a.endpoint); ok && (rest == "" || rest[0] == '/') {
			return true
		}
	}
	return false
}

// Endpoints returns the paths and methods that a permission can name, except those of administration, as the API routes
// them. A permission for any other name would grant nothing now, and perhaps something in a later release.
func Endpoints() map[string][]string {
	named := map[string][]string{}
	for _, s := range spellings {
		if !isWide(s.endpoint) && !isAdministration(s.endpoint) {
			named[s.endpoint] = methodsOf(s.endpoint)
		}
	}
	return named
}

// noEndpoint is the error of a permission for an unknown endpoint.
func noEndpoint(field, endpoint string) FieldError {
	known := append(slices.Sorted(maps.Keys(Endpoints())), RevocationsPermission, SessionsPermission)
	known = append(known, AdministrationEndpoints()...)
	return FieldError{
		Field: field, Reason: Malformed, Message: "there is no such endpoint", Name: endpoint, Known: known,
		Choice: fmt.Sprintf(`: name one of %s, or "*"`, strings.Join(known, ", ")),
	}
}

var apiMethods = []string{"GET", "POST", "PUT", "PATCH", "DELETE"}

// canonical returns the endpoint as it is written in spellings. The parameter of an endpoint of administration may have
// any name.
func canonical(endpoint string) string {
	parent, parameter, found := strings.Cut(endpoint, "/:")
	if found && isAdministration(parent) && !strings.Contains(parameter, "/") {
		return parent + objectParameter
	}
	return endpoint
}

// methodsOf returns the methods that a permission for the endpoint can name; none for an unknown endpoint.
func methodsOf(endpoint string) (methods []string) {
	endpoint = canonical(endpoint)
	for _, method := range apiMethods {
		if slices.ContainsFunc(spellings, func(s spelling) bool {
			return s.method == method && (s.endpoint == endpoint || endpoint == "*")
		}) {
			methods = append(methods, method)
		}
	}
	return methods
}

// Allow reports whether method is allowed on path, such as "DELETE" on "/jwt/refresh/:id".
func (p Permissions) Allow(method, path string) bool {
	for endpoint, methods := range p {
		if covers(endpoint, path) && (slices.Contains(methods, method) || slices.Contains(methods, "*")) {
			return true
		}
	}
	return false
}

// Permit reports whether the action is allowed.
func (p Permissions) Permit(a Action) bool {
	for _, s := range spellings {
		if a != "" && s.action == a && p.Allow(s.method, s.endpoint) {
			return true
		}
	}
	return false
}

// beyond returns the endpoints of q that allow something which p does not allow, in order. It compares the
// methods that the API has: a permission for every method of an endpoint is within one that lists its methods.
func (p Permissions) beyond(q Permissions) (endpoints []string) {
	for _, endpoint := range slices.Sorted(maps.Keys(q)) {
		one := Permissions{endpoint: q[endpoint]}
		if slices.ContainsFunc(spellings, func(s spelling) bool {
			return one.Allow(s.method, s.endpoint) && !p.Allow(s.method, s.endpoint)
		}) {
			endpoints = append(endpoints, endpoint)
		}
	}
	return endpoints
}

// CheckManages returns an *Invalid that names every field in which other is wider than k: a holder of k that could
// create, change or delete other, or give it another key, could do more than k allows. Permission to manage API keys at
// all is another question.
func (k APIKey) CheckManages(other APIKey) error {
	var p Problems
	if !k.Serves(other.TenantID) {
		p.Add("tenantId", Forbidden, "your API key is for one tenant only, and manages keys of that tenant only")
	}
	for _, endpoint := range k.Permissions.beyond(other.Permissions) {
		p.Add("permissions.endpoints."+endpoint, Forbidden,
			"your API key does not allow all of this itself: leave out what it does not allow")
	}
	if !k.ExpiresAt.IsZero() && (other.ExpiresAt.IsZero() || other.ExpiresAt.After(k.ExpiresAt)) {
		p.Add("expiresAt", Forbidden, "your API key expires earlier: use no later time than its expiresAt")
	}
	return p.Err()
}

func covers(endpoint, path string) bool {
	if endpoint == "*" {
		return !isWide(path) && !isAdministration(path)
	}
	rest, ok := strings.CutPrefix(canonical(path), canonical(endpoint))
	return ok && (rest == "" || rest[0] == '/' && strings.Count(rest, "/") == 1)
}

// Validate returns an *Invalid that names every field that is wrong.
func (k APIKey) Validate() error {
	var p Problems
	if k.Name == "" {
		p.Add("name", Blank, "this is required")
	}
	checkName(&p, "name", k.Name)
	if k.TenantID != "" {
		checkTenantID(&p, "tenantId", k.TenantID)
	}
	for _, endpoint := range slices.Sorted(maps.Keys(k.Permissions)) {
		methods := k.Permissions[endpoint]
		field := "permissions.endpoints." + endpoint
		allowed := methodsOf(endpoint)
		if len(allowed) == 0 {
			p.fields = append(p.fields, noEndpoint(field, endpoint))
			continue
		}
		if len(methods) == 0 {
			p.Add(field, Blank, `list its methods, or use ["*"]`)
		}
		for _, m := range methods {
			if m != "*" && !slices.Contains(allowed, m) {
				p.Add(field, Malformed, fmt.Sprintf("use one of %s, or *", strings.Join(allowed, ", ")))
				break
			}
		}
	}
	return p.Err()
}

// Permits reports whether the key allows the action at now.
func (k APIKey) Permits(a Action, now time.Time) bool {
	return !k.Expired(now) && k.Permissions.Permit(a)
}

// Expired reports whether the key has expired at now.
func (k APIKey) Expired(now time.Time) bool { return !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt) }

// Serves reports whether the key is valid for that tenant.
func (k APIKey) Serves(tenantID string) bool { return k.TenantID == "" || k.TenantID == tenantID }
