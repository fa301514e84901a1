package main

import (
	"path/filepath"
	"testing"
)

// A mutant whose text is missing from the source would be the unchanged service.
func TestEveryMutantFitsTheSource(t *testing.T) {
	for _, m := range mutants {
		if _, err := m.build().Overlay(t.Context(), filepath.Join(t.TempDir(), m.name)); err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
	}
}
