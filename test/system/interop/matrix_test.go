package main

import (
	"encoding/json"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
)

// The table was written by a run of these clients in these versions, and of these checks. Its last two cells are what
// the run found.
func TestTheTableOfIntegratingIsThatOfTheRuns(t *testing.T) {
	document, err := os.ReadFile("../../../INTEGRATING.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _, err := cut(string(document))
	if err != nil {
		t.Fatal(err)
	}
	versions, err := readVersions("../../..")
	if err != nil {
		t.Fatal(err)
	}
	outcomes := map[string]map[string]string{}
	for i, engine := range engines {
		outcomes[engine] = map[string]string{}
		for _, c := range clients {
			for line := range strings.Lines(table) {
				row, ok := strings.CutPrefix(line, firstCells(c, versions))
				cells := strings.Split(row, "|")
				if ok && len(cells) == len(engines)+1 {
					outcomes[engine][c.name] = strings.TrimSpace(cells[i])
				}
			}
			if !strings.HasPrefix(outcomes[engine][c.name], "all") {
				t.Errorf("%s has no outcome on %s", c.name, engine)
			}
		}
	}
	if want := render(clients, versions, outcomes); table != want {
		t.Errorf("run make interop: INTEGRATING.md has\n%s\nand the runs are\n%s", table, want)
	}
}

var exact = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+$`)

// Each library has one exact version, which the lock file has too.
func TestVersionsAreExact(t *testing.T) {
	versions, err := readVersions("../../..")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("testdata/clients/package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	var lock struct {
		Packages map[string]struct{ Version string }
	}
	if err := json.Unmarshal(text, &lock); err != nil {
		t.Fatal(err)
	}
	for _, c := range clients {
		for _, name := range []string{c.name, c.with} {
			if name == "" || c.kind == byRules {
				continue
			}
			if !exact.MatchString(versions[name]) {
				t.Errorf("%s has the version %q", name, versions[name])
			}
			if locked := lock.Packages["node_modules/"+name].Version; (c.kind == byNode || c.kind == byBrowser) &&
				locked != versions[name] {
				t.Errorf("%s is %s in package.json, and %q in package-lock.json", name, versions[name], locked)
			}
		}
	}
}

// A check that a client does not report, that fails, or that is noted as failing and passes, fails the run.
func TestAResultThatIsNotExpectedFailsTheRun(t *testing.T) {
	c := client{name: "x", checks: []string{discovery, edDSA}, refuses: map[string]string{edDSA: "not known"}}
	failed := errors.New("no").Error()
	for _, one := range []struct {
		results []result
		cell    string
		ok      bool
	}{
		{[]result{{Check: discovery}, {Check: edDSA, Error: failed}}, "all but EdDSA", true},
		{[]result{{Check: discovery}, {Check: edDSA}}, "all", false},
		{[]result{{Check: discovery, Error: failed}, {Check: edDSA, Error: failed}}, "all but EdDSA", false},
		{[]result{{Check: discovery}}, "all", false},
		{nil, "all", false},
	} {
		if cell, err := judge(c, one.results); cell != one.cell || (err == nil) != one.ok {
			t.Errorf("%v: got %q, %v", one.results, cell, err)
		}
	}
}
