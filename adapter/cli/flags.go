package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/refreshd/refreshd/config/spelling"
)

// singleDash refuses a long flag with a single dash, as package flag accepts. pflag takes the letters of -listen for
// one flag each, and skips an argument that begins with -test.
func (l *line) singleDash(root *cobra.Command) error {
	if len(l.args) > 0 && strings.HasPrefix(l.args[0], cobra.ShellCompRequestCmd) {
		return nil // what is being completed may be unfinished
	}
	for _, arg := range l.args {
		if arg == "--" {
			return nil
		}
		name, ok := strings.CutPrefix(arg, "-")
		if !ok || len(name) < 2 || name[0] == '-' {
			continue
		}
		name, _, _ = strings.Cut(name, "=")
		if takers(root, (*pflag.FlagSet).Lookup, name) != nil || strings.HasPrefix(name, "test.") {
			command, _, _ := root.Find(l.args)
			return unknownFlag(command, "-"+name)
		}
	}
	return nil
}

// errNoValue is the error of a flag that is followed by another flag instead of a value.
var errNoValue = errors.New("has no value")

// textFlag is a flag of a command that is not a setting. form is what help shows for its value.
type textFlag struct{ form, text string }

func (f *textFlag) String() string { return f.text }
func (f *textFlag) Type() string   { return f.form }

func (f *textFlag) Set(text string) error {
	if len(text) > 1 && text[0] == '-' {
		return errNoValue // pflag takes the next flag for the value
	}
	f.text = text
	return nil
}

// flagError says what is wrong with a flag without repeating its value, which may be a secret.
func (l *line) flagError(c *cobra.Command, err error) error {
	if !c.HasParent() && len(l.args) > 0 && !strings.HasPrefix(l.args[0], "-") {
		return unknownCommand(c, l.args[0]) // whose flags cannot be known
	}
	var (
		unknown *pflag.NotExistError
		missing *pflag.ValueRequiredError
		invalid *pflag.InvalidValueError
		syntax  *pflag.InvalidSyntaxError
	)
	switch {
	case errors.Is(err, pflag.ErrHelp):
		return err
	case errors.As(err, &unknown):
		letters := unknown.GetSpecifiedShortnames()
		if letters == "" {
			return unknownFlag(c, "--"+unknown.GetSpecifiedName())
		}
		i := slices.IndexFunc(l.args, func(arg string) bool {
			return strings.HasPrefix(arg, "-") && !strings.HasPrefix(arg, "--") && strings.HasSuffix(arg, letters)
		})
		name, _, _ := strings.Cut(l.args[max(i, 0)], "=")
		return unknownFlag(c, name)
	case errors.As(err, &missing):
		return wrong(c, "--%s has no value: write --%[1]s=value", missing.GetFlag().Name)
	case errors.As(err, &invalid) && errors.Is(err, errNoValue):
		return wrong(c, "--%s has no value: write --%[1]s=value", invalid.GetFlag().Name)
	case errors.As(err, &invalid) && errors.Is(err, errNoField):
		return wrong(c, "--%s is not NAME=VALUE", invalid.GetFlag().Name)
	case errors.As(err, &invalid):
		return wrong(c, "--%s cannot have that value: write --%[1]s, or --%[1]s=false", invalid.GetFlag().Name)
	case errors.As(err, &syntax):
		name, _, _ := strings.Cut(syntax.GetSpecifiedFlag(), "=")
		return unknownFlag(c, name)
	default:
		return wrong(c, "a flag cannot be read")
	}
}

// unknownFlag is the error of a flag that c does not take. spelt is its name with dashes.
func unknownFlag(c *cobra.Command, spelt string) error {
	name := strings.TrimLeft(spelt, "-")
	if variable, secret := unflagged(name); secret {
		return wrong(c, "--%s is not a flag, because arguments show in process lists: set %s, or name a file that holds "+
			"it with --%[1]s-file", name, variable)
	}
	shown := printable(spelt)
	one := strings.HasPrefix(spelt, "-") && !strings.HasPrefix(spelt, "--")
	if one && len(name) == 1 {
		if by := takers(c.Root(), (*pflag.FlagSet).ShorthandLookup, name); by != nil {
			return wrong(c, "unknown flag %s: %s", shown, takenBy(c, by, shown))
		}
		return wrong(c, "unknown flag %s", shown)
	}
	if c.Flags().Lookup(name) != nil {
		return wrong(c, "unknown flag %s: did you mean --%s?", shown, name)
	}
	if by := takers(c.Root(), (*pflag.FlagSet).Lookup, name); by != nil {
		return wrong(c, "unknown flag %s: %s", shown, takenBy(c, by, "--"+name))
	}
	near := spelling.Nearest(name, flagNames(c))
	if near == "" {
		near = otherFlag(c, name)
	}
	if near != "" {
		return wrong(c, "unknown flag %s: did you mean --%s?", shown, near)
	}
	var all []string
	eachCommand(c.Root(), func(c *cobra.Command) { all = append(all, flagNames(c)...) })
	if near := spelling.Nearest(name, all); near != "" {
		by := takers(c.Root(), (*pflag.FlagSet).Lookup, near)
		return wrong(c, "unknown flag %s: did you mean --%s, a flag of %s?", shown, near, quoted(by))
	}
	if one {
		_, size := utf8.DecodeRuneInString(name)
		shown = printable(spelt[:1+size]) // the rest may be a value
	}
	return wrong(c, "unknown flag %s", shown)
}

// otherFlags are what other programs call the flags.
var otherFlags = map[string]string{
	"port": "listen", "addr": "listen", "address": "listen", "host": "listen", "bind": "listen",
	"db": "database-url", "dsn": "database-url", "verbose": "log-level", "debug": "log-level",
}

// otherFlag returns a flag of c that name begins, or that other programs call so; empty if there is none.
func otherFlag(c *cobra.Command, name string) string {
	for _, known := range flagNames(c) {
		if strings.HasPrefix(known, name+"-") || known == otherFlags[name] {
			return known
		}
	}
	return ""
}

// takenBy says which commands take a flag that c does not take. At the root somebody left the command out: serve, which
// comes first, unless the flag is not one of serve.
func takenBy(c *cobra.Command, commands []string, flag string) string {
	if len(commands) == 1 || !c.HasParent() {
		return fmt.Sprintf("did you mean `%s %s`?", commands[0], flag)
	}
	return "it is a flag of " + quoted(commands)
}

// quoted lists commands, of many the first ones.
func quoted(commands []string) string {
	others := ""
	if len(commands) > 4 {
		commands, others = commands[:3], " and others"
	}
	return "`" + strings.Join(commands, "`, `") + "`" + others
}

// takers returns the commands that take the flag. lookup finds it by its long name or by its letter.
func takers(
	root *cobra.Command, lookup func(*pflag.FlagSet, string) *pflag.Flag, name string,
) (paths []string) {
	eachCommand(root, func(c *cobra.Command) {
		if lookup(c.Flags(), name) != nil && !c.Hidden {
			paths = append(paths, c.CommandPath())
		}
	})
	return paths
}

func flagNames(c *cobra.Command) (names []string) {
	c.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	return names
}
