// Package strict reads JSON and forms into structs, and refuses what two readers could understand differently.
//
// It walks the bytes by itself and assigns by itself. encoding/json matches names in any case, takes the last of repeated
// names and replaces invalid UTF-8, all silently, so its result cannot be trusted unless everything that it is lenient
// about was refused before; and it knows no aliases. It still judges the grammar (one parser less to be wrong), and a fuzz
// test holds the result to what it would have decoded.
package strict

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/refreshd/refreshd/domain"
)

const (
	maxDepth    = 32
	maxProblems = 20 // a hostile body could otherwise make an answer many times its own size
	maxShown    = 64 // bytes of a name that we did not choose
)

// Options are what a protocol's own rules ask for. Without any, a name that is not known is refused, and a value without
// content is one.
type Options struct {
	IgnoreUnknown bool // skip names that are not known (RFC 6749, sections 3.1 and 3.2)
	EmptyIsAbsent bool // a text without content, under whichever name, was not sent (RFC 6749, sections 3.1 and 3.2)
}

// ErrEmptyBody is the *domain.Invalid for a body without content, for callers that treat none apart from a wrong one.
var ErrEmptyBody error = domain.NewInvalid("", domain.Blank, "the body is empty, and must not be")

// DecodeJSON reads one JSON object into a T, or returns an *domain.Invalid with every problem (the first 20). It refuses what
// encoding/json lets pass: names in another case, unknown and repeated names at any depth, null, trailing bytes, invalid UTF-8
// and lone surrogates, nesting deeper than 32.
//
// T is a struct whose fields carry `json:"name"`, and may carry `alias:"other,another"`: names that mean the same field. Field
// errors have the first name, whichever was sent. A field is a string, bool or signed integer, a struct, a slice or map[string]
// of these, a pointer to one of these, which stays nil where nothing was sent, or a json.RawMessage, which takes any JSON object
// as it came: inside, names are free and null is allowed. A pointer to such a pointer takes null too, which sets the outer
// one and leaves the inner one nil. Anything else in T panics.
//
// Control characters, NUL too, are content, and arrive.
func DecodeJSON[T any](data []byte, o Options) (T, error) {
	var in, none T
	v := reflect.ValueOf(&in).Elem()
	planOf(v.Type())
	if len(bytes.TrimLeft(data, " \t\r\n")) == 0 {
		return none, ErrEmptyBody
	}
	if !utf8.Valid(data) {
		return none, domain.NewInvalid("", domain.Malformed, "the body is not valid UTF-8")
	}
	if !json.Valid(data) {
		message := "the body must be one JSON object, and nothing after it"
		var whole json.RawMessage
		if syntax := (*json.SyntaxError)(nil); errors.As(json.Unmarshal(data, &whole), &syntax) {
			message += "; it stops being one at byte " + strconv.FormatInt(syntax.Offset, 10)
		}
		return none, domain.NewInvalid("", domain.Malformed, message)
	}
	w := walker{data: data, options: o}
	if first := w.peek(); first != '{' {
		return none, domain.NewInvalid("", domain.Malformed, "the body must be an object, not "+kindOf(first))
	}
	w.decode(v, "", 1)
	if err := w.err(); err != nil {
		return none, err
	}
	return in, nil
}

// DecodeForm reads application/x-www-form-urlencoded text, a form or a query, into a T as DecodeJSON does. Only strings,
// integers and booleans (true or false) can be sent so; a name without a value is the empty string, sent.
func DecodeForm[T any](encoded string, o Options) (T, error) {
	var in, none T
	v := reflect.ValueOf(&in).Elem()
	p := planOf(v.Type())
	var found problems
	m := members{plan: p, options: o, problems: &found}
	for pair := range strings.SplitSeq(encoded, "&") {
		if pair == "" {
			continue
		}
		if strings.Contains(pair, ";") {
			found.add("", domain.Malformed, "parameters are separated by &; a semicolon is written %3B")
			continue
		}
		rawName, rawValue, _ := strings.Cut(pair, "=")
		if rawValue == "" && o.EmptyIsAbsent {
			continue
		}
		name, err := unescape(rawName)
		if err != nil {
			found.add("", domain.Malformed, "a parameter's name "+err.Error())
			continue
		}
		f, ok := m.take("", name)
		if !ok {
			continue
		}
		value, err := unescape(rawValue)
		if err != nil {
			found.add(f.name, domain.Malformed, err.Error())
			continue
		}
		if message := setText(v.Field(f.index), value); message != "" {
			found.add(f.name, domain.Malformed, message)
		}
	}
	if err := found.err(); err != nil {
		return none, err
	}
	return in, nil
}

func unescape(s string) (string, error) {
	s, err := url.QueryUnescape(s)
	if err != nil {
		return "", errors.New("has a percent sign that is not followed by two hexadecimal digits")
	}
	if !utf8.ValidString(s) {
		return "", errors.New("is not valid UTF-8")
	}
	return s, nil
}

// setText stores what a form can say, or returns what is wrong.
func setText(v reflect.Value, s string) (message string) {
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(s)
	case reflect.Bool:
		if s != "true" && s != "false" {
			return "must be true or false"
		}
		v.SetBool(s == "true")
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return setInteger(v, s)
	default:
		return "is " + want(v.Type()) + ", which only a JSON body can hold"
	}
	return ""
}

func setInteger(v reflect.Value, s string) (message string) {
	digits := strings.TrimPrefix(s, "-")
	if digits == "" || strings.Trim(digits, "0123456789") != "" || len(digits) > 1 && digits[0] == '0' {
		return "must be a whole number, written in digits only"
	}
	n, err := strconv.ParseInt(s, 10, v.Type().Bits())
	if err != nil {
		return "is out of range"
	}
	v.SetInt(n)
	return ""
}

// A field is one name that a struct knows.
type field struct {
	index int
	name  string // the first name, also when found by an alias
}

// A plan is the names of one struct type.
type plan struct{ byName map[string]field }

var plans sync.Map // reflect.Type to *plan

func planOf(t reflect.Type) *plan {
	if p, ok := plans.Load(t); ok {
		return p.(*plan)
	}
	p := &plan{byName: map[string]field{}}
	if t.Kind() != reflect.Struct {
		panic(fmt.Sprintf("strict: %v is no struct", t))
	}
	for i := range t.NumField() {
		sf := t.Field(i)
		name, _, _ := strings.Cut(sf.Tag.Get("json"), ",")
		if name == "-" {
			continue
		}
		if name == "" || !sf.IsExported() || sf.Anonymous {
			panic(fmt.Sprintf("strict: %v.%s must be an ordinary exported field with a json tag", t, sf.Name))
		}
		mustDecode(sf.Type)
		names := []string{name}
		if alias := sf.Tag.Get("alias"); alias != "" {
			names = append(names, strings.Split(alias, ",")...)
		}
		for _, n := range names {
			if _, taken := p.byName[n]; taken {
				panic(fmt.Sprintf("strict: %v has the name %q twice", t, n))
			}
			p.byName[n] = field{index: i, name: name}
		}
	}
	plans.Store(t, p)
	return p
}

var (
	rawObject       = reflect.TypeFor[json.RawMessage]()
	jsonUnmarshaler = reflect.TypeFor[json.Unmarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// mustDecode panics for a type that decode has no case for. Structs are looked at when they are met: they may be recursive.
func mustDecode(t reflect.Type) {
	if t == rawObject {
		return
	}
	if p := reflect.PointerTo(t); p.Implements(jsonUnmarshaler) || p.Implements(textUnmarshaler) {
		panic(fmt.Sprintf("strict: %v decodes itself; decode a plain type and convert it", t))
	}
	switch t.Kind() {
	case reflect.String, reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Struct:
	case reflect.Pointer, reflect.Slice:
		mustDecode(t.Elem())
	case reflect.Map:
		if t.Key() != reflect.TypeFor[string]() {
			panic(fmt.Sprintf("strict: the keys of %v are no strings", t))
		}
		mustDecode(t.Elem())
	default:
		panic(fmt.Sprintf("strict: cannot decode into %v", t))
	}
}

// want says what a field of type t takes, for messages.
func want(t reflect.Type) string {
	if t == rawObject {
		return "an object"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return want(t.Elem())
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		return "a list"
	case reflect.Map, reflect.Struct:
		return "an object"
	default:
		return "a whole number"
	}
}

// kindOf says what a JSON value that begins with b is, for messages.
func kindOf(b byte) string {
	switch b {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	default:
		return "a number"
	}
}

type problems []domain.FieldError

func (p *problems) add(field string, reason domain.Reason, message string) {
	if len(*p) < maxProblems {
		*p = append(*p, domain.FieldError{Field: field, Reason: reason, Message: message})
	}
}

func (p *problems) err() error {
	if len(*p) == 0 {
		return nil
	}
	return &domain.Invalid{Fields: *p}
}

// members watches over the names in one object.
type members struct {
	plan     *plan
	options  Options
	problems *problems
	sent     map[int]string  // by field, the name it was sent under
	unknown  map[string]bool // already complained about
}

// take finds the field for a name, unless it is unknown or was sent before.
func (m *members) take(parent, name string) (field, bool) {
	f, known := m.plan.byName[name]
	if !known {
		if !m.unknown[name] && !m.options.IgnoreUnknown {
			m.complain(parent, name)
		}
		return field{}, false
	}
	if before, again := m.sent[f.index]; again {
		message := "is given twice"
		if before != name {
			message += ", as " + before + " and as " + name + ", which are the same; send one"
		}
		m.problems.add(join(parent, f.name), domain.Repeated, message)
		return field{}, false
	}
	if m.sent == nil {
		m.sent = map[int]string{}
	}
	m.sent[f.index] = name
	return f, true
}

func (m *members) complain(parent, name string) {
	if m.unknown == nil {
		m.unknown = map[string]bool{}
	}
	m.unknown[name] = true
	message := "is not known here"
	for _, known := range slices.Sorted(maps.Keys(m.plan.byName)) {
		if strings.EqualFold(known, name) {
			message += "; did you mean " + m.plan.byName[known].name + "? Names are compared exactly"
			break
		}
	}
	if !showable(name) {
		m.problems.add(parent, domain.Unknown, "a name in it "+message)
		return
	}
	m.problems.add(join(parent, name), domain.Unknown, message)
}

// showable reports whether a name that the caller made up can stand in an answer.
func showable(name string) bool {
	return name != "" && len(name) <= maxShown && !strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' })
}

func join(parent, name string) string {
	if parent == "" {
		return name
	}
	return parent + "." + name
}

// A walker goes once over a document that is known to be well-formed JSON in valid UTF-8, which is why it looks at first bytes
// only and runs into no end.
type walker struct {
	data    []byte
	pos     int
	options Options
	problems
}

func (w *walker) peek() byte {
	for strings.IndexByte(" \t\r\n", w.data[w.pos]) >= 0 {
		w.pos++
	}
	return w.data[w.pos]
}

// decode reads the value at hand into v, or notes what is wrong with it; either way it ends behind the value.
func (w *walker) decode(v reflect.Value, path string, depth int) {
	first := w.peek()
	if first == 'n' && v.Kind() == reflect.Pointer && v.Type().Elem().Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		w.skip()
		return
	}
	if first == 'n' {
		w.add(path, domain.Malformed, "must be "+want(v.Type())+", not null; leave it out instead")
		w.skip()
		return
	}
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		w.decode(v.Elem(), path, depth)
		return
	}
	if w.tooDeep(first, path, depth) {
		return
	}
	start := w.pos
	switch {
	case v.Type() == rawObject && first == '{':
		w.free(path, depth)
		v.SetBytes(bytes.Clone(w.data[start:w.pos]))
	case v.Type() == rawObject:
		w.mismatch(v, path, first)
	case v.Kind() == reflect.Struct && first == '{':
		m := members{plan: planOf(v.Type()), options: w.options, problems: &w.problems}
		w.object(path, func(name string) {
			if w.options.EmptyIsAbsent && bytes.HasPrefix(w.data[w.pos:], []byte(`""`)) {
				w.skip()
			} else if f, ok := m.take(path, name); ok {
				w.decode(v.Field(f.index), join(path, f.name), depth+1)
			} else {
				w.skip()
			}
		})
	case v.Kind() == reflect.Map && first == '{':
		v.Set(reflect.MakeMap(v.Type()))
		w.object(path, func(name string) {
			below := w.below(path, name)
			value := reflect.New(v.Type().Elem()).Elem()
			if v.MapIndex(reflect.ValueOf(name)).IsValid() {
				w.add(below, domain.Repeated, "is given twice")
				w.skip()
				return
			}
			w.decode(value, below, depth+1)
			v.SetMapIndex(reflect.ValueOf(name), value)
		})
	case v.Kind() == reflect.Slice && first == '[':
		v.Set(reflect.MakeSlice(v.Type(), 0, 0))
		w.list(func(i int) {
			before := len(w.problems)
			entry := reflect.New(v.Type().Elem()).Elem()
			w.decode(entry, path, depth+1)
			v.Set(reflect.Append(v, entry))
			for j := range w.problems[before:] {
				p := &w.problems[before+j]
				p.Message = "entry " + strconv.Itoa(i+1) + ": " + p.Message
			}
		})
	case v.Kind() == reflect.String && first == '"':
		if s, ok := w.text(); ok {
			v.SetString(s)
		} else {
			w.add(path, domain.Malformed, loneSurrogate)
		}
	case v.Kind() == reflect.Bool && (first == 't' || first == 'f'):
		w.skip()
		v.SetBool(first == 't')
	case v.CanInt() && (first == '-' || '0' <= first && first <= '9'):
		w.skip()
		if message := setInteger(v, string(w.data[start:w.pos])); message != "" {
			w.add(path, domain.Malformed, message)
		}
	default:
		w.mismatch(v, path, first)
	}
}

const loneSurrogate = `has half a surrogate pair (\ud800 to \udfff), which is no character`

func (w *walker) mismatch(v reflect.Value, path string, first byte) {
	w.add(path, domain.Malformed, "must be "+want(v.Type())+", not "+kindOf(first))
	w.skip()
}

func (w *walker) tooDeep(first byte, path string, depth int) bool {
	if depth <= maxDepth || first != '{' && first != '[' {
		return false
	}
	w.add(path, domain.Malformed, "is nested deeper than "+strconv.Itoa(maxDepth)+" levels")
	w.skip()
	return true
}

// free passes over a value whose names are the caller's own affair.
func (w *walker) free(path string, depth int) {
	first := w.peek()
	if w.tooDeep(first, path, depth) {
		return
	}
	start := w.pos
	switch first {
	case '{':
		seen := map[string]bool{}
		w.object(path, func(name string) {
			below := w.below(path, name)
			if seen[name] {
				w.add(below, domain.Repeated, "is given twice")
			}
			seen[name] = true
			w.free(below, depth+1)
		})
	case '[':
		w.list(func(int) { w.free(path, depth+1) })
	case '"':
		if _, ok := w.text(); !ok {
			w.add(path, domain.Malformed, loneSurrogate)
		}
	case 't', 'f', 'n':
		w.skip()
	default:
		w.skip()
		if _, err := strconv.ParseFloat(string(w.data[start:w.pos]), 64); err != nil {
			w.add(path, domain.Malformed, "is a number that readers of JSON cannot hold (RFC 8259, section 6)")
		}
	}
}

// below is the path of a member whose name the caller made up.
func (w *walker) below(path, name string) string {
	if !showable(name) {
		return path
	}
	return join(path, name)
}

// object calls member for each name, with the walker before the value; member must pass over it.
func (w *walker) object(path string, member func(name string)) {
	w.pos++
	for w.peek() != '}' {
		if w.data[w.pos] == ',' {
			w.pos++
			w.peek()
		}
		name, ok := w.text()
		w.peek()
		w.pos++ // the colon
		w.peek()
		if ok {
			member(name)
			continue
		}
		w.add(path, domain.Malformed, "a name in it "+loneSurrogate)
		w.skip()
	}
	w.pos++
}

// list calls entry for each value, with the walker before it; entry must pass over it.
func (w *walker) list(entry func(i int)) {
	w.pos++
	for i := 0; w.peek() != ']'; i++ {
		if w.data[w.pos] == ',' {
			w.pos++
		}
		entry(i)
	}
	w.pos++
}

// text reads the string at hand; not ok if an escape in it is half a surrogate pair, which encoding/json would replace.
func (w *walker) text() (s string, ok bool) {
	start := w.pos
	w.skip()
	raw := w.data[start:w.pos]
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1]), true
	}
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			continue
		}
		i++
		if raw[i] != 'u' {
			continue
		}
		switch code := hex4(raw[i+1:]); {
		case 0xDC00 <= code && code <= 0xDFFF:
			return "", false
		case 0xD800 <= code && code <= 0xDBFF:
			rest := raw[i+5:]
			if !bytes.HasPrefix(rest, []byte(`\u`)) || hex4(rest[2:])&0xFC00 != 0xDC00 {
				return "", false
			}
			i += 6
		}
		i += 4
	}
	return s, json.Unmarshal(raw, &s) == nil
}

// hex4 is the number that the first four hexadecimal digits spell; the grammar was checked.
func hex4(digits []byte) uint64 {
	code, _ := strconv.ParseUint(string(digits[:4]), 16, 16)
	return code
}

// skip passes over the value at hand, however deep, without a look inside.
func (w *walker) skip() {
	depth := 0
	w.peek()
	for w.pos < len(w.data) {
		switch w.data[w.pos] {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case '"':
			for w.pos++; w.data[w.pos] != '"'; w.pos++ {
				if w.data[w.pos] == '\\' {
					w.pos++
				}
			}
		default:
			for strings.IndexByte(",:]} \t\r\n", w.data[w.pos]) < 0 {
				w.pos++
			}
			if depth == 0 {
				return
			}
			if c := w.data[w.pos]; c == '}' || c == ']' {
				continue
			}
		}
		w.pos++
		if depth == 0 {
			return
		}
	}
}
