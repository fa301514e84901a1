package manifest_test

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/adapter/manifest"
	"github.com/refreshd/refreshd/adapter/web/strict"
	"github.com/refreshd/refreshd/domain"
)

// outside lists the fields of entities that no document has. The package comment gives the reasons.
var outside = []string{
	"APIKey.Hash", "APIKey.HashKey", "APIKey.ID", "APIKey.Key", "APIKey.PreviousHash", "APIKey.PreviousHashKey",
	"APIKey.Variable", "APIKey.Version", "Client.Secrets", "ClientSecret.Secret", "ClientSecret.Variable",
	"Application.TenantID", "Application.Version", "SigningKey.Private",
	"SigningKey.Variable", "Tenant.Version",
}

// fill sets each field below v, except those in outside, to a value that is not zero and differs from the others.
func fill(t *testing.T, v reflect.Value, path string, n *int64) {
	t.Helper()
	if slices.Contains(outside, path) {
		return
	}
	*n++
	if path == "Client.Keys" {
		v.SetString(fmt.Sprintf(`{"keys":[{"a":%d,"b":"${X} <%d>","c":true,"d":{},"e":[]}]}`, *n, *n))
		return
	}
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.Date(2030, 1, 31, 12, 0, 0, int(*n)*1000, time.UTC)))
		return
	case domain.Permissions:
		v.Set(reflect.ValueOf(domain.Permissions{"/jwt/issue": {"POST"}, fmt.Sprint("/$", *n, ": #"): {"GET", "*"}, "*": {}}))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for f := range v.Type().Fields() {
			at := v.Type().Name() + "." + f.Name
			if f.Anonymous {
				at = f.Name
			}
			fill(t, v.FieldByIndex(f.Index), at, n)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(t, v.Index(i), path, n)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem(), path, n)
	case reflect.String:
		// Without quotes YAML reads these as something else, or they look like a variable.
		awkward := []string{"true", "~", "12", "2030-01-31", "a: b # c", "${X} $", "'\"\\\n é", " x ", "<<",
			"&a", "- [", "<&>"}
		v.SetString(awkward[int(*n)%len(awkward)] + fmt.Sprint(*n))
	case reflect.Bool:
		v.SetBool(*n%2 == 0)
	case reflect.Int64:
		v.SetInt(*n)
	default:
		t.Fatalf("%s is a %v: say how to fill it", path, v.Type())
	}
}

// same compares secrets with their method Equal.
func same(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmp.Comparer(domain.Secret.Equal)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// unescape expands texts as the command line does, without variables.
func unescape(_, text string) (string, []string) { return strings.ReplaceAll(text, "$$", "$"), nil }

func readBack[T any, O interface {
	*T
	strict.Object
}](t *testing.T, want T) {
	t.Helper()
	text, err := manifest.YAML(O(&want))
	if err != nil {
		t.Fatal(err)
	}
	got, _, problems := manifest.ReadYAML[T](text, unescape)
	if len(problems) > 0 {
		t.Fatalf("%v in\n%s", problems, text)
	}
	same(t, "YAML\n"+string(text), want, got)

	text, err = manifest.JSON(O(&want))
	if err != nil {
		t.Fatal(err)
	}
	got, err = manifest.ReadJSON[T](text)
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	same(t, "JSON\n"+string(text), want, got)
}

// A field that a document omits is lost when an entity is read, changed and written back. The test uses reflection, so
// that it also tests fields that are added later.
func TestEveryFieldIsReadAsItWasWritten(t *testing.T) {
	for start := range int64(24) { // each field has each of the awkward texts once
		n := start
		var d manifest.Document
		fill(t, reflect.ValueOf(&d).Elem(), "", &n)
		readBack(t, d)
		readBack(t, d.Tenants[0])
		readBack(t, d.Tenants[0].Applications[0])
		readBack(t, d.APIKeys[0])
		readBack(t, manifest.BareTenant{Tenant: d.Tenants[0].Tenant})
		readBack(t, manifest.StoredAPIKey{APIKey: d.APIKeys[0], IDText: "x", HasPreviousKey: new(n%2 == 0)})
	}
}

// A field that is not set stays unset. A field that is set to an empty value is different.
func TestNothingIsReadAsItWasWritten(t *testing.T) {
	readBack(t, manifest.Document{})
	readBack(t, manifest.Tenant{})
	readBack(t, manifest.APIKey{APIKey: domain.APIKey{Permissions: domain.Permissions{}}})
	for _, f := range new(domain.Settings).Fields() {
		var a manifest.Application
		i := slices.IndexFunc(a.Settings.Fields(), func(g domain.SettingField) bool { return g.Name == f.Name })
		into := reflect.ValueOf(a.Settings.Fields()[i].Into).Elem()
		into.Set(reflect.New(into.Type().Elem()))
		readBack(t, a)
	}
}

// An export must not contain secrets.
func TestAnAPIKeyIsNeverWritten(t *testing.T) {
	k := manifest.APIKey{APIKey: domain.APIKey{Name: "backend", Hash: "hashed"}, Key: domain.NewSecret("ak_secret")}
	for _, write := range []func(strict.Object) ([]byte, error){manifest.JSON, manifest.YAML} {
		text, err := write(&k)
		if err != nil || strings.Contains(string(text), "secret") || strings.Contains(string(text), "hashed") {
			t.Errorf("%s, %v", text, err)
		}
	}
	read, err := manifest.ReadJSON[manifest.APIKey]([]byte(`{"name":"backend","key":"ak_secret"}`))
	if err != nil || read.Key.Reveal() != "ak_secret" {
		t.Errorf("%+v, %v", read, err)
	}
}

func TestDocumentsAreWrittenForPeople(t *testing.T) {
	d := manifest.Document{
		Tenants: []manifest.Tenant{{
			Tenant: domain.Tenant{ID: "acme", Name: "Acme & Co", Settings: domain.Settings{
				CookieDomain: new(""), Algorithm: new(domain.EdDSA), GraceSeconds: new(int64(30)), RecoveryBurst: new(int64(0)),
			}},
			Applications: []manifest.Application{{Application: domain.Application{ID: "shop"}}},
		}},
		APIKeys: []manifest.APIKey{{APIKey: domain.APIKey{
			Name: "backend", TenantID: "acme", ExpiresAt: time.Date(2030, 1, 31, 0, 0, 0, 0, time.UTC),
			Permissions: domain.Permissions{"/jwt/refresh": {"GET", "DELETE"}, "/jwt/issue": {"POST"}},
		}}},
	}
	text, err := manifest.YAML(&d)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(`tenants:
  - id: acme
    name: Acme & Co
    cookieDomain: ""
    jwtConfiguration:
      algorithm: EdDSA
      refreshTokenOneTimeUseConfiguration:
        gracePeriodInSeconds: 30
        recoveryBurst: 0
    applications:
      - id: shop
apiKeys:
  - name: backend
    tenantId: acme
    permissions:
      endpoints:
        /jwt/issue: [POST]
        /jwt/refresh: [GET, DELETE]
    expiresAt: 2030-01-31T00:00:00Z
`, string(text)); diff != "" {
		t.Errorf("YAML (-want +got):\n%s", diff)
	}
	if text, err = manifest.JSON(&d); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(`{"tenants":[{"id":"acme","name":"Acme & Co","cookieDomain":"",`+
		`"jwtConfiguration":{"algorithm":"EdDSA",`+
		`"refreshTokenOneTimeUseConfiguration":{"gracePeriodInSeconds":30,"recoveryBurst":0}},`+
		`"applications":[{"id":"shop"}]}],`+
		`"apiKeys":[{"name":"backend","tenantId":"acme","permissions":{"endpoints":{"/jwt/issue":["POST"],`+
		`"/jwt/refresh":["GET","DELETE"]}},"expiresAt":"2030-01-31T00:00:00Z"}]}`, string(text)); diff != "" {
		t.Errorf("JSON (-want +got):\n%s", diff)
	}
}

// Both readers return the same errors, each with its own kind of position.
func TestDocumentsInJSONAreAsStrict(t *testing.T) {
	for text, want := range map[string]string{
		`{"id":"a","jwtConfiguration":{"algorithmus":"EdDSA"}}`:     "[unknown]jwtConfiguration.algorithmus",
		`{"id":"a","jwtConfiguration":{"timeToLiveInSeconds":"1"}}`: "[invalid]jwtConfiguration.timeToLiveInSeconds",
		`{"jwtConfiguration.algorithm":"EdDSA"}`:                    "[unknown]jwtConfiguration.algorithm",
		`{"id":"a","active":null}`:                                  "[invalid]active",
		`{"id":"a","id":"b"}`:                                       "[repeated]id",
	} {
		_, err := manifest.ReadJSON[manifest.Application]([]byte(text))
		var invalid *domain.Invalid
		if !errors.As(err, &invalid) || len(invalid.Fields) != 1 || invalid.Fields[0].Code() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
		_, _, problems := manifest.ReadYAML[manifest.Application]([]byte(text), nil)
		if len(problems) != 1 || problems[0].Code() != want || problems[0].Line != 1 {
			t.Errorf("%s: %v, want %s in line 1", text, problems, want)
		}
	}
	for text, want := range map[string]string{
		`{"tenantId":""}`:                           "[invalid]tenantId",
		`{"expiresAt":"2030-01-31"}`:                "[invalid]expiresAt",
		`{"expiresAt":"0001-01-01T00:00:00Z"}`:      "[invalid]expiresAt",
		`{"expiresAt":"2000-01-01T00:00:00+01:00"}`: "[invalid]expiresAt", // written so, it could not be read again
		`{"expiresAt":"9999-12-31T23:59:59-01:00"}`: "[invalid]expiresAt",
		`{"expiresAt":1900000000}`:                  "[invalid]expiresAt",
		`{"hash":"x"}`:                              "[unknown]hash",
	} {
		_, err := manifest.ReadJSON[manifest.APIKey]([]byte(text))
		var invalid *domain.Invalid
		if !errors.As(err, &invalid) || len(invalid.Fields) != 1 || invalid.Fields[0].Code() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

// An accepted document is the same when it is written and read again, in either format.
func FuzzADocumentIsReadAsItWasWritten(f *testing.F) {
	f.Add("tenants:\n- id: a\n  name: '$ ${X}'\n  active: false\n  jwtConfiguration: {algorithm: EdDSA}\n" +
		"  applications: [{id: \"\\u2028é\"}]\n")
	f.Add("apiKeys:\n- name: ' a'\n  tenantId: 'true'\n  permissions: {endpoints: {/a: [GET], '$': []}}\n" +
		"  expiresAt: 2030-01-31T00:00:00.1+02:00\n")
	f.Add("tenants: [{name: |\n  a\n\n   b\n  , cookieName: ''}]")
	f.Fuzz(func(t *testing.T, text string) {
		d, _, problems := manifest.ReadYAML[manifest.Document]([]byte(text), nil)
		if len(problems) > 0 {
			return
		}
		for i := range d.APIKeys {
			d.APIKeys[i].Key = domain.Secret{}
		}
		if len(d.Tenants) == 0 { // an empty list is written as none
			d.Tenants = nil
		}
		if len(d.APIKeys) == 0 {
			d.APIKeys = nil
		}
		for i := range d.Tenants {
			if len(d.Tenants[i].Applications) == 0 {
				d.Tenants[i].Applications = nil
			}
		}
		if strings.ContainsFunc(fmt.Sprintf("%+v", d), func(r rune) bool { return r >= 0x80 && r < 0xa0 }) {
			return // such a control character is written unchanged, and reading it is an error
		}
		readBack(t, d)
	})
}

// names returns the last parts of the names of settings. Documents use these parts.
func names() map[string]bool {
	known := map[string]bool{"jwtConfiguration": true}
	for _, f := range new(domain.Settings).Fields() {
		for _, part := range strings.Split(f.Name, ".") {
			known[part] = true
		}
	}
	return known
}

// A document that names a setting by an old name sends its reader to a setting that does not exist.
func TestDocumentsNameSettingsThatExist(t *testing.T) {
	looksLikeASetting := regexp.MustCompile(`^(jwtConfiguration|cookie[A-Z]\w*|requireAuthentication|accessTokenType|` +
		`recovery(Burst|Interval)|onOneTime\w*|maximum\w+|` +
		`refreshToken\w+(Configuration|Policy|InMinutes)|\w+In(Seconds|Minutes))$`)
	inQuotes := regexp.MustCompile("`[\\w.]+[:`]")
	known, found := names(), 0
	for _, file := range []string{
		"README.md", "INTEGRATING.md", "OPERATING.md", "CONFIGURATION.md", "SECURITY.md", "adapter/httpapi/openapi.yaml",
	} {
		text, err := os.ReadFile("../../" + file)
		if err != nil {
			t.Fatal(err)
		}
		for _, quoted := range inQuotes.FindAllString(string(text), -1) {
			for _, part := range strings.Split(strings.Trim(quoted, "`:"), ".") {
				if looksLikeASetting.MatchString(part) {
					found++
					if !known[part] {
						t.Errorf("%s names %s, which is not a setting", file, part)
					}
				}
			}
		}
	}
	if found < 40 {
		t.Errorf("found %d names: the test looks in the wrong place", found)
	}
}
