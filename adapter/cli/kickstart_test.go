package cli_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/adapter/cli"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase/admin"
)

const file = "kickstart.yaml"

// variables are an environment of these.
func variables(env map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		s, ok := env[name]
		return s, ok
	}
}

func read(t *testing.T, text string, env map[string]string) cli.Document {
	t.Helper()
	d, err := cli.ReadKickstart(file, []byte(text), variables(env))
	if err != nil {
		t.Fatalf("ReadKickstart: %v\n%s", err, text)
	}
	return d
}

func pointer[T any](v T) *T { return &v }

func TestAKickstartFileSaysWhatItSays(t *testing.T) {
	got := read(t, `
tenants:
  - id: acme
    name: Acme
    issuer: https://auth.acme.example
    jwtConfiguration: {timeToLiveInSeconds: 900}
    applications:
      - id: shop
        name: Shop
        active: true                 # default true
        requireAuthentication: false # default false
        jwtConfiguration: {refreshTokenOneTimeUseConfiguration: {gracePeriodInSeconds: 30}}
      - id: back office
apiKeys:
  - name: backend
    key: ${BACKEND_KEY}              # from the environment
    tenantId: acme
    permissions: {endpoints: {"/jwt/issue": ["POST"], "/jwt/refresh": ["GET", "DELETE"]}}
    expiresAt: 2030-01-31T01:30:00.0000009+01:00
  - name: 'operator'
    key: ak_0123456789abcdefghijklmn
`, map[string]string{"BACKEND_KEY": "ak_from-the-environment_24"}).Kickstart
	want := admin.Kickstart{
		By: domain.Origin{Actor: domain.Actor{Kind: domain.ActorKickstart, Name: "kickstart.yaml"}},
		Tenants: []admin.KickstartTenant{{
			Tenant: domain.Tenant{
				ID: "acme", Name: "Acme", Issuer: "https://auth.acme.example",
				Settings: domain.Settings{AccessTokenSeconds: pointer[int64](900)},
			},
			Applications: []domain.Application{
				{ID: "shop", Name: "Shop", Settings: domain.Settings{
					Active: pointer(true), RequireAuthentication: pointer(false), GraceSeconds: pointer[int64](30),
				}},
				{ID: "back office"},
			},
		}},
		APIKeys: []admin.KickstartAPIKey{
			{
				APIKey: domain.APIKey{
					Name: "backend", TenantID: "acme",
					Permissions: domain.Permissions{"/jwt/issue": {"POST"}, "/jwt/refresh": {"GET", "DELETE"}},
					ExpiresAt:   time.Date(2030, 1, 31, 0, 30, 0, 0, time.UTC),
				},
				Key: domain.NewSecret("ak_from-the-environment_24"),
			},
			{
				APIKey: domain.APIKey{Name: "operator", Permissions: domain.Permissions{}},
				Key:    domain.NewSecret("ak_0123456789abcdefghijklmn"),
			},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A setting that the file cannot name could be set by no one: the file is the only way to set it.
func TestEverySettingCanBeSet(t *testing.T) {
	yaml := map[string]struct {
		text string
		want any
	}{
		"Active":                {"active: false", false},
		"RequireAuthentication": {"requireAuthentication: true", true},
		"CookieOnly":            {"cookieOnly: true", true},
		"CookieName":            {"cookieName: shop_session", "shop_session"},
		"CookieHostOnly":        {"cookieHostOnly: true", true},
		"CookieDomain":          {"cookieDomain: acme.example", "acme.example"},
		"AccessTokenSeconds":    {"jwtConfiguration: {timeToLiveInSeconds: 11}", int64(11)},
		"AccessTokenType":       {"jwtConfiguration: {accessTokenType: JWT}", domain.TypeJWT},
		"Algorithm":             {"jwtConfiguration: {algorithm: PS256}", domain.PS256},
		"Expiration":            {"jwtConfiguration: {refreshTokenExpirationPolicy: Fixed}", domain.Fixed},
		"TTLMinutes":            {"jwtConfiguration: {refreshTokenTimeToLiveInMinutes: 12}", int64(12)},
		"MaximumTTLMinutes": {"jwtConfiguration: {refreshTokenSlidingWindowConfiguration: " +
			"{maximumTimeToLiveInMinutes: 13}}", int64(13)},
		"Usage": {"jwtConfiguration: {refreshTokenUsagePolicy: Reusable}", domain.Reusable},
		"GraceSeconds": {"jwtConfiguration: {refreshTokenOneTimeUseConfiguration: {gracePeriodInSeconds: 14}}",
			int64(14)},
		"RecoveryBurst": {"jwtConfiguration: {refreshTokenOneTimeUseConfiguration: {recoveryBurst: 15}}", int64(15)},
		"RecoveryInterval": {"jwtConfiguration: {refreshTokenOneTimeUseConfiguration: {recoveryInterval: 16}}",
			int64(16)},
		"RevokeOnReplay":      {"jwtConfiguration: {refreshTokenRevocationPolicy: {onOneTimeTokenReuse: false}}", false},
		"MaximumActiveTokens": {"jwtConfiguration: {maximumActiveTokens: 17}", int64(17)},
	}
	for field := range reflect.TypeFor[domain.Settings]().Fields() {
		t.Run(field.Name, func(t *testing.T) {
			y, ok := yaml[field.Name]
			if !ok {
				t.Fatal("no kickstart file sets it")
			}
			var want domain.Settings
			set := reflect.New(field.Type.Elem())
			set.Elem().Set(reflect.ValueOf(y.want))
			reflect.ValueOf(&want).Elem().FieldByIndex(field.Index).Set(set)

			k := read(t, "tenants:\n- id: a\n  "+y.text+"\n  applications:\n  - id: b\n    "+y.text+"\n", nil).Kickstart
			if diff := cmp.Diff(want, k.Tenants[0].Tenant.Settings); diff != "" {
				t.Errorf("of the tenant (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(want, k.Tenants[0].Applications[0].Settings); diff != "" {
				t.Errorf("of the application (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAFileWithoutContentIsNothingToDo(t *testing.T) {
	for _, text := range []string{"", "\n\n", "# later\n", "---\n", "---\n# later\n...\n", "{}",
		"tenants: []\napiKeys: []\n", "\ufeff# a byte order mark\n"} {
		if got := read(t, text, nil).Kickstart; len(got.Tenants)+len(got.APIKeys) != 0 {
			t.Errorf("ReadKickstart(%q) = %+v, want nothing", text, got)
		}
	}
}

func TestNonsenseIsRefusedWithLineAndField(t *testing.T) {
	tests := []struct {
		name, text string
		want       []string // what each line begins with, after the name of the file and a colon
	}{
		{"text", "hello", []string{"1: must be an object, not text"}},
		{"a number", "\n7", []string{"2: must be an object, not a number"}},
		{"a list", "- tenants", []string{"1: must be an object, not a list"}},
		{"null in so many words", "null", []string{"1: has no value"}},
		{"JSON cut off", `{"tenants": [`, []string{"1: not valid YAML"}},
		{"a tab for indentation", "tenants:\n\t- id: a",
			[]string{"2: not valid YAML, here or above: found character that cannot start any token"}},
		{"a quote that does not end", "tenants:\n  - id: \"a\n",
			[]string{"2: not valid YAML, here or above: found unexpected end of stream"}},
		{"wrong indentation", "tenants:\n  - id: a\n name: b\n",
			[]string{"3: not valid YAML, here or above: did not find expected key"}},
		{"wrong indentation below a list", "tenants:\n  - id: a\n    name: A\n   issuer: b\n  - id: c\n",
			[]string{"4: not valid YAML, here or above: did not find expected '-' indicator"}},
		{"a bracket that does not close", "apiKeys:\n- name: a\n- {name: b\n- {name: c}\n",
			[]string{"4: not valid YAML, here or above: did not find expected ',' or '}'"}},
		{"a bracket that closes nothing", "tenants: []\n]",
			[]string{"2: not valid YAML, here or above: did not find expected"}},
		{"a variable in brackets without quotes", "apiKeys:\n- name: a\n- {name: b, key: ${SET}}\n",
			[]string{"3: not valid YAML, here or above: did not find expected ',' or '}'; " +
				"within brackets ${NAME} needs quotes"}},
		{"a colon within a text", "tenants:\n- id: a\n  name: b: c\n",
			[]string{"3: not valid YAML, here or above: mapping values are not allowed"}},
		{"a tag that is not declared", "tenants:\n- id: !x!y a\n",
			[]string{"2: not valid YAML, here or above: found undefined tag handle"}},
		{"no UTF-8", "tenants:\n  - id: \xff\n", []string{"2: this is not text in UTF-8"}},
		{"UTF-16", "\xff\xfet\x00", []string{"1: this is not text in UTF-8"}},
		{"a control character", "\n\n# \x07\n", []string{"3: this is not text in UTF-8, or has a control character"}},
		{"larger than 16 MiB", strings.Repeat("#", 16<<20) + "\n", []string{" is larger than 16 MiB"}},
		{"two documents", "tenants: []\n---\ntenants: []\n", []string{"2: a second document begins here"}},
		{"two documents, the first with a slip", "tenant: []\n---\ntenants: []\n",
			[]string{"1: tenant: is not known here", "2: a second document begins here"}},
		{"an empty second document", "tenants: []\n---\n", []string{"2: a second document begins here"}},
		{"nonsense after the document", "tenants: []\n...\n[", []string{"3: not valid YAML"}},

		{"an unknown name, near miss", "tenant: []", []string{"1: tenant: is not known here; did you mean tenants?"}},
		{"an unknown name in another case", "tenants:\n- ID: a",
			[]string{"2: tenants[0].ID: is not known here; did you mean id?"}},
		{"an unknown name, nothing like it", "users: []",
			[]string{"1: users: is not known here; known are apiKeys, keys, sealedKeys, tenants"}},
		{"an unknown name of an application", "tenants:\n- id: a\n  applications:\n  - id: b\n    issuer: https://b.example",
			[]string{"5: tenants[0].applications[0].issuer: is not known here"}},
		{"an unknown name deep inside",
			"tenants:\n- id: a\n  jwtConfiguration:\n    refreshTokenOneTimeUseConfiguration:\n      gracePeriodSeconds: 30",
			[]string{"5: tenants[0].jwtConfiguration.refreshTokenOneTimeUseConfiguration.gracePeriodSeconds: is not known " +
				"here; did you mean gracePeriodInSeconds?"}},
		{"an unknown name of an API key", "apiKeys:\n- name: a\n  hash: b",
			[]string{"3: apiKeys[0].hash: is not known here"}},
		{"an unknown name beside endpoints", "apiKeys:\n- permissions:\n    /jwt/issue: [POST]",
			[]string{"3: apiKeys[0].permissions./jwt/issue: is not known here; known are endpoints"}},
		{"an unknown name with a line break", "\"a\\n\\e[31mb\": 1", []string{`1: a\n\x1b[31mb: is not known here`}},
		{"an unknown name without end", strings.Repeat("n", 1000) + ": 1", []string{"1: " + strings.Repeat("n", 255) +
			"…: is not known here"}},
		{"an unknown name that looks like a path",
			"tenants:\n- jwtConfiguration.algorithm: EdDSA\n  jwtConfiguration: {algorithm: EdDSA}",
			[]string{"2: tenants[0].jwtConfiguration.algorithm: is not known here; known are active"}},
		{"a number for a name", "7: []", []string{"1: 7: is not known here"}},
		{"an empty name", "\"\": []", []string{"1: a name must be text"}},
		{"an object for a name", "{a: b}: []", []string{"1: a name must be text"}},
		{"a repeated name", "tenants: []\napiKeys: []\ntenants: []", []string{"3: tenants: is already set in line 1"}},
		{"a repeated name, spelt differently", "tenants:\n- id: a\n  \"id\": b",
			[]string{"3: tenants[0].id: is already set in line 2"}},
		{"a repeated endpoint",
			"apiKeys:\n- permissions:\n    endpoints:\n      /jwt/issue: [POST]\n      '/jwt/issue': [GET]",
			[]string{"5: apiKeys[0].permissions.endpoints./jwt/issue: is already set in line 4"}},

		{"null for a list", "tenants:", []string{"1: tenants: has no value"}},
		{"null for an object", "tenants:\n- id: a\n  jwtConfiguration:\n",
			[]string{"3: tenants[0].jwtConfiguration: has no value"}},
		{"null for an item", "tenants:\n-\n", []string{"2: tenants[0]: has no value"}},
		{"null for a text", "tenants:\n- id: ~", []string{"2: tenants[0].id: has no value"}},
		{"null for an instant", "apiKeys:\n- expiresAt: null", []string{"2: apiKeys[0].expiresAt: has no value"}},
		{"an object for a list", "tenants:\n  acme: {name: Acme}", []string{"1: tenants: must be a list, not an object"}},
		{"a text for a list", "apiKeys:\n- permissions: {endpoints: {/jwt/issue: POST}}",
			[]string{"2: apiKeys[0].permissions.endpoints./jwt/issue: must be a list, not text"}},
		{"a list for an object", "apiKeys:\n- permissions: [/jwt/issue]",
			[]string{"2: apiKeys[0].permissions: must be an object, not a list"}},
		{"a list for endpoints", "apiKeys:\n- permissions:\n    endpoints: [/jwt/issue]",
			[]string{"3: apiKeys[0].permissions.endpoints: must be an object, not a list"}},
		{"a text for an object", "tenants:\n- jwtConfiguration: EdDSA",
			[]string{"2: tenants[0].jwtConfiguration: must be an object, not text"}},
		{"an item that is text", "tenants:\n- id: a\n- acme", []string{"3: tenants[1]: must be an object, not text"}},
		{"a number for a text", "tenants:\n- id: 42", []string{"2: tenants[0].id: must be text in quotes, not a number"}},
		{"a fraction for a text", "tenants:\n- id: 4.2e1",
			[]string{"2: tenants[0].id: must be text in quotes, not a number"}},
		{"a boolean for a text", "tenants:\n- id: a\n  name: true",
			[]string{"3: tenants[0].name: must be text in quotes, not true or false"}},
		{"a date for a text", "tenants:\n- id: 2030-01-31", []string{"2: tenants[0].id: must be text in quotes, not a date"}},
		{"a number for a method", "apiKeys:\n- permissions:\n    endpoints:\n      /jwt/issue:\n      - POST\n      - 7",
			[]string{"6: apiKeys[0].permissions.endpoints./jwt/issue[1]: must be text in quotes, not a number"}},
		{"a number for a boolean", "tenants:\n- active: 1",
			[]string{"2: tenants[0].active: must be true or false, not a number"}},
		{"a boolean in quotes", "tenants:\n- active: 'true'",
			[]string{"2: tenants[0].active: must be true or false, not text"}},
		{"a boolean of YAML 1.1", "tenants:\n- active: yes",
			[]string{"2: tenants[0].active: must be true or false, not text"}},
		{"a boolean in upper case", "tenants:\n- active: TRUE",
			[]string{"2: tenants[0].active: must be true or false, in lower case"}},
		{"a number in quotes", "tenants:\n- jwtConfiguration: {timeToLiveInSeconds: \"900\"}",
			[]string{"2: tenants[0].jwtConfiguration.timeToLiveInSeconds: must be a whole number, not text"}},
		{"a duration", "tenants:\n- jwtConfiguration: {timeToLiveInSeconds: 15m}",
			[]string{"2: tenants[0].jwtConfiguration.timeToLiveInSeconds: must be a whole number, not text"}},
		{"a fraction", "tenants:\n- jwtConfiguration: {timeToLiveInSeconds: 900.0}",
			[]string{"2: tenants[0].jwtConfiguration.timeToLiveInSeconds: must be a whole number of decimal digits"}},
		{"an octal number", "tenants:\n- jwtConfiguration: {timeToLiveInSeconds: 0900}",
			[]string{"2: tenants[0].jwtConfiguration.timeToLiveInSeconds: must be a whole number of decimal digits"}},
		{"a hexadecimal number", "tenants:\n- jwtConfiguration: {timeToLiveInSeconds: 0x384}",
			[]string{"2: tenants[0].jwtConfiguration.timeToLiveInSeconds: must be a whole number of decimal digits"}},
		{"a number with underscores", "tenants:\n- jwtConfiguration: {timeToLiveInSeconds: 9_00}",
			[]string{"2: tenants[0].jwtConfiguration.timeToLiveInSeconds: must be a whole number of decimal digits"}},
		{"a number beyond all", "tenants:\n- jwtConfiguration: {maximumActiveTokens: 9223372036854775808}",
			[]string{"2: tenants[0].jwtConfiguration.maximumActiveTokens: must be a whole number of decimal digits"}},
		{"infinity", "tenants:\n- jwtConfiguration: {maximumActiveTokens: .inf}",
			[]string{"2: tenants[0].jwtConfiguration.maximumActiveTokens: must be a whole number of decimal digits"}},
		{"a day for an instant", "apiKeys:\n- expiresAt: 2030-01-31",
			[]string{"2: apiKeys[0].expiresAt: must be a time as in RFC 3339"}},
		{"an instant without zone", "apiKeys:\n- expiresAt: 2030-01-31 12:00:00",
			[]string{"2: apiKeys[0].expiresAt: must be a time as in RFC 3339"}},
		{"seconds for an instant", "apiKeys:\n- expiresAt: 1900000000",
			[]string{"2: apiKeys[0].expiresAt: must be a time as in RFC 3339"}},
		{"the instant that would mean never", "apiKeys:\n- expiresAt: 0001-01-01T00:00:00Z",
			[]string{"2: apiKeys[0].expiresAt: must be a time as in RFC 3339"}},
		{"an empty tenant for a key", "apiKeys:\n- name: a\n  tenantId: ''",
			[]string{"3: apiKeys[0].tenantId: is empty: name the tenant, or omit tenantId"}},

		{"an anchor", "tenants:\n- &first\n  id: a", []string{"2: tenants[0]: anchors (&) and aliases (*) are not allowed"}},
		{"an anchor on a text", "tenants:\n- id: &first a", []string{"2: tenants[0].id: anchors (&)"}},
		{"an anchor on nothing", "tenants: &first\n", []string{"1: tenants: anchors (&)"}},
		{"an anchor on the document", "&first\ntenants: []", []string{"1: anchors (&)"}},
		{"an anchor on a name", "&first tenants: []", []string{"1: anchors (&)"}},
		{"an alias", "tenants:\n- id: &first a\n- id: *first", []string{"2: tenants[0].id: anchors (&)",
			"3: tenants[1].id: anchors (&)"}},
		{"an alias of nothing", "tenants:\n\n- id: *first", []string{"3: not valid YAML, here or above: unknown anchor"}},
		{"an alias of what is around it", "tenants: &first\n- *first", []string{"1: tenants: anchors (&)"}},
		{"an alias for a name", "tenants:\n- id: &first a\n  *first : b", []string{"2: tenants[0].id: anchors (&)",
			"3: tenants[0]: anchors (&)"}},
		{"a merge key", "tenants:\n- id: a\n  <<: {name: b}", []string{"3: tenants[0]: merge keys (<<) are not allowed"}},
		{"a tag", "tenants:\n- id: !!str 42", []string{"2: tenants[0].id: tags (!) are not allowed: write text in quotes"}},
		{"a tag of somebody", "tenants: !mine\n- id: a", []string{"1: tenants: tags (!) are not allowed: write a list"}},
		{"a tag on a name", "!!str tenants: []", []string{"1: a name must be text"}},
		{"binary", "apiKeys:\n- key: !!binary YWtf", []string{"2: apiKeys[0].key: tags (!)"}},

		{"a variable that is not set", "apiKeys:\n- name: a\n  key: ${NOT_SET}",
			[]string{"3: apiKeys[0].key: needs the environment variable NOT_SET, which is not set or empty"}},
		{"a variable that is empty", "apiKeys:\n- name: a\n  key: ak_${EMPTY}",
			[]string{"3: apiKeys[0].key: needs the environment variable EMPTY, which is not set or empty"}},
		{"two variables that are not set", "tenants:\n- name: ${NOT_SET} ${NOR_THIS}",
			[]string{"2: tenants[0].name: needs the environment variable NOT_SET",
				"2: tenants[0].name: needs the environment variable NOR_THIS"}},
		{"a variable in a method", "apiKeys:\n- permissions: {endpoints: {/a: [\"${NOT_SET}\"]}}",
			[]string{"2: apiKeys[0].permissions.endpoints./a[0]: needs the environment variable NOT_SET"}},
		{"a variable without braces", "apiKeys:\n- key: $SET", []string{"2: apiKeys[0].key: has a $ that names no variable"}},
		{"a variable that does not end", "apiKeys:\n- key: ${SET",
			[]string{"2: apiKeys[0].key: has a $ that names no variable"}},
		{"a variable without a name", "apiKeys:\n- key: ${}", []string{"2: apiKeys[0].key: has a $ that names no variable"}},
		{"a variable with a default", "apiKeys:\n- key: ${SET:-x}",
			[]string{"2: apiKeys[0].key: has a $ that names no variable"}},
		{"a dollar sign at the end", "apiKeys:\n- key: a$", []string{"2: apiKeys[0].key: has a $ that names no variable"}},
		{"a variable for a number", "tenants:\n- jwtConfiguration:\n    timeToLiveInSeconds: ${SET}",
			[]string{"3: tenants[0].jwtConfiguration.timeToLiveInSeconds: must be a whole number: " +
				"a variable stands for text only"}},
		{"a variable for an object", "tenants:\n- jwtConfiguration: ${SET}",
			[]string{"2: tenants[0].jwtConfiguration: must be an object, not text"}},
		{"a variable for a name", "${SET}: []", []string{"1: ${SET}: is not known here"}},

		{"all problems together", "tenants:\n- ID: a\n  active: 1\n- jwtConfiguration: {algorithm: 7}\napiKeys: {}\n",
			[]string{
				"2: tenants[0].ID: is not known here", "3: tenants[0].active: must be true or false",
				"4: tenants[1].jwtConfiguration.algorithm: must be text", "5: apiKeys: must be a list",
			}},
	}
	env := variables(map[string]string{"SET": "value-of-the-variable", "EMPTY": ""})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, err := cli.ReadKickstart(file, []byte(tt.text), env)
			if err == nil {
				t.Fatalf("ReadKickstart = %+v, want an error", d.Kickstart)
			}
			if !reflect.DeepEqual(d, cli.Document{}) {
				t.Errorf("ReadKickstart gave a document beside its error: %+v", d.Kickstart)
			}
			got := strings.Split(err.Error(), "\n")
			if len(got) != len(tt.want) {
				t.Fatalf("problems:\n%s\nwant %d of them: %q", err, len(tt.want), tt.want)
			}
			for i := range got {
				if !strings.HasPrefix(got[i], file+":"+tt.want[i]) {
					t.Errorf("problem %d:\n%s\nwant it to begin with:\n%s", i, got[i], file+":"+tt.want[i])
				}
			}
			if strings.Contains(err.Error(), "value-of-the-variable") {
				t.Errorf("the error shows what a variable holds: %s", err)
			}
		})
	}
}

func TestVariablesAreTextAndNothingElse(t *testing.T) {
	env := map[string]string{
		"KEY":    "ak_0123456789abcdefghijklmn",
		"INJECT": "b\"\n  name: [x]\napiKeys: [{name: y}] # ${KEY} $$ &a *a",
		"NUMBER": "42",
		"NULL":   "null",
		"_x1":    "lower",
	}
	tests := []struct{ yaml, want string }{
		{"${KEY}", env["KEY"]},
		{`"${KEY}"`, env["KEY"]},
		{`'${KEY}'`, env["KEY"]},
		{"a-${NUMBER}-${NUMBER}", "a-42-42"},
		{"${NUMBER}", "42"},
		{"${NULL}", "null"},
		{"${_x1}", "lower"},
		{"${INJECT}", env["INJECT"]},
		{"|-\n    x\n    ${NUMBER}", "x\n42"},
		{"$$", "$"},
		{"$${KEY}", "${KEY}"},
		{"$$$${NUMBER}", "$${NUMBER}"},
		{"$$${NUMBER}", "$42"},
		{`""`, ""},
	}
	for _, tt := range tests {
		if got := read(t, "tenants:\n- name: "+tt.yaml+"\n", env).Kickstart.Tenants[0].Tenant.Name; got != tt.want {
			t.Errorf("%s reads as %q, want %q", tt.yaml, got, tt.want)
		}
	}
}

func TestExplainNamesTheLineOfWhatApplyRefused(t *testing.T) {
	d := read(t, `tenants:
  - id: acme
    jwtConfiguration:
      refreshTokenTimeToLiveInMinutes: 60
    applications:
      - name: Shop
      - id: admin
        jwtConfiguration:
          algorithm: HS256
apiKeys:
  - name: backend
    permissions:
      endpoints:
        /jwt.v2/issue: [FETCH]
        "/two\nlines": [GET]
`, nil)
	tests := []struct{ field, want string }{
		{"tenants[0].applications[1].jwtConfiguration.algorithm",
			"9: tenants[0].applications[1].jwtConfiguration.algorithm: do it"},
		{"tenants[0].applications[0].id", "6: tenants[0].applications[0].id: do it"},
		{"tenants[0].jwtConfiguration.refreshTokenSlidingWindowConfiguration.maximumTimeToLiveInMinutes",
			"3: tenants[0].jwtConfiguration.refreshTokenSlidingWindowConfiguration.maximumTimeToLiveInMinutes: do it"},
		{"tenants[0].applications[0].jwtConfiguration.refreshTokenTimeToLiveInMinutes",
			"6: tenants[0].applications[0].jwtConfiguration.refreshTokenTimeToLiveInMinutes: do it"},
		{`tenants[0].applications["a.b"].jwtConfiguration.algorithm`,
			`5: tenants[0].applications["a.b"].jwtConfiguration.algorithm: do it`},
		{"apiKeys[0].key", "11: apiKeys[0].key: do it"},
		{"apiKeys[0].permissions.endpoints./jwt.v2/issue", "14: apiKeys[0].permissions.endpoints./jwt.v2/issue: do it"},
		{"apiKeys[0].permissions.endpoints./two\nlines", `15: apiKeys[0].permissions.endpoints./two\nlines: do it`},
		{"issuer", " issuer: do it"},
		{"", " do it"},
	}
	for _, tt := range tests {
		err := d.Explain(fmt.Errorf("apply: %w", domain.NewInvalid(tt.field, domain.Malformed, "do it")))
		if got, want := err.Error(), file+":"+tt.want; got != want {
			t.Errorf("Explain of %q:\n%s\nwant:\n%s", tt.field, got, want)
		}
	}

	var several domain.Problems
	several.Add("apiKeys[0].key", domain.Blank, "set it")
	several.Add("tenants[0].id", domain.Malformed, "spell it")
	want := file + ":2: tenants[0].id: spell it\n" + file + ":11: apiKeys[0].key: set it"
	if got := d.Explain(several.Err()).Error(); got != want {
		t.Errorf("Explain of two problems:\n%s\nwant them in the order of the file:\n%s", got, want)
	}
}

func TestExplainSuggestsTheNameThatWasMeant(t *testing.T) {
	for name, want := range map[string]string{
		"/jwt/isue": "there is no such endpoint; did you mean /jwt/issue?",
		"/session":  "there is no such endpoint; did you mean /sessions?",
		"/tenat":    "there is no such endpoint; did you mean /tenant?",
		"/far/away": "there is no such endpoint: name one of /jwt/issue, /jwt/refresh, /jwt/refresh/:id, " +
			`/oauth2/introspect, /revocations, /sessions, /api-key, /key, /tenant, /application, /audit, or "*"`,
	} {
		err := domain.APIKey{Name: "x", Permissions: domain.Permissions{name: {"GET"}}}.Validate()
		if got := (cli.Document{}).Explain(err).Error(); !strings.HasSuffix(got, want) {
			t.Errorf("endpoint %s: got %q, want %q at its end", name, got, want)
		}
	}
}

func TestExplainLeavesOtherErrorsAlone(t *testing.T) {
	var d cli.Document
	if err := d.Explain(nil); err != nil {
		t.Errorf("Explain(nil) = %v", err)
	}
	if err := fmt.Errorf("apply: %w", domain.ErrUnavailable); !errors.Is(d.Explain(err), domain.ErrUnavailable) {
		t.Errorf("Explain(%v) = %v", err, d.Explain(err))
	}
}

// A secret that a file or `echo` gave has an invisible line break at its end.
func TestAVariableIsTakenWithoutTheLineBreakAtItsEnd(t *testing.T) {
	const key = "ak_0123456789abcdefghijklmn"
	for name, tt := range map[string]struct{ content, want string }{
		"none":        {key, key},
		"a line feed": {key + "\n", key},
		"of Windows":  {key + "\r\n", key},
		"two":         {key + "\n\n", key + "\n"},
		"half of one": {key + "\r", key + "\r"},
	} {
		path := filepath.Join(t.TempDir(), "backend key")
		if err := os.WriteFile(path, []byte(tt.content), 0o600); err != nil {
			t.Fatal(err)
		}
		d := read(t, "apiKeys:\n- key: ${KEY}\n- key: ${file:"+path+"}\n", map[string]string{"KEY": tt.content})
		for _, k := range d.Kickstart.APIKeys {
			if got := k.Key.Reveal(); got != tt.want {
				t.Errorf("%s: key %q, want %q", name, got, tt.want)
			}
		}
	}
}

func TestAFileThatAVariableNamesMustHoldSomething(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"${file:" + empty + "}":                      "1: apiKeys[0].key: needs the file " + empty + ", which is empty",
		"${file:" + dir + "}":                        "1: apiKeys[0].key: needs a file that cannot be read: ",
		"${file:" + filepath.Join(dir, "none") + "}": "1: apiKeys[0].key: needs a file that cannot be read: ",
		"${file:}": "1: apiKeys[0].key: has a $ that names no variable",
		"${file:" + filepath.Join(dir, "none") + "x$": "1: apiKeys[0].key: has a $ that names no variable",
	} {
		_, err := cli.ReadKickstart(file, []byte("apiKeys: [{key: '"+text+"'}]"), variables(nil))
		if err == nil || !strings.HasPrefix(err.Error(), file+":"+want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}
