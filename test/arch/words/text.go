package main

import (
	"bytes"
	"go/scanner"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// kind says which parts of a file are prose.
type kind int

const (
	noText   kind = iota
	goText        // comments and string literals
	sqlText       // comments
	markdown      // all but code between backquotes
	yamlText      // the same: descriptions in openapi.yaml are Markdown
	allText
)

var kinds = map[string]kind{
	".go": goText, ".sql": sqlText, ".md": markdown, ".yaml": yamlText, ".yml": yamlText,
	".js": allText, ".mjs": allText, ".ts": allText, ".html": allText, ".css": allText, ".sh": allText, ".conf": allText,
}

func kindOf(name string) kind {
	switch path.Base(name) {
	case "Makefile", "Dockerfile", ".gitignore", ".dockerignore":
		return allText
	}
	if strings.HasPrefix(name, ".ci/") {
		return allText
	}
	return kinds[path.Ext(name)]
}

var generated = regexp.MustCompile(`(?m)^// Code generated .* DO NOT EDIT\.$`)

// gap stands for what is not prose. No pattern matches it.
const gap = 0

// proseOf returns text with each byte that is not prose replaced by gap, and each that only continues prose, such as a
// line break or the slashes of a comment's next line, by a space. Offsets stay, so that a phrase may go over several
// lines of a comment, or over literals that are joined by +.
func proseOf(k kind, text []byte) ([]byte, error) {
	switch k {
	case goText:
		return proseOfGo(text)
	case sqlText:
		prose := bytes.Repeat([]byte{gap}, len(text))
		for _, at := range sqlComment.FindAllIndex(text, -1) {
			copy(prose[at[0]:at[1]], text[at[0]:at[1]])
		}
		return blank(prose, regexp.MustCompile(`--`)), nil
	case markdown, yamlText:
		prose := code.ReplaceAllFunc(text, func(b []byte) []byte { return bytes.Repeat([]byte{gap}, len(b)) })
		return blank(paragraph.ReplaceAllFunc(prose, gaps), lineMark), nil
	}
	return blank(paragraph.ReplaceAllFunc(text, gaps), lineMark), nil
}

var (
	sqlComment = regexp.MustCompile(`(?m)--.*\n?`)
	code       = regexp.MustCompile("`[^`\n]*`")
	paragraph  = regexp.MustCompile(`\n[ \t]*\n`)
	lineMark   = regexp.MustCompile(`(?m)^[ \t]*(#|//|>|\*)+ `)
)

func gaps(b []byte) []byte { return bytes.Repeat([]byte{gap}, len(b)) }

// blank replaces what re finds by spaces.
func blank(text []byte, re *regexp.Regexp) []byte {
	return re.ReplaceAllFunc(text, func(b []byte) []byte { return bytes.Repeat([]byte{' '}, len(b)) })
}

func proseOfGo(text []byte) ([]byte, error) {
	file := token.NewFileSet().AddFile("", -1, len(text))
	var s scanner.Scanner
	var errs scanner.ErrorList
	s.Init(file, text, errs.Add, scanner.ScanComments)
	prose := bytes.Repeat([]byte{gap}, len(text))
	previous, end := token.ILLEGAL, 0 // the last part that is prose, and where it ended
	for {
		pos, tok, literal := s.Scan()
		at := file.Offset(pos)
		switch tok {
		case token.EOF:
			return prose, errs.Err()
		case token.COMMENT, token.STRING:
			between := string(bytes.TrimSpace(text[end:at]))
			joined := tok == token.STRING && between == "+" ||
				tok == token.COMMENT && between == "" && bytes.Count(text[end:at], []byte("\n")) == 1
			if tok == previous && joined {
				copy(prose[end:at], bytes.Repeat([]byte{' '}, at-end))
			}
			end = at + copy(prose[at:], plainGo(literal))
			previous = tok
		}
	}
}

// plainGo is a comment or a literal with spaces in place of what is only its spelling. The length stays.
func plainGo(literal string) string {
	space := func(s string) string { return strings.Repeat(" ", len(s)) }
	switch {
	case strings.HasPrefix(literal, "//"), strings.HasPrefix(literal, "/*"):
		return "  " + literal[2:]
	case literal[0] == '"':
		literal = escape.ReplaceAllStringFunc(literal, space)
	}
	return " " + literal[1:len(literal)-1] + " "
}

var escape = regexp.MustCompile(`\\[nrt"]`)

// line is a line of a file.
type line struct{ number, begin, end int }

// longLines are those that are too long and can be broken. A table or code block of Markdown, a URL, a long word and a
// directive of Go cannot.
func longLines(k kind, text []byte) (long []line) {
	offset, fenced := 0, false
	for i, l := range strings.Split(string(text), "\n") {
		at := line{i + 1, offset, offset + len(l)}
		offset += len(l) + 1
		trimmed := strings.TrimSpace(l)
		document := k == markdown || k == yamlText
		if document && strings.HasPrefix(trimmed, "```") {
			fenced = !fenced
		}
		switch {
		case utf8.RuneCountInString(l) <= columns:
		case document && (fenced || strings.HasPrefix(trimmed, "|") || strings.HasPrefix(trimmed, "```")):
		case k == goText && strings.HasPrefix(l, "//go:"):
		case slices.ContainsFunc(strings.Fields(l), unbreakable):
		default:
			long = append(long, at)
		}
	}
	return long
}

// unbreakable reports whether word makes any line long.
func unbreakable(word string) bool {
	return len(word) > 90 || len(word) > 40 && strings.Contains(word, "://")
}
