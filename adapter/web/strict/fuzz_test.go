package strict_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/adapter/web/strict"
)

// reference is an independent implementation, on the tokens of encoding/json, of the rules by which DecodeJSON accepts
// a document. It shares only the struct with DecodeJSON.
type reference struct{ d *json.Decoder }

var errReference = errors.New("the reference refuses this")

func accepted(data []byte, t reflect.Type) bool {
	if !utf8.Valid(data) || !json.Valid(data) || halfSurrogate(data) {
		return false
	}
	r := reference{json.NewDecoder(bytes.NewReader(data))}
	r.d.UseNumber()
	if r.value(t, 1) != nil {
		return false
	}
	_, err := r.d.Token()
	return err == io.EOF
}

var (
	anEscape   = regexp.MustCompile(`\\(u[0-9a-fA-F]{4}|.)`)
	isWhole    = regexp.MustCompile(`^-?(0|[1-9][0-9]*)$`)
	rawMessage = reflect.TypeFor[json.RawMessage]()
)

// halfSurrogate reports whether a well-formed document has an escape of an unpaired surrogate.
func halfSurrogate(data []byte) bool {
	high := -1 // where the one before ends, if it is the first half
	for _, at := range anEscape.FindAllIndex(data, -1) {
		escape := data[at[0]:at[1]]
		code, _ := strconv.ParseUint(strings.TrimLeft(string(escape), `\u`), 16, 32)
		isUnicode := len(escape) == 6
		isHigh, isLow := isUnicode && code>>10 == 0xD800>>10, isUnicode && code>>10 == 0xDC00>>10
		if isLow != (high == at[0]) || high >= 0 && high != at[0] {
			return true
		}
		high = -1
		if isHigh {
			high = at[1]
		}
	}
	return high >= 0
}

// value reads one value for a field of type t at that depth. A nil t is a value inside a free-form object.
func (r reference) value(t reflect.Type, depth int) error {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	free := t == nil || t == rawMessage
	token, err := r.d.Token()
	if err != nil {
		return err
	}
	switch token := token.(type) {
	case json.Delim:
		if depth > 32 {
			return errReference
		}
		var fields map[string]reflect.Type
		switch {
		case token == '{' && free:
		case token == '[' && t == nil:
		case token == '[' && !free && t.Kind() == reflect.Slice:
		case token == '{' && !free && t.Kind() == reflect.Map:
		case token == '{' && !free && t.Kind() == reflect.Struct:
			fields = map[string]reflect.Type{}
			for i := range t.NumField() {
				fields[t.Field(i).Tag.Get("json")] = t.Field(i).Type
			}
		default:
			return errReference
		}
		seen := map[string]bool{}
		for r.d.More() {
			var inside reflect.Type
			if !free && t.Kind() != reflect.Struct {
				inside = t.Elem()
			}
			if token == '{' {
				name, err := r.d.Token()
				if err != nil || seen[name.(string)] {
					return errReference
				}
				seen[name.(string)] = true
				if fields != nil {
					if inside = fields[name.(string)]; inside == nil {
						return errReference
					}
				}
			}
			if err := r.value(inside, depth+1); err != nil {
				return err
			}
		}
		_, err := r.d.Token()
		return err
	case string:
		if t == nil || t.Kind() == reflect.String {
			return nil
		}
	case bool:
		if t == nil || t.Kind() == reflect.Bool {
			return nil
		}
	case json.Number:
		if t == nil {
			_, err := strconv.ParseFloat(token.String(), 64)
			return err
		}
		if reflect.Zero(t).CanInt() && isWhole.MatchString(token.String()) {
			_, err := strconv.ParseInt(token.String(), 10, t.Bits())
			return err
		}
	case nil:
		if t == nil {
			return nil
		}
	}
	return errReference
}

// A document is accepted if and only if an independent implementation of the rules accepts it. The result is then that
// of encoding/json.
func FuzzStrictJSONTakesWhatTheReferenceTakes(f *testing.F) {
	deep := func(n int) string { return `{"c":` + strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) + "}" }
	for _, seed := range []string{
		`{}`, `{"s":"a","i":-0,"n":-128,"b":false,"p":""}`, `{"s":"a","s":"b"}`, `{"S":"a"}`, `{"p":null}`, `{"i":1.0}`,
		`{"i":01}`, `{"i":1e2}`, `{"n":128}`, `{"l":"a"}`,
		`{"l":["a",null]}`, `{"ll":[[1],[]],"m":{"a":["b"],"a":[]}}`, `{"c":{"a":null,"b":{"x":1,"x":2}}}`, `{"c":[]}`,
		`{"o":{"o":{"o":{}}},"oo":[{},{"s":""}]}`,
		`{"s":"\ud800"}`, `{"s":"\ud83d\ude00"}`, `{"s":"\\ud800"}`, `{"s":"\udc00\ud800"}`, `{"\ud800":1}`,
		`{"s":"\u0000"}`, deep(30), deep(31), deep(32), `{"c":{"a":1e999}}`,
		`{"x":1}`, `{"x":[{"y":"}]\""}],"i":1}`, `{} `, `{}x`, "\xef\xbb\xbf{}", "{\"s\":\"\xff\"}", `[{}]`,
		`"s"`, `{"ſ":"a"}`,
		`{ "s" : "a" , "i" : 1 , "l" : [ "a" , "b" ] , "c" : { "d" : 1 , "e" : [ 2 , 3 ] } , ` +
			`"o" : { "s" : "b" , "b" : true } }`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := strict.DecodeJSON[plain](data, strict.Options{})
		if want := accepted(data, reflect.TypeFor[plain]()); (err == nil) != want {
			t.Fatalf("%q: got %v; the reference takes it: %t", data, err, want)
		}
		var indented bytes.Buffer
		if json.Indent(&indented, data, "", " ") == nil {
			_, errIndented := strict.DecodeJSON[plain](indented.Bytes(), strict.Options{})
			if fmt.Sprint(errIndented) != fmt.Sprint(err) {
				t.Fatalf("%q: got %v, and with blanks %v", data, err, errIndented)
			}
		}
		if err != nil {
			if diff := cmp.Diff(plain{}, got); diff != "" {
				t.Fatalf("%q was refused, and read: %s", data, diff)
			}
			codesOf(t, err)
			return
		}
		var want plain
		if err := json.Unmarshal(data, &want); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("encoding/json reads it otherwise: %s", diff)
		}
	})
}

// scalars has the types that a form supports.
type scalars struct {
	S string  `json:"s"`
	P *string `json:"p" alias:"q"`
	I int64   `json:"i"`
	N *int8   `json:"n"`
	B *bool   `json:"b"`
}

// A form is accepted if and only if net/url parses it, each of its names is known and occurs once, and each value is
// valid for its field.
func FuzzStrictFormTakesWhatTheReferenceTakes(f *testing.F) {
	for _, seed := range []string{
		"", "s=a&p=&i=-5&n=1&b=true", "s=a+b%20c%00", "s=%ff", "s=%", "s=a&s=b", "p=1&q=1", "q=1", "x=1", "S=1", "s", "=",
		"&&", "s=a;i=1", "%73=a", "i=01", "i=-0", "i=-", "i=+1",
		"n=128", "n=-128", "b=1", "b=True", "b=", "s=a=b", "%=1", "s=\xff",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, form string) {
		got, err := strict.DecodeForm[scalars](form, strict.Options{})
		want, ok := formByReference(form)
		if (err == nil) != ok {
			t.Fatalf("%q: got %v; the reference takes it: %t", form, err, ok)
		}
		if err == nil {
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("net/url reads %q otherwise: %s", form, diff)
			}
		}
	})
}

func formByReference(form string) (out scalars, ok bool) {
	values, err := url.ParseQuery(form)
	if err != nil {
		return out, false
	}
	sent := 0
	for name, all := range values {
		if !utf8.ValidString(name) || len(all) != 1 || !utf8.ValidString(all[0]) {
			return out, false
		}
		v := all[0]
		switch name {
		case "s":
			out.S = v
		case "p", "q":
			sent++
			out.P = &v
		case "i", "n":
			bits := 64
			if name == "n" {
				bits = 8
			}
			n, err := strconv.ParseInt(v, 10, bits)
			if err != nil || !isWhole.MatchString(v) {
				return out, false
			}
			if name == "n" {
				out.N = ptr(int8(n))
			} else {
				out.I = n
			}
		case "b":
			if v != "true" && v != "false" {
				return out, false
			}
			out.B = ptr(v == "true")
		default:
			return out, false
		}
	}
	return out, sent <= 1
}
