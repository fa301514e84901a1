package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/refreshd/refreshd/config"
)

// session is a command of administration while it runs.
type session struct {
	*line
	command *cobra.Command
	config  config.Config

	opened Transport
}

// noun returns a command that holds those of one kind of object.
func (l *line) noun(name, short, long, example string, commands ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use: name + " COMMAND", GroupID: administering, Short: short, Long: long, Example: example,
		Args: cobra.ArbitraryArgs, RunE: parent, DisableFlagsInUseLine: true,
	}
	for _, child := range commands {
		l.administered(child, name)
	}
	c.AddCommand(commands...)
	return c
}

// administered gives a command the flags of the settings of its noun.
func (l *line) administered(c *cobra.Command, noun string) {
	addSettings(c, noun)
	l.completeFlag(c, "tenant", "/tenant")
}

// administers completes a command of administration. do checks its arguments first, before it opens the store.
func (l *line) administers(
	c *cobra.Command, do func(ctx context.Context, s *session, args []string) error,
) *cobra.Command {
	c.RunE = l.work(func(c *cobra.Command, args []string) (err error) {
		loaded, err := config.Load(setFlags(c), l.Environ, l.Schemes...)
		if err != nil {
			return err
		}
		s := &session{line: l, command: c, config: loaded}
		defer func() { err = errors.Join(err, s.close()) }()
		return do(c.Context(), s, args)
	})
	return c
}

func (s *session) close() error {
	if s.opened == nil {
		return nil
	}
	return s.opened.Close()
}

// How a command uses the store: a reader writes nothing, not even a migration.
const (
	reading = true
	writing = false
)

// client returns a client of the service that --server names, or of this program's own API over the opened store.
func (s *session) client(ctx context.Context, readOnly bool) (*client, error) {
	if s.config.Server != "" {
		n := &network{http.Transport{Proxy: http.ProxyFromEnvironment}}
		s.opened = n
		return newClient(n, s.config.Server, s.config.APIKey, s.config.Tenant), nil
	}
	t, err := s.Operate(ctx, s.config, readOnly)
	if err != nil {
		return nil, err
	}
	s.opened = t
	return newClient(t, "", s.config.APIKey, s.config.Tenant), nil
}

// needsTenant returns an error if no tenant is named.
func (s *session) needsTenant() error {
	if s.config.Tenant != "" {
		return nil
	}
	return wrong(s.command, "name the tenant with --tenant ID, or set REFRESHD_TENANT")
}

func (s *session) wrong(format string, a ...any) error { return wrong(s.command, format, a...) }

// note prints a hint for a person, beside the output.
func (s *session) note(format string, a ...any) {
	fmt.Fprintf(s.Stderr, format+"\n", a...)
}

// confirmation is the flag and the question of a command that has a wide effect.
type confirmation struct{ yes bool }

func (f *confirmation) add(c *cobra.Command) {
	c.Flags().BoolVar(&f.yes, "yes", false, "do not ask for a confirmation")
}

// possible returns an error if the command would need a confirmation, and there is no terminal to ask on. It is called
// before the store is opened.
func (f *confirmation) possible(s *session) error {
	if f.yes || IsTerminal(s.Stdin) {
		return nil
	}
	return s.wrong("this needs a confirmation, and the input is not a terminal: add --yes")
}

// ask asks on the terminal for the id of what the command is about.
func (f *confirmation) ask(ctx context.Context, s *session, id, effect string) error {
	if f.yes {
		return nil
	}
	s.note("%s.", effect)
	terminal := Terminal{In: io.LimitReader(s.Stdin, 4096), Out: s.Stderr}
	typed, err := terminal.ask(ctx, "Type "+printable(id)+" to confirm: ", false)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil || strings.TrimSpace(typed) != id:
		return failed(StatusRefused, "not confirmed: nothing was done")
	}
	return nil
}

// oneID takes one argument, the id of an object.
func oneID(what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		switch {
		case len(args) == 0 || args[0] == "":
			return wrong(c, "name the %s: %s", what, c.UseLine())
		case len(args) > 1:
			return wrong(c, "name one %s only: %s", what, c.UseLine())
		}
		return nil
	}
}

// check runs checks of the command line, and returns the first error.
func (s *session) check(checks ...func(*session) error) error {
	for _, check := range checks {
		if err := check(s); err != nil {
			return err
		}
	}
	return nil
}

// limitFlag is the flag --limit of a list.
type limitFlag struct {
	text textFlag
	rows int
}

const defaultRows = "1000"

func (f *limitFlag) add(c *cobra.Command) {
	f.text = textFlag{form: "N", text: defaultRows}
	c.Flags().Var(&f.text, "limit", "the maximum number of rows; 0 for all")
}

func (f *limitFlag) check(s *session) (err error) {
	if f.rows, err = strconv.Atoi(f.text.text); err != nil || f.rows < 0 {
		return s.wrong("--limit is not a number of rows: 1 or more, or 0 for all")
	}
	return nil
}

// list requests a list and writes it.
func (s *session) list(
	ctx context.Context, r request, o *outputFlag, limit *limitFlag, derive func([]member) []member, columns ...column,
) error {
	c, err := s.client(ctx, reading)
	if err != nil {
		return err
	}
	to := s.rows(o, columns...)
	to.derive = derive
	more, err := c.pages(ctx, r, limit.rows, to.add)
	if err != nil {
		return err // without an end: a JSON list that is cut off must not look complete
	}
	if err := to.end(); err != nil {
		return err
	}
	if more {
		s.note("There are more: --limit 0 lists all.")
	}
	return nil
}
