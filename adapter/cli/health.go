package cli

import "github.com/spf13/cobra"

func (l *line) health() *cobra.Command {
	return l.configured(&cobra.Command{
		Use: "health", GroupID: running,
		Short: "Ask a running service whether it is ready",
		Long: `Ask the service that listens on this machine whether it is ready. The exit status is 0 if it is,
and otherwise 1, with the reason: for the health check of a container.`,
		Example: `  refreshd health --listen 127.0.0.1:3000`,
	}, l.Health)
}
