// Package run is refreshd as a program: the composition root, which alone makes a store, a signer, use cases and
// listeners from a configuration. It holds no rule.
//
// Begin with wire.go to see how the parts fit, or with package domain to see what they do.
package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/refreshd/refreshd/adapter/cli"
	"github.com/refreshd/refreshd/adapter/logsink"
	"github.com/refreshd/refreshd/config"
	"github.com/refreshd/refreshd/usecase"
)

// collectAt lets the heap grow to five times its live size before the collector runs, unless GOGC says otherwise. The
// live heap is a few MiB here, and with Go's default, twice, the collector took a quarter of the time of an exchange
// under load.
const collectAt = 400

// flushTime is how long the process waits at its end for the readers of its log and its output.
const flushTime = 2 * time.Second

// Main runs the program on the arguments, the environment and the output of this process, until it is done or a signal
// stops it, and returns the status to exit with.
//
// Nothing here may wait for the log's reader: see package logsink.
func Main(o Options) int {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectAt)
	}
	// Otherwise a write to a pipe without a reader would end the process, though only on descriptors 1 and 2.
	signal.Ignore(syscall.SIGPIPE)
	stderr := logsink.Standard(os.Stderr, syscall.Stderr, logsink.Limit)
	stdout := logsink.Standard(os.Stdout, syscall.Stdout, logsink.NoLimit)
	defer func() {
		crash := recover()
		flushing, cancel := context.WithTimeout(context.Background(), flushTime)
		defer cancel()
		_ = stderr.Close(flushing) // a failure cannot be reported any more
		if crash != nil {
			panic(crash) // the runtime prints it after the lines that led there
		}
	}()

	stops := []os.Signal{syscall.SIGINT, syscall.SIGTERM}
	if cli.IsTerminal(stderr) {
		stops = append(stops, syscall.SIGHUP) // the terminal was closed
	}
	ctx, stop := signal.NotifyContext(context.Background(), stops...)
	defer stop()
	context.AfterFunc(ctx, func() { signal.Reset(syscall.SIGINT) }) // a second Ctrl-C ends the process immediately
	o.Args, o.Environ, o.Stdin, o.Stdout, o.Stderr = os.Args[1:], os.Environ(), os.Stdin, stdout, stderr
	served, err := run(ctx, o)

	// The process waits for the reader of a command's output, which may be a pager, but not after a failure or a signal.
	flushing, cancel := context.WithCancel(context.Background())
	defer cancel()
	hurry := func() { time.AfterFunc(flushTime, cancel) }
	if err != nil {
		hurry()
	} else {
		context.AfterFunc(ctx, hurry)
	}
	failed := stdout.Close(flushing)
	switch {
	case err != nil: // after the output, which may go to the same terminal
		if err.Error() != "" {
			fmt.Fprintf(stderr, "refreshd: %v\n", err)
		}
		return status(err)
	case failed != nil && !served: // serve does not depend on a reader of its output
		fmt.Fprintf(stderr, "refreshd: the command is done, but its output could not be written: %v\n", failed)
		return 1
	}
	return 0
}

// status is the exit status of a run that failed: 2 if the command line is wrong, that of a *cli.Failure, otherwise 1.
func status(err error) int {
	var (
		refused *config.Error
		failure *cli.Failure
	)
	switch {
	case errors.As(err, &failure):
		return failure.Status
	case errors.As(err, &refused) && refused.WrongUsage(), errors.As(err, new(*cli.UsageError)):
		return cli.StatusUsage
	default:
		return cli.StatusFailed
	}
}

// Options are the inputs of a run. A run has no others, so one process can run the program several times.
type Options struct {
	Version string  // of the program; if empty, that of the main module
	Stores  []Store // in addition to those that come with refreshd

	// Main sets the fields below from its process. Run needs both writers. It asks questions if Stdin is a terminal.
	Args           []string // what follows the name of the program
	Environ        []string // as [os.Environ]
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// process is one run of the program.
type process struct {
	version        string
	stores         []Store
	environ        []string
	stdin          io.Reader
	stdout, stderr io.Writer
	copied         *usecase.CopiedKeys // that a store without keys gets; nil for none
}

// Run runs the program once. It returns when the command is done, or soon after ctx is.
func Run(ctx context.Context, o Options) error {
	_, err := run(ctx, o)
	return err
}

// run reports whether it served, beside Run's error.
func run(ctx context.Context, o Options) (served bool, err error) {
	stores, err := withStores(o.Stores)
	if err != nil {
		return false, err
	}
	p := process{
		version: o.Version, stores: stores, environ: o.Environ, stdin: o.Stdin, stdout: o.Stdout, stderr: o.Stderr,
	}
	err = cli.Program{
		Version: p.programVersion(), Environ: p.environ, Schemes: p.schemes(),
		Stdin: p.stdin, Stdout: p.stdout, Stderr: p.stderr,
		Serve: func(ctx context.Context, c config.Config) error {
			served = true
			return p.serve(ctx, c)
		},
		Health: p.health, Migrate: p.migrate, MigrateStatus: p.migrateStatus, Apply: p.apply, Diff: p.diff, Export: p.export,
		Purge: p.purge, Doctor: p.doctor, Operate: p.operate,
	}.Run(ctx, o.Args)
	return served, err
}

func (p process) programVersion() string {
	if p.version != "" {
		return p.version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
