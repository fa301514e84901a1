package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/refreshd/refreshd/config"
)

// keysOf returns the settings whose flags a command takes, with those that have none. name is that of the command, or
// of the one below the root that it is below; `config show` shows all.
func keysOf(name string) []config.Key {
	if name == "config" {
		return config.Keys()
	}
	return slices.DeleteFunc(config.Keys(), func(k config.Key) bool { return !slices.Contains(k.Commands, name) })
}

// topOf returns the name of c, or of the command below the root that c is below.
func topOf(c *cobra.Command) string {
	for c.HasParent() && c.Parent().HasParent() {
		c = c.Parent()
	}
	return c.Name()
}

// addSettings gives c the flags of the settings of the command with that name: c's own, or of one that will have c.
func addSettings(c *cobra.Command, name string) {
	for _, k := range keysOf(name) {
		if k.Flag == "" {
			continue
		}
		f := c.Flags().VarPF(&settingFlag{key: k, text: k.Default}, k.Flag, "", flagHelp(k))
		if isTruth(k) {
			f.NoOptDefVal = "true"
		}
		complete := cobra.FixedCompletions(nil, cobra.ShellCompDirectiveNoFileComp)
		switch {
		case k.Name == "tenant" && name != "config":
			continue // see line.noun
		case k.Form == "FILE":
			continue // files are what a shell completes by itself
		case k.Choices != nil:
			complete = cobra.FixedCompletions(k.Choices, cobra.ShellCompDirectiveNoFileComp)
		}
		_ = c.RegisterFlagCompletionFunc(k.Flag, complete) // it fails for a flag that c does not have
	}
}

// flagHelp returns the help of the flag of a setting. pflag would take a text in backquotes for the name of the value.
func flagHelp(k config.Key) string { return strings.ReplaceAll(k.Help, "`", `"`) + " (" + k.Env + ")" }

// setFlags returns the values of the settings whose flags the command line sets.
func setFlags(c *cobra.Command) map[string]string {
	set := map[string]string{}
	c.Flags().Visit(func(f *pflag.Flag) {
		if s, ok := f.Value.(*settingFlag); ok {
			set[f.Name] = s.text
		}
	})
	return set
}

// unflagged returns the environment variable of a setting that has no flag, by the name that its flag would have.
func unflagged(name string) (variable string, found bool) {
	for _, k := range config.Keys() {
		if k.Flag == "" && strings.ReplaceAll(k.Name, "_", "-") == name {
			return k.Env, true
		}
	}
	return "", false
}

// truths are the values of a flag that is on or off.
var truths = []string{"true", "false"}

func isTruth(k config.Key) bool { return slices.Equal(k.Choices, truths) }

// settingFlag is the flag of a setting. It takes any text: package config checks it, together with the other sources.
type settingFlag struct {
	key  config.Key
	text string
}

func (f *settingFlag) String() string { return f.text }

// Type returns the word that help shows for a value.
func (f *settingFlag) Type() string {
	if isTruth(f.key) {
		return "bool"
	}
	return f.key.Form
}

func (f *settingFlag) Set(text string) error {
	if strings.HasPrefix(text, "--") {
		return errNoValue // pflag takes the next flag for the value
	}
	f.text = text
	return nil
}
