package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func (inv *invocation) man() *cobra.Command {
	return &cobra.Command{
		Use: "man DIR", Short: "write the manual pages into a folder", Example: "podgate man man1",
		Long: `One page for podgate and one for each command. «man -l DIR/podgate.1» shows the first; in
/usr/local/share/man/man1 the command man finds them all.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return fmt.Errorf("make the folder: %w", err)
			}
			pages := append([]*cobra.Command{cmd.Root()}, leaves(cmd.Root())...)
			for _, c := range pages {
				if err := os.WriteFile(filepath.Join(args[0], pageName(c)+".1"), []byte(manPage(c)), 0o644); err != nil {
					return fmt.Errorf("write a manual page: %w", err)
				}
			}
			return inv.say("Wrote %d pages. See them with: man -l %s", len(pages), filepath.Join(args[0], "podgate.1"))
		},
	}
}

// pageName is the name of a command's manual page: podgate-team-member-add.
func pageName(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

// manPage is a command's manual page, section 1, in the macros of man(7).
func manPage(cmd *cobra.Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH %s 1 \"\" \"podgate\" \"podgate's commands\"\n", roff(strings.ToUpper(pageName(cmd))))
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", roff(pageName(cmd)), roff(cmd.Short))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.B %s\n%s\n", roff(cmd.CommandPath()), roff(strings.TrimSpace(argumentsOf(cmd)+" [flags]")))
	if cmd.Long != "" {
		fmt.Fprintf(&b, ".SH DESCRIPTION\n%s\n", roff(cmd.Long))
	}
	if !cmd.HasParent() {
		manOverview(&b, cmd)
	}
	b.WriteString(".SH OPTIONS\n")
	visitFlags(cmd, func(flag, usage string) {
		fmt.Fprintf(&b, ".TP\n.B %s\n%s.\n", roff(flag), roff(capital(usage)))
	})
	if cmd.Example != "" {
		fmt.Fprintf(&b, ".SH EXAMPLES\n.nf\n%s\n.fi\n", roff(cmd.Example))
	}
	if cmd.HasParent() {
		b.WriteString(".SH SEE ALSO\n.BR podgate (1)\n")
	}
	return b.String()
}

// manOverview is what only the page of podgate itself has.
func manOverview(b *strings.Builder, root *cobra.Command) {
	b.WriteString(".SH COMMANDS\n")
	for _, c := range leaves(root) {
		fmt.Fprintf(b, ".TP\n.BR %s (1)\n%s.\n", roff(pageName(c)), roff(capital(c.Short)))
	}
	b.WriteString(".SH EXIT STATUS\n0: done. 1: it failed, and the reason was printed. 2: the command line cannot be understood.\n")
}

// visitFlags calls f for each flag of a command, with its name as typed.
func visitFlags(cmd *cobra.Command, f func(flag, usage string)) {
	cmd.InheritedFlags() // makes them part of Flags
	cmd.Flags().VisitAll(func(flag *pflag.Flag) {
		value, usage := pflag.UnquoteUsage(flag)
		f(strings.TrimSpace("--"+flag.Name+" "+value), usage)
	})
}

// roff writes a text so that a formatter shows it as it is: a backslash and a
// hyphen mean something else, and so does a line that begins with a dot or a
// quote.
func roff(text string) string {
	lines := strings.Split(strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text), "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}
