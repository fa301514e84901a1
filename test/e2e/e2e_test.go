// Package e2e builds the real program once, runs it as a process on every store, and speaks HTTP to it. It shows what only whole
// processes can: kill -9, several replicas, signals, files and their permissions, what a log holds. It is not where a rule is
// tested: that is beside the rule.
//
// The one thing to know is that every secret that a test sends or gets is remembered (see remember), and that after the last
// test everything that any process has written to its log is searched for each of them. A test fails its process too if the
// process logged an error that the test did not announce.
//
// Decisions:
//
//   - A process listens on port 0, and where that is comes from its log. Choosing a free port beforehand lost: between the
//     choice and its use another process may take it.
//   - The program is built without the race detector, which the tests of the packages inside run under: with it, the figures
//     that are measured here would mean nothing.
//   - No API of the program is imported. What a test needs from a database it asks in SQL.
package e2e_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/refreshd/refreshd/test/support/postgres"
	"github.com/refreshd/refreshd/test/support/rig"
)

var (
	program  rig.Program // its files are what processes wrote
	binaries string      // the directory of what is built
)

func TestMain(m *testing.M) {
	if path := os.Getenv(asSQLite); path != "" {
		os.Exit(beSQLite(path))
	}
	os.Exit(run(m))
}

func run(m *testing.M) (status int) {
	dir, err := os.MkdirTemp("", "refreshd-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binaries = dir
	if program, err = build(binaries, rig.BuildOptions{}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}

	status = postgres.Main(m)

	searched, leaks, err := searchLogs(program.Dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for _, leak := range leaks {
		fmt.Fprintln(os.Stderr, "a secret is in a log:", leak)
		status = 1
	}
	fmt.Printf("e2e: ran on %s; searched %s for %d secrets: %d found\n",
		strings.Join(ran.list(), ", "), searched, remembered.count(), len(leaks))
	if storms {
		fmt.Print(stormTables())
	}
	return status
}

// build builds the program with o into dir, and has what its processes write kept with that of all others.
func build(dir string, o rig.BuildOptions) (rig.Program, error) {
	logs := filepath.Join(binaries, "logs")
	if err := os.MkdirAll(logs, 0o700); err != nil {
		return rig.Program{}, err
	}
	p, err := rig.Build(context.Background(), dir, o)
	p.Dir = logs
	return p, err
}

// built is build for a test.
func built(t *testing.T, o rig.BuildOptions) rig.Program {
	t.Helper()
	p, err := build(t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// ran are the stores that the tests ran on.
var ran names

type names struct {
	mu   sync.Mutex
	seen map[string]bool
}

func (n *names) add(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.seen == nil {
		n.seen = map[string]bool{}
	}
	n.seen[name] = true
}

func (n *names) list() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []string
	for name := range n.seen {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}
