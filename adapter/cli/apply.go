package cli

import (
	"cmp"
	"context"

	"github.com/spf13/cobra"

	"github.com/refreshd/refreshd/config"
)

func (l *line) apply() *cobra.Command {
	var (
		file = textFlag{form: "FILE"}
		dry  bool
	)
	c := &cobra.Command{
		Use: "apply -f FILE", GroupID: settingUp,
		Short: "Create or update what a kickstart file describes",
		Long: `Create or update the tenants, applications and API keys of a kickstart file, and print the old and
the new value of each field that changes. It deletes nothing: an object that the file does not
mention stays. A field that the file leaves out of an object takes its default, even if it was set
before. To apply the same file again changes nothing. "refreshd help kickstart" describes the file.

The file is checked before the database is opened, and against the database before anything is
written; each problem is reported with its line and field. A tenant and its applications are then
written in one step. With --dry-run nothing is written. A store in memory exists in one process
only: use "refreshd serve --kickstart-file" for it.`,
		Example: `  BACKEND_KEY=ak_... refreshd apply -f kickstart.yaml
  refreshd apply -f kickstart.yaml --dry-run`,
	}
	c.Flags().VarP(&file, "file", "f", "the kickstart file; without it, that of --kickstart-file")
	c.Flags().BoolVar(&dry, "dry-run", false, "print what would change, and write nothing")
	return l.configured(c, func(ctx context.Context, loaded config.Config) error {
		name := cmp.Or(file.text, loaded.KickstartFile)
		if name == "" {
			return wrong(c, "name the kickstart file: refreshd apply -f kickstart.yaml")
		}
		return l.Apply(ctx, loaded, name, dry)
	})
}
