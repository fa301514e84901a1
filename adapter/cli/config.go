package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/refreshd/refreshd/config"
)

func (l *line) config() *cobra.Command {
	c := &cobra.Command{
		Use: "config COMMAND", GroupID: looking,
		Short:                 "Show the settings in force",
		Long:                  `Show the settings in force. "refreshd help configuration" describes them.`,
		Example:               "  refreshd config show",
		Args:                  cobra.ArbitraryArgs,
		RunE:                  parent,
		DisableFlagsInUseLine: true,
	}
	c.AddCommand(l.configShow())
	return c
}

// formats are the output formats of `config show`, the default first.
var formats = []string{"table", "json", "yaml"}

func (l *line) configShow() *cobra.Command {
	format := textFlag{form: "FORMAT", text: formats[0]}
	c := &cobra.Command{
		Use:   "show",
		Short: "Print every setting, its value and where it was set",
		Long: `Print every setting, its value in force, and where it was set: default, file, environment or flag.
A secret shows as [redacted], and an invalid value as [refused]. Invalid settings are reported as
by any other command, with the same exit status. It opens no database.

It takes the flags of every command.`,
		Example: `  refreshd config show
  refreshd config show --config refreshd.yaml --output json`,
		Args: noArguments,
	}
	c.Flags().VarP(&format, "output", "o", "how to write them: "+strings.Join(formats, ", "))
	addSettings(c, "config")
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
	write := map[string]func(io.Writer, []config.Value) error{
		"table": writeTable, "json": writeJSON, "yaml": writeYAML,
	}
	c.RunE = func(c *cobra.Command, _ []string) error {
		if write[format.text] == nil {
			return wrong(c, "--output is not one of %s", strings.Join(formats, ", "))
		}
		l.working = true
		all, err := config.Values(setFlags(c), l.Environ, l.Schemes...)
		return errors.Join(write[format.text](l.Stdout, all), err)
	}
	return c
}

func writeTable(w io.Writer, all []config.Value) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "SETTING\tVALUE\tSOURCE") // Flush returns what is wrong with w
	for _, v := range all {
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\n", v.Name, printable(v.Text), printable(v.Source))
	}
	return table.Flush()
}

func writeJSON(w io.Writer, all []config.Value) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(all)
}

func writeYAML(w io.Writer, all []config.Value) error {
	text, err := yaml.Marshal(all)
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}
