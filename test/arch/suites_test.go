package arch

import (
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
)

var linkOfFolder = regexp.MustCompile(`\]\(([a-z0-9/]+)\)`)

// test/README.md has a row for each folder with Go code, and for no other.
func TestTheREADMEOfTestsListsEverySuite(t *testing.T) {
	tree := os.DirFS("..")
	text, err := fs.ReadFile(tree, "README.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, link := range linkOfFolder.FindAllSubmatch(text, -1) {
		folder := string(link[1])
		listed[folder] = true
		if info, err := fs.Stat(tree, folder); err != nil || !info.IsDir() {
			t.Errorf("test/README.md lists %s, which is not a folder", folder)
		}
	}
	for _, pattern := range []string{"*/*.go", "*/*/*.go"} {
		files, err := fs.Glob(tree, pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			folder := path.Dir(file)
			if !listed[folder] && !strings.HasPrefix(folder, "arch/") { // the commands of arch are a part of it
				t.Errorf("test/README.md does not list %s", folder)
				listed[folder] = true
			}
		}
	}
}
