// Package strict decodes JSON, forms and YAML into Go values, and refuses input that two readers could interpret
// differently.
//
// All three formats have the same rules, which are in decoder.go: the known names, no repeated name, the kind of each
// value, the depth. They differ in the source that reads the document, and in the wording of errors.
//
// The package walks the document and assigns values by itself. encoding/json matches names in any case, uses the last
// of repeated names and replaces invalid UTF-8, all silently, and has no aliases. It still validates the grammar, and a
// fuzz test compares the result with what it would decode. Decoding YAML into structs with KnownFields was rejected for
// similar reasons: it stops at a type mismatch, quotes values in errors, accepts `0x10` and `1_000` as numbers, ignores
// null, and reports lines only in its messages.
package strict

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strconv"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/refreshd/refreshd/domain"
)

const (
	maxDepth    = 32
	maxProblems = 20 // otherwise a hostile body could cause a response many times its size
	maxShown    = 64 // bytes of a client's name in a response
)

// Options adapt the rules to a protocol. By default an unknown name is refused, and an empty text is a value.
type Options struct {
	IgnoreUnknown bool // ignore unknown names (RFC 6749, sections 3.1 and 3.2)
	EmptyIsAbsent bool // treat an empty text as not sent (RFC 6749, sections 3.1 and 3.2)
}

// Texts is the type of a field whose name a form may repeat, such as `resource` (RFC 8707, section 2). It has the
// values in their order.
type Texts []string

// ErrEmptyBody is the *domain.Invalid for an empty body.
var ErrEmptyBody error = domain.NewInvalid("", domain.Blank, "the body is empty: a body is required")

// DecodeJSON decodes one JSON object into a T, or returns a *domain.Invalid with the first 20 errors. It refuses names
// in another case, unknown and repeated names at any depth, null, trailing bytes, invalid UTF-8, unpaired surrogates,
// and nesting deeper than 32 levels.
//
// T is a struct whose fields have a tag `json:"name"`, and optionally `alias:"other,another"`, more names of the field.
// Errors have the first name, whichever was sent. A field is a string, bool or signed integer, a struct, a slice or
// map[string] of these, a pointer to one of these, which is nil if the field was not sent, or a json.RawMessage, which
// accepts any JSON object unchanged: its names are free, and null is allowed in it. A pointer to such a pointer accepts
// null too, which sets the outer pointer and leaves the inner one nil. Any other type in T panics. A struct that is an
// [Object] lists its members itself.
//
// Control characters, including NUL, are accepted in texts.
func DecodeJSON[T any](data []byte, o Options) (T, error) {
	var in, none T
	if err := decodeJSON(&in, data, o, false); err != nil {
		return none, err
	}
	return in, nil
}

// decodeJSON decodes data into in. If merge is set, in has a value already, and null removes a member.
func decodeJSON[T any](in *T, data []byte, o Options, merge bool) error {
	v := reflect.ValueOf(in).Elem()
	planOf(v.Type())
	if len(bytes.TrimLeft(data, " \t\r\n")) == 0 {
		return ErrEmptyBody
	}
	if !utf8.Valid(data) {
		return domain.NewInvalid("", domain.Malformed, "the body is not valid UTF-8")
	}
	if !json.Valid(data) {
		message := "the body must be one JSON object, and nothing after it"
		var whole json.RawMessage
		if syntax := (*json.SyntaxError)(nil); errors.As(json.Unmarshal(data, &whole), &syntax) {
			message += "; the error is at byte " + strconv.FormatInt(syntax.Offset, 10)
		}
		return domain.NewInvalid("", domain.Malformed, message)
	}
	src := &jsonSource{data: data}
	if k := src.kind(); k != object {
		return domain.NewInvalid("", domain.Malformed, "the body must be an object, not "+bodyKinds[k])
	}
	d := decoder{words: src, src: src, options: o, most: maxProblems, merge: merge}
	d.decode(v, "", 1)
	return d.invalid()
}

// MergeJSON changes in by a JSON Merge Patch (RFC 7396): a member that the patch has is replaced, one that is null is
// removed, and the others stay. It is as strict as DecodeJSON, except for null: an unknown name is refused even with
// null. In a map each name is a member; a list is replaced as a whole, and null is refused in it.
//
// It does not write to what in points to, so a shallow copy of in keeps its value. After an error in is undefined.
func MergeJSON[T any](in *T, patch []byte, o Options) error {
	return decodeJSON(in, patch, o, true)
}

// DecodeForm decodes application/x-www-form-urlencoded text, a form or a query, into a T as DecodeJSON does. It
// supports strings, integers and booleans (true or false), and [Texts]. A name without a value is an empty string.
func DecodeForm[T any](encoded string, o Options) (T, error) {
	var in, none T
	v := reflect.ValueOf(&in).Elem()
	planOf(v.Type())
	d := decoder{words: bodyWords{}, options: o, most: maxProblems}
	d.form(v, encoded)
	if err := d.invalid(); err != nil {
		return none, err
	}
	return in, nil
}

// DecodeYAML decodes a YAML object into a T as DecodeJSON does, except json.RawMessage, and returns the line of each
// field. It refuses anchors, aliases, merge keys, tags, and numbers that readers interpret differently. If expand is
// set, it returns the expansion of each text at a path, or messages that say why there is none.
//
// It returns all problems, in the order of the document and with their lines, instead of an error. The path of an entry
// of a list is like roles[0].
func DecodeYAML[T any](
	root *yaml.Node, o Options, expand func(path, text string) (expansion string, messages []string),
) (in T, lines map[string]int, problems []Problem) {
	var none T
	src := &yamlSource{node: root, at: root.Line, expand: expand}
	d := decoder{words: src, src: src, options: o, lines: map[string]int{}}
	d.decode(reflect.ValueOf(&in).Elem(), "", 1)
	if len(d.problems) > 0 {
		return none, nil, d.problems
	}
	return in, d.lines, nil
}

// Problem is one error in a document.
type Problem struct {
	Line int // from 1; 0 if it has none
	domain.FieldError
}

// Object is a struct that lists its members itself. Its pointer implements it.
type Object interface {
	Members() Members
}

// Members are the names in an object, in the order in which it is written.
type Members []Member

// Member is a name in an object, and the destination of its value: an Object, a Text, a pointer to a type that a field
// of a struct may have, a pointer to a Raw, or Elsewhere, which refuses it.
type Member struct {
	Name string
	Into any
}

// Members implements Object, so that a nested object needs no type of its own.
func (ms Members) Members() Members { return ms }

// Raw is an object with free names as JSON: without blanks, the names in order, so that one object has one text. Its
// numbers are whole, since JSON and YAML read others differently. Empty is none.
type Raw string

// Elsewhere is the destination of a name that does not belong into the object. It says where its value belongs.
type Elsewhere string

// Text is a value that documents represent as text.
type Text interface {
	// SetText sets the value, or returns a message that says what is wrong and does not repeat the text.
	SetText(text string) (message string)
	// Want returns what the text must be, for messages; empty for any text.
	Want() string
}
