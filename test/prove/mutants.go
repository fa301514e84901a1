package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/refreshd/refreshd/test/rig"
)

// change puts another text in the place of one that stands in a file of ours exactly once.
type change struct{ file, from, to string }

// clockPatch gives the program under test the prover's clock. It, and nothing else, is what a program that is proved differs in from
// one that is shipped, and it is put in by `go build -overlay`: there is no hook in the source.
var clockPatch = []change{{"cmd/refreshd/wire.go", "clock: time.Now,\n", "clock: provedClock(time.Now),\n"}}

// mutant is a way to break the service.
type mutant struct {
	name    string
	says    string
	changes []change
	// setting is where it shows soonest.
	setting setting
	// also are files that it adds.
	also map[string]string
}

// root is the module's directory: this file is two levels below.
func root() string {
	_, file, _, _ := runtime.Caller(0)
	if filepath.IsAbs(file) {
		return filepath.Dir(filepath.Dir(filepath.Dir(file)))
	}
	wd, _ := os.Getwd()
	return wd
}

// overlay writes the changed files to dir, and the file that names them for go build.
func overlay(dir string, changes []change, also map[string]string) (path string, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	texts := map[string]string{"cmd/refreshd/prove_clock.go": clockSource}
	for file, text := range also {
		texts[file] = text
	}
	for _, c := range slices.Concat(clockPatch, changes) {
		text, ok := texts[c.file]
		if !ok {
			b, err := os.ReadFile(filepath.Join(root(), c.file))
			if err != nil {
				return "", err
			}
			text = string(b)
		}
		if n := strings.Count(text, c.from); n != 1 {
			return "", fmt.Errorf("%s has the text to replace %d times, not once: %.200q", c.file, n, c.from)
		}
		texts[c.file] = strings.Replace(text, c.from, c.to, 1)
	}
	replace := map[string]string{}
	for file, text := range texts {
		name := filepath.Join(dir, strings.ReplaceAll(file, "/", "_"))
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			return "", err
		}
		replace[filepath.Join(root(), file)] = name
	}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	path = filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, b, 0o600)
}

func buildProgram(ctx context.Context, dir, name string, m *mutant) (rig.Program, error) {
	if m == nil {
		m = &mutant{}
	}
	path, err := overlay(filepath.Join(dir, name+"-source"), m.changes, m.also)
	if err != nil {
		return rig.Program{}, fmt.Errorf("%s: %w", name, err)
	}
	return rig.Build(ctx, dir, rig.BuildOptions{Name: name, Overlay: path})
}

// findMutants runs every mutant until it is found.
func findMutants(ctx context.Context, o options, dir string, w io.Writer) error {
	chosen := mutants
	if o.mutants != "all" {
		names := strings.Split(o.mutants, ",")
		chosen = slices.DeleteFunc(slices.Clone(mutants), func(m mutant) bool { return !slices.Contains(names, m.name) })
		if len(chosen) != len(names) {
			return fmt.Errorf("there are not all of the mutants %q", o.mutants)
		}
	}
	fmt.Fprintf(w, "\n| mutant | found by | after |\n|---|---|---|\n")
	var missed []string
	for i, m := range chosen {
		program, err := buildProgram(ctx, dir, m.name, &m)
		if err != nil {
			return err
		}
		ro := roundOptions{options: o, program: program, setting: m.setting, seed: o.seed + uint64(i), duration: 90 * time.Second}
		ro.keep = filepath.Join(o.keep, "mutants", m.name)
		r, err := round(ctx, ro)
		by := "nobody: NOT FOUND"
		switch {
		case err != nil && !r.failed():
			return fmt.Errorf("%s: %w", m.name, err)
		case len(r.wrong) > r.undecided:
			by = "a history: " + r.wrong[0]
		case len(r.faults) > 0:
			by = fmt.Sprintf("an answer: %.120s", r.faults[0])
		default:
			missed = append(missed, m.name)
		}
		fmt.Fprintf(w, "| %s: %s | %s | %.0f s, %d calls |\n", m.name, m.says, by, r.took.Seconds(), r.calls)
	}
	fmt.Fprintf(w, "%d of %d mutants found\n", len(chosen)-len(missed), len(chosen))
	if len(missed) > 0 {
		return fmt.Errorf("not found: %s", strings.Join(missed, ", "))
	}
	return nil
}

var mutants = []mutant{}
