package integrating_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// block is a fenced block of INTEGRATING.md.
type block struct {
	language string
	file     string // of its first line's comment; empty if it names none
	text     string
}

// fileName matches a first line that names the file of the block.
var fileName = regexp.MustCompile(`^(?://|#|<!--) ([a-z/]+\.[a-z]+|[A-Z][a-z]+\.java)(?: -->)?$`)

// blocks returns the fenced blocks of the document, in order.
func blocks(t *testing.T) (found []block) {
	t.Helper()
	text, err := os.ReadFile("../../../INTEGRATING.md")
	if err != nil {
		t.Fatal(err)
	}
	var open *block
	for line := range strings.Lines(string(text)) {
		fence, isFence := strings.CutPrefix(strings.TrimRight(line, "\n"), "```")
		switch {
		case isFence && open == nil:
			open = &block{language: fence}
		case isFence:
			found, open = append(found, *open), nil
		case open != nil:
			if open.text == "" {
				if m := fileName.FindStringSubmatch(strings.TrimRight(line, "\n")); m != nil {
					open.file = m[1]
				}
			}
			open.text += line
		}
	}
	if open != nil {
		t.Fatalf("a block of %s is not closed", open.language)
	}
	return found
}

// write copies the blocks that name a file with one of the extensions into dir, as a reader would.
func write(t *testing.T, dir string, extensions ...string) {
	t.Helper()
	n := 0
	for _, b := range blocks(t) {
		for _, extension := range extensions {
			if filepath.Ext(b.file) == extension {
				writeFile(t, filepath.Join(dir, b.file), b.text)
				n++
			}
		}
	}
	if n == 0 {
		t.Fatalf("the document has no file with one of the extensions %v", extensions)
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Every block of code names its file, so that a test runs it.
func TestEveryBlockOfTheDocumentNamesItsFile(t *testing.T) {
	run := map[string]bool{"go": true, "html": true, "js": true, "python": true, "yaml": true}
	seen := map[string]bool{}
	for _, b := range blocks(t) {
		switch {
		case run[b.language] && b.file == "":
			t.Errorf("a block of %s does not name its file:\n%s", b.language, b.text)
		case b.file != "" && seen[b.file]:
			t.Errorf("two blocks are for the file %s", b.file)
		}
		seen[b.file] = true
	}
	for _, want := range []string{
		"login.mjs", "login/main.go", "session.mjs", "session/session.go", "orders/main.go", "verify.py", "Verify.java",
	} {
		if !seen[want] {
			t.Errorf("the document has no file %s", want)
		}
	}
}

// The commands that make clients name the versions that test/system/interop has tried.
func TestTheGeneratorsOfTheDocumentAreThoseOfInterop(t *testing.T) {
	for file, version := range map[string]*regexp.Regexp{
		"typescript/package.json": regexp.MustCompile(`(openapi-typescript)": "([^"]+)"`),
		"go/go.mod":               regexp.MustCompile(`(github.com/oapi-codegen/oapi-codegen/v2) (v\S+)`),
	} {
		text, err := os.ReadFile(filepath.Join("../interop/testdata", file))
		if err != nil {
			t.Fatal(err)
		}
		m := version.FindStringSubmatch(string(text))
		if m == nil {
			t.Fatalf("%s has no %s", file, version)
		}
		command := regexp.MustCompile(regexp.QuoteMeta(m[1]) + `[a-z/-]*@` + regexp.QuoteMeta(m[2]) + ` `)
		n := 0
		for _, b := range blocks(t) {
			n += len(command.FindAllString(b.text, -1))
		}
		if n != 1 {
			t.Errorf("the document has %d commands with %s of version %s, want one", n, m[1], m[2])
		}
	}
}

// A changed heading breaks links to its section.
func TestEveryLinkOfTheDocumentLeadsToAHeading(t *testing.T) {
	text, err := os.ReadFile("../../../INTEGRATING.md")
	if err != nil {
		t.Fatal(err)
	}
	headings := map[string]bool{}
	fenced := false
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
		}
		if title := strings.TrimLeft(line, "#"); !fenced && title != line {
			headings[anchor(strings.TrimSpace(title))] = true
		}
	}
	links := regexp.MustCompile(`\]\(#([^)]*)\)`).FindAllStringSubmatch(string(text), -1)
	if len(links) == 0 {
		t.Fatal("no links")
	}
	for _, link := range links {
		if !headings[link[1]] {
			t.Errorf("no heading for the link #%s", link[1])
		}
	}
}

// anchor returns the anchor that GitHub gives to a heading.
func anchor(title string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-', r == '_':
			return r
		}
		return -1
	}, strings.ToLower(title))
}
