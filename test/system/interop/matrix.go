package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// The markers in INTEGRATING.md, and the head of the table between them.
const (
	tableBegins = "<!-- Made by make interop. -->\n"
	tableEnds   = "<!-- The table ends here. -->\n"
	tableHead   = "| client | version | what was run | SQLite | PostgreSQL |\n|---|---|---|---|---|\n"
)

// render returns the table. versions are by name of the package, outcomes by engine and name.
func render(clients []client, versions map[string]string, outcomes map[string]map[string]string) string {
	var b, notes strings.Builder
	b.WriteString(tableHead)
	for _, c := range clients {
		b.WriteString(firstCells(c, versions))
		for _, engine := range engines {
			fmt.Fprintf(&b, " %s |", cmp.Or(outcomes[engine][c.name], "not run"))
		}
		b.WriteString("\n")
		for _, check := range c.checks {
			if reason, ok := c.refuses[check]; ok {
				notes.WriteString(wrapped(fmt.Sprintf("- `%s`, %s: %s.", c.name, check, reason)))
			}
		}
		if c.note != "" {
			notes.WriteString(wrapped(fmt.Sprintf("- `%s`: %s.", c.name, c.note)))
		}
	}
	if notes.Len() > 0 {
		b.WriteString("\n" + notes.String())
	}
	return b.String()
}

// wrapped breaks an item of a list into lines of at most 120 columns.
func wrapped(item string) string {
	var b strings.Builder
	width := 0
	for i, word := range strings.Split(item, " ") {
		switch {
		case i == 0:
		case width+1+len(word) > 120:
			b.WriteString("\n  ")
			width = 2
		default:
			b.WriteString(" ")
			width++
		}
		b.WriteString(word)
		width += len(word)
	}
	return b.String() + "\n"
}

// firstCells returns the cells of a row that no run changes.
func firstCells(c client, versions map[string]string) string {
	name, version := "`"+c.name+"`", versions[c.name]
	if c.with != "" {
		name += ", `" + c.with + "`"
		version += ", " + versions[c.with]
	}
	return fmt.Sprintf("| %s | %s | %s |", name, cmp.Or(version, "-"), strings.Join(c.checks, "; "))
}

// cut returns what is before, between and after the markers.
func cut(document string) (before, table, after string, err error) {
	before, rest, begins := strings.Cut(document, tableBegins)
	table, after, ends := strings.Cut(rest, tableEnds)
	if !begins || !ends {
		return "", "", "", fmt.Errorf("the document has no table: write %q and %q into it", tableBegins, tableEnds)
	}
	return before, table, after, nil
}

// writeTable replaces the table in a document.
func writeTable(path, table string) error {
	document, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, _, after, err := cut(string(document))
	if err != nil {
		return err
	}
	return os.WriteFile(path, []byte(before+tableBegins+table+tableEnds+after), 0o644)
}

var (
	requirement = regexp.MustCompile(`(?m)^([A-Za-z0-9_-]+)==([0-9][^ \n]*)`)
	goModule    = regexp.MustCompile(`(?m)^\s+([a-z0-9.-]+/\S+) v(\S+)`)
)

// readVersions returns the versions of all libraries by their names: of the scripts in Node, of those in Python, and of
// the modules of Go. top is the top of the tree.
func readVersions(top string) (map[string]string, error) {
	versions := map[string]string{}
	dir := filepath.Join(top, "test/system/interop/testdata/clients")
	text, err := os.ReadFile(filepath.Join(dir, "package.json"))
	if err != nil {
		return nil, err
	}
	var node struct{ Dependencies map[string]string }
	if err := json.Unmarshal(text, &node); err != nil {
		return nil, err
	}
	for name, version := range node.Dependencies {
		versions[name] = version
	}
	for file, pattern := range map[string]*regexp.Regexp{
		filepath.Join(dir, "requirements.txt"): requirement, filepath.Join(top, "go.mod"): goModule,
	} {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		for _, m := range pattern.FindAllStringSubmatch(string(text), -1) {
			versions[m[1]] = m[2]
		}
	}
	return versions, nil
}
