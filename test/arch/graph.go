package arch

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// titles of the levels in the graph, from the top; those for tests are not in it.
var titles = []struct {
	level level
	title string
}{
	{cmd, "cmd"}, {dialect, "dialects"}, {adapter, "adapters"}, {usecase, "use cases"}, {port, "port"}, {config, "config"},
	{domain, "domain"},
}

// Graph returns the packages of the program below root and their imports of one another, by level, as a flowchart of
// Mermaid. An import that others imply is left out of it. Graph refuses an import that points upward, or that the table
// does not allow.
func Graph(root fs.FS) (string, error) {
	imports, err := importsOf(root)
	if err != nil {
		return "", err
	}
	var problems []string
	for _, from := range slices.Sorted(maps.Keys(imports)) {
		for _, to := range imports[from] {
			switch {
			case ruleOf(from) == nil || ruleOf(to) == nil:
				problems = append(problems, fmt.Sprintf("%s imports %s, and one of them has no row in the table", from, to))
			case ruleOf(to).level > ruleOf(from).level:
				problems = append(problems, fmt.Sprintf("%s imports %s, which is above it", from, to))
			case !mayImport(from, to):
				problems = append(problems, fmt.Sprintf("%s imports %s, which its row does not allow", from, to))
			}
		}
	}
	if problems != nil {
		return "", fmt.Errorf("refused: %s", strings.Join(problems, "; "))
	}
	return draw(imports), nil
}

// importsOf returns the packages of the program below root, each with those of them that it imports, sorted.
func importsOf(root fs.FS) (map[string][]string, error) {
	imports := map[string][]string{}
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		dir := path.Dir(name)
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || isForTests(name)):
			return fs.SkipDir
		case d.IsDir() || path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") || dir == ".":
			return nil
		}
		text, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range f.Imports {
			if own, ours := strings.CutPrefix(importPath(spec), module+"/"); ours {
				imports[dir] = append(imports[dir], own)
			}
		}
		slices.Sort(imports[dir])
		imports[dir] = slices.Compact(imports[dir])
		return nil
	})
	return imports, err
}

func draw(imports map[string][]string) string {
	id := strings.NewReplacer("/", "_").Replace
	var b strings.Builder
	b.WriteString("flowchart TD\n")
	packages := slices.Sorted(maps.Keys(imports))
	for _, t := range titles {
		fmt.Fprintf(&b, "  subgraph %s [%s]\n", "level_"+id(strings.ReplaceAll(t.title, " ", "_")), t.title)
		for _, p := range packages {
			if ruleOf(p).level == t.level {
				fmt.Fprintf(&b, "    %s[%s]\n", id(p), p)
			}
		}
		b.WriteString("  end\n")
	}
	for _, from := range packages {
		for _, to := range imports[from] {
			implied := slices.ContainsFunc(imports[from], func(by string) bool { return by != to && reaches(imports, by, to) })
			if !implied {
				fmt.Fprintf(&b, "  %s --> %s\n", id(from), id(to))
			}
		}
	}
	return b.String()
}

// reaches reports whether from imports to, or something that does. Go allows no cycles.
func reaches(imports map[string][]string, from, to string) bool {
	return slices.ContainsFunc(imports[from], func(p string) bool { return p == to || reaches(imports, p, to) })
}

const graphBegins, graphEnds = "<!-- Made by make graph. -->\n```mermaid\n", "```\n<!-- The graph ends here. -->\n"

// Replace returns document with graph in place of the one that it holds between its markers.
func Replace(document, graph string) (string, error) {
	before, rest, begins := strings.Cut(document, graphBegins)
	_, after, ends := strings.Cut(rest, graphEnds)
	if !begins || !ends {
		return "", fmt.Errorf("the document holds no graph: write %q and %q into it", graphBegins, graphEnds)
	}
	return before + graphBegins + graph + graphEnds + after, nil
}
