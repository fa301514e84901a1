package domain_test

import (
	"testing"

	"github.com/refreshd/refreshd/domain"
)

func TestNewObject(t *testing.T) {
	for text, want := range map[string]string{
		`{}`: "", " {\n} ": "", `{"a":1}`: `{"a":1}`, " { \"a\" : [ 1 , 2 ] } \n": `{"a":[1,2]}`,
		`{"n":12345678901234567890.10}`: `{"n":12345678901234567890.10}`, `{"a":"< >"}`: `{"a":"< >"}`,
		`{"b":1,"a":2}`: `{"b":1,"a":2}`,
	} {
		if got, ok := domain.NewObject([]byte(text)); !ok || string(got) != want {
			t.Errorf("%s: got %s, %t, want %s", text, got, ok, want)
		}
	}
	for _, text := range []string{"", " ", "null", "[]", `"a"`, "1", "true", `{`, `{"a":1}}`, `{"a":1} {}`, `{"a":1},`,
		`{a:1}`, `{"a":1,}`, "{'a':1}", "\ufeff{}"} {
		if got, ok := domain.NewObject([]byte(text)); ok {
			t.Errorf("%q: got %s", text, got)
		}
	}
}

// Names are read by people in lists on terminals and in the audit trail: one must not show as another, or reverse or
// break its line.
func TestANameHasNoCharactersThatDeceive(t *testing.T) {
	for _, c := range []rune{
		'\u202e', '\u2066', '\u200e', '\u200b', '\u200d', '\ufeff', '\u00ad', '\U000e0041', '\u2028', '\u2029',
		'\u0085', '\x1b',
	} {
		name := "back" + string(c) + "end"
		wantCodes(t, domain.Tenant{ID: "acme", Name: name}.Validate(), "[invalid]name")
		wantCodes(t, domain.Application{ID: "shop", Name: name}.Validate(domain.Tenant{ID: "acme"}), "[invalid]name")
		wantCodes(t, domain.APIKey{Name: name}.Validate(), "[invalid]name")
		var p domain.Problems
		domain.CheckKeyName(&p, "name", name)
		wantCodes(t, p.Err(), "[invalid]name")
	}
	for _, name := range []string{"Müller & Söhne", "株式会社", "עברית", "café ☕"} {
		wantCodes(t, domain.Tenant{ID: "acme", Name: name}.Validate())
		wantCodes(t, domain.APIKey{Name: name}.Validate())
	}
}
