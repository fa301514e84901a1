package cli

import (
	"cmp"
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/refreshd/refreshd/config"
)

// errDiffers ends diff with its status for a difference. It has no message.
var errDiffers = &Failure{Status: 1}

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
			return errDiffers
		}
		return err
	})
	run := c.RunE
	c.RunE = func(c *cobra.Command, args []string) error {
		err := run(c, args)
		if err != nil && !errors.Is(err, errDiffers) {
			return &Failure{2, err} // whatever status it has: 1 is a difference
		}
		return err
	}
	return c
}
