package cli

import (
	"cmp"
	"context"

	"github.com/spf13/cobra"

	"github.com/refreshd/refreshd/config"
)

// ApplyOptions are the flags of apply and diff.
type ApplyOptions struct {
	File           string
	DryRun         bool
	KeepKeys       bool   // an API key whose variable is not set keeps the stored text
	Prune          bool   // delete what the file does not name
	Yes            bool   // without a confirmation
	Force          bool   // the text of an API key may change while a previous one is valid, and ends both
	PassphraseFile string // empty for a prompt
}

const passphraseHelp = "a file with the passphrase of a file with keys; without it, a terminal is asked"

func keepKeysFlag(c *cobra.Command, keep *bool) {
	c.Flags().BoolVar(keep, "keep-keys", false, "keep the stored API key or private key where its variable is not set")
}

func (l *line) apply() *cobra.Command {
	var (
		file       = textFlag{form: "FILE"}
		passphrase = textFlag{form: "FILE"}
		o          ApplyOptions
	)
	c := &cobra.Command{
		Use: "apply -f FILE", GroupID: settingUp,
		Short: "Create or update what a kickstart file describes",
		Long: `Create or update the tenants, applications and API keys of a kickstart file, and print the old and
the new value of each field that changes. An object that the file does not mention stays, unless
--prune deletes it. A field that the file leaves out of an object takes its default, even if it was
set before. To apply the same file again changes nothing. "refreshd help kickstart" describes the
file.

The file is checked before the database is opened, and against the database before anything is
written; each problem is reported with its line and field. A tenant and its applications are then
written in one step. With --dry-run nothing is written. A store in memory exists in one process
only: use "refreshd serve --kickstart-file" for it.

With --prune, apply also deletes the tenants, applications and API keys that the file does not name.
It lists them and how many sessions end, and asks for a yes. Without a terminal it needs --yes.
Nothing is deleted if the file is refused or cannot be applied, or if an object was changed since
it was listed. A key is never ended: "refreshd key retire" does that.

A text of an API key that changes ends the former one. While the API key has a previous text that
is valid too, a file with a third one is refused: it may be an old file, and would end the text in
use. End the previous text first, or add --force, which ends both.

A file with keys ("refreshd export --with-keys") asks for their passphrase, and puts the keys into
a store that has none yet. A store that has other keys is refused.`,
		Example: `  BACKEND_KEY=ak_... refreshd apply -f kickstart.yaml
  refreshd apply -f kickstart.yaml --dry-run
  refreshd apply -f kickstart.yaml --keep-keys --prune`,
	}
	c.Flags().VarP(&file, "file", "f", "the kickstart file; without it, that of --kickstart-file")
	c.Flags().BoolVar(&o.DryRun, "dry-run", false, "print what would change, and write nothing")
	keepKeysFlag(c, &o.KeepKeys)
	c.Flags().BoolVar(&o.Prune, "prune", false, "delete what the file does not name, after a confirmation")
	c.Flags().BoolVar(&o.Yes, "yes", false, "delete without a confirmation")
	c.Flags().BoolVar(&o.Force, "force", false, "change the text of an API key also while a previous one is valid")
	c.Flags().Var(&passphrase, "passphrase-file", passphraseHelp)
	return l.configured(c, func(ctx context.Context, loaded config.Config) error {
		o.File, o.PassphraseFile = cmp.Or(file.text, loaded.KickstartFile), passphrase.text
		switch {
		case o.File == "":
			return wrong(c, "name the kickstart file: refreshd apply -f kickstart.yaml")
		case o.Yes && !o.Prune:
			return wrong(c, "--yes is for --prune")
		}
		return l.Apply(ctx, loaded, o)
	})
}
