package main

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"
)

func completionCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "Print the script that completes commands, queues, types and workers",
		Long: "Print the script with which a shell completes commands, flags and, from the broker, the\n" +
			"names of queues, types, workers and limits.",
		Example: "  source <(millhand completion bash)\n" +
			"  millhand completion zsh > \"${fpath[1]}/_millhand\"\n" +
			"  millhand completion fish > ~/.config/fish/completions/millhand.fish",
		ValidArgs:             []string{"bash", "zsh", "fish", "powershell"},
		Args:                  cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(a.out, true)
			case "zsh":
				return root.GenZshCompletion(a.out)
			case "fish":
				return root.GenFishCompletion(a.out, true)
			}
			return root.GenPowerShellCompletionWithDesc(a.out)
		},
	}
}

// candidatesWithin is how long a person waits for a completion.
const candidatesWithin = time.Second

// candidates returns what completes an argument with names that the broker knows. Without a broker
// nothing is completed, and nothing is said.
func (a *app) candidates(find func(context.Context, *session) []string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if find == nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), candidatesWithin)
		defer cancel()
		s, err := a.connect(ctx)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer s.close()
		var rest []string
		for _, name := range find(ctx, s) {
			if !slices.Contains(args, name) {
				rest = append(rest, name)
			}
		}
		return rest, cobra.ShellCompDirectiveNoFileComp
	}
}
