// Command fuzz runs every Go fuzzer of this module, one after another, because `go test -fuzz` runs only one. It prints
// how many inputs each has tried. It exits with status 1 if one of them found something; go test has then stored the
// input beside the test.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/refreshd/refreshd/test/support/rig"
)

func main() {
	rig.Main("fuzz", func(ctx context.Context, args []string) error {
		flags := flag.NewFlagSet("fuzz", flag.ContinueOnError)
		long := flags.Duration("fuzztime", 30*time.Second, "how long each fuzzer runs")
		if err := flags.Parse(args); err != nil {
			return err
		}
		return run(ctx, os.Stdout, *long, flags.Arg(0))
	})
}

type fuzzer struct{ dir, name string }

var aFuzzer = regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`)

// run runs the fuzzers below dir, or all fuzzers of the module if dir is empty.
func run(ctx context.Context, w io.Writer, long time.Duration, dir string) error {
	dir = filepath.Join(".", dir)
	fuzzers, err := find(os.DirFS(dir))
	if err != nil {
		return fmt.Errorf("look for fuzzers in %s: %w", dir, err)
	}
	if len(fuzzers) == 0 {
		return fmt.Errorf("there is no fuzzer in %s", dir)
	}
	var failed []string
	total := 0
	for _, f := range fuzzers {
		out, err := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-fuzz", "^"+f.name+"$",
			"-fuzztime", long.String(), "./"+filepath.Join(dir, f.dir)).CombinedOutput()
		n := executions(string(out))
		total += n
		fmt.Fprintf(w, "%-42s %12d inputs  %s\n", f.name, n, filepath.Join(dir, f.dir))
		if err != nil {
			failed = append(failed, f.name)
			fmt.Fprintf(w, "%s\n", out)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	fmt.Fprintf(w, "%-42s %12d inputs, %d fuzzers of %s each\n", "all", total, len(fuzzers), long)
	if len(failed) > 0 {
		return fmt.Errorf("%s found something", strings.Join(failed, ", "))
	}
	return nil
}

// find reads the source, because `go test -list` would start what the tests of a package need, such as PostgreSQL.
func find(tree fs.FS) (found []fuzzer, err error) {
	err = fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, "_test.go") {
			return err
		}
		source, err := fs.ReadFile(tree, name)
		for _, match := range aFuzzer.FindAllSubmatch(source, -1) {
			found = append(found, fuzzer{path.Dir(name), string(match[1])})
		}
		return err
	})
	return found, err
}

var progress = regexp.MustCompile(`execs: (\d+) `)

// executions returns the last count in the output of `go test -fuzz`.
func executions(text string) int {
	all := progress.FindAllStringSubmatch(text, -1)
	if len(all) == 0 {
		return 0
	}
	n, _ := strconv.Atoi(all[len(all)-1][1])
	return n
}
