// Command words prints the phrases of the tree that list.txt replaces, and the lines of more than 120 columns, with
// a count by folder. It fails if there are any. It is run in the top folder of the tree. An argument is a folder or a
// file to look at instead of all of it.
//
//	go run ./test/arch/words [-summary] [PATH ...]
//
// It looks at the files that git tracks, and at new ones that git does not ignore.
// It reads comments and string literals of Go, comments of SQL, and the whole text of Markdown (without code between
// backquotes), YAML, shell scripts, the Makefile and the Dockerfile, and of the pages that the service serves. It skips
// generated Go code, the inputs of fuzzers, and tables, URLs and code blocks where it measures lines.
package main

import (
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
)

func main() {
	summary := flag.Bool("summary", false, "print the count by folder only")
	flag.Parse()
	names, err := filesOf(flag.Args())
	if err == nil {
		err = run(os.Stdout, listText, os.DirFS("."), names, flag.NArg() == 0, *summary)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "words:", err)
		os.Exit(1)
	}
}

func filesOf(paths []string) ([]string, error) {
	args := append([]string{"ls-files", "-z", "--cached", "--others", "--exclude-standard", "--"}, paths...)
	out, err := exec.Command("git", args...).Output()
	if err != nil {
		return nil, fmt.Errorf("git ls-files: %w", err)
	}
	return strings.FieldsFunc(string(out), func(r rune) bool { return r == 0 }), nil
}

// run checks the files of tree with these names by the list in text. If they are all of the tree, each exemption must
// exempt something.
func run(w io.Writer, text string, tree fs.FS, names []string, all, summary bool) error {
	l, err := parseList(text)
	if err != nil {
		return err
	}
	found, used, err := l.check(tree, names)
	if err != nil {
		return err
	}
	if all {
		found = append(found, l.unused(used)...)
	}
	if len(found) == 0 {
		return nil
	}
	type count struct{ phrases, lines int }
	counts := map[string]count{}
	for _, f := range found {
		if !summary {
			fmt.Fprintln(w, f)
		}
		c := counts[path.Dir(f.file)]
		if f.text == longLine {
			c.lines++
		} else {
			c.phrases++
		}
		counts[path.Dir(f.file)] = c
	}
	fmt.Fprintf(w, "\n%-32s %8s %8s\n", "folder", "phrases", "columns")
	var sum count
	for _, folder := range slices.Sorted(maps.Keys(counts)) {
		c := counts[folder]
		fmt.Fprintf(w, "%-32s %8d %8d\n", folder, c.phrases, c.lines)
		sum.phrases += c.phrases
		sum.lines += c.lines
	}
	fmt.Fprintf(w, "%-32s %8d %8d\n\n", "all", sum.phrases, sum.lines)
	return fmt.Errorf("%d findings: change the text, or exempt it with a reason in test/arch/words/list.txt", len(found))
}
