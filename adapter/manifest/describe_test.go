package manifest_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/adapter/manifest"
	"github.com/refreshd/refreshd/domain"
)

// with returns a document of one object that has the field.
func with(prefix string, f manifest.Field) string {
	path := strings.Split(f.Name, ".")
	if len(path) > 1 && path[0] == "permissions" { // its names are paths, with dots or not
		path = []string{"permissions", "endpoints"}
	}
	text := f.Example
	if f.Type == "text" && f.Words == nil {
		text = `"` + text + `"`
	}
	for i := len(path) - 1; i > 0; i-- {
		text = "{" + path[i] + ": " + text + "}"
	}
	return "{" + prefix + path[0] + ": " + text + "}"
}

// An example must be accepted and differ from the default. Each is read alone, in its own object.
func TestEveryFieldHasAnExampleThatIsAccepted(t *testing.T) {
	shop := `id: shop, `
	for _, group := range []struct {
		name, before, prefix, after string
		fields                      []manifest.Field
	}{
		{"tenant", "tenants: [", `id: acme, `, "]", append(manifest.TenantFields(), manifest.PolicyFields()...)},
		{"application", "tenants: [{id: acme, applications: [", shop, "]}]",
			append(manifest.ApplicationFields(), manifest.PolicyFields()...)},
		{"API key", "apiKeys: [", `name: backend, `, "]", manifest.APIKeyFields()},
	} {
		for _, f := range group.fields {
			if f.Meaning == "" || f.Example == "" || f.Example == f.Default {
				t.Errorf("%s: got %+v, want a meaning, and an example that is not the default", group.name, f)
			}
			prefix := group.prefix
			if strings.HasPrefix(prefix, f.Name+":") {
				prefix = ""
			}
			text := group.before + with(prefix, f) + group.after
			document, _, problems := manifest.ReadYAML[manifest.Document]([]byte(text), nil)
			if len(problems) > 0 {
				t.Errorf("%s: %v", text, problems)
				continue
			}
			for _, tenant := range document.Tenants {
				if err := tenant.Validate(); err != nil {
					t.Errorf("%s: %v", text, err)
				}
				for _, a := range tenant.Applications {
					if err := a.Validate(tenant.Tenant); err != nil {
						t.Errorf("%s: %v", text, err)
					}
				}
			}
			for _, k := range document.APIKeys {
				if err := k.Validate(); err != nil && f.Name != "key" {
					t.Errorf("%s: %v", text, err)
				}
			}
		}
	}
}

// The documentation has every setting of the domain, with its default, its values and its bounds.
func TestPolicyFieldsAreTheDomains(t *testing.T) {
	got := map[string]string{}
	for _, f := range manifest.PolicyFields() {
		got[f.Name] = f.Default
	}
	want := map[string]string{}
	for _, s := range domain.DefaultPolicy().Settings().List() {
		want[s.Field] = s.Value
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("settings and their defaults (-want +got):\n%s", diff)
	}
	for _, f := range manifest.PolicyFields() {
		switch f.Name {
		case domain.FieldAlgorithm:
			if !slices.Equal(f.Words, []string{"EdDSA", "ES256", "RS256", "PS256"}) {
				t.Errorf("%s has the words %q", f.Name, f.Words)
			}
		case domain.FieldRecoveryInterval:
			if f.Type != "2 to 1000" {
				t.Errorf("%s is %s, want 2 to 1000", f.Name, f.Type)
			}
		}
	}
}

// The documentation lists exactly the endpoints and methods that a permission can name. Of administration it lists
// those that a request can have.
func TestPermissionsAreThoseThatAKeyCanHave(t *testing.T) {
	got := map[string][]string{}
	for _, p := range manifest.Permissions() {
		if p.Meaning == "" {
			t.Errorf("%s %s has no meaning", p.Method, p.Endpoint)
		}
		got[p.Endpoint] = append(got[p.Endpoint], p.Method)
		k := domain.APIKey{Name: "a", Permissions: domain.Permissions{p.Endpoint: {p.Method}}}
		if err := k.Validate(); err != nil {
			t.Errorf("%s %s: %v", p.Method, p.Endpoint, err)
		}
	}
	want := domain.Endpoints()
	want[domain.SessionsPermission], want[domain.RevocationsPermission] = []string{"GET"}, []string{"GET"}
	for _, endpoint := range []string{"/api-key", "/application", "/tenant"} {
		want[endpoint] = []string{"GET", "POST"}
		want[endpoint+"/:id"] = []string{"GET", "POST", "PUT", "PATCH", "DELETE"}
	}
	want["/key"], want["/key/:id"], want["/audit"] = []string{"GET", "POST"}, []string{"GET"}, []string{"GET"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("permissions (-want +got):\n%s", diff)
	}
}
