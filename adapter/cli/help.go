package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/refreshd/refreshd/config"
	"github.com/refreshd/refreshd/config/spelling"
)

// helpWidth is the column at which flags wrap; pflag lets a line be five columns longer.
const helpWidth = 95

// nameWidth is the width of the names of commands and topics.
const nameWidth = 13

func (l *line) help() *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND|TOPIC]", DisableFlagsInUseLine: true,
		Short:   "Print help about a command or a topic",
		Long:    "Print help about a command, or about a topic:\n" + strings.Join(topicNames(), ", ") + ".",
		Example: "  refreshd help serve\n  refreshd help configuration",
		ValidArgsFunction: func(c *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return append(commandNames(c.Root()), topicNames()...), cobra.ShellCompDirectiveNoFileComp
			}
			about, _, err := c.Root().Find(args)
			if err != nil || about == c.Root() {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return commandNames(about), cobra.ShellCompDirectiveNoFileComp
		},
		Args: cobra.ArbitraryArgs, // RunE refuses them in its own words
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 1 {
				if t, ok := topics[args[0]]; ok {
					l.working = true
					_, err := io.WriteString(l.Stdout, t.text())
					return err
				}
			}
			about := c.Root()
			for _, name := range args {
				i := slices.IndexFunc(about.Commands(), func(c *cobra.Command) bool { return c.Name() == name })
				if i < 0 {
					return unknownTopic(c, about, name)
				}
				about = about.Commands()[i]
			}
			return about.Help()
		},
	}
}

func unknownTopic(c, about *cobra.Command, name string) error {
	known := commandNames(about)
	if !about.HasParent() {
		known = append(known, topicNames()...)
	}
	if near := spelling.Nearest(name, known); near != "" && word.MatchString(name) {
		path := strings.TrimPrefix(about.CommandPath()+" "+near, c.Root().Name()+" ")
		return wrong(c, "there is no help about %q: did you mean `%s %s`?", name, c.CommandPath(), path)
	}
	return wrong(c, "there is no help about that: name a command, or one of %s", strings.Join(topicNames(), ", "))
}

func commandNames(c *cobra.Command) (names []string) {
	for _, child := range c.Commands() {
		if !child.Hidden {
			names = append(names, child.Name())
		}
	}
	return names
}

// printHelp writes the help of c to stdout, so that a user who asked for it can pipe it to a pager.
func (l *line) printHelp(c *cobra.Command) {
	var out strings.Builder
	fmt.Fprintf(&out, "%s\n\nUsage:\n  %s\n", c.Long, c.UseLine())
	writeCommands(&out, c)
	if !c.HasParent() {
		fmt.Fprintln(&out, "\nTopics of `refreshd help TOPIC`:")
		for _, name := range topicNames() {
			fmt.Fprintf(&out, "  %-*s  %s\n", nameWidth, name, topics[name].short)
		}
	}
	fmt.Fprintf(&out, "\nExamples:\n%s\n", c.Example)
	fmt.Fprintf(&out, "\nFlags:\n%s", ownFlags(c).FlagUsagesWrapped(helpWidth))
	switch {
	case c.Flags().Lookup("config") == nil:
	case isAdministration(c):
		fmt.Fprint(&out, "\n`refreshd help settings` has the other flags: the database, its keys, the log.\n")
	default:
		writeUnflagged(&out, topOf(c))
	}
	if c.HasSubCommands() {
		fmt.Fprintf(&out, "\nRun `%s COMMAND --help` for the flags of a command.\n", c.CommandPath())
	}
	if _, err := io.WriteString(l.Stdout, out.String()); err != nil {
		l.unwritten = fmt.Errorf("cli: write help: %w", err)
	}
}

// writeCommands writes the commands below c by group; those of no group are the last.
func writeCommands(out io.Writer, c *cobra.Command) {
	groups := append(slices.Clone(c.Groups()), &cobra.Group{Title: "Commands:"})
	if c.ContainsGroup(looking) {
		groups[len(groups)-1].Title = "Other commands:"
	}
	for _, g := range groups {
		title := g.Title
		for _, child := range c.Commands() {
			if child.GroupID != g.ID || child.Hidden {
				continue
			}
			if title != "" {
				fmt.Fprintf(out, "\n%s\n", title)
				title = ""
			}
			fmt.Fprintf(out, "  %-*s  %s\n", nameWidth, child.Name(), child.Short)
		}
	}
}

// isAdministration reports whether c is a command of administration. All of them take the same settings.
func isAdministration(c *cobra.Command) bool {
	for ; c != nil; c = c.Parent() {
		if c.GroupID == administering {
			return true
		}
	}
	return false
}

// ownFlags returns the flags of c that its help has. A command of administration leaves out most settings: the topic
// settings has them.
func ownFlags(c *cobra.Command) *pflag.FlagSet {
	if !isAdministration(c) {
		return c.Flags()
	}
	own := pflag.NewFlagSet(c.Name(), pflag.ContinueOnError)
	own.SortFlags = false
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if _, isSetting := f.Value.(*settingFlag); !isSetting || f.Name == "server" || f.Name == "tenant" {
			own.AddFlag(f)
		}
	})
	return own
}

// settingsText is the topic settings.
func settingsText() string {
	var out strings.Builder
	c := &cobra.Command{}
	c.Flags().SortFlags = false
	addSettings(c, "token") // as every command of administration
	fmt.Fprintf(&out, `The commands of administration (token, tenant, application, apikey, key and
audit) open a database, or send requests to the service that --server names. Each
takes these flags, beside its own:

%s`, c.Flags().FlagUsagesWrapped(helpWidth))
	writeUnflagged(&out, "token")
	return out.String()
}

// writeUnflagged writes the settings of a command that have no flag, and where flags get their values from otherwise.
func writeUnflagged(out io.Writer, command string) {
	unflagged := slices.DeleteFunc(keysOf(command), func(k config.Key) bool { return k.Flag != "" })
	if len(unflagged) > 0 {
		fmt.Fprintln(out, "\nWithout a flag, because process lists show arguments:")
		table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		for _, k := range unflagged {
			fmt.Fprintf(table, "  %s\t%s\n", k.Env, k.Help)
		}
		_ = table.Flush() // out is a buffer
	}
	fmt.Fprintln(out, "\nA flag takes precedence over the environment variable in parentheses, and both over the\n"+
		"file of --config. `refreshd help configuration` says more.")
}
