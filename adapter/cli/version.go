package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

func (l *line) version() *cobra.Command {
	return &cobra.Command{
		Use: "version", GroupID: looking,
		Short: "Print the version, and what it was built with",
		Long: `Print the version, the commit if it is known, the version of Go, the operating system and the
architecture. "refreshd --version" prints the first line.`,
		Example: "  refreshd version",
		Args:    noArguments,
		RunE: l.work(func(*cobra.Command, []string) error {
			if err := l.printVersion(); err != nil {
				return err
			}
			var out strings.Builder
			if commit := commit(debug.ReadBuildInfo()); commit != "" {
				fmt.Fprintf(&out, "commit   %s\n", commit)
			}
			fmt.Fprintf(&out, "go       %s\nplatform %s/%s\n", runtime.Version(), runtime.GOOS, runtime.GOARCH)
			_, err := fmt.Fprint(l.Stdout, out.String())
			return err
		}),
	}
}

func (l *line) printVersion() error {
	_, err := fmt.Fprintf(l.Stdout, "refreshd %s\n", l.Version)
	return err
}

// commit returns the commit of the source, if the build recorded it.
func commit(info *debug.BuildInfo, ok bool) (commit string) {
	if !ok {
		return ""
	}
	modified := ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = " (modified)"
		}
	}
	if commit == "" {
		return ""
	}
	return commit + modified
}
