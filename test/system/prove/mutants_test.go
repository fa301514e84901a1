package main

import (
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"testing"
)

// A mutant whose text is missing from the source would be the unchanged service. One that uses a name that the source
// does not have any more would end the proof after the service has passed it.
func TestEveryMutantFitsTheSource(t *testing.T) {
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			overlay, err := m.build().Overlay(t.Context(), filepath.Join(t.TempDir(), m.name))
			if err != nil {
				t.Fatal(err)
			}
			build := []string{"build", "-overlay=" + overlay}
			for _, c := range m.build().Changes {
				if dir := "./" + path.Dir(c.File); !slices.Contains(build, dir) {
					build = append(build, dir)
				}
			}
			command := exec.CommandContext(t.Context(), "go", build...)
			command.Dir = "../../.."
			if out, err := command.CombinedOutput(); err != nil {
				t.Errorf("%v:\n%s", err, out)
			}
		})
	}
}
