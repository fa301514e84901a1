package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"

	"github.com/refreshd/refreshd/test/support/figures"
)

const verifyPackage = "github.com/refreshd/refreshd/adapter/verify"

// checkCost is a result of a Go benchmark.
type checkCost struct {
	name               string
	nanoseconds        float64
	allocated, objects float64
}

// parseBenchmark reads the lines of results in the output of go test -bench -benchmem.
func parseBenchmark(output string) (all []checkCost, err error) {
	for line := range strings.Lines(output) {
		fields := strings.Fields(line)
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		c := checkCost{name: strings.TrimPrefix(fields[0], "Benchmark")}
		if dash := strings.LastIndexByte(c.name, '-'); dash > 0 { // the number of processors
			c.name = c.name[:dash]
		}
		units := map[string]*float64{"ns/op": &c.nanoseconds, "B/op": &c.allocated, "allocs/op": &c.objects}
		for i := 2; i+1 < len(fields); i += 2 {
			if to := units[fields[i+1]]; to != nil {
				if *to, err = strconv.ParseFloat(fields[i], 64); err != nil {
					return nil, fmt.Errorf("a result of a benchmark: %q: %w", line, err)
				}
				delete(units, fields[i+1])
			}
		}
		if len(units) > 0 {
			return nil, fmt.Errorf("a result of a benchmark has not all of ns/op, B/op, allocs/op: %q", line)
		}
		all = append(all, c)
	}
	return all, nil
}

// checkNames are the benchmarks that targets refer to, by the name of the figure.
var checkNames = map[string]string{
	"Revoked/sessions=12000/marks=0/writing=false":        "reach check few",
	"Revoked/sessions=1200000/marks=100000/writing=false": "reach check many",
}

// Patterns in the log of TestMemoryOfASession.
var (
	atRest  = regexp.MustCompile(`at most ([0-9.]+) bytes a session`)
	rebuilt = regexp.MustCompile(`a second table .*: ([0-9.]+) bytes a session`)
)

// sessionMemory reads the log of the test: the bytes of a session at rest, and those of the second table.
func sessionMemory(output string) (rest, second float64, err error) {
	for _, one := range []struct {
		pattern *regexp.Regexp
		to      *float64
	}{{atRest, &rest}, {rebuilt, &second}} {
		found := one.pattern.FindStringSubmatch(output)
		if found == nil {
			return 0, 0, errors.New("the test of the memory of a session does not log it: " + output)
		}
		if *one.to, err = strconv.ParseFloat(found[1], 64); err != nil {
			return 0, 0, err
		}
	}
	return rest, second, nil
}

// reachCheckPart runs the Go benchmarks of the package that resource servers use.
func reachCheckPart(ctx context.Context, b *bench) error {
	b.report.section("A check in the resource server")
	b.progress("reach: a check against the view")
	count := "3"
	if b.plan.retakes {
		count = "5"
	}
	output, err := goTest(ctx, "-run=^$", "-bench=^BenchmarkRevoked$", "-benchmem", "-benchtime=0.3s", "-count="+count)
	if err != nil {
		return err
	}
	all, err := parseBenchmark(output)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return errors.New("the benchmark printed no result: " + output)
	}
	t := figures.NewTable("median of "+count, "ns", "bytes", "objects")
	worst := 0.0
	var names []string
	results := map[string][3][]float64{}
	for _, c := range all {
		r, seen := results[c.name]
		if !seen {
			names = append(names, c.name)
		}
		results[c.name] = [3][]float64{
			append(r[0], c.nanoseconds), append(r[1], c.allocated), append(r[2], c.objects),
		}
		worst = max(worst, c.objects)
	}
	for _, name := range names {
		r := results[name]
		t.Add(name, figures.Format(figures.Median(r[0]), "%.0f"), figures.Format(figures.Median(r[1]), "%.0f"),
			figures.Format(figures.Median(r[2]), "%.0f"))
		if figure := checkNames[name]; figure != "" {
			b.report.figure(figure, figures.Median(r[0]))
		}
	}
	b.report.figure("reach check allocations", worst)
	b.report.table(t)
	b.progress("reach: the memory of a session")
	if output, err = goTest(ctx, "-run=^TestMemoryOfASession$", "-v", "-count=1"); err != nil {
		return err
	}
	rest, second, err := sessionMemory(output)
	if err != nil {
		return err
	}
	b.report.say("A revoked session takes at most %.1f bytes at rest, and %.1f while the table is rebuilt, with 10 000 "+
		"to 1.3 million of them.", rest, rest+second)
	b.report.figure("reach session", rest)
	b.report.figure("reach session rebuilt", rest+second)
	return nil
}

func goTest(ctx context.Context, args ...string) (string, error) {
	c := exec.CommandContext(ctx, "go", append(append([]string{"test"}, args...), verifyPackage)...)
	var output bytes.Buffer
	c.Stdout, c.Stderr = &output, &output
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(c.Args, " "), err, output.Bytes())
	}
	return output.String(), nil
}
