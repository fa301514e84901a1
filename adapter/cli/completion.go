package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (l *line) completion() *cobra.Command {
	shells := []string{"bash", "zsh", "fish"}
	return &cobra.Command{
		Use: "completion SHELL", DisableFlagsInUseLine: true,
		Short: "Print a completion script for bash, zsh or fish",
		Long: `Print the script that has a shell complete commands, flags, and the values of flags that take one
of a few. The script of bash needs the package bash-completion.`,
		Example: `  # bash, in this session and in those to come
  source <(refreshd completion bash)
  refreshd completion bash > /etc/bash_completion.d/refreshd

  # zsh
  refreshd completion zsh > "${fpath[1]}/_refreshd"

  # fish
  refreshd completion fish > ~/.config/fish/completions/refreshd.fish`,
		ValidArgs: shells,
		Args: func(c *cobra.Command, args []string) error {
			if err := cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs)(c, args); err != nil {
				return wrong(c, "name one shell: bash, zsh or fish")
			}
			return nil
		},
		RunE: l.work(func(c *cobra.Command, args []string) error {
			switch shell := args[0]; shell {
			case "bash":
				return c.Root().GenBashCompletionV2(l.Stdout, true)
			case "zsh":
				return c.Root().GenZshCompletion(l.Stdout)
			case "fish":
				return c.Root().GenFishCompletion(l.Stdout, true)
			default:
				return fmt.Errorf("there is no script for %s", shell)
			}
		}),
	}
}
