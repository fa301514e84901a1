// Package e2e builds the real program once, runs it as a process on every store, and sends HTTP requests to it. It
// tests what needs whole processes: kill -9, several replicas, signals, files and their permissions, the content of
// logs. Rules are tested beside their code.
//
// Every secret that a test sends or receives is remembered (see remember). After the last test, all logs of all
// processes are searched for each of them. A test also fails if its process logged an error that the test did not
// announce.
//
// Decisions:
//
//   - A process listens on port 0, and its log says on which port that is. If a test chose a free port beforehand,
//     another process could take it before its use.
//   - The program and these tests are built without the race detector, which the tests of the packages run with: it
//     would make the figures that are measured here meaningless, and SQLite, a Go library, tens of times slower.
//   - No API of the program is imported. Tests read databases by SQL.
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
	program  rig.Program // its files are the output of processes
	binaries string      // the directory of the binaries
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

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

// build builds the program with o into dir, and keeps the output of its processes with that of all others.
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

// ran are the stores on which tests ran.
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
