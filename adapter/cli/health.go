package cli

import "github.com/spf13/cobra"

func (l *line) health() *cobra.Command {
	return l.configured(&cobra.Command{
		Use: "health", GroupID: running,
		Short: "Ask a running service whether it is ready",
		Long: `Ask the service that listens on this machine whether it is ready, for the health check of a
container. The exit status is 0 if it is ready. Otherwise it is 1, and the reason is printed.`,
		Example: `  refreshd health --listen 127.0.0.1:3000`,
	}, l.Health)
}
