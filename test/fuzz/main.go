// Command fuzz runs every Go fuzzer of this module in turn, which `go test -fuzz` does for one at a time only, and prints how many
// inputs each has tried. It ends with status 1 if one of them found something; go test has then stored the input beside the test.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	long := flag.Duration("fuzztime", 30*time.Second, "for how long each fuzzer runs")
	flag.Parse()
	if err := run(ctx, os.Stdout, *long, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "fuzz:", err)
		os.Exit(1)
	}
}

type fuzzer struct{ pkg, name string }

func run(ctx context.Context, w io.Writer, long time.Duration, packages []string) error {
	listed, err := exec.CommandContext(ctx, "go", append([]string{"test", "-list", "^Fuzz"}, packages...)...).Output()
	if err != nil {
		return fmt.Errorf("list the fuzzers: %w", err)
	}
	fuzzers := parseList(string(listed))
	if len(fuzzers) == 0 {
		return errors.New("there are no fuzzers in these packages")
	}
	var failed []string
	total := 0
	for _, f := range fuzzers {
		out, err := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-fuzz", "^"+f.name+"$", "-fuzztime", long.String(), f.pkg).CombinedOutput()
		n := executions(string(out))
		total += n
		fmt.Fprintf(w, "%-28s %12d inputs  %s\n", f.name, n, f.pkg)
		if err != nil {
			failed = append(failed, f.name)
			fmt.Fprintf(w, "%s\n", out)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	fmt.Fprintf(w, "%-28s %12d inputs, %d fuzzers of %s each\n", "all", total, len(fuzzers), long)
	if len(failed) > 0 {
		return fmt.Errorf("%s found something", strings.Join(failed, ", "))
	}
	return nil
}

// parseList reads what `go test -list` prints: the names of a package, and then the package.
func parseList(text string) (found []fuzzer) {
	var names []string
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) == 1 && strings.HasPrefix(fields[0], "Fuzz"):
			names = append(names, fields[0])
		case len(fields) > 1 && fields[0] == "ok":
			for _, name := range names {
				found = append(found, fuzzer{fields[1], name})
			}
			names = nil
		}
	}
	return found
}

var progress = regexp.MustCompile(`execs: (\d+) `)

// executions is the last count that `go test -fuzz` told of.
func executions(text string) int {
	all := progress.FindAllStringSubmatch(text, -1)
	if len(all) == 0 {
		return 0
	}
	n, _ := strconv.Atoi(all[len(all)-1][1])
	return n
}
