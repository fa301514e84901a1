package cli

import (
	"cmp"
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/refreshd/refreshd/config"
)

// StatusError ends the program with that status. Without Err there is nothing to report.
type StatusError struct {
	Status int
	Err    error
}

func (e *StatusError) Error() string {
	if e.Err == nil {
		return ""
	}
	return e.Err.Error()
}

func (e *StatusError) Unwrap() error { return e.Err }

func (l *line) diff() *cobra.Command {
	var (
		file       = textFlag{form: "FILE"}
		passphrase = textFlag{form: "FILE"}
		keep       bool
	)
	c := &cobra.Command{
		Use: "diff -f FILE", GroupID: settingUp,
		Short: "Show how the store differs from a kickstart file",
		Long: `Show what "refreshd apply" would create or update, as with --dry-run, and the tenants, applications
and API keys of the store that the file does not name, which "refreshd apply --prune" would delete.
It writes nothing.

The exit status is that of diff: 0 if there is no difference, 1 if there is one, 2 for a failure.`,
		Example: `  refreshd export -o before.yaml
  refreshd diff -f before.yaml --keep-keys`,
	}
	c.Flags().VarP(&file, "file", "f", "the kickstart file; without it, that of --kickstart-file")
	keepKeysFlag(c, &keep)
	c.Flags().Var(&passphrase, "passphrase-file", passphraseHelp)
	l.configured(c, func(ctx context.Context, loaded config.Config) error {
		name := cmp.Or(file.text, loaded.KickstartFile)
		if name == "" {
			return wrong(c, "name the kickstart file: refreshd diff -f kickstart.yaml")
		}
		differs, err := l.Diff(ctx, loaded, ApplyOptions{File: name, KeepKeys: keep, PassphraseFile: passphrase.text})
		if err == nil && differs {
			return &StatusError{Status: 1}
		}
		return err
	})
	run := c.RunE
	c.RunE = func(c *cobra.Command, args []string) error {
		err := run(c, args)
		if err != nil && !errors.As(err, new(*StatusError)) {
			return &StatusError{2, err}
		}
		return err
	}
	return c
}
