package arch

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

var (
	aTestsName  = regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z0-9]\w*`)
	aTest       = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	inText      = regexp.MustCompile("`((?:make|go test|go run) [^`]+)`")
	inABlock    = regexp.MustCompile(`(?m)^((?:make|go test|go run) .*)$`)
	aTarget     = regexp.MustCompile(`(?m)^([a-z0-9-]+):`)
	aRunPattern = regexp.MustCompile(`-run[ =](?:'([^']+)'|(\S+))`)
)

// documents are the pages of the tree that name tests and commands.
func documents(tree fs.FS) (map[string]string, error) {
	names, err := fs.Glob(tree, "*.md")
	if err != nil {
		return nil, err
	}
	texts := map[string]string{}
	for _, name := range append(names, "test/README.md") {
		text, err := fs.ReadFile(tree, name)
		if err != nil {
			return nil, err
		}
		texts[name] = string(text)
	}
	return texts, nil
}

// testsOf returns the names of the tests in each folder of the tree.
func testsOf(tree fs.FS) (map[string][]string, error) {
	tests := map[string][]string{}
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, "_test.go") {
			return err
		}
		source, err := fs.ReadFile(tree, name)
		for _, found := range aTest.FindAllSubmatch(source, -1) {
			tests[path.Dir(name)] = append(tests[path.Dir(name)], string(found[1]))
		}
		return err
	})
	return tests, err
}

// missingTests returns the tests that a text names and that do not exist.
func missingTests(tests map[string][]string, text string) (names []string) {
	for _, name := range aTestsName.FindAllString(text, -1) {
		exists := false
		for _, of := range tests {
			exists = exists || slices.Contains(of, name)
		}
		if !exists && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// commandsOf returns the commands that a text has in its blocks of code and between backquotes.
func commandsOf(text string) (commands []string) {
	for i, part := range strings.Split(text, "```") {
		pattern := inText
		if i%2 == 1 {
			pattern = inABlock
		}
		for _, found := range pattern.FindAllStringSubmatch(part, -1) {
			commands = append(commands, strings.ReplaceAll(found[1], `\|`, "|")) // as a table spells it
		}
	}
	return commands
}

// wrongCommands returns what is wrong with the commands of a text: a target that the Makefile does not have, a folder
// that does not exist, a -run pattern that matches no test of its packages.
func wrongCommands(tree fs.FS, tests map[string][]string, makefile, text string) (wrong []string, n int) {
	var targets []string
	for _, found := range aTarget.FindAllStringSubmatch(makefile, -1) {
		targets = append(targets, found[1])
	}
	for _, command := range commandsOf(text) {
		n++
		if rest, isMake := strings.CutPrefix(command, "make "); isMake {
			target := strings.TrimRight(strings.Fields(rest)[0], ",;")
			if !slices.Contains(targets, target) {
				wrong = append(wrong, fmt.Sprintf("%s: there is no target %s", command, target))
			}
			continue
		}
		var matched []string
		for _, field := range strings.Fields(command) {
			folder, isPath := strings.CutPrefix(field, "./")
			if !isPath {
				continue
			}
			folder, below := strings.CutSuffix(folder, "...")
			folder = path.Clean(folder)
			if info, err := fs.Stat(tree, folder); err != nil || !info.IsDir() {
				wrong = append(wrong, fmt.Sprintf("%s: there is no folder %s", command, folder))
			}
			for of, names := range tests {
				if of == folder || below && (folder == "." || strings.HasPrefix(of, folder+"/")) {
					matched = append(matched, names...)
				}
			}
		}
		run := aRunPattern.FindStringSubmatch(command)
		if run == nil || strings.Contains(run[0], "NAME") {
			continue
		}
		pattern, err := regexp.Compile(run[1] + run[2])
		if err != nil {
			wrong = append(wrong, fmt.Sprintf("%s: %v", command, err))
		} else if !slices.ContainsFunc(matched, pattern.MatchString) {
			wrong = append(wrong, command+": it runs no test")
		}
	}
	return wrong, n
}

// evidence returns the repository with its documents and its tests.
func evidence(t *testing.T) (tree fs.FS, texts map[string]string, tests map[string][]string) {
	t.Helper()
	tree = os.DirFS("../..")
	texts, err := documents(tree)
	if err != nil {
		t.Fatal(err)
	}
	if tests, err = testsOf(tree); err != nil {
		t.Fatal(err)
	}
	return tree, texts, tests
}

// A document whose tests were renamed or deleted would claim what no test shows.
func TestEveryTestThatADocumentNamesExists(t *testing.T) {
	_, texts, tests := evidence(t)
	for name, text := range texts {
		for _, missing := range missingTests(tests, text) {
			t.Errorf("%s names %s, and there is no such test", name, missing)
		}
	}
	for name, atLeast := range map[string]int{"SECURITY.md": 40, "PROOFS.md": 30} {
		if n := len(aTestsName.FindAllString(texts[name], -1)); n < atLeast {
			t.Errorf("got %d names of tests in %s, want at least %d: it has lost its evidence", n, name, atLeast)
		}
	}
}

// A reader who doubts a figure runs its command.
func TestEveryCommandThatADocumentNamesExists(t *testing.T) {
	tree, texts, tests := evidence(t)
	makefile, err := fs.ReadFile(tree, "Makefile")
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for name, text := range texts {
		if name == "INTEGRATING.md" { // its commands are for modules of the reader; make integrating runs them
			continue
		}
		wrong, n := wrongCommands(tree, tests, string(makefile), text)
		total += n
		for _, w := range wrong {
			t.Errorf("%s: %s", name, w)
		}
	}
	if total < 50 {
		t.Errorf("found %d commands: the test looks in the wrong place", total)
	}
}

func TestMissingTestsAreFound(t *testing.T) {
	tests, err := testsOf(fstest.MapFS{"a/a_test.go": {Data: []byte("package a\n\nfunc TestThere(t *testing.T) {}\n\n" +
		"// func TestInAComment(t *testing.T) {}\nfunc FuzzThere(f *testing.F) {}\n")}})
	if err != nil {
		t.Fatal(err)
	}
	names := missingTests(tests, "`TestThere`, `FuzzThere`, `TestGone`, TestInAComment, `TestGone`; Testing "+
		"and Tests are words")
	if want := []string{"TestGone", "TestInAComment"}; !slices.Equal(names, want) {
		t.Errorf("got %v, want %v", names, want)
	}
}

func TestWrongCommandsAreFound(t *testing.T) {
	tree := fstest.MapFS{"a/b/b_test.go": {Data: []byte("package b\n\nfunc TestThere(t *testing.T) {}\n")}}
	tests, err := testsOf(tree)
	if err != nil {
		t.Fatal(err)
	}
	for command, isWrong := range map[string]bool{
		"`make there`":                           false,
		"`make there QUICK=1`":                   false,
		"`make there, make gone`":                false, // the first counts
		"`make gone`":                            true,
		"`go test ./a/b`":                        false,
		"`go test ./a/...`":                      false,
		"`go test ./...`":                        false,
		"`go test ./gone`":                       true,
		"`go run ./gone -help`":                  true,
		"`go test -run There ./a/...`":           false,
		"`go test -run 'Gone\\|There' -v ./a/b`": false,
		"`go test -run Gone ./a/...`":            true,
		"`go test -run There ./a`":               true,
		"`go test -run NAME`":                    false,
		"the text says\nmake gone, in no code":   false,
		"```sh\nmake gone   # a comment\n```":    true,
		"```sh\nmake there   # a comment\n```":   false,
	} {
		wrong, _ := wrongCommands(tree, tests, "there: other\n", command)
		if got := len(wrong) > 0; got != isWrong {
			t.Errorf("%s: got %q", command, wrong)
		}
	}
}
