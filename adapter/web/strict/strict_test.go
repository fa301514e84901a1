package strict_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/adapter/web/strict"
	"github.com/refreshd/refreshd/domain"
)

type device struct {
	Name *string `json:"name"`
	Type string  `json:"type"`
}

type metaData struct {
	Device *device         `json:"device"`
	Data   json.RawMessage `json:"data"`
}

type input struct {
	UserID    *string             `json:"userId" alias:"userID,usersId"`
	TTL       *int64              `json:"ttl"`
	Small     int8                `json:"small"`
	All       *bool               `json:"all"`
	Roles     []string            `json:"roles"`
	Claims    json.RawMessage     `json:"claims"`
	MetaData  metaData            `json:"metaData"`
	Endpoints map[string][]string `json:"endpoints"`
	Devices   []device            `json:"devices"`
	Patch     *patch              `json:"patch"`
}

// patch has fields that accept null.
type patch struct {
	Name   **string          `json:"name" alias:"label"`
	Roles  **[]string        `json:"roles"`
	Claims **json.RawMessage `json:"claims"`
	Device **device          `json:"device"`
}

func ptr[T any](v T) *T { return &v }

func fieldsOf(t *testing.T, err error) []domain.FieldError {
	t.Helper()
	var invalid *domain.Invalid
	if !errors.As(err, &invalid) {
		t.Fatalf("got %T, want *domain.Invalid", err)
	}
	return invalid.Fields
}

// codesOf returns the error codes in err.
func codesOf(t *testing.T, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	var codes []string
	for _, f := range fieldsOf(t, err) {
		codes = append(codes, f.Code())
	}
	return strings.Join(codes, " ")
}

func TestStrictJSONRefuses(t *testing.T) {
	nested := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	tests := []struct{ name, body, want string }{
		{"nothing", "", "[blank]"},
		{"blanks only", " \r\n\t", "[blank]"},
		{"a list at the top", `[]`, "[invalid]"},
		{"a string at the top", `"x"`, "[invalid]"},
		{"null at the top", `null`, "[invalid]"},
		{"a second document", `{} {}`, "[invalid]"},
		{"trailing bytes", `{}x`, "[invalid]"},
		{"a byte order mark", "\ufeff{}", "[invalid]"},
		{"half a document", `{"userId":"a`, "[invalid]"},
		{"a trailing comma", `{"userId":"a",}`, "[invalid]"},
		{"a comment", `{/**/}`, "[invalid]"},
		{"a raw control character", "{\"userId\":\"a\x00\"}", "[invalid]"},
		{"invalid UTF-8 in a value", "{\"userId\":\"\xff\"}", "[invalid]"},
		{"invalid UTF-8 in a free-form name", "{\"claims\":{\"\xc3\":1}}", "[invalid]"},
		{"an encoded surrogate", "{\"userId\":\"\xed\xa0\x80\"}", "[invalid]"},
		{"a lone high surrogate", `{"userId":"\ud800"}`, "[invalid]userId"},
		{"a high surrogate before another escape", `{"userId":"\ud800\u0041"}`, "[invalid]userId"},
		{"two high surrogates", `{"userId":"\ud800\ud800"}`, "[invalid]userId"},
		{"a lone low surrogate", `{"userId":"\udc00"}`, "[invalid]userId"},
		{"a lone surrogate in a name", `{"\ud800":1,"ttl":1}`, "[invalid]"},
		{"a lone surrogate in free form", `{"claims":{"a":["\udfff"]}}`, "[invalid]claims.a"},
		{"an unknown name", `{"x":1}`, "[unknown]x"},
		{"an unknown name, twice, is one problem", `{"x":1,"x":2}`, "[unknown]x"},
		{"another case", `{"userid":"a"}`, "[unknown]userid"},
		{"an empty name", `{"":1}`, "[unknown]"},
		{"an unknown name below", `{"metaData":{"device":{"colour":1}}}`, "[unknown]metaData.device.colour"},
		{"an unknown name in a list", `{"devices":[{},{"colour":1}]}`, "[unknown]devices.colour"},
		{"a name that is too long to show", `{"` + strings.Repeat("a", 65) + `":1}`, "[unknown]"},
		{"a repeated name", `{"ttl":1,"ttl":1}`, "[repeated]ttl"},
		{"a repeated name, once escaped", `{"ttl":1,"\u0074tl":1}`, "[repeated]ttl"},
		{"a name and its alias", `{"userId":"a","userID":"a"}`, "[repeated]userId"},
		{"two aliases", `{"usersId":"a","userID":"a"}`, "[repeated]userId"},
		{"a repeated name below", `{"metaData":{"device":{"type":"a","type":"b"}}}`, "[repeated]metaData.device.type"},
		{"a repeated name in free form", `{"claims":{"a":{"b":1,"c":2,"b":3}}}`, "[repeated]claims.a.b"},
		{"a repeated name in a free-form list", `{"metaData":{"data":{"a":[{"b":1,"b":1}]}}}`, "[repeated]metaData.data.a.b"},
		{"a repeated key of a map", `{"endpoints":{"/a":["GET"],"/a":[]}}`, "[repeated]endpoints./a"},
		{"null", `{"userId":null}`, "[invalid]userId"},
		{"null for an object", `{"metaData":null}`, "[invalid]metaData"},
		{"null for a free-form object", `{"claims":null}`, "[invalid]claims"},
		{"null in a list", `{"roles":["a",null]}`, "[invalid]roles"},
		{"null in a map", `{"endpoints":{"/a":null}}`, "[invalid]endpoints./a"},
		{"null around what takes it", `{"patch":null}`, "[invalid]patch"},
		{"null in a list that takes it", `{"patch":{"roles":[null]}}`, "[invalid]patch.roles"},
		{"null in an object that takes it", `{"patch":{"device":{"name":null}}}`, "[invalid]patch.device.name"},
		{"null twice", `{"patch":{"name":null,"label":null}}`, "[repeated]patch.name"},
		{"a wrong type for what takes null", `{"patch":{"name":1,"roles":{},"claims":[],"device":""}}`,
			"[invalid]patch.name [invalid]patch.roles [invalid]patch.claims [invalid]patch.device"},
		{"a repeated name in free form that takes null", `{"patch":{"claims":{"a":null,"a":null}}}`,
			"[repeated]patch.claims.a"},
		{"a lone surrogate in free form that takes null", `{"patch":{"claims":{"a":"\ud800"}}}`, "[invalid]patch.claims.a"},
		{"a number for a string", `{"userId":1}`, "[invalid]userId"},
		{"a wrong type under an alias", `{"userID":1}`, "[invalid]userId"},
		{"an object for a string", `{"userId":{"a":{}}}`, "[invalid]userId"},
		{"a string for a number", `{"ttl":"1"}`, "[invalid]ttl"},
		{"a fraction", `{"ttl":1.5}`, "[invalid]ttl"},
		{"a fraction of nothing", `{"ttl":1.0}`, "[invalid]ttl"},
		{"an exponent", `{"ttl":1e3}`, "[invalid]ttl"},
		{"above the range", `{"ttl":9223372036854775808}`, "[invalid]ttl"},
		{"below a small range", `{"small":-129}`, "[invalid]small"},
		{"a number for a boolean", `{"all":1}`, "[invalid]all"},
		{"a string for a list", `{"roles":"a"}`, "[invalid]roles"},
		{"a wrong entry", `{"roles":["a",1]}`, "[invalid]roles"},
		{"a list for a free-form object", `{"claims":[1]}`, "[invalid]claims"},
		{"a list for an object", `{"metaData":[]}`, "[invalid]metaData"},
		{"a number no reader can hold", `{"claims":{"a":1e999}}`, "[invalid]claims.a"},
		{"nesting below an unknown name", `{"x":` + nested(500) + `}`, "[unknown]x"},
		{"nesting in free form", `{"claims":{"a":` + nested(31) + `}}`, "[invalid]claims.a"},
		{"everything wrong, together", `{"userId":1,"x":[{"y":"]"}],"ttl":"","roles":[{}]}`,
			"[invalid]userId [unknown]x [invalid]ttl [invalid]roles"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in, err := strict.DecodeJSON[input]([]byte(tt.body), strict.Options{})
			if got := codesOf(t, err); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if diff := cmp.Diff(input{}, in); diff != "" {
				t.Errorf("a refused body left something behind: %s", diff)
			}
		})
	}
}

func TestStrictJSONAccepts(t *testing.T) {
	deepest := `{"a":` + strings.Repeat("[", 30) + strings.Repeat("]", 30) + `}`
	tests := []struct {
		name, body string
		want       input
	}{
		{"nothing known", ` { } `, input{}},
		{"empty is not absent", `{"userId":"","roles":[],"ttl":0,"all":false}`,
			input{UserID: ptr(""), Roles: []string{}, TTL: ptr(int64(0)), All: ptr(false)}},
		{"an alias", `{"usersId":"a"}`, input{UserID: ptr("a")}},
		{"an escaped name", `{"\u0075serId":"a"}`, input{UserID: ptr("a")}},
		{"control characters are content", `{"userId":"a\u0000\n\""}`, input{UserID: ptr("a\x00\n\"")}},
		{"a surrogate pair", `{"userId":"\ud83d\ude00\\ud800"}`, input{UserID: ptr("😀\\ud800")}},
		{"extremes", `{"ttl":-9223372036854775808,"small":127}`, input{TTL: ptr(int64(-1 << 63)), Small: 127}},
		{"minus nothing", `{"ttl":-0}`, input{TTL: ptr(int64(0))}},
		{"null where it is taken", `{"patch":{"label":null,"roles":null,"claims":null,"device":null}}`,
			input{Patch: &patch{ptr[*string](nil), ptr[*[]string](nil), ptr[*json.RawMessage](nil), ptr[*device](nil)}}},
		{"a value where null is taken", `{"patch":{"name":"a","roles":[],"claims":{"a":null},"device":{"type":"b"}}}`,
			input{Patch: &patch{
				ptr(ptr("a")), ptr(ptr([]string{})), ptr(ptr(json.RawMessage(`{"a":null}`))), ptr(ptr(device{Type: "b"})),
			}}},
		{"free form, unchanged", `{"claims": {"A":null, "a":[1,{"A":2}], "":"\u00e4"} }`,
			input{Claims: json.RawMessage(`{"A":null, "a":[1,{"A":2}], "":"\u00e4"}`)}},
		{"the deepest free form", `{"claims":` + deepest + `}`, input{Claims: json.RawMessage(deepest)}},
		{"all kinds", `{"metaData":{"device":{"name":"n","type":"t"},"data":{}},` +
			`"endpoints":{"/a":["GET","PUT"],"*":[]},"devices":[{"type":"x"},{}]}`,
			input{MetaData: metaData{Device: &device{Name: ptr("n"), Type: "t"}, Data: json.RawMessage(`{}`)},
				Endpoints: map[string][]string{"/a": {"GET", "PUT"}, "*": {}}, Devices: []device{{Type: "x"}, {}}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := strict.DecodeJSON[input]([]byte(tt.body), strict.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestMessagesSayWhatToDoAndNeverTheValue(t *testing.T) {
	tests := []struct{ body, want string }{
		{`{"userId":4711}`, "must be a string, not a number"},
		{`{"userId":null}`, "must be a string, not null; omit it instead"},
		{`{"roles":["4711",4711]}`, "entry 2: must be a string, not a number"},
		{`{"userid":"4711"}`, "is not known here; did you mean userId? Names are case-sensitive"},
		{`{"userID":"4711","userId":"4711"}`,
			"is sent twice, as userID and as userId, which are one field; send one of them"},
		{`{"ttl":4711.5}`, "must be a whole number, written in digits only"},
		{`{"userId":"4711" "`, "the body must be one JSON object, and nothing after it; the error is at byte 18"},
		{`["4711"]`, "the body must be an object, not a list"},
	}
	for _, tt := range tests {
		_, err := strict.DecodeJSON[input]([]byte(tt.body), strict.Options{})
		if got := fieldsOf(t, err)[0].Message; got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.body, got, tt.want)
		}
		if strings.Contains(err.Error(), "4711") {
			t.Errorf("%s: the error repeats the value: %v", tt.body, err)
		}
	}
}

// The response to a body of small unknown names would otherwise be many times its size.
func TestAnAnswerIsNotLongerThanTwentyProblems(t *testing.T) {
	var body strings.Builder
	for i := range 2000 {
		body.WriteString(`,"` + string(rune('a'+i%26)) + strings.Repeat("x", i%50) + `":1`)
	}
	_, err := strict.DecodeJSON[input]([]byte("{"+body.String()[1:]+"}"), strict.Options{})
	if got := len(fieldsOf(t, err)); got != 20 {
		t.Errorf("got %d problems, want 20", got)
	}
}

func TestEmptyBodyIsToldApart(t *testing.T) {
	_, err := strict.DecodeJSON[input](nil, strict.Options{})
	if !errors.Is(err, strict.ErrEmptyBody) {
		t.Errorf("got %v, want ErrEmptyBody", err)
	}
	_, err = strict.DecodeJSON[input]([]byte("x"), strict.Options{})
	if errors.Is(err, strict.ErrEmptyBody) {
		t.Error("a wrong body is taken for none")
	}
}

func TestStrictForm(t *testing.T) {
	tests := []struct {
		name, form, codes string
		want              input
	}{
		{"nothing", "", "", input{}},
		{"nothing, twice", "&&", "", input{}},
		{"all kinds", "userId=a%20b+c&ttl=-5&small=7&all=true", "",
			input{UserID: ptr("a b c"), TTL: ptr(int64(-5)), Small: 7, All: ptr(true)}},
		{"an alias", "userID=a", "", input{UserID: ptr("a")}},
		{"an escaped name", "user%49d=a", "", input{UserID: ptr("a")}},
		{"empty is not absent", "userId=", "", input{UserID: ptr("")}},
		{"a name without a value", "userId", "", input{UserID: ptr("")}},
		{"a value with an equals sign", "userId=a=b", "", input{UserID: ptr("a=b")}},
		{"NUL is content", "userId=%00", "", input{UserID: ptr("\x00")}},
		{"an unknown name", "x=1", "[unknown]x", input{}},
		{"another case", "userid=1", "[unknown]userid", input{}},
		{"a repeated name", "ttl=1&ttl=1", "[repeated]ttl", input{}},
		{"a name and its alias", "userId=a&usersId=b", "[repeated]userId", input{}},
		{"a bad escape in a value", "userId=%zz", "[invalid]userId", input{}},
		{"a bad escape in a name", "%=1", "[invalid]", input{}},
		{"invalid UTF-8 in a value", "userId=%ff", "[invalid]userId", input{}},
		{"invalid UTF-8 in a name", "%ff=1", "[invalid]", input{}},
		{"a semicolon", "ttl=1;all=true", "[invalid]", input{}},
		{"a plus", "ttl=%2B5", "[invalid]ttl", input{}},
		{"a leading zero", "ttl=05", "[invalid]ttl", input{}},
		{"no digits", "ttl=", "[invalid]ttl", input{}},
		{"hexadecimal", "ttl=0x1", "[invalid]ttl", input{}},
		{"out of range", "small=128", "[invalid]small", input{}},
		{"a boolean in another spelling", "all=1", "[invalid]all", input{}},
		{"a list", "roles=a", "[invalid]roles", input{}},
		{"an object", "claims=%7B%7D", "[invalid]claims", input{}},
		{"a struct", "metaData=a", "[invalid]metaData", input{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := strict.DecodeForm[input](tt.form, strict.Options{})
			if codes := codesOf(t, err); codes != tt.codes {
				t.Errorf("got %q, want %q", codes, tt.codes)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Most clients send blanks between the tokens. They have no meaning anywhere.
func TestBlanksBetweenTokensMeanNothing(t *testing.T) {
	const body = `{"userId":"a","ttl":-5,"all":false,"roles":["x","y"],"claims":{"b":{"c":[1,"d",null]},"e":true},` +
		`"metaData":{"device":{"name":"n","type":""},"data":{}},"devices":[{},{"type":"t"}],` +
		`"endpoints":{"/a":["GET"],"/b":[]},` +
		`"patch":{"name":null,"device":{"name":"n"}}}`
	want, err := strict.DecodeJSON[input]([]byte(body), strict.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, blank := range []string{" ", "\t", "\r\n", " \n \t"} {
		// No string of the body has one of these.
		spaced := regexp.MustCompile(`[][{}:,]`).ReplaceAllString(body, blank+"$0"+blank)
		got, err := strict.DecodeJSON[input]([]byte(spaced), strict.Options{})
		if err != nil {
			t.Fatalf("%v in %s", err, spaced)
		}
		for _, object := range []*json.RawMessage{&got.Claims, &got.MetaData.Data} {
			var compact bytes.Buffer
			if err := json.Compact(&compact, *object); err != nil {
				t.Fatal(err)
			}
			*object = compact.Bytes()
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-without +with):\n%s", blank, diff)
		}
	}
	spaced := `{ "ttl" : 1 , "ttl" : 2 , "claims" : { "a" : 1 , "a" : 2 } , "endpoints" : { "/a" : [ ] , "/a" : [ ] } }`
	_, err = strict.DecodeJSON[input]([]byte(spaced), strict.Options{})
	if got, want := codesOf(t, err), "[repeated]ttl [repeated]claims.a [repeated]endpoints./a"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// RFC 8707, section 2: a name of several texts may be repeated in a form, and the other names may not.
func TestAFormMayRepeatANameOfTexts(t *testing.T) {
	type several struct {
		Resource strict.Texts `json:"resource"`
		List     []string     `json:"list"`
		Scope    *string      `json:"scope"`
	}
	o := strict.Options{EmptyIsAbsent: true}
	for form, want := range map[string]strict.Texts{
		"":                              nil,
		"resource=":                     nil,
		"resource=b&scope=x&resource=a": {"b", "a"},
		"resource=&resource=a":          {"a"},
		"resource=a&resource=a":         {"a", "a"},
	} {
		got, err := strict.DecodeForm[several](form, o)
		if err != nil || !slices.Equal(got.Resource, want) {
			t.Errorf("%q: got %q, %v, want %q", form, got.Resource, err, want)
		}
	}
	for form, want := range map[string]string{
		"scope=a&scope=b":           "[repeated]scope",
		"list=a":                    "[invalid]list",
		"resource=a&resource=%zz":   "[invalid]resource",
		"resource=a&resource=%ff":   "[invalid]resource",
		"resource=a&x=1&resource=b": "[unknown]x",
	} {
		_, err := strict.DecodeForm[several](form, o)
		if got := codesOf(t, err); got != want {
			t.Errorf("%q: got %q, want %q", form, got, want)
		}
	}
	if _, err := strict.DecodeForm[several]("resource=a&resource=b", strict.Options{}); err != nil {
		t.Error(err)
	}
	_, err := strict.DecodeJSON[several]([]byte(`{"resource":["a"],"resource":["b"]}`), o)
	if got := codesOf(t, err); got != "[repeated]resource" {
		t.Errorf("in JSON: got %q", got)
	}
}

// RFC 6749, sections 3.1 and 3.2: unknown parameters are ignored, and empty ones are as if they were omitted. The rules
// for known ones are as strict as without these options.
func TestOptionsOfRFC6749(t *testing.T) {
	o := strict.Options{IgnoreUnknown: true, EmptyIsAbsent: true}
	tests := []struct {
		form, json, codes string
		want              input
	}{
		{"x=1&x=2&userId=a", `{"x":1,"x":{"y":[]},"userId":"a"}`, "", input{UserID: ptr("a")}},
		{"userid=b&userId=a", `{"userid":"b","userId":"a"}`, "", input{UserID: ptr("a")}},
		{"userId=&ttl=", `{"userId":"", "ttl" : ""}`, "", input{}},
		{"userId=&userId=a&userId", `{"userId": "","userId":"a","userId":""}`, "", input{UserID: ptr("a")}},
		{"ttl=1&ttl=1", `{"ttl":1,"ttl":1}`, "[repeated]ttl", input{}},
		{"ttl=x", `{"ttl":"x"}`, "[invalid]ttl", input{}},
	}
	for _, tt := range tests {
		for name, decode := range map[string]func() (input, error){
			tt.form: func() (input, error) { return strict.DecodeForm[input](tt.form, o) },
			tt.json: func() (input, error) { return strict.DecodeJSON[input]([]byte(tt.json), o) },
		} {
			got, err := decode()
			if codes := codesOf(t, err); codes != tt.codes {
				t.Errorf("%s: got %q, want %q", name, codes, tt.codes)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
	}
	got, err := strict.DecodeJSON[input]([]byte(`{"x":1,"metaData":{"x":1,"device":{"x":1,"type":""}}}`), o)
	if diff := cmp.Diff(input{MetaData: metaData{Device: &device{}}}, got); diff != "" || err != nil {
		t.Errorf("below: %v %s", err, diff)
	}
}

// A type that cannot be decoded strictly is a bug, which the first request of any test must reveal.
func TestTargetsThatCannotBeStrictPanic(t *testing.T) {
	tests := map[string]func(){
		"no struct": func() { _, _ = strict.DecodeJSON[string]([]byte(`{}`), strict.Options{}) },
		"no tag":    func() { _, _ = strict.DecodeJSON[struct{ A string }]([]byte(`{}`), strict.Options{}) },
		"embedded":  func() { _, _ = strict.DecodeJSON[struct{ input }]([]byte(`{}`), strict.Options{}) },
		"any": func() {
			_, _ = strict.DecodeJSON[struct {
				A any `json:"a"`
			}]([]byte(`{}`), strict.Options{})
		},
		"float": func() {
			_, _ = strict.DecodeForm[struct {
				A []float64 `json:"a"`
			}]("", strict.Options{})
		},
		"bytes": func() {
			_, _ = strict.DecodeForm[struct {
				A []byte `json:"a"`
			}]("", strict.Options{})
		},
		"integer keys": func() {
			_, _ = strict.DecodeForm[struct {
				A map[int]string `json:"a"`
			}]("", strict.Options{})
		},
		"decodes self": func() {
			_, _ = strict.DecodeForm[struct {
				A time.Time `json:"a"`
			}]("", strict.Options{})
		},
		"one name, two": func() {
			_, _ = strict.DecodeForm[struct {
				A string `json:"a" alias:"b"`
				B string `json:"b"`
			}]("", strict.Options{})
		},
	}
	for name, decode := range tests {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("got no panic")
				}
			}()
			decode()
		})
	}
}

// plain has no aliases, so that encoding/json can decode it too.
type plain struct {
	S  string              `json:"s"`
	P  *string             `json:"p"`
	I  int64               `json:"i"`
	N  *int8               `json:"n"`
	B  *bool               `json:"b"`
	L  []string            `json:"l"`
	LL [][]int             `json:"ll"`
	M  map[string][]string `json:"m"`
	C  json.RawMessage     `json:"c"`
	O  *plain              `json:"o"`
	OO []plain             `json:"oo"`
}

func BenchmarkDecodeJSON(b *testing.B) {
	body := []byte(`{"userId":"ann","roles":["admin","user"],"claims":{"plan":"pro","seats":[1,2,3]},` +
		`"metaData":{"device":{"name":"phone","type":"MOBILE"}}}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := strict.DecodeJSON[input](body, strict.Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
