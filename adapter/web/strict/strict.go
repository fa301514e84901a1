// Package strict reads JSON, forms and YAML into Go values, and refuses what two readers could understand differently.
//
// All three keep the same rules, and those are here once (decoder.go): which names there are, that each is there once,
// what kind of value each takes, how deep values nest. A [source] is all that differs, and the wording of a refusal.
//
// It walks the document by itself and assigns by itself. encoding/json matches names in any case, takes the last of
// repeated names and replaces invalid UTF-8, all silently, so its result cannot be trusted unless everything that it
// is lenient about was refused before; and it knows no aliases. It still judges the grammar (one parser less to be
// wrong), and a fuzz test holds the result to what it would have decoded. Decoding YAML into structs with KnownFields
// lost for like reasons: it stops where types do not match, quotes values, takes `0x10` and `1_000` for numbers, skips
// null, and knows lines only in its messages.
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
	maxProblems = 20 // a hostile body could otherwise make a response many times its own size
	maxShown    = 64 // bytes of a name that the client chose
)

// Options are what a protocol's own rules ask for. Without any, a name that is not known is refused, and a value
// without content is one.
type Options struct {
	IgnoreUnknown bool // skip names that are not known (RFC 6749, sections 3.1 and 3.2)
	EmptyIsAbsent bool // a text without content, under whichever name, was not sent (RFC 6749, sections 3.1 and 3.2)
}

// ErrEmptyBody is the *domain.Invalid for a body without content, for callers that treat none apart from a wrong one.
var ErrEmptyBody error = domain.NewInvalid("", domain.Blank, "the body is empty, and must not be")

// DecodeJSON reads one JSON object into a T, or returns an *domain.Invalid with every problem (the first 20). It
// refuses what encoding/json lets pass: names in another case, unknown and repeated names at any depth, null, trailing
// bytes, invalid UTF-8 and lone surrogates, nesting deeper than 32.
//
// T is a struct whose fields carry `json:"name"`, and may carry `alias:"other,another"`: names that mean the same
// field. Field errors have the first name, whichever was sent. A field is a string, bool or signed integer, a struct,
// a slice or map[string] of these, a pointer to one of these, which stays nil where nothing was sent, or a
// json.RawMessage, which takes any JSON object as it came: inside, names are free and null is allowed. A pointer to
// such a pointer takes null too, which sets the outer one and leaves the inner one nil. Anything else in T panics. A
// struct that is an [Object] names its members itself.
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
	src := &jsonSource{data: data}
	if k := src.kind(); k != object {
		return none, domain.NewInvalid("", domain.Malformed, "the body must be an object, not "+bodyKinds[k])
	}
	d := decoder{words: src, src: src, options: o, most: maxProblems}
	d.decode(v, "", 1)
	if err := d.invalid(); err != nil {
		return none, err
	}
	return in, nil
}

// DecodeForm reads application/x-www-form-urlencoded text, a form or a query, into a T as DecodeJSON does. Only
// strings, integers and booleans (true or false) can be sent so; a name without a value is the empty string, sent.
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

// DecodeYAML reads a YAML object into a T as DecodeJSON does, without json.RawMessage in it, and returns the line of
// each field that is there. Anchors, aliases, merge keys and tags are refused, and numbers that two readers take
// differently. Of each text, expand returns what it stands for, or messages that say why it stands for nothing; nil
// for texts that stand for themselves.
//
// The problems are all that there are, in the order of the document, rather than an error: each has its line. The path
// of an entry of a list is like roles[0].
func DecodeYAML[T any](
	root *yaml.Node, o Options, expand func(string) (text string, messages []string),
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

// Problem is one thing that is wrong with a document.
type Problem struct {
	Line int // from 1; 0 if it has none
	domain.FieldError
}

// Object is a struct that names its members itself. Its pointer implements it.
type Object interface {
	Members() Members
}

// Members are the names in an object, in the order in which a document is written.
type Members []Member

// Member is a name in an object, and the place of its value: an Object, a Text, or a pointer to what a field of a
// struct may be.
type Member struct {
	Name string
	Into any
}

// Members implements Object: an object within another needs no type of its own.
func (ms Members) Members() Members { return ms }

// Text is a value that documents hold as text.
type Text interface {
	// SetText takes what the document has, or returns a message that says what is wrong with it and does not repeat it.
	SetText(text string) (message string)
	// Want says what the text must be, for messages; empty for any text.
	Want() string
}
