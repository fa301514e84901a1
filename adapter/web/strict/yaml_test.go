package strict_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/refreshd/refreshd/adapter/web/strict"
)

func nodeOf(t *testing.T, text string) *yaml.Node {
	t.Helper()
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(text), &document); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return document.Content[0]
}

func codesIn(problems []strict.Problem) string {
	var codes []string
	for _, p := range problems {
		codes = append(codes, p.Code())
	}
	return strings.Join(codes, " ")
}

// JSON is also YAML, so one text can be decoded as both. The rules must be the same. Only the path of an entry of a
// list differs.
func TestJSONAndYAMLKeepTheSameRules(t *testing.T) {
	tests := []struct{ text, codes string }{
		{`{}`, ""},
		{`{"userId":"a","ttl":-5,"small":127,"all":false,"roles":["x","y"],"endpoints":{"/a":["GET"]}}`, ""},
		{`{"metaData":{"device":{"name":"n","type":""}},"devices":[{},{"type":"t"}],"userId":""}`, ""},
		{`{"patch":{"name":null,"roles":["a"],"device":null}}`, ""},
		{`{"usersId":"a"}`, ""},
		{`{"x":1}`, "[unknown]x"},
		{`{"x":1,"x":2}`, "[unknown]x"},
		{`{"userid":"a"}`, "[unknown]userid"},
		{`{"metaData":{"device":{"colour":1}}}`, "[unknown]metaData.device.colour"},
		{`{"ttl":1,"ttl":1}`, "[repeated]ttl"},
		{`{"userId":"a","userID":"a"}`, "[repeated]userId"},
		{`{"endpoints":{"/a":["GET"],"/a":[]}}`, "[repeated]endpoints./a"},
		{`{"userId":null,"metaData":null,"patch":null}`, "[invalid]userId [invalid]metaData [invalid]patch"},
		{`{"userId":1,"ttl":"1","all":1,"small":128}`, "[invalid]userId [invalid]ttl [invalid]all [invalid]small"},
		{`{"ttl":1.5}`, "[invalid]ttl"},
		{`{"ttl":1e3}`, "[invalid]ttl"},
		{`{"ttl":9223372036854775808}`, "[invalid]ttl"},
		{`{"roles":"a","metaData":[],"endpoints":[]}`, "[invalid]roles [invalid]metaData [invalid]endpoints"},
		{`{"userId":{"a":{"b":[{}]}},"x":{"y":[1]}}`, "[invalid]userId [unknown]x"},
	}
	for _, tt := range tests {
		for name, o := range map[string]strict.Options{
			"strict": {}, "as RFC 6749 wants": {IgnoreUnknown: true, EmptyIsAbsent: true},
		} {
			fromJSON, err := strict.DecodeJSON[input]([]byte(tt.text), o)
			fromYAML, _, problems := strict.DecodeYAML[input](nodeOf(t, tt.text), o, nil)
			if got := codesOf(t, err); name == "strict" && got != tt.codes || got != codesIn(problems) {
				t.Errorf("%s, %s: JSON %q, YAML %q, want %q", name, tt.text, got, codesIn(problems), tt.codes)
			}
			if diff := cmp.Diff(fromJSON, fromYAML); diff != "" {
				t.Errorf("%s, %s (-JSON +YAML):\n%s", name, tt.text, diff)
			}
		}
	}
}

func TestYAMLTellsLines(t *testing.T) {
	in, lines, problems := strict.DecodeYAML[input](nodeOf(t, `
roles: # of the user
  - a
  -
    "b"
metaData:
  device: {name: n,
    type: t}
`), strict.Options{}, nil)
	if len(problems) > 0 || len(in.Roles) != 2 {
		t.Fatalf("%+v, %v", in, problems)
	}
	want := map[string]int{
		"roles": 2, "roles[0]": 3, "roles[1]": 5, "metaData": 6, "metaData.device": 7, "metaData.device.name": 7,
		"metaData.device.type": 8,
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	_, lines, problems = strict.DecodeYAML[input](nodeOf(t, "roles:\n- 1\nttl: 1\nTTL: 1\nttl: 2\n"),
		strict.Options{}, nil)
	var at []int
	for _, p := range problems {
		at = append(at, p.Line)
	}
	if codes := codesIn(problems); codes != "[invalid]roles[0] [unknown]TTL [repeated]ttl" ||
		!slices.Equal(at, []int{2, 4, 5}) {
		t.Errorf("got %s in lines %d", codes, at)
	}
	if len(lines) > 0 {
		t.Errorf("lines of what was refused: %v", lines)
	}
}

// A document with unlimited nesting must not overflow the stack, even if its type is recursive.
func TestYAMLIsNoDeeperThan32(t *testing.T) {
	for depth, codes := range map[int]string{31: "", 32: "[invalid]" + strings.Repeat("o.", 31) + "o"} {
		_, _, problems := strict.DecodeYAML[written](
			nodeOf(t, strings.Repeat(`{"o":`, depth)+"{}"+strings.Repeat("}", depth)), strict.Options{}, nil)
		if got := codesIn(problems); got != codes {
			t.Errorf("%d: got %q, want %q", depth, got, codes)
		}
	}
}

// written is a type that both packages can decode.
type written struct {
	S  string              `json:"s" yaml:"s"`
	P  *string             `json:"p" yaml:"p"`
	I  int64               `json:"i" yaml:"i"`
	N  *int8               `json:"n" yaml:"n"`
	B  *bool               `json:"b" yaml:"b"`
	L  []string            `json:"l" yaml:"l"`
	LL [][]int             `json:"ll" yaml:"ll"`
	M  map[string][]string `json:"m" yaml:"m"`
	O  *written            `json:"o" yaml:"o"`
	OO []written           `json:"oo" yaml:"oo"`
}

// acceptedNode is an independent implementation of the rules by which DecodeYAML accepts a node for a t. It shares only
// the struct with DecodeYAML.
func acceptedNode(n *yaml.Node, t reflect.Type, depth int) bool {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if n.Kind == yaml.AliasNode || n.Anchor != "" || n.Style&yaml.TaggedStyle != 0 {
		return false
	}
	switch n.Kind {
	case yaml.SequenceNode:
		return t.Kind() == reflect.Slice && depth <= 32 && !slices.ContainsFunc(n.Content, func(c *yaml.Node) bool {
			return !acceptedNode(c, t.Elem(), depth+1)
		})
	case yaml.MappingNode:
		seen := map[string]bool{}
		for i := 0; i < len(n.Content); i += 2 {
			name, value := n.Content[i], n.Content[i+1]
			if name.Kind != yaml.ScalarNode || name.Anchor != "" || name.Style&yaml.TaggedStyle != 0 || name.Tag == "!!merge" ||
				name.Value == "" || seen[name.Value] {
				return false
			}
			seen[name.Value] = true
			inside := reflect.TypeFor[chan int]() // which nothing is
			switch t.Kind() {
			case reflect.Map:
				inside = t.Elem()
			case reflect.Struct:
				for f := range t.Fields() {
					if f.Tag.Get("json") == name.Value {
						inside = f.Type
					}
				}
			}
			if !acceptedNode(value, inside, depth+1) {
				return false
			}
		}
		return depth <= 32 && (t.Kind() == reflect.Map || t.Kind() == reflect.Struct)
	}
	switch n.Tag {
	case "!!str":
		return t.Kind() == reflect.String
	case "!!bool":
		return t.Kind() == reflect.Bool && (n.Value == "true" || n.Value == "false")
	case "!!int", "!!float":
		_, err := strconv.ParseInt(n.Value, 10, 64)
		return reflect.Zero(t).CanInt() && err == nil && isWhole.MatchString(n.Value) && n.Value != "-0" &&
			!reflect.Zero(t).OverflowInt(must(strconv.ParseInt(n.Value, 10, 64)))
	}
	return false
}

func must(n int64, _ error) int64 { return n }

// hasNullName reports whether a name is written as null. The library reads it as null, and this package as that word.
func hasNullName(n *yaml.Node) bool {
	for i, c := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 && c.Tag == "!!null" || hasNullName(c) {
			return true
		}
	}
	return false
}

// A document is accepted if and only if an independent implementation of the rules accepts it. The result is then that
// of the library.
func FuzzStrictYAMLTakesWhatTheReferenceTakes(f *testing.F) {
	for _, seed := range []string{
		"{}", "s: a\ni: -5\nn: -128\nb: false\np: ''\n", "s: a\ns: b", "S: a", "p:", "i: 1.0", "i: 010", "i: 0x1",
		"i: 1_0", "n: 128",
		"l: a", "l: [a, ~]", "ll: [[1], []]\nm: {a: [b], a: []}", "o: {o: {o: {}}}\noo: [{}, {s: ''}]", "s: &a b\np: *a",
		"<<: {s: a}", "s: !!str a", "? [a]\n: b", "m: {1: [a], true: [], ~: []}", "s: 2030-01-31", "b: yes",
		"b: TRUE", "i: -0",
		"s: |\n  a\n  b\n", "- a", "i: 9223372036854775808", "x: [{y: 1}]", "'': a",
		strings.Repeat(`{"o":`, 31) + "{}" + strings.Repeat("}", 31),
		strings.Repeat(`{"o":`, 32) + "{}" + strings.Repeat("}", 32),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var document yaml.Node
		if yaml.Unmarshal([]byte(text), &document) != nil || len(document.Content) == 0 {
			return
		}
		root := document.Content[0]
		got, lines, problems := strict.DecodeYAML[written](root, strict.Options{}, nil)
		if want := acceptedNode(root, reflect.TypeFor[written](), 1); (len(problems) == 0) != want {
			t.Fatalf("%q: got %v; the reference takes it: %t", text, problems, want)
		}
		for _, p := range problems {
			if p.Line < 1 || p.Line > strings.Count(text, "\n")+strings.Count(text, "\r")+strings.Count(text, "\u2028")+
				strings.Count(text, "\u2029")+strings.Count(text, "\u0085")+1 {
				t.Errorf("%q: %v is in no line of it", text, p)
			}
		}
		if len(problems) > 0 {
			if diff := cmp.Diff(written{}, got); diff != "" || len(lines) > 0 {
				t.Fatalf("%q was refused, and read: %s", text, diff)
			}
			return
		}
		var want written
		if err := root.Decode(&want); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" && !hasNullName(root) {
			t.Fatalf("the library reads %q otherwise (-want +got):\n%s", text, diff)
		}
	})
}

// own lists its members itself.
type own struct {
	A string
	B *int64
	C []own
}

func (o *own) Members() strict.Members {
	return strict.Members{
		{Name: "a", Into: (*upper)(&o.A)},
		{Name: "in", Into: strict.Members{{Name: "b", Into: &o.B}}},
		{Name: "c", Into: &o.C},
	}
}

type upper string

func (u *upper) SetText(text string) string {
	if text == "" {
		return "is empty"
	}
	*u = upper(strings.ToUpper(text))
	return ""
}

func (*upper) Want() string { return "" }

// A struct that lists its members itself is decoded by the same rules as one with tags.
func TestAnObjectNamesItsMembersItself(t *testing.T) {
	var b int64 = 2
	tests := []struct {
		text, codes string // of JSON; YAML has the index of an entry too
		want        own
	}{
		{`{"a":"x","in":{"b":2},"c":[{"a":"y"},{}]}`, "", own{A: "X", B: &b, C: []own{{A: "Y"}, {}}}},
		{`{"in":{}}`, "", own{}},
		{`{"A":"x","in":{"x":1,"b":"2"}}`, "[unknown]A [unknown]in.x [invalid]in.b", own{}},
		{`{"a":"","in":[],"c":{}}`, "[invalid]a [invalid]in [invalid]c", own{}},
		{`{"a":1,"in":null,"c":null}`, "[invalid]a [invalid]in [invalid]c", own{}},
		{`{"a":"x","a":"y","in":{"b":1,"b":2}}`, "[repeated]a [repeated]in.b", own{}},
	}
	for _, tt := range tests {
		got, err := strict.DecodeJSON[own]([]byte(tt.text), strict.Options{})
		fromYAML, _, problems := strict.DecodeYAML[own](nodeOf(t, tt.text), strict.Options{}, nil)
		if codes := codesOf(t, err); codes != tt.codes || codesIn(problems) != tt.codes {
			t.Errorf("%s: JSON %q, YAML %q, want %q", tt.text, codes, codesIn(problems), tt.codes)
		}
		if diff := cmp.Diff(tt.want, got) + cmp.Diff(tt.want, fromYAML); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.text, diff)
		}
	}
}

func TestYAMLHasNoFreeFormObjects(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("got no panic")
		}
	}()
	strict.DecodeYAML[struct {
		C json.RawMessage `json:"c"`
	}](nodeOf(t, "c: {}"), strict.Options{}, nil)
}
