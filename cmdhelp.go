package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"podgate/store"
)

func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]", Short: "explain podgate or one command", Example: "podgate help user add", Args: cobra.ArbitraryArgs,
		ValidArgsFunction: completeCommand,
		RunE: func(cmd *cobra.Command, words []string) error {
			c, rest, err := cmd.Root().Find(words)
			if err == nil && len(rest) > 0 {
				err = unknownCommand(c, words)
			}
			if err != nil {
				return err
			}
			return c.Help()
		},
	}
}

// completeCommand offers the words that may follow those of a command.
func completeCommand(cmd *cobra.Command, words []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var next []cobra.Completion
	if c, rest, err := cmd.Root().Find(words); err == nil && len(rest) == 0 {
		for _, below := range c.Commands() {
			if !below.Hidden {
				next = append(next, cobra.CompletionWithDesc(below.Name(), below.Short))
			}
		}
	}
	return next, cobra.ShellCompDirectiveNoFileComp
}

// printHelp explains podgate, the commands that begin with a word, or one.
func printHelp(cmd *cobra.Command, _ []string) {
	var b strings.Builder
	switch {
	case !cmd.HasParent():
		writeOverview(&b, cmd)
	case cmd.HasSubCommands():
		writeCommands(&b, cmd)
	default:
		writeCommand(&b, cmd)
	}
	_, _ = io.WriteString(cmd.OutOrStdout(), b.String()) // cobra takes no error here
}

func writeOverview(b *strings.Builder, root *cobra.Command) {
	b.WriteString(`podgate lets AI assistants run small isolated apps, called pods, on this machine.

Type «podgate» and open the link that it prints.
`)
	for _, g := range root.Groups() {
		fmt.Fprintf(b, "\n%s\n", g.Title)
		for _, c := range root.Commands() {
			if c.GroupID == g.ID {
				writeCommands(b, c)
			}
		}
	}
	b.WriteString("\nEvery command takes --config FILE and --data DIR. «podgate help COMMAND» explains one,\nand docs/commands.md all of them.\n")
}

// writeCommands lists what is at and below cmd.
func writeCommands(b *strings.Builder, cmd *cobra.Command) {
	for _, c := range leaves(cmd) {
		fmt.Fprintf(b, "  %-36s %s\n", strings.TrimSpace(nameOf(c)+" "+argumentsOf(c)), c.Short)
	}
}

func writeCommand(b *strings.Builder, cmd *cobra.Command) {
	fmt.Fprintf(b, "%s\n\n%s.\n", cmd.UseLine(), capital(cmd.Short))
	if cmd.Long != "" {
		fmt.Fprintf(b, "%s\n", cmd.Long)
	}
	b.WriteString("\n")
	visitFlags(cmd, func(flag, usage string) { fmt.Fprintf(b, "  %-22s %s\n", flag, usage) })
	fmt.Fprintf(b, "\nFor example: %s\n", cmd.Example)
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func (inv *invocation) version() *cobra.Command {
	cmd := &cobra.Command{Use: "version", Short: "print the version", Example: "podgate version"}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		v := versionInfo{Version: version(), Commit: commit, Committed: committed, Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH, Format: store.Format}
		if *asJSON {
			return printJSON(inv.Stdout, v)
		}
		of := ""
		if commit != "" {
			of = fmt.Sprintf("commit %.12s of %.10s, ", commit, committed)
		}
		_, err := fmt.Fprintf(inv.Stdout, "podgate %s (%s%s, %s, database format %d)\n", v.Version, of, v.Go, v.System, v.Format)
		return err
	}
	return cmd
}

type versionInfo struct {
	Version   string `json:"version"`
	Commit    string `json:"commit,omitempty"`    // of a release
	Committed string `json:"committed,omitempty"` // when, RFC 3339
	Go        string `json:"go"`
	System    string `json:"system"`
	Format    int    `json:"database_format"`
}

// What a release says of itself; the linker sets them (scripts/release).
var release, commit, committed string

// version is that of a release, or what the Go toolchain recorded: the module's
// version, or the revision that was built.
func version() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}
