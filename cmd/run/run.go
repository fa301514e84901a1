// Package run is refreshd as a program: the composition root, the one place where a configuration becomes a store, a
// signer, use cases and listeners. It has no rule in it.
//
// Begin with wire.go to see how the parts fit, or with package domain to see what they do.
package run

import (
	"context"
	"errors"
	"flag"
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
)

// collectAt lets the heap grow to five times what lives on it before the collector runs, unless GOGC says otherwise. What lives is a
// few MiB here, and at Go's own measure, twice, the collector took a quarter of all time that an exchange takes under load.
const collectAt = 400

// flushTime is how long the end of the process waits for the readers of its log and its output.
const flushTime = 2 * time.Second

// Main runs the program on the arguments, the environment and the output of this process, until it is done or a signal
// stops it, and returns the status to exit with.
//
// Nothing here may wait for the log's reader: see package logsink.
func Main(o Options) (exit int) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectAt)
	}
	// Else a write to a pipe that nobody reads any more would end the process, though only on descriptors 1 and 2.
	signal.Ignore(syscall.SIGPIPE)
	stderr := logsink.Standard(os.Stderr, syscall.Stderr, logsink.Limit)
	stdout := logsink.Standard(os.Stdout, syscall.Stdout, logsink.NoLimit)
	defer func() {
		crash := recover()
		flushing, cancel := context.WithTimeout(context.Background(), flushTime)
		defer cancel()
		_ = stderr.Close(flushing) // there is nowhere left to say that it failed
		if crash != nil {
			panic(crash) // the runtime tells of it behind the lines that led there
		}
	}()

	stops := []os.Signal{syscall.SIGINT, syscall.SIGTERM}
	if cli.IsTerminal(stderr) {
		stops = append(stops, syscall.SIGHUP) // the terminal was closed
	}
	ctx, stop := signal.NotifyContext(context.Background(), stops...)
	defer stop()
	context.AfterFunc(ctx, func() { signal.Reset(syscall.SIGINT) }) // a second Ctrl-C ends the process immediately
	o.Args, o.Environ, o.Stdout, o.Stderr = os.Args[1:], os.Environ(), stdout, stderr
	err := Run(ctx, o)
	if err != nil {
		exit = status(err)
		fmt.Fprintf(stderr, "refreshd: %v\n", err)
	}

	// A command's output waits for its reader, who may be a pager; but not after a failure, nor after a signal.
	flushing, cancel := context.WithCancel(context.Background())
	defer cancel()
	hurry := func() { time.AfterFunc(flushTime, cancel) }
	if err != nil {
		hurry()
	} else {
		context.AfterFunc(ctx, hurry)
	}
	if verb, _ := verbOf(o.Args); err == nil && verb == "serve" { // it goes on where nobody reads its tour
		_ = stdout.Close(flushing)
	} else if failed := stdout.Close(flushing); failed != nil && err == nil {
		exit = 1
		fmt.Fprintf(stderr, "refreshd: what was asked for is done, but its output could not be written: %v\n", failed)
	}
	return exit
}

// status is that of a run that failed: 2 if the command line is at fault, else 1.
func status(err error) int {
	var refused *config.Error
	if errors.As(err, &refused) && refused.WrongUsage() || errors.As(err, new(usageError)) {
		return 2
	}
	return 1
}

// usageError is what is wrong with a command line, beside its flags.
type usageError string

func (e usageError) Error() string { return string(e) }

// Options are all that two runs of the program differ in, so one process can run it several times.
type Options struct {
	Version string  // of the program; if empty, that of the main module
	Stores  []Store // beside those that come with refreshd

	// Main sets the fields below from its process. Run needs both writers.
	Args           []string // what follows the name of the program
	Environ        []string // as [os.Environ]
	Stdout, Stderr io.Writer
}

// process is a run of the program.
type process struct {
	version        string
	stores         []Store
	environ        []string
	stdout, stderr io.Writer
}

// Run runs the program once. It returns when the verb is done, or soon after ctx is.
func Run(ctx context.Context, o Options) error {
	stores, err := withStores(o.Stores)
	if err != nil {
		return err
	}
	p := process{version: o.Version, stores: stores, environ: o.Environ, stdout: o.Stdout, stderr: o.Stderr}
	verb, args := verbOf(o.Args)
	flags := flag.NewFlagSet(verb, flag.ContinueOnError)
	switch verb {
	case "serve":
		return p.configured(flags, args, func(c config.Config) error { return p.serve(ctx, c) })
	case "migrate":
		return p.configured(flags, args, func(c config.Config) error { return p.migrate(ctx, c) })
	case "apply":
		file := flags.String("f", "", "the kickstart file")
		dry := flags.Bool("dry-run", false, "say what would change, and write nothing")
		return p.configured(flags, args, func(c config.Config) error { return p.apply(ctx, c, *file, *dry) })
	case "purge":
		return p.configured(flags, args, func(c config.Config) error { return p.purge(ctx, c) })
	case "health":
		return p.configured(flags, args, func(c config.Config) error { return p.health(ctx, c) })
	case "version":
		if len(args) > 0 {
			return cli.VerbUsage(p.stdout, verb, config.Usage)
		}
		fmt.Fprintln(p.stdout, "refreshd", p.programVersion())
		return nil
	case "help":
		return cli.Usage(p.stdout, config.Usage)
	default:
		return usageError(fmt.Sprintf("there is no %q: use serve, migrate, apply, purge, health, version or --help", verb))
	}
}

// verbOf returns the verb, and the arguments behind it.
func verbOf(args []string) (verb string, rest []string) {
	switch {
	case len(args) > 0 && (args[0] == "" || args[0][0] != '-'):
		return args[0], args[1:]
	case len(args) > 0 && (args[0] == "-h" || args[0] == "-help" || args[0] == "--help"):
		return "help", args
	default:
		return "serve", args
	}
}

// configured loads the configuration and does what the verb does with it, or shows the verb's help.
func (p process) configured(flags *flag.FlagSet, args []string, do func(config.Config) error) error {
	c, err := config.Load(args, p.environ, flags, p.schemes()...)
	if errors.Is(err, flag.ErrHelp) {
		return cli.VerbUsage(p.stdout, flags.Name(), config.Usage)
	}
	if err != nil {
		return err
	}
	return do(c)
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
