package manifest

import (
	_ "embed"
	"fmt"
	"maps"
	"slices"

	"github.com/refreshd/refreshd/adapter/web/strict"
	"github.com/refreshd/refreshd/domain"
)

// Example is a kickstart file to begin with. It takes the API key from BACKEND_KEY.
//
//go:embed example.yaml
var Example string

// Field describes one member of a document, for the documentation.
type Field struct {
	Name     string // objects within objects joined by dots
	Type     string
	Words    []string // the only values; nil if there are others
	Default  string   // empty where there is none
	Required bool
	Meaning  string
	Example  string // a value as YAML writes it
}

// TenantFields describe the members of a tenant, without its policy and its applications.
func TenantFields() []Field { return describe("tenant.", new(Tenant)) }

// ApplicationFields describe the members of an application, without its policy.
func ApplicationFields() []Field { return describe("application.", new(Application)) }

// APIKeyFields describe the members of an API key.
func APIKeyFields() []Field { return describe("apiKey.", new(APIKey)) }

// KeyFields describe the members of a signing key that is imported.
func KeyFields() []Field { return describe("key.", new(SigningKey)) }

// PolicyFields describe the policy, which tenants and applications set field by field.
func PolicyFields() []Field {
	all := membersOf("", settings(new(domain.Settings)))
	defaults := map[string]string{}
	for _, s := range domain.DefaultPolicy().Settings().List() {
		defaults[s.Field] = s.Value
	}
	limits := map[string]domain.SettingField{}
	for _, f := range new(domain.Settings).Fields() {
		limits[f.Name] = f
	}
	for i := range all {
		f, limit := &all[i], limits[all[i].Name]
		f.Default, f.Words = defaults[f.Name], limit.Words
		if limit.High > 0 {
			f.Type = fmt.Sprintf("%d to %d", limit.Low, limit.High)
		}
	}
	return all
}

// describe returns the members of an object that are not in the policy.
func describe(kind string, o strict.Object) []Field {
	var policy []string
	for _, m := range settings(new(domain.Settings)) {
		policy = append(policy, m.Name)
	}
	own := slices.DeleteFunc(o.Members(), func(m strict.Member) bool {
		return slices.Contains(policy, m.Name) || m.Name == "applications"
	})
	return membersOf(kind, own)
}

// membersOf describes the members of objects within objects, each by its path. kind comes before the names in texts.
func membersOf(kind string, ms strict.Members) (all []Field) {
	for _, m := range ms {
		if nested, ok := m.Into.(strict.Members); ok {
			for _, f := range membersOf(kind+m.Name+".", nested) {
				f.Name = m.Name + "." + f.Name
				all = append(all, f)
			}
			continue
		}
		t, ok := texts[kind+m.Name]
		if !ok {
			panic("manifest: " + kind + m.Name + " has no text")
		}
		all = append(all, Field{
			Name: m.Name, Type: typeOf(m.Into), Required: t.required, Meaning: t.meaning, Example: t.example,
			Default: t.absent,
		})
	}
	return all
}

func typeOf(into any) string {
	switch into.(type) {
	case **bool:
		return "true or false"
	case **int64:
		return "whole number"
	case *instant:
		return "time (RFC 3339)"
	case *domain.Permissions:
		return "methods by endpoint"
	case *strict.Raw:
		return "object"
	case *[]string:
		return "list of texts"
	case *[]ClientSecret:
		return "list of objects"
	default:
		return "text"
	}
}

// text describes what the type of a member does not say.
type text struct {
	meaning, example string
	absent           string // what holds without it, where the domain has no default
	required         bool
}

// texts are keyed by the path of the member. Outside the policy, the kind of the object comes before the path.
var texts = map[string]text{
	"tenant.id": {
		meaning: "Names the tenant in requests (`X-Stencil-TenantId`) and in the path of its key set. " +
			"1 to 64 letters, digits and `. _ ~ -`.",
		example: "acme", required: true,
	},
	"tenant.name": {meaning: "For people. At most 255 bytes.", example: "Acme", absent: "none"},
	"tenant.issuer": {
		meaning: "`iss` of its access tokens: an https or http URL without query and fragment, of at most 255 characters. " +
			"No two tenants share one, and it must not end in `/t/` and the id of another tenant.",
		example: "https://auth.acme.example", absent: "the public URL and `/t/` and the id",
	},
	"tenant." + domain.FieldAuthorizationEndpoint: {
		meaning: "`authorization_endpoint` in the tenant's metadata: the URL of your own login. Some clients refuse " +
			"metadata without it.",
		example: "https://login.acme.example/authorize", absent: "none",
	},
	"tenant." + domain.FieldEndSessionEndpoint: {
		meaning: "`end_session_endpoint` in the tenant's metadata: the URL of your own logout.",
		example: "https://login.acme.example/logout", absent: "none",
	},
	"tenant." + domain.FieldUserinfoEndpoint: {
		meaning: "`userinfo_endpoint` in the tenant's metadata: the URL of your own profile service.",
		example: "https://login.acme.example/userinfo", absent: "none",
	},
	"application.id": {
		meaning: "Names the application within its tenant; `aud` of its access tokens. 1 to 255 bytes.",
		example: "shop", required: true,
	},
	"application.name": {meaning: "For people. At most 255 bytes.", example: "Shop", absent: "none"},
	"application." + domain.FieldAudiences: {
		meaning: "What its access tokens may be for besides the application, as `resource` or `audience` of a request " +
			"asks: at most 10 URIs or names.",
		example: "[https://api.example.com]", absent: "only the application",
	},
	"application." + domain.FieldOrigins: {
		meaning: "The origins whose pages may use it as an OAuth client: scheme and host, at most 50.",
		example: "[https://app.example.com]", absent: "those of the process",
	},
	"application." + domain.FieldClientKeys: {
		meaning: "A JWK Set with the public keys by which the client signs its assertions (RFC 7523), at most 16 KiB. An " +
			"application with keys or secrets is a confidential client: it must authenticate.",
		example: "{keys: [{kty: OKP, crv: Ed25519, x: 11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo}]}", absent: "none",
	},
	"application." + domain.FieldClientSecrets: {
		meaning: "Its client secrets, the newest first, at most two: `secret` is 24 to 256 printable ASCII characters, " +
			"from a variable. Stored as a keyed hash. `[]` makes it a public client.",
		example: "[{secret: '${SHOP_SECRET}'}]", absent: "the secrets that are stored",
	},
	"apiKey.name": {
		meaning: "Unique. How the log, the audit trail and this file call the key. 1 to 255 bytes.",
		example: "backend", required: true,
	},
	"apiKey.key": {
		meaning: "The key itself: `ak_` and at least 24 more of `A-Z a-z 0-9 _ -`; at most 256 characters. Stored as a " +
			"keyed hash. `${NAME}` takes it from the environment, `${file:PATH}` from a file. An API key that does not exist " +
			"yet needs it.",
		example: "${BACKEND_KEY}", absent: "the text that is stored under this name",
	},
	"apiKey.tenantId": {meaning: "The only tenant that the key serves.", example: "acme", absent: "every tenant"},
	"apiKey.permissions.endpoints": {
		meaning: "What the key may do.",
		example: `{"/jwt/issue": [POST]}`, absent: "nothing",
	},
	"apiKey.expiresAt": {
		meaning: "When the key ends; it is refused afterwards.", example: "2030-01-31T12:00:00Z", absent: "never",
	},
	"key.id": {
		meaning: "`kid` of the access tokens that the key signs: 1 to 64 printable ASCII characters that JSON does not " +
			"escape. It belongs to one key: another private key under an id that is stored is refused.",
		example: "former-1", required: true,
	},
	"key.tenantId": {meaning: "The only tenant that it signs for.", example: "acme", absent: "every tenant"},
	"key.algorithm": {
		meaning: "The algorithm of the signatures of an RSA key.",
		example: "PS256", absent: "RS256, or the only one of the key",
	},
	"key.name": {meaning: "For people. At most 255 bytes.", example: "Of the former server", absent: "none"},
	"key.privateKey": {
		meaning: "The private key, in PEM or as a JWK. Stored sealed. `${NAME}` takes it from the environment, " +
			"`${file:PATH}` from a file. A key that is not stored yet needs it.",
		example: "${file:former.pem}", absent: "the key that is stored under this id",
	},
	"key.knownSince": {
		meaning: "Since when verifiers know the key, because another server published it. It counts when the key is " +
			"imported.",
		example: "2026-01-31T12:00:00Z", absent: "the import",
	},

	domain.FieldActive: {
		meaning: "false refuses exchanges with `[inactive]` and keeps the sessions. A tenant that is inactive makes all " +
			"its applications inactive.",
		example: "false",
	},
	domain.FieldRequireAuthentication: {
		meaning: "true: an exchange needs an API key with POST on `/jwt/refresh`, and the tenant header.",
		example: "true",
	},
	domain.FieldCookieOnly: {
		meaning: "true: the response to an exchange by cookie leaves `refreshToken` out of its body.",
		example: "false",
	},
	domain.FieldCookieName: {
		meaning: "Name of the refresh token's cookie; the access token's is this and `_access`. Empty: `refresh_token` and " +
			"`access_token`. At most 64 bytes of letters, digits and ``!#$%&'*+-.^_`|~``, not ending in `_access`.",
		example: "__Host-shop",
	},
	domain.FieldCookieDomain: {
		meaning: "`Domain` of both cookies, for a host and its subdomains. Not with a `cookieName` that begins with " +
			"`__Host-`. Empty: none.",
		example: "example.com",
	},
	domain.FieldCookieHostOnly: {
		meaning: "true: issue may set cookies without a `Domain`. Not with `cookieDomain`.",
		example: "true",
	},
	domain.FieldAccessTokenSeconds: {
		meaning: "Lifetime of an access token, which expires no later than its refresh token.", example: "300",
	},
	domain.FieldAccessTokenType: {
		meaning: "`typ` of an access token; `JWT` is for verifiers that refuse `at+jwt` (RFC 9068).", example: "JWT",
	},
	domain.FieldAlgorithm: {
		meaning: "Signs access tokens. Not every verifier knows EdDSA.", example: "RS256",
	},
	domain.FieldExpiration: {
		meaning: "When a refresh token expires. `Fixed`: a fixed time after issue. `SlidingWindow`: some time after its " +
			"last use. `SlidingWindowWithMaximumLifetime`: the same, but a maximum time after issue at the latest.",
		example: "Fixed",
	},
	domain.FieldTTLMinutes: {
		meaning: "Lifetime of a refresh token, from issue (`Fixed`) or from the last use. 43200 is 30 days.",
		example: "10080",
	},
	domain.FieldMaximumTTLMinutes: {
		meaning: "Maximum lifetime from issue, for `SlidingWindowWithMaximumLifetime`; not below " +
			"`refreshTokenTimeToLiveInMinutes`. 525600 is 365 days.",
		example: "129600",
	},
	domain.FieldUsage: {
		meaning: "Whether an exchange rotates the token string. `Reusable` detects no stolen copies.", example: "Reusable",
	},
	domain.FieldGraceSeconds: {
		meaning: "How long a response is repeated: exchanges within this time get the same response again. At most " +
			"half of the refresh token's lifetime. 0 turns retries off.",
		example: "60",
	},
	domain.FieldRecoveryBurst: {
		meaning: "Maximum of recoveries in a row. A recovery is an exchange of the previous token string after the " +
			"grace period. 0 turns recovery off.",
		example: "1",
	},
	domain.FieldRecoveryInterval: {
		meaning: "Number of rotations after which one more recovery is allowed; above `recoveryBurst`.", example: "20",
	},
	domain.FieldRevokeOnReplay: {
		meaning: "Whether a replay (the use of an old token string) revokes the session.", example: "false",
	},
	domain.FieldMaximumActiveTokens: {
		meaning: "Maximum of active sessions of a user in an application; a login that exceeds it revokes the oldest. 0 " +
			"for no limit.",
		example: "5",
	},
}

// Permission describes what a permission for one method of one endpoint allows.
type Permission struct{ Endpoint, Method, Meaning string }

// Permissions describe everything that a permission can name and a request needs: first what "*" covers and the names
// of permissions that are not paths, then administration.
func Permissions() (all []Permission) {
	endpoints := domain.Endpoints()
	endpoints[domain.SessionsPermission] = []string{"GET"}
	endpoints[domain.RevocationsPermission] = []string{"GET"}
	for _, endpoint := range slices.Sorted(maps.Keys(endpoints)) {
		for _, method := range endpoints[endpoint] {
			meaning, ok := allows[method+" "+endpoint]
			if !ok {
				panic("manifest: the permission " + method + " " + endpoint + " has no text")
			}
			all = append(all, Permission{endpoint, method, meaning})
		}
	}
	return append(all, administration()...)
}

// administration describes the permissions of administration.
func administration() (all []Permission) {
	for _, o := range []struct{ endpoint, one, many, more string }{
		{"/api-key", "an API key", "API keys", " that is not wider than the key of the request"},
		{"/application", "an application", "applications", ""},
		{"/tenant", "a tenant", "tenants", ""},
	} {
		id := o.endpoint + "/:id"
		all = append(all,
			Permission{o.endpoint, "GET", "List the " + o.many + "."},
			Permission{o.endpoint, "POST", "Create " + o.one + o.more + "."},
			Permission{id, "GET", "Retrieve " + o.one + "."},
			Permission{id, "POST", "Create " + o.one + o.more + ", with this id."},
			Permission{id, "PUT", "Replace " + o.one + o.more + "."},
			Permission{id, "PATCH", "Change " + o.one + o.more + "."},
			Permission{id, "DELETE", "Delete " + o.one + o.more + "."})
	}
	return append(all,
		Permission{"/key", "GET", "List the keys that sign access tokens, authenticate token strings and so on, " +
			"without their content."},
		Permission{"/key", "POST", "Make, import, rotate, change, retire and revoke keys, and seal them again: one " +
			"permission for all of it. A key for one tenant changes the signing keys of that tenant."},
		Permission{"/key/:id", "GET", "Retrieve a key, without its content."},
		Permission{"/audit", "GET", "List the events of the audit trail."})
}

// allows is keyed by method and endpoint.
var allows = map[string]string{
	"POST /jwt/issue":         "Issue a refresh token and an access token for any user of the tenant.",
	"POST /jwt/refresh":       "Exchange, where `requireAuthentication` is true.",
	"GET /jwt/refresh":        "List and count the sessions of a user.",
	"PATCH /jwt/refresh":      "Change roles, scopes, claims and metadata of all sessions of a user.",
	"DELETE /jwt/refresh":     "Revoke by any selector: up to a whole tenant (`allInTenant`).",
	"GET /jwt/refresh/:id":    "Retrieve one session.",
	"POST /jwt/refresh/:id":   "Nothing by itself: a form needs the permission for the method that it stands for.",
	"PATCH /jwt/refresh/:id":  "Change one session.",
	"DELETE /jwt/refresh/:id": "Revoke one session.",
	"POST /oauth2/introspect": "Introspect any refresh token and access token of the tenant (RFC 7662).",
	"GET /sessions":           "List and count the sessions of an application or a tenant, active and ended.",
	"GET /revocations":        "Follow the revocations of the tenant, at `/t/:tenantId/revocations`.",
}
