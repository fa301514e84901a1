package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/refreshd/refreshd/config"
)

func (l *line) migrate() *cobra.Command {
	var status bool
	c := &cobra.Command{
		Use: "migrate", GroupID: settingUp,
		Short: "Bring the database schema up to date",
		Long: `Bring the schema of --database-url up to date, and print each step. It is safe to run again, and
while an earlier version of the service is running: migrations only add, in small steps.

With --status it prints the version of the schema and each pending migration, and writes nothing.
The exit status is then 0 if the schema is up to date, and 1 if a migration is pending or the
database cannot be read.`,
		Example: `  REFRESHD_DATABASE_URL='postgres://refreshd:PASSWORD@db.example/refreshd' refreshd migrate
  refreshd migrate --status`,
	}
	c.Flags().BoolVar(&status, "status", false, "print what is pending, and write nothing")
	return l.configured(c, func(ctx context.Context, c config.Config) error {
		if status {
			return l.MigrateStatus(ctx, c)
		}
		return l.Migrate(ctx, c)
	})
}
