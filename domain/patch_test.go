package domain_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/domain"
)

func objectPatch(t *testing.T, text string) *domain.ObjectPatch {
	t.Helper()
	p, ok := domain.NewObjectPatch([]byte(text))
	if !ok {
		t.Fatalf("%s is not an object", text)
	}
	return &p
}

// The examples of RFC 7396, appendix A, whose patch is an object, each within a member; and what must be kept: the
// order of members, the digits of numbers, and the spelling of names.
func TestAPatchMergesAsRFC7396Says(t *testing.T) {
	for _, tt := range []struct{ stored, patch, want string }{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`["a","b"]`, `["c","d"]`, `["c","d"]`},
		{`{"a":"b"}`, `["c"]`, `["c"]`},
		{`{"a":"foo"}`, `"bar"`, `"bar"`},
		{`{"e":null}`, `{"a":1}`, `{"e":null,"a":1}`},
		{`[1,2]`, `{"a":"b","c":null}`, `{"a":"b"}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},

		{`{"z":1,"a":2,"m":3}`, `{"a":{"y":1,"b":null}}`, `{"z":1,"a":{"y":1},"m":3}`},
		{`{"n":12345678901234567890.10}`, `{"m":1e400}`, `{"n":12345678901234567890.10,"m":1e400}`},
		{`{"\u00e9":1,"<":2}`, `{"é":3}`, `{"\u00e9":3,"<":2}`},
		{`{"a":[null,{"b":null}]}`, `{"c":[null,{"d":null}]}`, `{"a":[null,{"b":null}],"c":[null,{"d":null}]}`},
		{`{"a":1}`, `{}`, `{"a":1}`},
	} {
		before := asked()
		before.Claims = domain.Object(`{"x":` + tt.stored + `,"y":[1]}`)
		got, err := before.Patched(domain.Patch{Claims: objectPatch(t, `{ "x" : `+tt.patch+` }`)},
			domain.DefaultPolicy(), "")
		if want := domain.Object(`{"x":` + tt.want + `,"y":[1]}`); err != nil || got.Claims != want {
			t.Errorf("%s patched with %s: got %s (%v), want %s", tt.stored, tt.patch, got.Claims, err, want)
		}
	}
}

// A field that is not named stays, whatever is named besides, and a changed field shares no memory with the patch.
func TestAPatchChangesWhatItNames(t *testing.T) {
	roles := []string{"viewer"}
	for name, tt := range map[string]struct {
		patch  domain.Patch
		fields []string
		change func(*domain.RefreshToken)
	}{
		"roles": {domain.Patch{Roles: &roles}, []string{"roles"},
			func(r *domain.RefreshToken) { r.Roles = []string{"viewer"} }},
		"no roles": {domain.Patch{Roles: new([]string{})}, []string{"roles"},
			func(r *domain.RefreshToken) { r.Roles = []string{} }},
		"scopes": {domain.Patch{Scopes: new([]string{"read"})}, []string{"scopes"},
			func(r *domain.RefreshToken) { r.Scopes = []string{"read"} }},
		"claims": {domain.Patch{Claims: objectPatch(t, `{"plan":null,"seats":2}`)}, []string{"claims"},
			func(r *domain.RefreshToken) { r.Claims = `{"seats":2}` }},
		"the last claim": {domain.Patch{Claims: objectPatch(t, `{"plan":null}`)}, []string{"claims"},
			func(r *domain.RefreshToken) { r.Claims = "" }},
		"no claims": {domain.Patch{Claims: &domain.RemoveObject}, []string{"claims"},
			func(r *domain.RefreshToken) { r.Claims = "" }},
		"the device's name": {domain.Patch{Device: &domain.DevicePatch{Name: new("tablet")}},
			[]string{"metaData.device"},
			func(r *domain.RefreshToken) { r.MetaData.Device.Name = "tablet" }},
		"no type": {domain.Patch{Device: &domain.DevicePatch{Type: new("")}}, []string{"metaData.device"},
			func(r *domain.RefreshToken) { r.MetaData.Device.Type = "" }},
		"the description": {domain.Patch{Device: &domain.DevicePatch{Description: new("Eve's")}},
			[]string{"metaData.device"},
			func(r *domain.RefreshToken) { r.MetaData.Device.Description = "Eve's" }},
		"data": {domain.Patch{Data: objectPatch(t, `{"b":{"c":[]}}`)}, []string{"metaData.data"},
			func(r *domain.RefreshToken) { r.MetaData.Data = `{"a":1,"b":{"c":[]}}` }},
		"no data": {domain.Patch{Data: &domain.RemoveObject}, []string{"metaData.data"},
			func(r *domain.RefreshToken) { r.MetaData.Data = "" }},
		"roles and data": {domain.Patch{Data: &domain.RemoveObject, Roles: &roles}, []string{"roles", "metaData.data"},
			func(r *domain.RefreshToken) { r.Roles, r.MetaData.Data = []string{"viewer"}, "" }},
	} {
		if diff := cmp.Diff(tt.fields, tt.patch.Fields()); diff != "" {
			t.Errorf("%s: fields (-want +got):\n%s", name, diff)
		}
		before, want := asked(), asked()
		tt.change(&want)
		got, err := before.Patched(tt.patch, domain.DefaultPolicy(), "")
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
		if diff := cmp.Diff(asked(), before); diff != "" {
			t.Errorf("%s: what it was made of changed (-want +got):\n%s", name, diff)
		}
		if got.SameContent(before) {
			t.Errorf("%s: the same content", name)
		}
		again, err := got.Patched(tt.patch, domain.DefaultPolicy(), "")
		if err != nil || !again.SameContent(got) {
			t.Errorf("%s: applied again it changes %+v (%v)", name, again, err)
		}
	}
	got, err := asked().Patched(domain.Patch{Roles: &roles}, domain.DefaultPolicy(), "")
	if roles[0] = "admin"; err != nil || got.Roles[0] != "viewer" {
		t.Errorf("roles = %v (%v) after the patch's list was written to", got.Roles, err)
	}
}

// A patch that no session can take is refused before any session is read, so also for a user without one.
func TestAPatchIsValidatedByItself(t *testing.T) {
	large := `{"a":"` + strings.Repeat("x", 4096) + `"}`
	for name, tt := range map[string]struct {
		patch domain.Patch
		codes []string
	}{
		"nothing named":   {domain.Patch{}, []string{"[blank]"}},
		"a role twice":    {domain.Patch{Roles: new([]string{"a", "a"})}, []string{"[repeated]roles[1]"}},
		"an empty role":   {domain.Patch{Roles: new([]string{""})}, []string{"[blank]roles[0]"}},
		"a scope's blank": {domain.Patch{Scopes: new([]string{"a b"})}, []string{"[invalid]scopes[0]"}},
		"a reserved claim and a device": {
			domain.Patch{Claims: objectPatch(t, `{"Sub":"eve"}`), Device: &domain.DevicePatch{Name: new("\n")}},
			[]string{"[conflict]claims.sub", "[invalid]metaData.device.name"}},
		"a reserved claim's removal": {domain.Patch{Claims: objectPatch(t, `{"ROLES":null,"a":1}`)},
			[]string{"[conflict]claims.roles"}},
		"large claims": {domain.Patch{Claims: objectPatch(t, large)}, []string{"[tooLong]claims"}},
		"large data":   {domain.Patch{Data: objectPatch(t, large)}, []string{"[tooLong]metaData"}},
	} {
		wantCodes(t, tt.patch.Validate(), tt.codes...)
		if name != "nothing named" && name != "a reserved claim's removal" {
			_, err := asked().Patched(tt.patch, domain.DefaultPolicy(), "")
			wantCodes(t, err, tt.codes...)
		}
	}
	for _, p := range []domain.Patch{
		{Roles: new([]string{})}, {Claims: &domain.RemoveObject}, {Claims: objectPatch(t, `{}`)},
		{Device: &domain.DevicePatch{}},
		{Claims: objectPatch(t, `{"a":{"b":null}}`)},
	} {
		if err := p.Validate(); err != nil {
			t.Errorf("%+v: %v", p, err)
		}
	}
}

// Each of a user's sessions has its own claims, so a caller must learn which one cannot take the patch.
func TestAPatchNamesTheSessionThatCannotTakeIt(t *testing.T) {
	cookies := domain.DefaultPolicy()
	cookies.CookieDomain = "example.com"
	half := strings.Repeat("x", 2000)
	full := asked()
	full.Claims = domain.Object(fmt.Sprintf(`{"a":"%s"}`, half))
	full.MetaData.Data = full.Claims
	add := objectPatch(t, fmt.Sprintf(`{"b":"%s"}`, half))
	tooMuch := objectPatch(t, fmt.Sprintf(`{"b":"%s","c":"%s"}`, half, half[:200]))
	for name, tt := range map[string]struct {
		patch  domain.Patch
		policy domain.Policy
		code   string
	}{
		"fits":              {domain.Patch{Claims: add}, domain.DefaultPolicy(), ""},
		"not in a cookie":   {domain.Patch{Claims: add}, cookies, "[tooLong]claims"},
		"by its roles":      {domain.Patch{Roles: new(longRoles(12)), Data: add}, cookies, "[tooLong]roles"},
		"too many claims":   {domain.Patch{Claims: tooMuch}, domain.DefaultPolicy(), "[tooLong]claims"},
		"too much metadata": {domain.Patch{Data: tooMuch}, domain.DefaultPolicy(), "[tooLong]metaData"},
	} {
		_, err := full.Patched(tt.patch, tt.policy, "https://auth.example/t/acme")
		if tt.code == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		wantCodes(t, err, tt.code)
		if err != nil && !strings.Contains(err.Error(), full.ID.String()) {
			t.Errorf("%s: %v does not name the session", name, err)
		}
	}
}

func longRoles(n int) (roles []string) {
	for i := range n {
		roles = append(roles, fmt.Sprintf("%03d%s", i, strings.Repeat("r", 250)))
	}
	return roles
}

// A role can be removed also from a session whose access token became too large when its policy was changed.
func TestAPatchMayShortenAnAccessTokenThatIsTooLarge(t *testing.T) {
	cookies := domain.DefaultPolicy()
	cookies.CookieDomain = "example.com"
	before := asked()
	before.Roles = longRoles(20)
	if err := domain.CheckAccessTokenSize(before, cookies, ""); err == nil {
		t.Fatal("the access token is not too large")
	}
	fewer := domain.Patch{Roles: new(longRoles(19))}
	after, err := before.Patched(fewer, cookies, "")
	if err != nil || len(after.Roles) != 19 {
		t.Errorf("%d roles (%v)", len(after.Roles), err)
	}
	_, err = before.Patched(domain.Patch{Roles: new(longRoles(21))}, cookies, "")
	wantCodes(t, err, "[tooLong]roles")
}

// For any stored object and any patch, the result is that of RFC 7396's own pseudocode, written over maps; and the same
// patch again changes nothing.
func FuzzPatch(f *testing.F) {
	f.Add(`{"a":{"b":"c"},"d":[1,{"e":null}]}`, `{"a":{"b":null,"x":{"y":null}},"d":null}`)
	f.Add(`{}`, `{"":{"":null}}`)
	f.Add(`{"\ud83d\ude00":1.50,"a\"b":"\\"}`, `{"😀":{},"a\"b":null}`)
	f.Fuzz(func(t *testing.T, stored, patch string) {
		var target, change map[string]any
		// encoding/json takes the last of two members of one name, and replaces invalid UTF-8; the API refuses both.
		for _, s := range []struct {
			text string
			to   *map[string]any
		}{{stored, &target}, {patch, &change}} {
			if json.Unmarshal([]byte(s.text), s.to) != nil || *s.to == nil || repeats(s.text) {
				return
			}
		}
		object, ok := domain.NewObject([]byte(stored))
		p, ok2 := domain.NewObjectPatch([]byte(patch))
		if !ok || !ok2 {
			return // of invalid UTF-8
		}
		before := asked()
		before.MetaData = domain.MetaData{Data: object}
		got, err := before.Patched(domain.Patch{Data: &p}, domain.DefaultPolicy(), "")
		if err != nil {
			if len(stored)+len(patch) <= 4096 {
				t.Fatalf("%s patched with %s: %v", stored, patch, err)
			}
			return
		}
		var merged map[string]any
		text := got.MetaData.Data
		if text == "" {
			text = "{}"
		}
		if err := json.Unmarshal([]byte(text), &merged); err != nil {
			t.Fatalf("%s patched with %s is %s: %v", stored, patch, text, err)
		}
		if diff := cmp.Diff(mergePatch(target, change), any(merged)); diff != "" {
			t.Errorf("%s patched with %s is %s (-want +got):\n%s", stored, patch, text, diff)
		}
		again, err := got.Patched(domain.Patch{Data: &p}, domain.DefaultPolicy(), "")
		if err != nil || again.MetaData.Data != got.MetaData.Data {
			t.Errorf("%s patched again with %s is %s (%v)", got.MetaData.Data, patch, again.MetaData.Data, err)
		}
	})
}

// mergePatch is the pseudocode of RFC 7396, section 2.
func mergePatch(target, patch any) any {
	change, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	object, ok := target.(map[string]any)
	if !ok {
		object = map[string]any{}
	}
	for name, value := range change {
		if value == nil {
			delete(object, name)
		} else {
			object[name] = mergePatch(object[name], value)
		}
	}
	return object
}

// repeats reports whether an object in text has two members of one name.
func repeats(text string) bool {
	d := json.NewDecoder(strings.NewReader(text))
	var value func() bool
	value = func() bool {
		token, err := d.Token()
		delim, _ := token.(json.Delim)
		if err != nil || delim != '{' && delim != '[' {
			return false
		}
		var names []string
		found := false
		for d.More() {
			if delim == '{' {
				name, _ := d.Token()
				found = found || slices.Contains(names, fmt.Sprint(name))
				names = append(names, fmt.Sprint(name))
			}
			found = value() || found
		}
		d.Token()
		return found
	}
	return value()
}

// A field of a patch that Fields does not name would be changed and not logged, and a patch of it alone refused.
func TestAPatchNamesEachOfItsFields(t *testing.T) {
	names := make(map[string]bool)
	fields := reflect.TypeFor[domain.Patch]().NumField()
	for i := range fields {
		var p domain.Patch
		field := reflect.ValueOf(&p).Elem().Field(i)
		field.Set(reflect.New(field.Type().Elem()))
		got := p.Fields()
		if len(got) != 1 {
			t.Errorf("a patch of %s has the fields %q, want one", reflect.TypeFor[domain.Patch]().Field(i).Name, got)
		}
		for _, name := range got {
			names[name] = true
		}
	}
	if len(names) != fields {
		t.Errorf("got %d names of %d fields", len(names), fields)
	}
}
