package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// goTests returns the results of a client that tests of test/e2e use. They run once for an engine.
func (w *world) goTests(ctx context.Context, c client) (results []result, err error) {
	if w.tested == nil {
		if w.tested, err = runGoTests(ctx, w.engine); err != nil {
			return nil, err
		}
	}
	for _, check := range c.checks {
		name := testName(c.tests[check], w.engine)
		one := result{Check: check}
		switch w.tested[name] {
		case "pass":
		case "":
			one.Error = "there is no test " + name
		default:
			one.Error = name + ": " + w.tested[name]
		}
		w.r.told(c, one)
		results = append(results, one)
	}
	return results, nil
}

// testName returns the name that go test prints for a test on an engine.
func testName(test, engine string) string {
	return strings.ReplaceAll(strings.ReplaceAll(test, "ENGINE", engine), " ", "_")
}

// runGoTests runs the tests of all clients on an engine, and returns how each ended: pass, or fail.
func runGoTests(ctx context.Context, engine string) (ended map[string]string, err error) {
	var top []string
	for _, c := range clients {
		for _, test := range c.tests {
			name, _, _ := strings.Cut(test, "/")
			top = append(top, name)
		}
	}
	slices.Sort(top)
	pattern := "^(" + strings.Join(slices.Compact(top), "|") + ")$/^" + engine + "$"
	test := exec.CommandContext(ctx, "go", "test", "-json", "-count=1", "-timeout=30m", "-run", pattern, "./test/e2e")
	test.Env, test.Stderr = append(os.Environ(), "CGO_ENABLED=0"), os.Stderr
	out, err := test.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := test.Start(); err != nil {
		return nil, err
	}
	ended = map[string]string{}
	var said strings.Builder
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var event struct{ Action, Test, Output string }
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			fmt.Fprintln(os.Stderr, lines.Text())
			continue
		}
		if event.Test != "" && (event.Action == "pass" || event.Action == "fail") {
			ended[event.Test] = event.Action
		}
		said.WriteString(event.Output)
	}
	err = lines.Err()
	if failed := test.Wait(); failed != nil {
		err = errors.Join(err, fmt.Errorf("go test -run %s ./test/e2e: %w\n%s", pattern, failed, said.String()))
	}
	return ended, err
}
