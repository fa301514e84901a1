package domain_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/domain"
)

func TestIsAPIKey(t *testing.T) {
	const key = "ak_abcdefghijklmnopqrstuvwx"
	for s, want := range map[string]bool{
		key: true, "ak_ABCDEFGHIJKLMNOPQRSTUV-_09": true, "ak_" + strings.Repeat("x", 253): true,
		"": false, "ak_": false, key[:len(key)-1]: false, "ak_" + strings.Repeat("x", 254): false,
		"AK_" + key[3:]: false, "rt_" + key[3:]: false, key + ".": false, key + "\n": false, " " + key: false,
		key + " ": false,
		key + "é": false, key + "\xff": false, key + "=": false,
		"eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhZGEifQ.c2ln": false, "ak_eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhZGEifQ.c2ln": false,
	} {
		if got := domain.IsAPIKey(s); got != want {
			t.Errorf("%q: got %t, want %t", s, got, want)
		}
	}
}

func TestHashAPIKey(t *testing.T) {
	hashKey, key := domain.NewSecret("hash key"), domain.NewSecret("ak_abcdefghijklmnopqrstuvwx")
	mac := hmac.New(sha256.New, []byte("hash key"))
	mac.Write([]byte("ak_abcdefghijklmnopqrstuvwx"))
	if got := domain.HashAPIKey(hashKey, key); got != string(mac.Sum(nil)) {
		t.Errorf("got %x, want HMAC-SHA-256", got)
	}
	if domain.HashAPIKey(domain.NewSecret("other"), key) == domain.HashAPIKey(hashKey, key) {
		t.Error("the hash does not depend on the hash key: a stolen database can be searched for a guess")
	}
}

func TestPermissionsAllow(t *testing.T) {
	type ask struct {
		method, path string
		want         bool
	}
	for _, tt := range []struct {
		rule string
		p    domain.Permissions
		asks []ask
	}{
		{"no permissions means none", nil, []ask{{"GET", "/jwt/refresh", false}, {"POST", "/jwt/issue", false}}},
		{"an endpoint without methods means none", domain.Permissions{"/jwt/issue": nil, "*": {}},
			[]ask{{"POST", "/jwt/issue", false}}},
		{"a method, and no other", domain.Permissions{"/jwt/refresh": {"GET", "DELETE"}}, []ask{
			{"GET", "/jwt/refresh", true}, {"DELETE", "/jwt/refresh", true}, {"POST", "/jwt/refresh", false},
			{"get", "/jwt/refresh", false}, {"", "/jwt/refresh", false}, {"HEAD", "/jwt/refresh", false},
		}},
		{"a name covers itself and one further segment", domain.Permissions{"/jwt/refresh": {"GET"}}, []ask{
			{"GET", "/jwt/refresh", true}, {"GET", "/jwt/refresh/:id", true}, {"GET", "/jwt/refresh/:id/x", false},
			{"GET", "/jwt/refreshing", false}, {"GET", "/jwt/issue", false}, {"GET", "/jwt", false},
			{"GET", "/", false}, {"GET", "", false},
			{"GET", "/x/jwt/refresh", false}, {"GET", "/JWT/refresh", false},
		}},
		{"every method of an endpoint", domain.Permissions{"/jwt/issue": {"*"}}, []ask{
			{"POST", "/jwt/issue", true}, {"DELETE", "/jwt/issue", true}, {"POST", "/jwt/refresh", false},
		}},
		{"every endpoint, except administration", domain.Permissions{"*": {"POST"}}, []ask{
			{"POST", "/jwt/issue", true}, {"POST", "/jwt/refresh/:id/deep", true}, {"GET", "/jwt/issue", false},
			{"POST", "/api-key", false}, {"POST", "/api-key/:id", false}, {"POST", "/key", false},
			{"POST", "/key/:id", false},
			{"POST", "/tenant", false}, {"POST", "/tenant/:id", false}, {"POST", "/tenant/:id/key", false},
			{"POST", "/application", false}, {"POST", "/application/:id", false}, {"POST", "/audit", false},
			{"POST", "/audit/:id", false},
		}},
		{"everything of everything is without administration too", domain.Permissions{"*": {"*"}}, []ask{
			{"DELETE", "/jwt/refresh", true}, {"GET", "/tenant", false}, {"DELETE", "/api-key/:id", false},
		}},
		{"everything is without the lists and the stream of whole tenants",
			domain.Permissions{"*": {"*"}, "/jwt/refresh": {"*"}}, []ask{
				{"GET", "/sessions", false}, {"GET", "/revocations", false},
			}},
		{"a whole tenant's sessions that are named", domain.Permissions{"/sessions": {"GET"}}, []ask{
			{"GET", "/sessions", true}, {"GET", "/revocations", false}, {"GET", "/jwt/refresh", false},
			{"GET", "/jwt/refresh/:id", false},
		}},
		{"administration that is named", domain.Permissions{"/tenant": {"GET"}, "*": {"POST"}}, []ask{
			{"GET", "/tenant", true}, {"GET", "/tenant/:id", true}, {"POST", "/tenant", false},
			{"GET", "/application", false},
		}},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			for _, a := range tt.asks {
				if got := tt.p.Allow(a.method, a.path); got != a.want {
					t.Errorf("%s %s: got %t, want %t", a.method, a.path, got, a.want)
				}
			}
		})
	}
}

func TestAPIKeyPermits(t *testing.T) {
	k := domain.APIKey{Name: "backend", TenantID: "acme", Permissions: domain.Permissions{"/jwt/issue": {"POST"}},
		ExpiresAt: issued}
	forever := k
	forever.ExpiresAt = time.Time{}
	for _, tt := range []struct {
		rule   string
		key    domain.APIKey
		action domain.Action
		now    time.Time
		want   bool
	}{
		{"before it expires", k, domain.TokenIssue, issued.Add(-µs), true},
		{"at its expiry", k, domain.TokenIssue, issued, false},
		{"another endpoint", k, domain.TokenExchange, issued.Add(-µs), false},
		{"another method", k, domain.TokenRead, issued.Add(-µs), false},
		{"a key that never expires", forever, domain.TokenIssue, issued.Add(100 * 365 * day), true},
		{"never expiring does not permit more", forever, domain.TokenRevoke, issued, false},
	} {
		if got := tt.key.Permits(tt.action, tt.now); got != tt.want {
			t.Errorf("%s: got %t, want %t", tt.rule, got, tt.want)
		}
	}
}

func TestAPIKeyServesItsTenant(t *testing.T) {
	for _, tt := range []struct {
		of, tenant string
		want       bool
	}{{"acme", "acme", true}, {"acme", "other", false}, {"acme", "", false}, {"acme", "Acme", false},
		{"", "acme", true}} {
		if got := (domain.APIKey{TenantID: tt.of}).Serves(tt.tenant); got != tt.want {
			t.Errorf("a key of %q for %q: got %t, want %t", tt.of, tt.tenant, got, tt.want)
		}
	}
}

func TestAPIKeyValidate(t *testing.T) {
	good := domain.APIKey{Name: "backend", TenantID: "acme", Permissions: domain.Permissions{
		"/jwt/issue": {"POST"}, "/jwt/refresh": {"GET", "POST", "DELETE"}, "/jwt/refresh/:id": {"*"}, "*": {"*"},
		"/tenant":   {"PUT"},
		"/sessions": {"GET"}, "/revocations": {"*"},
		"/tenant/:id": {"PATCH"}, "/audit": {"*"},
	}}
	wantCodes(t, good.Validate())
	wantCodes(t, domain.APIKey{Name: "reads nothing"}.Validate())
	wantCodes(t, domain.APIKey{TenantID: "a b"}.Validate(), "[blank]name", "[invalid]tenantId")
	for endpoint, methods := range map[string][]string{
		"": {"GET"}, "/": {"GET"}, "jwt/refresh": {"GET"}, "/jwt/refresh/": {"GET"}, "**": {"GET"},
		"/jwt/refresh/:id": {"get"}, "/jwt/issue": {"POST", ""}, "/tenant": {"OPTIONS"}, "/application": {"GET,POST"},
		// A misspelled permission would grant nothing, and cause a 401 without an apparent reason.
		"/jwt/isue": {"POST"}, "/jwt/refrеsh": {"GET"}, "/jwt/refresh/:tokenId": {"GET"}, "/jwt/refresh/1": {"GET"},
		"/jwt":     {"GET"},
		"/tenants": {"GET"}, "/tenant/x": {"GET"}, "/tenant/:id/key": {"GET"}, "/JWT/issue": {"POST"}, "*/": {"*"},
		"/jwt/refresh": {"PUT"}, "/sessions": {"DELETE"}, "/revocations": {"POST"}, "/sessions/:id": {"GET"},
		"/session": {"GET"},
	} {
		t.Run(fmt.Sprintf("%s %q", endpoint, methods), func(t *testing.T) {
			wantCodes(t, domain.APIKey{Name: "x", Permissions: domain.Permissions{endpoint: methods}}.Validate(),
				"[invalid]permissions.endpoints."+endpoint)
		})
	}
	wantCodes(t, domain.APIKey{Name: "x", Permissions: domain.Permissions{"/jwt/issue": {}}}.Validate(),
		"[blank]permissions.endpoints./jwt/issue")
	wantCodes(t, domain.APIKey{Name: "x", Permissions: domain.Permissions{"/jwt/issue": {"DELETE"}}}.Validate(),
		"[invalid]permissions.endpoints./jwt/issue")
}

func TestAnUnknownEndpointIsToldTheKnownOnes(t *testing.T) {
	err := domain.APIKey{Name: "x", Permissions: domain.Permissions{"/jwt/isue": {"GET"}}}.Validate()
	var invalid *domain.Invalid
	if !errors.As(err, &invalid) {
		t.Fatalf("got %v, want an *Invalid", err)
	}
	got := invalid.Fields[0]
	if got.Name != "/jwt/isue" {
		t.Errorf("name: got %q, want /jwt/isue", got.Name)
	}
	for _, want := range []string{"/jwt/issue", "/sessions", "/tenant"} {
		if !slices.Contains(got.Known, want) {
			t.Errorf("known: got %q, want %s among them", got.Known, want)
		}
	}
	want := "there is no such endpoint: name one of /jwt/issue, /jwt/refresh, /jwt/refresh/:id, " +
		`/oauth2/introspect, /revocations, /sessions, /api-key, /key, /tenant, /application, /audit, or "*"`
	if got.Text() != want || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("text: got %q in %v, want %q", got.Text(), err, want)
	}
	var merged domain.Problems
	merged.Merge("apiKeys[0].", err)
	got.Field = "apiKeys[0]." + got.Field
	if diff := cmp.Diff(&domain.Invalid{Fields: []domain.FieldError{got}}, merged.Err()); diff != "" {
		t.Errorf("merged (-want +got):\n%s", diff)
	}
}

// The same input gives the same error, byte by byte: the order of a map must not show.
func TestAPIKeyProblemsAreInOrder(t *testing.T) {
	k := domain.APIKey{Name: "x", Permissions: domain.Permissions{"/c": {"x"}, "/a": {"x"}, "/b": {"x"}, "/d": {"x"},
		"/e": {"x"}}}
	for range 20 {
		wantCodes(t, k.Validate(), "[invalid]permissions.endpoints./a", "[invalid]permissions.endpoints./b",
			"[invalid]permissions.endpoints./c",
			"[invalid]permissions.endpoints./d", "[invalid]permissions.endpoints./e")
	}
}

// A key that manages others must not be able to make one that may do more than itself.
func TestAnAPIKeyManagesNoWiderKey(t *testing.T) {
	const rest = "/api-key"
	at := time.Date(2031, 2, 3, 0, 0, 0, 0, time.UTC)
	key := func(tenant string, expires time.Time, p domain.Permissions) domain.APIKey {
		return domain.APIKey{Name: "x", TenantID: tenant, ExpiresAt: expires, Permissions: p}
	}
	of := func(p domain.Permissions) domain.APIKey { return key("", time.Time{}, p) }
	never := time.Time{}
	endpoints := func(names ...string) (codes []string) {
		for _, name := range names {
			codes = append(codes, "[forbidden]permissions.endpoints."+name)
		}
		return codes
	}
	for _, tt := range []struct {
		name           string
		manager, other domain.APIKey
		want           []string
	}{
		{"the same", of(domain.Permissions{rest: {"*"}}), of(domain.Permissions{rest: {"*"}}), nil},
		{"nothing", of(nil), of(nil), nil},
		{"a method less", of(domain.Permissions{rest: {"GET", "POST"}}), of(domain.Permissions{rest: {"GET"}}), nil},
		{"a method more", of(domain.Permissions{rest: {"GET"}}), of(domain.Permissions{rest: {"GET", "POST"}}),
			endpoints(rest)},
		{"every method", of(domain.Permissions{rest: {"GET"}}), of(domain.Permissions{rest: {"*"}}), endpoints(rest)},
		{"every method, all of which it lists", of(domain.Permissions{rest: {"GET", "POST", "PUT", "PATCH", "DELETE"}}),
			of(domain.Permissions{rest: {"*"}}), nil},
		{"several", of(domain.Permissions{"/jwt/refresh": {"GET"}}),
			of(domain.Permissions{"/jwt/issue": {"POST"}, "/jwt/refresh": {"GET"}, "/tenant": {"GET"}}),
			endpoints("/jwt/issue", "/tenant")},
		{"one object of all", of(domain.Permissions{"/tenant": {"GET"}}), of(domain.Permissions{"/tenant/:id": {"GET"}}),
			nil},
		{"all, of one object", of(domain.Permissions{"/tenant/:id": {"GET"}}), of(domain.Permissions{"/tenant": {"GET"}}),
			endpoints("/tenant")},
		{"one session of a user's", of(domain.Permissions{"/jwt/refresh": {"GET"}}),
			of(domain.Permissions{"/jwt/refresh/:id": {"GET"}}), nil},
		{"an endpoint below everything", of(domain.Permissions{"*": {"GET"}}),
			of(domain.Permissions{"/jwt/refresh": {"GET"}}), nil},
		{"everything, of one endpoint", of(domain.Permissions{"/jwt/refresh": {"GET"}}),
			of(domain.Permissions{"*": {"PATCH"}}), endpoints("*")},
		{"everything, of one endpoint that is all with this method", of(domain.Permissions{"/jwt/refresh": {"GET"}}),
			of(domain.Permissions{"*": {"GET"}}), nil},
		{"administration, beyond everything", of(domain.Permissions{"*": {"*"}}),
			of(domain.Permissions{rest: {"GET"}, "/audit": {"GET"}, "/key/:id": {"GET"}}),
			endpoints(rest, "/audit", "/key/:id")},
		{"everything, with administration only", of(domain.Permissions{rest: {"*"}}),
			of(domain.Permissions{"*": {"*"}}), endpoints("*")},
		{"lists of sessions, beyond everything", of(domain.Permissions{"*": {"*"}}),
			of(domain.Permissions{domain.SessionsPermission: {"GET"}}), endpoints(domain.SessionsPermission)},
		{"revocations, beyond everything", of(domain.Permissions{"*": {"*"}}),
			of(domain.Permissions{domain.RevocationsPermission: {"GET"}}), endpoints(domain.RevocationsPermission)},
		{"its own tenant", key("acme", never, nil), key("acme", never, nil), nil},
		{"another tenant", key("acme", never, nil), key("globex", never, nil), []string{"[forbidden]tenantId"}},
		{"every tenant", key("acme", never, nil), key("", never, nil), []string{"[forbidden]tenantId"}},
		{"one tenant of all", key("", never, nil), key("acme", never, nil), nil},
		{"the same expiry", key("", at, nil), key("", at, nil), nil},
		{"an earlier expiry", key("", at, nil), key("", at.Add(-1), nil), nil},
		{"a later expiry", key("", at, nil), key("", at.Add(1), nil), []string{"[forbidden]expiresAt"}},
		{"no expiry", key("", at, nil), key("", never, nil), []string{"[forbidden]expiresAt"}},
		{"an expiry, of none", key("", never, nil), key("", at, nil), nil},
		{"all of it", key("acme", at, nil), key("", never, domain.Permissions{rest: {"GET"}}),
			append(append([]string{"[forbidden]tenantId"}, endpoints(rest)...), "[forbidden]expiresAt")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.manager.CheckManages(tt.other)
			if tt.want == nil {
				if err != nil {
					t.Errorf("got %v, want nil", err)
				}
				return
			}
			wantCodes(t, err, tt.want...)
		})
	}
}

// If a key may manage another one, it allows every request that the other one allows, whatever both are.
func TestAManagedAPIKeyAllowsNothingThatItsManagerDoesNot(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	known := append(domain.AdministrationEndpoints(), "*", domain.SessionsPermission, domain.RevocationsPermission)
	for endpoint := range domain.Endpoints() {
		known = append(known, endpoint)
	}
	for _, endpoint := range domain.AdministrationEndpoints() {
		known = append(known, endpoint+"/:id")
	}
	slices.Sort(known)
	methods := []string{"GET", "POST", "PUT", "PATCH", "DELETE"}
	some := func() domain.Permissions {
		p := domain.Permissions{}
		for range random.IntN(5) {
			p[known[random.IntN(len(known))]] = []string{append(methods, "*", "*")[random.IntN(7)]}
		}
		return p
	}
	allowed, refused := 0, 0
	for range 20_000 {
		manager, other := domain.APIKey{Permissions: some()}, domain.APIKey{Permissions: some()}
		wider := ""
		for _, endpoint := range known {
			for _, method := range methods {
				named := domain.APIKey{Name: "x", Permissions: domain.Permissions{endpoint: {method}}}
				if endpoint != "*" && named.Validate() == nil && other.Permissions.Allow(method, endpoint) &&
					!manager.Permissions.Allow(method, endpoint) {
					wider = method + " " + endpoint
				}
			}
		}
		if err := manager.CheckManages(other); (err == nil) != (wider == "") {
			t.Fatalf("%v manages %v: %v, though the second allows %q beyond the first", manager.Permissions,
				other.Permissions, err, wider)
		} else if err == nil {
			allowed++
		} else {
			refused++
		}
	}
	if allowed < 1000 || refused < 1000 {
		t.Errorf("%d pairs were allowed and %d refused: the sample shows little", allowed, refused)
	}
}

func TestANewAPIKeyIsOne(t *testing.T) {
	key, err := domain.NewAPIKey(strings.NewReader(strings.Repeat("r", 32)))
	if err != nil || !domain.IsAPIKey(key.Reveal()) {
		t.Errorf("got %q, %v", key.Reveal(), err)
	}
	if _, err := domain.NewAPIKey(strings.NewReader("short")); err == nil {
		t.Error("a key was made of too little randomness")
	}
}
