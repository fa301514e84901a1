package arch

import (
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

var (
	aTestsName = regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z0-9]\w*`)
	aTest      = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
)

// missing are the tests that a text names and no file of the tree has.
func missing(tree fs.FS, text string) (names []string, err error) {
	there := map[string]bool{}
	err = fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, "_test.go") {
			return err
		}
		source, err := fs.ReadFile(tree, name)
		for _, found := range aTest.FindAllSubmatch(source, -1) {
			there[string(found[1])] = true
		}
		return err
	})
	for _, name := range aTestsName.FindAllString(text, -1) {
		if !there[name] && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names, err
}

// A threat model whose tests were renamed or deleted would go on claiming what nothing shows.
func TestEveryTestThatSECURITYNamesExists(t *testing.T) {
	tree := os.DirFS("../..")
	text, err := fs.ReadFile(tree, "SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(aTestsName.FindAll(text, -1)); n < 40 {
		t.Errorf("got %d names of tests in SECURITY.md: it has lost its evidence", n)
	}
	names, err := missing(tree, string(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		t.Errorf("SECURITY.md names %s, and there is no such test", name)
	}
}

func TestMissingTestsAreFound(t *testing.T) {
	tree := fstest.MapFS{"a/a_test.go": {Data: []byte("package a\n\nfunc TestThere(t *testing.T) {}\n\n// func TestInAComment(t *testing.T) {}\nfunc FuzzThere(f *testing.F) {}\n")}}
	names, err := missing(tree, "`TestThere`, `FuzzThere`, `TestGone`, TestInAComment, `TestGone`; Testing and Tests are words")
	if want := []string{"TestGone", "TestInAComment"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("got %v, %v, want %v", names, err, want)
	}
}
