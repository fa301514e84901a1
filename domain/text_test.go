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
