package main

import (
	"slices"
	"testing"
	"testing/fstest"
)

// A fuzzer that is not found would be skipped silently.
func TestFuzzersAreFound(t *testing.T) {
	tree := fstest.MapFS{
		"a/a_test.go": {Data: []byte("package a\n\nfunc FuzzA(f *testing.F) {}\n\n" +
			"func TestB(t *testing.T) {}\nfunc FuzzB(f *testing.F) {}\n")},
		"a/b/c_test.go": {Data: []byte("package b\n\nfunc FuzzC(f *testing.F) {}\n// func FuzzD(f *testing.F) {}\n")},
		"a/b/d.go":      {Data: []byte("package b\n\nfunc FuzzE(f *testing.F) {}\n")},
	}
	got, err := find(tree)
	if want := []fuzzer{{"a", "FuzzA"}, {"a", "FuzzB"}, {"a/b", "FuzzC"}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
}

func TestTheLastCountOfExecutionsCounts(t *testing.T) {
	const told = "fuzz: elapsed: 0s, gathering baseline coverage: 0/3 completed\n" +
		"fuzz: elapsed: 3s, execs: 123 (41/sec), new interesting: 1 (total: 4)\n" +
		"fuzz: elapsed: 6s, execs: 4567 (1481/sec), new interesting: 2 (total: 5)\nPASS\n"
	if got := executions(told); got != 4567 {
		t.Errorf("got %d, want 4567", got)
	}
	if got := executions("no such thing"); got != 0 {
		t.Errorf("got %d for nothing, want 0", got)
	}
}
