package main

import (
	"strings"

	"github.com/spf13/cobra"
)

func completion() *cobra.Command {
	shells := []string{"bash", "zsh", "fish"}
	return &cobra.Command{
		Use: "completion SHELL", Short: "print what makes a shell complete podgate's commands", Example: "podgate completion bash", ValidArgs: shells,
		Long: `SHELL is bash, zsh or fish. For the shell that runs: «source <(podgate completion bash)», likewise for zsh, and
«podgate completion fish | source». For good, put that line into the shell's start-up file.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			root, out := cmd.Root(), cmd.OutOrStdout()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(out, true)
			case "zsh":
				return root.GenZshCompletion(out)
			case "fish":
				return root.GenFishCompletion(out, true)
			}
			return misuse(cmd, "podgate has no completion for %q; write one of %s", args[0], strings.Join(shells, ", "))
		},
	}
}
