package manifest

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/refreshd/refreshd/adapter/web/strict"
	"github.com/refreshd/refreshd/domain"
)

// Problem is one error in a document with lines.
type Problem = strict.Problem

// Lines has the line of each field of a document, by the name that errors use.
type Lines map[string]int

// Of returns the line of field, or of the nearest field around it, or 0.
func (l Lines) Of(field string) int {
	for field != "" {
		if line, ok := l[field]; ok {
			return line
		}
		field = field[:max(0, strings.LastIndexAny(field, ".["))]
	}
	return 0
}

// ReadJSON reads a T of this package, or returns a *domain.Invalid.
func ReadJSON[T any](data []byte) (T, error) { return strict.DecodeJSON[T](data, strict.Options{}) }

// Patch returns the document after a JSON Merge Patch (RFC 7396), or a *domain.Invalid. It is as strict as ReadJSON: an
// unknown name is refused, even with null. A known name with null removes its value, which need not be set.
func Patch[T any](document T, patch []byte) (T, error) {
	if err := strict.MergeJSON(&document, patch, strict.Options{}); err != nil {
		var none T
		return none, err
	}
	return document, nil
}

// ReadYAML reads a T of this package. An empty document is the zero T. If expand is set, it returns the expansion of
// each text at a path, or messages that say why there is none. Without problems, Lines has the lines of the fields;
// otherwise T is zero.
func ReadYAML[T any](text []byte, expand func(path, text string) (string, []string)) (T, Lines, []Problem) {
	var none T
	root, problems := parse(text)
	if root == nil {
		return none, nil, problems
	}
	in, lines, more := strict.DecodeYAML[T](root, strict.Options{}, expand)
	if len(problems) > 0 {
		return none, nil, append(problems, more...)
	}
	return in, lines, more
}

// parse returns the first document in the text, nil if it is empty, and the problems of the text as YAML.
func parse(text []byte) (*yaml.Node, []Problem) {
	// The parser does not report the line of such a character.
	for i := 0; i < len(text); {
		c, size := utf8.DecodeRune(text[i:])
		if c == utf8.RuneError && size == 1 || unicode.IsControl(c) && c != '\n' && c != '\r' && c != '\t' {
			line := 1 + bytes.Count(text[:i], []byte("\n"))
			return nil, problem(line, "this is not text in UTF-8, or has a control character")
		}
		i += size
	}
	lines := &lineReader{rest: text}
	decoder := yaml.NewDecoder(lines)
	var first, second yaml.Node
	if err := decoder.Decode(&first); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, notYAML(lines.line, err)
	}
	root := first.Content[0]
	if root.Tag == "!!null" && root.Value == "" && root.Anchor == "" && root.Style&yaml.TaggedStyle == 0 {
		root = nil
	}
	if err := decoder.Decode(&second); err == nil {
		return root, problem(second.Line, "a second document begins here: a kickstart file has only one")
	} else if !errors.Is(err, io.EOF) {
		return root, notYAML(lines.line, err)
	}
	return root, nil
}

func problem(line int, message string) []Problem {
	return []Problem{{Line: line, FieldError: domain.FieldError{Reason: domain.Malformed, Message: message}}}
}

// notYAML returns the parser's error after it had read the line last. The line in its message may be that of a
// surrounding value, or of an earlier one, so it is omitted.
func notYAML(last int, err error) []Problem {
	why := strings.TrimPrefix(err.Error(), "yaml: ")
	if rest, ok := strings.CutPrefix(why, "line "); ok {
		_, why, _ = strings.Cut(rest, ": ")
	}
	if strings.HasPrefix(why, "did not find expected ',' or ") {
		why += "; within brackets ${NAME} needs quotes"
	}
	return problem(max(1, last), "not valid YAML, here or above: "+why)
}

// lineReader passes one line at a time to the parser, so that it stops soon after the line of an error.
type lineReader struct {
	rest []byte
	line int // number of lines that were read completely
}

func (r *lineReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	end := bytes.IndexByte(r.rest, '\n') + 1
	if end == 0 {
		end = len(r.rest)
	}
	n := copy(p, r.rest[:end])
	if n == end {
		r.line++
	}
	r.rest = r.rest[n:]
	return n, nil
}
