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

// Problem is one thing that is wrong with a document that has lines.
type Problem = strict.Problem

// Lines are where the fields of a document are, as errors name them.
type Lines map[string]int

// Of is the line of field, or of the nearest field around it; 0 for neither.
func (l Lines) Of(field string) int {
	for field != "" {
		if line, ok := l[field]; ok {
			return line
		}
		field = field[:max(0, strings.LastIndexAny(field, ".["))]
	}
	return 0
}

// ReadJSON reads a T of this package, or returns an *domain.Invalid.
func ReadJSON[T any](data []byte) (T, error) { return strict.DecodeJSON[T](data, strict.Options{}) }

// ReadYAML reads a T of this package; a document without content is the zero T. Of each text in it, expand returns
// what it stands for, or messages that say why it stands for nothing; nil where texts stand for themselves. Without
// problems, Lines are where its fields are; with one, T is zero.
func ReadYAML[T any](text []byte, expand func(string) (string, []string)) (T, Lines, []Problem) {
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

// parse returns the first document in the text, nil if there is none, and what is wrong with the text as YAML.
func parse(text []byte) (*yaml.Node, []Problem) {
	// The parser does not say where such a character stands.
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
		return root, problem(second.Line, "a second document begins here: a kickstart file is one")
	} else if !errors.Is(err, io.EOF) {
		return root, notYAML(lines.line, err)
	}
	return root, nil
}

func problem(line int, message string) []Problem {
	return []Problem{{Line: line, FieldError: domain.FieldError{Reason: domain.Malformed, Message: message}}}
}

// notYAML is what the parser said after it had read the line last. Its own line, in its message, is that of what it
// lacks, or of what that is in, or one before: so it is left out.
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

// lineReader gives the parser a line at a time, so that it has read little more than what it fails at.
type lineReader struct {
	rest []byte
	line int // how many were read whole
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
