package strict

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/refreshd/refreshd/domain"
)

// A jsonSource is a cursor over well-formed JSON in valid UTF-8. So it determines the kind of a value by its first
// byte, and does not check for the end of the data.
type jsonSource struct {
	bodyWords
	data []byte
	pos  int
}

func (w *jsonSource) peek() byte {
	for strings.IndexByte(" \t\r\n", w.data[w.pos]) >= 0 {
		w.pos++
	}
	return w.data[w.pos]
}

func (w *jsonSource) kind() kind {
	switch w.peek() {
	case '{':
		return object
	case '[':
		return list
	case '"':
		return text
	case 't', 'f':
		return boolean
	case 'n':
		return null
	default:
		return number
	}
}

func (w *jsonSource) plain(string) string { return "" }

func (w *jsonSource) empty() bool { return w.peek() == '"' && w.data[w.pos+1] == '"' }

func (w *jsonSource) enter() {
	w.peek()
	w.pos++
}

func (w *jsonSource) next() bool {
	switch w.peek() {
	case '}', ']':
		w.pos++
		return false
	case ',':
		w.pos++
	}
	return true
}

func (w *jsonSource) name() (name, message string) {
	name, ok := w.unquote()
	w.peek()
	w.pos++ // the colon
	if !ok {
		return "", "a name in it " + loneSurrogate
	}
	return name, ""
}

func (w *jsonSource) text(string) (string, []string) {
	s, ok := w.unquote()
	if !ok {
		return "", []string{loneSurrogate}
	}
	return s, nil
}

func (w *jsonSource) boolean() (bool, string) {
	is := w.peek() == 't'
	w.skip()
	return is, ""
}

func (w *jsonSource) integer(bits int) (int64, string) {
	return parseInteger(string(w.literal()), bits)
}

// literal returns the current value as it is written.
func (w *jsonSource) literal() []byte {
	w.peek()
	start := w.pos
	w.skip()
	return w.data[start:w.pos]
}

const loneSurrogate = `has an unpaired surrogate (\ud800 to \udfff)`

// raw returns the current object as it is written. Its names are free.
func (w *jsonSource) raw(d *decoder, path string, depth int) []byte {
	start := w.pos
	w.free(d, path, depth)
	return bytes.Clone(w.data[start:w.pos])
}

func (w *jsonSource) free(d *decoder, path string, depth int) {
	switch k := w.kind(); {
	case k == null:
		w.skip()
	case !d.written("", path, depth):
	case k == object:
		seen := map[string]bool{}
		for w.enter(); w.next(); {
			name, message := w.name()
			if message != "" {
				d.malformed(path, message)
				w.skip()
				continue
			}
			below, _ := w.below(path, name)
			if seen[name] {
				d.add(below, domain.Repeated, w.repeated(sent{name: name}, name))
			}
			seen[name] = true
			w.free(d, below, depth+1)
		}
	case k == list:
		for w.enter(); w.next(); {
			w.free(d, path, depth+1)
		}
	case k == text:
		_, messages := w.text("")
		d.malformed(path, messages...)
	case k == boolean:
		w.skip()
	default:
		if _, err := strconv.ParseFloat(string(w.literal()), 64); err != nil {
			d.malformed(path, "is a number out of the range of JSON readers (RFC 8259, section 6)")
		}
	}
}

// unquote returns the current string. ok is false if it has an unpaired surrogate, which encoding/json would replace.
func (w *jsonSource) unquote() (s string, ok bool) {
	raw := w.literal()
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

// hex4 returns the value of the first four hexadecimal digits, whose grammar was checked.
func hex4(digits []byte) uint64 {
	code, _ := strconv.ParseUint(string(digits[:4]), 16, 16)
	return code
}

// skip skips the current value, of any depth.
func (w *jsonSource) skip() {
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

// bodyWords are the words for bodies and queries. Names and paths are bounded, because they become error codes.
type bodyWords struct{}

var bodyKinds = [...]string{
	object: "an object", list: "a list", text: "a string", boolean: "a boolean", number: "a number", null: "null",
}

func (bodyWords) line() int { return 0 }

func (bodyWords) want(t reflect.Type) string { return want(t, "a string") }

func (bodyWords) mismatch(want string, k kind) string {
	return "must be " + want + ", not " + bodyKinds[k]
}

func (bodyWords) null(want string) string {
	return "must be " + want + ", not null; omit it instead"
}

func (bodyWords) unknown(name string, p *plan) string {
	message := "is not known here"
	for _, known := range slices.Sorted(maps.Keys(p.byName)) {
		if strings.EqualFold(known, name) {
			return message + "; did you mean " + p.byName[known].name + "? Names are case-sensitive"
		}
	}
	return message
}

func (bodyWords) repeated(before sent, name string) string {
	if before.name != name {
		return "is sent twice, as " + before.name + " and as " + name + ", which are one field; send one of them"
	}
	return "is sent twice"
}

// below omits a name that is not suitable for a response or the log.
func (bodyWords) below(path, name string) (below string, shown bool) {
	hidden := func(r rune) bool { return r <= ' ' || r > '~' }
	if name == "" || len(name) > maxShown || strings.ContainsFunc(name, hidden) {
		return path, false
	}
	return join(path, name), true
}

func (bodyWords) entry(path string, _ int) string { return path }

// want returns what a field of type t accepts; str is the word for a string.
func want(t reflect.Type, str string) string {
	if t == rawObject || t == rawText {
		return "an object"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return want(t.Elem(), str)
	case reflect.String:
		return str
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

func parseInteger(s string, bits int) (n int64, message string) {
	digits := strings.TrimPrefix(s, "-")
	if digits == "" || strings.Trim(digits, "0123456789") != "" || len(digits) > 1 && digits[0] == '0' {
		return 0, "must be a whole number, written in digits only"
	}
	n, err := strconv.ParseInt(s, 10, bits)
	if err != nil {
		return 0, "is out of range"
	}
	return n, ""
}
