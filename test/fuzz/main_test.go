package main

import (
	"slices"
	"testing"
)

// A list that is read wrongly would leave fuzzers out without a word.
func TestTheListOfFuzzersIsRead(t *testing.T) {
	const listed = "FuzzA\nFuzzB\nok  \texample/a\t0.01s\n?   \texample/b\t[no test files]\nok  \texample/c\t0.01s\nFuzzC\nok  \texample/d\t(cached)\n"
	want := []fuzzer{{"example/a", "FuzzA"}, {"example/a", "FuzzB"}, {"example/d", "FuzzC"}}
	if got := parseList(listed); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestTheLastCountOfExecutionsCounts(t *testing.T) {
	const told = "fuzz: elapsed: 0s, gathering baseline coverage: 0/3 completed\nfuzz: elapsed: 3s, execs: 123 (41/sec), new interesting: 1 (total: 4)\n" +
		"fuzz: elapsed: 6s, execs: 4567 (1481/sec), new interesting: 2 (total: 5)\nPASS\n"
	if got := executions(told); got != 4567 {
		t.Errorf("got %d, want 4567", got)
	}
	if got := executions("no such thing"); got != 0 {
		t.Errorf("got %d for nothing, want 0", got)
	}
}
