package main

import (
	"bytes"
	"cmp"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

//go:embed list.txt
var listText string

// columns is how long a line may be. A tab counts as one.
const columns = 120

// longLine is the text of a finding that is about the length of a line.
const longLine = "a line of more than 120 columns"

// list is list.txt.
type list struct {
	phrases    []phrase
	exemptions []exemption
}

type phrase struct {
	pattern *regexp.Regexp
	exact   bool // matches upper case as it is written
	instead string
	example string
}

type exemption struct {
	file    string
	text    string
	pattern *regexp.Regexp // finds text, with any white space
	line    int            // in list.txt
}

// finding is a phrase, or a long line.
type finding struct {
	file    string
	line    int
	text    string // as it stands in the file, on one line
	instead string
}

func (f finding) String() string {
	if f.text == longLine {
		return fmt.Sprintf("%s:%d: %s: break it", f.file, f.line, f.text)
	}
	return fmt.Sprintf("%s:%d: %q: write %q", f.file, f.line, f.text, f.instead)
}

func parseList(text string) (l list, err error) {
	var errs []error
	for i, line := range strings.Split(text, "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		exempts := strings.HasPrefix(line, "! ")
		parts := strings.Split(strings.TrimPrefix(line, "! "), " => ")
		if len(parts) != 3 || slices.Contains(parts, "") {
			errs = append(errs, fmt.Errorf("list.txt:%d: want three texts with => between them", i+1))
			continue
		}
		if exempts {
			pattern := strings.ReplaceAll(regexp.QuoteMeta(parts[1]), " ", `\s+`)
			l.exemptions = append(l.exemptions, exemption{parts[0], parts[1], regexp.MustCompile(pattern), i + 1})
			continue
		}
		pattern, err := regexp.Compile(strings.ReplaceAll(parts[0], " ", `\s+`))
		if err != nil {
			errs = append(errs, fmt.Errorf("list.txt:%d: %w", i+1, err))
			continue
		}
		exact := strings.ContainsFunc(escapes.ReplaceAllString(parts[0], ""), unicode.IsUpper)
		l.phrases = append(l.phrases, phrase{pattern, exact, parts[1], parts[2]})
	}
	return l, errors.Join(errs...)
}

// escapes are \S, \W and the like, whose upper case says nothing about the text.
var escapes = regexp.MustCompile(`\\.`)

// check returns what is found in the files of tree with these names, and which exemptions exempted something.
func (l list) check(tree fs.FS, names []string) (found []finding, used []bool, err error) {
	used = make([]bool, len(l.exemptions))
	for _, name := range names {
		if kindOf(name) == noText || fuzzInput.MatchString(name) {
			continue
		}
		text, err := fs.ReadFile(tree, name)
		if errors.Is(err, fs.ErrNotExist) { // deleted, and not yet in a commit
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		more, err := l.checkFile(name, text, used)
		if err != nil {
			return nil, nil, err
		}
		found = append(found, more...)
	}
	return found, used, nil
}

// unused returns a finding for each exemption that exempts nothing in the whole tree.
func (l list) unused(used []bool) (found []finding) {
	for i, e := range l.exemptions {
		if !used[i] {
			found = append(found, finding{"test/arch/words/list.txt", e.line, e.text, "nothing: the line exempts nothing"})
		}
	}
	return found
}

var fuzzInput = regexp.MustCompile(`(^|/)testdata/fuzz/`)

func (l list) checkFile(name string, text []byte, used []bool) (found []finding, err error) {
	kind := kindOf(name)
	if kind == goText && generated.Match(text) {
		return nil, nil
	}
	prose, err := proseOf(kind, text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	exempt := l.exempt(name, prose, text, used)
	lower := lowerASCII(prose)
	for _, p := range l.phrases {
		in := lower
		if p.exact {
			in = prose
		}
		for _, at := range p.pattern.FindAllIndex(in, -1) {
			if inWord(prose, at[0]) || inWord(prose, at[1]) || exempt(at[0], at[1]) {
				continue
			}
			words := strings.Join(strings.Fields(strings.Trim(string(prose[at[0]:at[1]]), "\x00")), " ")
			found = append(found, finding{name, 1 + bytes.Count(text[:at[0]], []byte("\n")), words, p.instead})
		}
	}
	for _, line := range longLines(kind, text) {
		if !exempt(line.begin, line.end) {
			found = append(found, finding{name, line.number, longLine, ""})
		}
	}
	slices.SortStableFunc(found, func(a, b finding) int { return cmp.Compare(a.line, b.line) })
	return found, nil
}

// exempt returns a function that reports whether the text from begin to end is exempted: an exempted text holds it or,
// where it is a whole line, stands in it.
func (l list) exempt(name string, prose, text []byte, used []bool) func(begin, end int) bool {
	type span struct{ begin, end, by int }
	var spans []span
	for i, e := range l.exemptions {
		if e.file != name {
			continue
		}
		for _, in := range [][]byte{prose, text} {
			for _, at := range e.pattern.FindAllIndex(in, -1) {
				spans = append(spans, span{at[0], at[1], i})
			}
		}
	}
	return func(begin, end int) bool {
		for _, s := range spans {
			if s.begin <= begin && end <= s.end || begin <= s.begin && s.end <= end {
				used[s.by] = true
				return true
			}
		}
		return false
	}
}

// inWord reports whether a word goes through offset i.
func inWord(b []byte, i int) bool {
	before, _ := utf8.DecodeLastRune(b[:i])
	after, _ := utf8.DecodeRune(b[i:])
	return isWord(before) && isWord(after)
}

func isWord(r rune) bool {
	return r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsDigit(r) || r == '_')
}

// lowerASCII keeps the length, which bytes.ToLower does not.
func lowerASCII(b []byte) []byte {
	lower := bytes.Clone(b)
	for i, c := range lower {
		if 'A' <= c && c <= 'Z' {
			lower[i] = c + 'a' - 'A'
		}
	}
	return lower
}
