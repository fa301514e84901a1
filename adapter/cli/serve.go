package cli

import "github.com/spf13/cobra"

func (l *line) serve() *cobra.Command {
	return l.configured(&cobra.Command{
		Use: "serve", GroupID: running,
		Short: "Serve the API",
		Long: `Serve the API on --listen, and metrics, health and, with --pprof, profiles on --admin-listen. Logs
go to stderr. SIGTERM or SIGINT ends it: it is then no longer ready, finishes the running
requests, and exits with status 0.

An embedded database (sqlite:, memory:) is created and migrated at start. If it is empty and there
is no kickstart file, serve creates a tenant, an application and an API key, writes the key to a
file beside the database, and prints commands that use it. On PostgreSQL serve does not change the
schema: it refuses to start before "refreshd migrate" has run, and without a --public-url.

With --kickstart-file it does at each start what "refreshd apply" does.`,
		Example: `  # An embedded database in ./refreshd-data, and commands to paste.
  refreshd serve

  # Nothing is kept: for a test.
  refreshd serve --database-url memory: --listen 127.0.0.1:0`,
	}, l.Serve)
}
