package main

import (
	"path/filepath"
	"testing"
)

// A mutant whose text is no longer there would be the service as it is.
func TestEveryMutantFitsTheSource(t *testing.T) {
	for _, m := range mutants {
		if _, err := overlay(filepath.Join(t.TempDir(), m.name), m.changes); err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
	}
}
