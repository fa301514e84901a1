package cli

import (
	"maps"
	"slices"

	"github.com/spf13/cobra"
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
