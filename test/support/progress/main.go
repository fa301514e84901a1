// Command progress runs `go test` with its arguments and prints its progress: a line for each package as it ends, a
// line at least every 20 seconds with what is running, the whole output of each failed test, and at the end the ten
// slowest packages and tests, and one line with the verdict and the time. It exits with the status of `go test`.
//
// Arguments after -and are those of another `go test`, which runs beside the first one; "go test" has one set of build
// flags for all packages. Its packages are printed with a star. The status is the greatest one.
//
// `go test` prints packages in a fixed order, each when it has ended: nothing for the first minutes here, and nothing
// again while the longest package runs. gotestsum prints packages as they end, but nothing while a package runs, and
// needs eight modules.
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// module is the prefix that is cut from the names of packages.
const module = "github.com/refreshd/refreshd/"

// slow is how many seconds a package or a test takes at least that the summary names, and slowest how many it names.
const (
	slow    = 1
	slowest = 10
)

// every is the longest time between two lines.
const every = 20 * time.Second

func main() {
	// An interrupt reaches go test as well, which ends. This process still has to read what go test printed.
	signal.Notify(make(chan os.Signal, 1), os.Interrupt)
	status, err := run(os.Args[1:], os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "progress:", err)
		status = 1
	}
	os.Exit(status)
}

// and separates the arguments of two runs of go test.
const and = "-and"

func run(args []string, out io.Writer) (status int, err error) {
	p := newPrinter(out)
	ticker, done := time.NewTicker(time.Second), make(chan struct{})
	go func() {
		for {
			select {
			case <-ticker.C:
				p.alive()
			case <-done:
				return
			}
		}
	}()
	runs := split(args)
	statuses, errs := make([]int, len(runs)), make([]error, len(runs))
	var group sync.WaitGroup
	for i, args := range runs {
		group.Go(func() { statuses[i], errs[i] = p.test(strings.Repeat("*", i), args) })
	}
	group.Wait()
	ticker.Stop()
	close(done)
	status, err = slices.Max(statuses), errors.Join(errs...)
	if err == nil || status != 0 {
		p.end(status)
	}
	return status, err
}

// split returns the arguments of each run.
func split(args []string) (runs [][]string) {
	for {
		i := slices.Index(args, and)
		if i < 0 {
			return append(runs, args)
		}
		runs, args = append(runs, args[:i]), args[i+1:]
	}
}

// test runs go test once. Mark is appended to the names of its packages: two runs may have the same package.
func (p *printer) test(mark string, args []string) (status int, err error) {
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	if slices.Contains(args, "-race") { // needs cgo, which the Makefile turns off for all else
		cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	}
	events, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	readErr := p.read(mark, events)
	waitErr := cmd.Wait()
	var exit *exec.ExitError
	switch {
	case errors.As(waitErr, &exit):
		status = max(1, exit.ExitCode())
		if s, ok := exit.Sys().(syscall.WaitStatus); ok && s.Signaled() {
			status = 128 + int(s.Signal())
		}
	case waitErr != nil:
		return 0, waitErr
	}
	return status, readErr
}

// event is a line of `go test -json`; `go doc test2json` and `go help buildjson` describe it.
type event struct {
	Action, Package, Test, Output string
	ImportPath                    string  // the package that does not build
	Elapsed                       float64 // seconds
}

// line is a line of a package's output.
type line struct{ test, text string }

type set map[string]bool

type printer struct {
	begun time.Time

	mu      sync.Mutex
	out     io.Writer
	printed time.Time         // when the last line was printed
	running map[string][]line // the output so far of each package that has begun
	passed  map[string]int    // tests
	ended   map[string]set    // tests of a running package that passed or were skipped: their output is not printed
	failed  []string          // packages that failed
	ok      int               // packages that passed
	skipped int               // tests that were skipped
	tests   int               // tests that passed
	took    []taken           // each package and each test, without those within another test
}

// taken is how long a package or a test took, the wait for other tests of its package included.
type taken struct {
	name    string
	seconds float64
}

func newPrinter(out io.Writer) *printer {
	now := time.Now()
	return &printer{begun: now, out: out, printed: now, running: map[string][]line{}, passed: map[string]int{},
		ended: map[string]set{}}
}

// print is called with the lock held.
func (p *printer) print(format string, args ...any) {
	p.printed = time.Now()
	fmt.Fprintf(p.out, "%6s  %s\n", p.printed.Sub(p.begun).Round(time.Second), fmt.Sprintf(format, args...))
}

// read reads the events of a run to their end and prints them.
func (p *printer) read(mark string, events io.Reader) error {
	in := bufio.NewReader(events)
	for {
		text, err := in.ReadString('\n')
		if text != "" {
			p.line(mark, text)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (p *printer) line(mark, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var e event
	if json.Unmarshal([]byte(text), &e) != nil {
		fmt.Fprint(p.out, text) // go test printed something that is not an event
		return
	}
	e.Package += mark
	// A package that comes from the cache took no time.
	if e.Elapsed >= slow && !strings.Contains(e.Test, "/") {
		p.took = append(p.took, taken{strings.TrimSpace(strings.TrimPrefix(e.Package, module) + " " + e.Test), e.Elapsed})
	}
	switch {
	case e.Action == "build-output":
		fmt.Fprint(p.out, e.Output)
	case e.Action == "build-fail":
		p.print("FAIL  %s: it does not build", e.ImportPath)
	case e.Action == "start":
		p.running[e.Package], p.ended[e.Package] = nil, set{}
	case e.Action == "output":
		p.running[e.Package] = append(p.running[e.Package], line{e.Test, e.Output})
	case e.Test != "" && (e.Action == "pass" || e.Action == "skip"):
		p.ended[e.Package][e.Test] = true
		if e.Action == "skip" {
			p.skipped++
		} else {
			p.passed[e.Package]++
			p.tests++
		}
	case e.Test == "" && e.Action == "fail":
		p.failed = append(p.failed, strings.TrimPrefix(e.Package, module))
		p.print("FAIL  %s, %.0f s; the output of its tests that did not pass:",
			strings.TrimPrefix(e.Package, module), e.Elapsed)
		for _, l := range p.running[e.Package] {
			if !p.ended[e.Package][l.test] {
				fmt.Fprint(p.out, l.text)
			}
		}
		p.forget(e.Package)
	case e.Test == "" && (e.Action == "pass" || e.Action == "skip"):
		if n := p.passed[e.Package]; n > 0 {
			p.ok++
			p.print("ok    %s, %.0f s, %d tests", strings.TrimPrefix(e.Package, module), e.Elapsed, n)
		}
		p.forget(e.Package)
	}
}

func (p *printer) forget(pkg string) {
	delete(p.running, pkg)
	delete(p.passed, pkg)
	delete(p.ended, pkg)
}

// alive prints what is running, if nothing was printed for as long as every.
func (p *printer) alive() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.printed) < every {
		return
	}
	var all []string
	for _, pkg := range slices.Sorted(maps.Keys(p.running)) {
		all = append(all, fmt.Sprintf("%s (%d tests passed)", strings.TrimPrefix(pkg, module), p.passed[pkg]))
	}
	if len(all) == 0 {
		p.print("...   building")
		return
	}
	p.print("...   %s", strings.Join(all, ", "))
}

// end prints the summary, with the failures again by name: their output may be screens above.
func (p *printer) end(status int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	slices.SortStableFunc(p.took, func(a, b taken) int { return cmp.Compare(b.seconds, a.seconds) })
	for _, t := range p.took[:min(slowest, len(p.took))] {
		p.print("slow  %.0f s  %s", t.seconds, t.name)
	}
	skipped := ""
	if p.skipped > 0 {
		skipped = fmt.Sprintf(", %d skipped", p.skipped)
	}
	if status == 0 {
		p.print("PASS  %d packages, %d tests%s", p.ok, p.tests, skipped)
		return
	}
	p.print("FAIL  %d packages, %d tests passed%s; exit status %d; failed: %s", p.ok, p.tests, skipped, status,
		strings.Join(p.failed, " "))
}
