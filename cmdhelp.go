package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"

	"podgate/store"
)

func setupHelp(inv *invocation) func(context.Context) error {
	return func(context.Context) error {
		if len(inv.args) == 0 {
			return printOverview(inv.Stdout)
		}
		name := strings.Join(inv.args, " ")
		for _, c := range commands() {
			if c.name == name {
				return printHelp(inv.Stdout, c)
			}
		}
		if below := commandsBelow(inv.args[0]); len(below) > 0 && len(inv.args) == 1 {
			return printCommands(inv.Stdout, below)
		}
		return unknownCommand(commands(), inv.args)
	}
}

func commandsBelow(word string) []command {
	var list []command
	for _, c := range commands() {
		if strings.HasPrefix(c.name, word+" ") {
			list = append(list, c)
		}
	}
	return list
}

func printOverview(w io.Writer) error {
	const intro = `podgate lets AI assistants run small isolated apps, called pods, on this machine.

Type «podgate» and open the link that it prints.

`
	if _, err := io.WriteString(w, intro); err != nil {
		return err
	}
	if err := printCommands(w, commands()); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\nEvery command takes --config FILE and --data DIR. «podgate help COMMAND» explains one.\n")
	return err
}

func printCommands(w io.Writer, list []command) error {
	for _, c := range list {
		if _, err := fmt.Fprintf(w, "  %-36s %s\n", strings.TrimSpace(c.name+" "+c.args), c.summary); err != nil {
			return err
		}
	}
	return nil
}

func printHelp(w io.Writer, c command) error {
	inv := newInvocation(process{})
	c.setup(inv) // for the flags that it declares
	var b strings.Builder
	fmt.Fprintf(&b, "podgate %s\n\n%s.\n", strings.TrimSpace(c.name+" "+c.args+" [flags]"), capital(c.summary))
	if c.details != "" {
		fmt.Fprintf(&b, "%s\n", c.details)
	}
	b.WriteString("\n")
	inv.flags.VisitAll(func(f *flag.Flag) {
		arg, usage := flag.UnquoteUsage(f)
		fmt.Fprintf(&b, "  %-22s %s\n", strings.TrimSpace("--"+f.Name+" "+arg), usage)
	})
	_, err := io.WriteString(w, b.String())
	return err
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func setupVersion(inv *invocation) func(context.Context) error {
	asJSON := inv.jsonFlag()
	return func(context.Context) error {
		v := versionInfo{Version: version(), Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH, Format: store.Format}
		if *asJSON {
			return printJSON(inv.Stdout, v)
		}
		_, err := fmt.Fprintf(inv.Stdout, "podgate %s (%s, %s, database format %d)\n", v.Version, v.Go, v.System, v.Format)
		return err
	}
}

type versionInfo struct {
	Version string `json:"version"`
	Go      string `json:"go"`
	System  string `json:"system"`
	Format  int    `json:"database_format"`
}

// version is what the Go toolchain recorded: the module's version, or the
// revision that was built.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}
