package cli

import (
	"context"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/refreshd/refreshd/config"
)

func (l *line) completion() *cobra.Command {
	scripts := map[string]func(root *cobra.Command) error{
		"bash": func(root *cobra.Command) error { return root.GenBashCompletionV2(l.Stdout, true) },
		"zsh":  func(root *cobra.Command) error { return root.GenZshCompletion(l.Stdout) },
		"fish": func(root *cobra.Command) error { return root.GenFishCompletion(l.Stdout, true) },
	}
	return &cobra.Command{
		Use: "completion SHELL", DisableFlagsInUseLine: true,
		Short: "Print a completion script for bash, zsh or fish",
		Long: `Print a completion script. With it a shell completes commands, flags, and the values of flags that
take one of a fixed set. The script of bash needs the package bash-completion.`,
		Example: `  # bash, in this session and in those to come
  source <(refreshd completion bash)
  refreshd completion bash > /etc/bash_completion.d/refreshd

  # zsh
  refreshd completion zsh > "${fpath[1]}/_refreshd"

  # fish
  refreshd completion fish > ~/.config/fish/completions/refreshd.fish`,
		ValidArgs: slices.Sorted(maps.Keys(scripts)),
		Args: func(c *cobra.Command, args []string) error {
			if err := cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs)(c, args); err != nil {
				return wrong(c, "name one shell: bash, zsh or fish")
			}
			return nil
		},
		RunE: l.work(func(c *cobra.Command, args []string) error { return scripts[args[0]](c.Root()) }),
	}
}

// completionTime bounds how long a completion waits for the store or the service.
const completionTime = 2 * time.Second

// completeIDs completes the ids of a list, completeNames its names. Each prints nothing if that fails: a shell shows
// what a completion prints.
func (l *line) completeIDs(path string) cobra.CompletionFunc {
	return l.complete(path, func(row listRow) string { return row.ID })
}

func (l *line) completeNames(path string) cobra.CompletionFunc {
	return l.complete(path, func(row listRow) string { return row.Name })
}

type listRow struct{ ID, Name string }

func (l *line) complete(path string, of func(listRow) string) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return l.listed(c, path, begun, of), cobra.ShellCompDirectiveNoFileComp
	}
}

// completeFlag completes the value of a flag with the ids of a list.
func (l *line) completeFlag(c *cobra.Command, flag, path string) {
	_ = c.RegisterFlagCompletionFunc(flag,
		func(c *cobra.Command, _ []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return l.listed(c, path, begun, func(row listRow) string { return row.ID }), cobra.ShellCompDirectiveNoFileComp
		})
}

// listed returns the words of a list that begin with the text. One that begins with a hyphen would be read as a flag,
// such as another --server, and a name can be any text.
func (l *line) listed(
	c *cobra.Command, path, begun string, of func(listRow) string,
) (words []cobra.Completion) {
	loaded, err := config.Load(setFlags(c), l.Environ, l.Schemes...)
	if err != nil || path == "/application" && loaded.Tenant == "" {
		return nil
	}
	if path == "/tenant" {
		loaded.Tenant = "" // which may be what is being completed
	}
	ctx, cancel := context.WithTimeout(c.Context(), completionTime)
	defer cancel()
	loaded.LogLevel = slog.LevelError + 1
	quiet := *l
	quiet.Stdout, quiet.Stderr = io.Discard, io.Discard
	s := &session{line: &quiet, command: c, config: loaded}
	defer s.close()
	client, err := s.client(ctx, reading)
	if err != nil {
		return nil
	}
	rows, err := rowsOf[listRow](ctx, client, request{path: path}, pageSize)
	if err != nil {
		return nil
	}
	for _, row := range rows {
		word := of(row)
		if word != "" && word[0] != '-' && strings.HasPrefix(word, begun) && word == printable(word) {
			words = append(words, word)
		}
	}
	return words
}
