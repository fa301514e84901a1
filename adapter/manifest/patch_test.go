package manifest_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/adapter/manifest"
	"github.com/refreshd/refreshd/adapter/web/strict"
	"github.com/refreshd/refreshd/domain"
)

const (
	aTenant = `{"id":"acme","name":"Acme","issuer":"https://acme.example","active":false,` +
		`"jwtConfiguration":{"timeToLiveInSeconds":60,"algorithm":"RS256",` +
		`"refreshTokenOneTimeUseConfiguration":{"recoveryBurst":1,"recoveryInterval":9}}}`
	anAPIKey = `{"id":"x","name":"backend","tenantId":"acme","permissions":{"endpoints":{` +
		`"/jwt/issue":["POST"],"/jwt/refresh":["GET","DELETE"]}},"expiresAt":"2030-01-31T12:00:00Z","hasPreviousKey":false}`
)

// patched returns the JSON of a document after a patch.
func patched[T any, O interface {
	*T
	strict.Object
}](t *testing.T, document, patch string) (string, error) {
	t.Helper()
	in, err := manifest.ReadJSON[T]([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	out, refused := manifest.Patch(in, []byte(patch))
	if text, err := manifest.JSON(O(&in)); err != nil || string(text) != document {
		t.Errorf("the patch changed the document before it: %s %v", text, err)
	}
	if refused != nil {
		return "", refused
	}
	text, err := manifest.JSON(O(&out))
	return string(text), err
}

// A patch changes what it names, removes what it names with null, and refuses what it does not understand: otherwise an
// operator with a misspelled name would believe that something was changed.
func TestAPatchIsAppliedAsRFC7396Says(t *testing.T) {
	for name, test := range map[string]struct{ document, patch, want, code string }{
		"nothing": {document: aTenant, patch: `{}`, want: aTenant},
		"a value, in place of another": {document: aTenant, patch: `{"name":"A"}`,
			want: `{"id":"acme","name":"A",` + aTenant[len(`{"id":"acme","name":"Acme",`):]},
		"null removes": {document: aTenant, patch: `{"name":null,"issuer":null,"active":null}`,
			want: `{"id":"acme","jwtConfiguration":{"algorithm":"RS256","timeToLiveInSeconds":60,` +
				`"refreshTokenOneTimeUseConfiguration":{"recoveryBurst":1,"recoveryInterval":9}}}`},
		"null removes what is not set": {document: aTenant, patch: `{"cookieName":null}`, want: aTenant},
		"deep": {document: aTenant,
			patch: `{"jwtConfiguration":{"refreshTokenOneTimeUseConfiguration":{"recoveryBurst":null,"gracePeriodInSeconds":5}}}`,
			want: `{"id":"acme","name":"Acme","issuer":"https://acme.example","active":false,"jwtConfiguration":{` +
				`"timeToLiveInSeconds":60,"algorithm":"RS256",` +
				`"refreshTokenOneTimeUseConfiguration":{"gracePeriodInSeconds":5,"recoveryInterval":9}}}`},
		"null removes an object": {document: aTenant, patch: `{"jwtConfiguration":null}`,
			want: `{"id":"acme","name":"Acme","issuer":"https://acme.example","active":false}`},
		"a list is replaced, a name of a map is a member": {document: anAPIKey,
			patch: `{"permissions":{"endpoints":{"/jwt/issue":null,"/jwt/refresh":["GET"],"/key":["GET"]}}}`,
			want: `{"id":"x","name":"backend","tenantId":"acme","permissions":{"endpoints":{"/jwt/refresh":["GET"],` +
				`"/key":["GET"]}},"expiresAt":"2030-01-31T12:00:00Z","hasPreviousKey":false}`},
		"null removes all of a map": {document: anAPIKey, patch: `{"permissions":null,"expiresAt":null,"tenantId":null}`,
			want: `{"id":"x","name":"backend","hasPreviousKey":false}`},
		"a map itself": {document: anAPIKey, patch: `{"permissions":{"endpoints":null},"expiresAt":null,"tenantId":null}`,
			want: `{"id":"x","name":"backend","hasPreviousKey":false}`},

		"an unknown name":            {document: aTenant, patch: `{"nmae":"A"}`, code: "[unknown]nmae"},
		"an unknown name, with null": {document: aTenant, patch: `{"nmae":null}`, code: "[unknown]nmae"},
		"an unknown name, deep": {
			document: aTenant, patch: `{"jwtConfiguration":{"x":null}}`,
			code: "[unknown]jwtConfiguration.x",
		},
		"a wrong type": {document: aTenant, patch: `{"active":"no"}`, code: "[invalid]active"},
		"a value in place of an object": {
			document: aTenant, patch: `{"jwtConfiguration":1}`,
			code: "[invalid]jwtConfiguration",
		},
		"null in a list": {
			document: anAPIKey, patch: `{"permissions":{"endpoints":{"*":[null]}}}`,
			code: "[invalid]permissions.endpoints.*",
		},
		"a name twice":            {document: aTenant, patch: `{"name":"A","name":"B"}`, code: "[repeated]name"},
		"a name twice, with null": {document: aTenant, patch: `{"name":"A","name":null}`, code: "[repeated]name"},
		"an endpoint twice": {
			document: anAPIKey, patch: `{"permissions":{"endpoints":{"/key":null,"/key":["GET"]}}}`,
			code: "[repeated]permissions.endpoints./key",
		},
		"the applications of a tenant": {
			document: aTenant, patch: `{"applications":[]}`,
			code: "[unknown]applications",
		},
		"no applications of a tenant": {
			document: aTenant, patch: `{"applications":null}`,
			code: "[unknown]applications",
		},
		"a list":  {document: aTenant, patch: `[]`, code: "[invalid]"},
		"null":    {document: aTenant, patch: `null`, code: "[invalid]"},
		"no body": {document: aTenant, patch: ` `, code: "[blank]"},
	} {
		t.Run(name, func(t *testing.T) {
			patch := patched[manifest.BareTenant]
			if test.document == anAPIKey {
				patch = patched[manifest.StoredAPIKey]
			}
			got, err := patch(t, test.document, test.patch)
			if test.code == "" {
				if err != nil {
					t.Fatal(err)
				}
				equalJSON(t, test.want, got)
				return
			}
			var invalid *domain.Invalid
			if !errors.As(err, &invalid) || invalid.Fields[0].Code() != test.code {
				t.Errorf("got %s, %v, want %s", got, err, test.code)
			}
		})
	}
}

func equalJSON(t *testing.T, want, got string) {
	t.Helper()
	var a, b any
	if err := errors.Join(json.Unmarshal([]byte(want), &a), json.Unmarshal([]byte(got), &b)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(a, b); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// mergePatch is the function of RFC 7396, section 2, on any JSON.
func mergePatch(target, patch any) any {
	members, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	merged, ok := target.(map[string]any)
	if !ok {
		merged = map[string]any{}
	}
	for name, value := range members {
		if value == nil {
			delete(merged, name)
		} else {
			merged[name] = mergePatch(merged[name], value)
		}
	}
	return merged
}

// A patch that is accepted has the result of RFC 7396, and a patch that is a document without null is accepted.
func FuzzAPatchIsTheReferencesPatch(f *testing.F) {
	f.Add(aTenant, `{"name":null,"jwtConfiguration":{"algorithm":null}}`)
	f.Add(aTenant, `{"jwtConfiguration":null}`)
	f.Add(anAPIKey, `{"permissions":{"endpoints":{"/jwt/issue":null,"/key":["GET"]}}}`)
	f.Add(anAPIKey, `{"permissions":{"endpoints":{"\u0000":null,"":[]}},"expiresAt":null,"key":"ak_x","id":"y"}`)
	f.Add(`{"id":"a"}`, `{"refreshTokenOneTimeUseConfiguration":{},"jwtConfiguration":{"timeToLiveInSeconds":1}}`)
	f.Fuzz(func(t *testing.T, document, patch string) {
		patchAsTheReference[manifest.BareTenant](t, document, patch)
		patchAsTheReference[manifest.StoredAPIKey](t, document, patch)
	})
}

func patchAsTheReference[T any](t *testing.T, document, patch string) {
	in, err := manifest.ReadJSON[T]([]byte(document))
	if err != nil {
		return
	}
	before, err := manifest.ReadJSON[T]([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	out, err := manifest.Patch(in, []byte(patch))
	same(t, "the document before", before, in)
	if err != nil {
		if _, read := manifest.ReadJSON[T]([]byte(patch)); read == nil {
			t.Errorf("%q is a document, and as a patch it is refused: %v", patch, err)
		}
		return
	}
	var a, b any
	if err := errors.Join(json.Unmarshal([]byte(document), &a), json.Unmarshal([]byte(patch), &b)); err != nil {
		t.Fatalf("%q was accepted: %v", patch, err)
	}
	merged, err := json.Marshal(mergePatch(a, b))
	if err != nil {
		t.Fatal(err)
	}
	want, err := manifest.ReadJSON[T](merged)
	if err != nil {
		t.Fatalf("%q after %q is %s: %v", document, patch, merged, err)
	}
	same(t, string(merged), want, out)
}
