package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/refreshd/refreshd/config"
	"github.com/refreshd/refreshd/config/spelling"
)

// Program holds the environment of the command line and the functions that do the work of the commands. Each function
// gets a checked configuration. Run needs both writers.
type Program struct {
	Version        string
	Environ        []string // as [os.Environ]
	Schemes        []config.Scheme
	Stdin          io.Reader // nil for none
	Stdout, Stderr io.Writer

	Serve   func(context.Context, config.Config) error
	Health  func(context.Context, config.Config) error
	Migrate func(context.Context, config.Config) error
	// MigrateStatus shows what Migrate would do, and writes nothing.
	MigrateStatus func(context.Context, config.Config) error
	// Apply applies the kickstart file; a dry run writes nothing.
	Apply func(context.Context, config.Config, ApplyOptions) error
	// Diff reports whether the store differs from the kickstart file, and prints how.
	Diff   func(context.Context, config.Config, ApplyOptions) (bool, error)
	Export func(context.Context, config.Config, ExportOptions) error
	Purge  func(context.Context, config.Config) error
	// Doctor checks the deployment, writes nothing, and reports each finding when it has it.
	Doctor func(ctx context.Context, c config.Config, report func(Finding))
	// Operate opens the store, and returns a transport to the HTTP APIs of this program over it, whose caller is the
	// operator. Nothing listens. If it is readOnly nothing is written.
	Operate func(ctx context.Context, c config.Config, readOnly bool) (Transport, error)
}

// UsageError is an error in a command line. An [*config.Error] is also one if its WrongUsage returns true.
type UsageError struct{ Message, Command string }

func (e *UsageError) Error() string {
	return fmt.Sprintf("%s\nRun `%s --help` for usage.", e.Message, e.Command)
}

// Run parses args, the arguments without the name of the program, and runs the command that they name. It returns a
// UsageError only before any work is done.
func (p Program) Run(ctx context.Context, args []string) error {
	l := &line{Program: p, args: args}
	root := l.root()
	if err := l.singleDash(root); err != nil {
		return err
	}
	err := root.ExecuteContext(ctx)
	if usage := (*UsageError)(nil); err != nil && !l.working && !errors.As(err, &usage) {
		return &UsageError{err.Error(), root.Name()}
	}
	return errors.Join(err, l.unwritten)
}

// line is a command line while it runs.
type line struct {
	Program
	args      []string
	working   bool  // a command has begun its work, so an error is not a usage error
	unwritten error // why help could not be written
}

// The groups of commands.
const (
	running       = "running"
	settingUp     = "settingUp"
	administering = "administering"
	looking       = "looking"
)

func (l *line) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "refreshd COMMAND",
		Short: "A multi-tenant refresh token service", // the man page's
		Long: `refreshd is a multi-tenant refresh token service: it issues refresh tokens, exchanges them for
signed access tokens, lists them and revokes them.`,
		Example: `  # Try it: an embedded database in ./refreshd-data, and commands to paste.
  refreshd serve

  # On PostgreSQL. Secrets are in files, because process lists show arguments.
  export REFRESHD_DATABASE_URL_FILE=/run/secrets/refreshd-database-url
  export REFRESHD_MASTER_KEY_FILE=/run/secrets/refreshd-master-key
  refreshd migrate
  BACKEND_KEY=ak_... refreshd apply -f kickstart.yaml
  refreshd serve --listen 0.0.0.0:3000 --public-url https://auth.example.com`,
		SilenceErrors:         true,
		SilenceUsage:          true,
		DisableFlagsInUseLine: true,
		Args:                  cobra.ArbitraryArgs, // parent refuses them in its own words
		CompletionOptions:     cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	version := root.Flags().BoolP("version", "v", false, "print the version")
	root.RunE = func(c *cobra.Command, args []string) error {
		if *version && len(args) == 0 {
			l.working = true
			return l.printVersion()
		}
		return parent(c, args)
	}
	root.SetArgs(append([]string{}, l.args...)) // cobra takes the arguments of the process for nil
	root.SetOut(l.Stdout)
	root.SetErr(l.Stderr)
	root.SetFlagErrorFunc(l.flagError)
	root.SetHelpFunc(func(c *cobra.Command, _ []string) { l.printHelp(c) })
	root.AddGroup(
		&cobra.Group{ID: running, Title: "Run the service:"},
		&cobra.Group{ID: settingUp, Title: "Set it up:"},
		&cobra.Group{ID: administering, Title: "Administer it, on the database or with --server on a service:"},
		&cobra.Group{ID: looking, Title: "Look at it:"},
	)
	root.AddCommand(
		l.serve(), l.health(), l.migrate(), l.apply(), l.diff(), l.export(), l.purge(),
		l.token(), l.tenant(), l.application(), l.apikey(), l.key(), l.audit(), l.doctor(), l.config(),
		l.version(), l.completion(), l.man(),
	)
	root.SetHelpCommand(l.help())
	root.InitDefaultHelpCmd()
	eachCommand(root, func(c *cobra.Command) {
		c.Flags().SortFlags = false
		c.Flags().BoolP("help", "h", false, "print this help")
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Value.Type() == "bool" { // which a shell would otherwise complete with files; settings have theirs already
				_ = c.RegisterFlagCompletionFunc(f.Name, cobra.FixedCompletions(truths, cobra.ShellCompDirectiveNoFileComp))
			}
		})
		if c.ValidArgs == nil && c.ValidArgsFunction == nil {
			c.ValidArgsFunction = cobra.NoFileCompletions
		}
	})
	return root
}

// Help lists commands in the order in which a new user needs them. cobra has one switch for that in the whole process.
func init() { cobra.EnableCommandSorting = false }

// eachCommand calls f for c and for every command below it.
func eachCommand(c *cobra.Command, f func(*cobra.Command)) {
	f(c)
	for _, child := range c.Commands() {
		eachCommand(child, f)
	}
}

// onDatabase are the commands that use the database also where REFRESHD_SERVER names a service for those of
// administration. They say so: the store that is changed or compared would otherwise be another one, unnoticed.
var onDatabase = []string{"migrate", "apply", "diff", "purge"}

// configured completes a command that loads the configuration and then does its work. It takes the flags of the
// settings that it uses.
func (l *line) configured(c *cobra.Command, do func(context.Context, config.Config) error) *cobra.Command {
	addSettings(c, c.Name())
	c.Args = noArguments
	c.RunE = l.work(func(c *cobra.Command, _ []string) error {
		loaded, err := config.Load(setFlags(c), l.Environ, l.Schemes...)
		if err != nil {
			return err
		}
		if loaded.Server != "" && slices.Contains(onDatabase, c.Name()) {
			fmt.Fprintf(l.Stderr, "%s uses the database, and not the service that REFRESHD_SERVER names.\n", c.CommandPath())
		}
		return do(c.Context(), loaded)
	})
	return c
}

// work records that the arguments are valid and the work has begun.
func (l *line) work(do func(*cobra.Command, []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		l.working = true
		return do(c, args)
	}
}

// parent runs a command that only holds others: it prints its help, as git and kubectl do.
func parent(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return unknownCommand(c, args[0])
	}
	return c.Help()
}

func wrong(c *cobra.Command, format string, a ...any) error {
	return &UsageError{fmt.Sprintf(format, a...), c.CommandPath()}
}

// noArguments refuses arguments without repeating them: one may be a URL with a password.
func noArguments(c *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return nil
	case args[0] == "": // of a variable that a script quotes, and that is not set
		return wrong(c, "%s takes no arguments, only flags: leave the empty one out", c.CommandPath())
	case c.Flags().Lookup("file") != nil:
		return wrong(c, "%s takes no arguments, only flags: name the file with -f", c.CommandPath())
	}
	return wrong(c, "%s takes no arguments, only flags: write a value as --name=value", c.CommandPath())
}

// word is an argument that a message may repeat.
var word = regexp.MustCompile(`^[a-z][a-z-]{0,31}$`)

// otherNames are the names of the commands in other programs.
var otherNames = map[string]string{
	"run": "serve", "start": "serve", "server": "serve", "up": "migrate", "upgrade": "migrate", "import": "apply",
	"backup": "export", "dump": "export", "compare": "diff",
	"check": "doctor", "diagnose": "doctor", "verify": "doctor", "status": "health", "settings": "config", "env": "config",
	"clean": "purge", "gc": "purge",
}

func unknownCommand(parent *cobra.Command, name string) error {
	known := commandNames(parent)
	near := spelling.Nearest(name, known)
	switch {
	case name == "":
		return wrong(parent, "the command is empty: the commands are %s", strings.Join(known, ", "))
	case !word.MatchString(name) && near != "":
		return wrong(parent, "unknown command: did you mean `%s %s`?", parent.CommandPath(), near)
	case !word.MatchString(name):
		return wrong(parent, "unknown command: the commands are %s", strings.Join(known, ", "))
	case parent.HasParent():
	case slices.Contains(topicNames(), name):
		return wrong(parent, "unknown command %q: did you mean `refreshd help %[1]s`?", name)
	case near == "":
		near = otherNames[name]
	}
	if near != "" {
		return wrong(parent, "unknown command %q: did you mean `%s %s`?", name, parent.CommandPath(), near)
	}
	return wrong(parent, "unknown command %q: the commands are %s", name, strings.Join(known, ", "))
}
