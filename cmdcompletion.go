package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"podgate/control"
	"podgate/internal/text"
)

func completion() *cobra.Command {
	shells := []string{"bash", "zsh", "fish"}
	return &cobra.Command{
		Use: "completion SHELL", Short: "print what makes a shell complete podgate's commands", Example: "podgate completion bash", ValidArgs: shells,
		Long: `SHELL is bash, zsh or fish. For the shell that runs: «source <(podgate completion bash)», likewise for zsh, and
«podgate completion fish | source». For good, put that line into the shell's start-up file. In bash it needs the
package bash-completion. People, teams, pods and connections are completed while the server runs.`,
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

// candidates are words that an argument could be, each perhaps with a tab and
// what it stands for. args are the arguments before it.
type candidates func(ctx context.Context, c *control.Client, args []string) ([]cobra.Completion, error)

// ask completes with what the running server knows: a list for each argument in
// its turn. Nobody waits for a completion, and it must not begin a database or
// hold one, so without a server that answers at once there is none.
func (inv *invocation) ask(lists ...candidates) cobra.CompletionFunc {
	const patience = 500 * time.Millisecond
	return func(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		var found []cobra.Completion
		if len(args) < len(lists) {
			ctx, cancel := context.WithTimeout(cmd.Context(), patience)
			defer cancel()
			found = inv.askNow(ctx, lists[len(args)], args)
		}
		var fit []cobra.Completion
		for _, word := range found {
			if strings.HasPrefix(word, typed) && isPlain(word) {
				fit = append(fit, word)
			}
		}
		return fit, cobra.ShellCompDirectiveNoFileComp
	}
}

// askForFlag is ask for the value of a flag, whatever the arguments are.
func (inv *invocation) askForFlag(list candidates) cobra.CompletionFunc {
	complete := inv.ask(list)
	return func(cmd *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return complete(cmd, nil, typed)
	}
}

func (inv *invocation) askNow(ctx context.Context, list candidates, args []string) []cobra.Completion {
	s, err := inv.load()
	if err != nil {
		return nil
	}
	c, err := control.Running(ctx, s.DataDir)
	if c == nil || err != nil {
		return nil
	}
	defer c.Close() // nothing was written
	found, err := list(ctx, c, args)
	if err != nil {
		return nil
	}
	return found
}

// isPlain reports whether the word of a completion means nothing to any shell.
func isPlain(completion cobra.Completion) bool {
	word, _, _ := strings.Cut(completion, "\t")
	return strings.Trim(strings.ToLower(word), "abcdefghijklmnopqrstuvwxyz0123456789@.+_-") == ""
}

func emails(ctx context.Context, c *control.Client, _ []string) ([]cobra.Completion, error) {
	users, err := c.Users(ctx)
	var found []cobra.Completion
	for _, u := range users {
		found = append(found, u.Email)
	}
	return found, err
}

func slugs(ctx context.Context, c *control.Client, _ []string) ([]cobra.Completion, error) {
	teams, err := c.Teams(ctx)
	var found []cobra.Completion
	for _, t := range teams {
		found = append(found, t.Slug)
	}
	return found, err
}

// memberEmails are the people in the team that is the argument before.
func memberEmails(ctx context.Context, c *control.Client, args []string) ([]cobra.Completion, error) {
	teams, err := c.Teams(ctx)
	var found []cobra.Completion
	for _, t := range teams {
		for _, m := range t.Members {
			if t.Slug == args[0] {
				found = append(found, m.Email)
			}
		}
	}
	return found, err
}

func connectionIDs(ctx context.Context, c *control.Client, _ []string) ([]cobra.Completion, error) {
	list, err := c.Connections(ctx)
	var found []cobra.Completion
	for _, c := range list {
		found = append(found, cobra.CompletionWithDesc(string(c.ID), text.Visible(c.User+" with "+c.Client)))
	}
	return found, err
}

func podNames(ctx context.Context, c *control.Client, _ []string) ([]cobra.Completion, error) {
	return c.PodNames(ctx)
}
