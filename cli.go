package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"podgate/internal/config"
	"podgate/internal/handover"
	"podgate/pods/egress"
)

// process is what the program gets from the system.
type process struct {
	Args   []string // without the program's name
	Env    config.Environ
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	// Machine answers what «config check» wants to know; nil: this machine does.
	Machine *config.Machine
	// Beyond is the world that pods reach; the zero Config is the real one.
	Beyond egress.Config
	// Baton is what the program before has left, in whose place this one was executed;
	// nil: it was started.
	Baton *handover.Baton
	// Deafen has a signal that asks to stop end the process at once from now on, and reports
	// whether one came before; nil: none is heard.
	Deafen func() bool
	// Reloaded is what was in force of settings that had been read again, when this program
	// comes back from an upgrade; nil: none had.
	Reloaded *config.Settings
}

// The exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// run is the whole program: it gives one command and returns the exit code.
// It ends early, in good order, when ctx does.
func run(ctx context.Context, p process) int {
	err := commands(p).ExecuteContext(ctx)
	if err != nil && p.Baton != nil && p.Baton.CanGoBack() == nil && ctx.Err() == nil { // it did not come as far as the server
		err = errors.Join(err, p.Baton.Back(inWords(err), os.Args, os.Environ()))
	}
	var usage *usageError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &usage):
		fmt.Fprintf(p.Stderr, "podgate: %s\n%s\n", usage.message, usage.hint)
		return exitUsage
	case errors.Is(err, errSilent):
		return exitFailed
	}
	var inPod commandError
	if errors.As(err, &inPod) {
		return int(inPod)
	}
	fmt.Fprintf(p.Stderr, "podgate: %s", ended(visibleLines(inWords(err))))
	return exitFailed
}

// errSilent fails a command that has already said why.
var errSilent = errors.New("failed")

// commandError is the exit code of a command in a pod, which has said why.
type commandError int

func (e commandError) Error() string {
	return fmt.Sprintf("the command in the pod ended with code %d", int(e))
}

// usageError is a command line that cannot be understood.
type usageError struct{ message, hint string }

func (e *usageError) Error() string { return e.message }

// misuse returns the usageError of one command.
func misuse(cmd *cobra.Command, format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...), strings.TrimSpace("«podgate help "+nameOf(cmd)) + "» explains it."}
}

// nameOf returns a command as it is typed, without the program: "team member
// add". That of podgate itself is empty.
func nameOf(cmd *cobra.Command) string {
	_, name, _ := strings.Cut(cmd.CommandPath(), " ")
	return name
}

// argumentsOf returns a command's positional arguments as its usage shows them.
func argumentsOf(cmd *cobra.Command) string {
	_, arguments, _ := strings.Cut(cmd.Use, " ")
	return arguments
}

// countArguments holds the command line against the command's usage: a word in
// brackets may be left out, and one with an ellipsis may be many.
func countArguments(cmd *cobra.Command, args []string) error {
	words := strings.Fields(argumentsOf(cmd))
	optional := func(word string) bool { return strings.HasPrefix(word, "[") }
	many := strings.HasSuffix(strings.TrimSuffix(argumentsOf(cmd), "]"), "…")
	switch {
	case len(args) < len(slices.DeleteFunc(slices.Clone(words), optional)):
		return misuse(cmd, "%s needs %s", nameOf(cmd), argumentsOf(cmd))
	case len(args) > len(words) && !many:
		return misuse(cmd, "%s does not take the argument %q", nameOf(cmd), args[len(words)])
	}
	return nil
}

// flagError says what is wrong with a flag. Words that are no command are the
// first thing wrong.
func flagError(cmd *cobra.Command, err error) error {
	if cmd.HasSubCommands() {
		if err := cmd.ValidateArgs(cmd.Flags().Args()); err != nil {
			return err
		}
	}
	var unknown *pflag.NotExistError
	var invalid *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown) && len(unknown.GetSpecifiedShortnames()) > 1:
		short := unknown.GetSpecifiedShortnames()
		return misuse(cmd, "there is no flag -%s; write --%s", short, short)
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() != "":
		return misuse(cmd, "there is no flag -%s", unknown.GetSpecifiedShortnames())
	case errors.As(err, &unknown):
		return misuse(cmd, "there is no flag --%s%s", unknown.GetSpecifiedName(), didYouMean("--", unknown.GetSpecifiedName(), flagsOf(cmd)))
	case errors.As(err, &invalid):
		return misuse(cmd, "--%s %q: %v", invalid.GetFlag().Name, invalid.GetValue(), invalid.Unwrap())
	}
	return misuse(cmd, "%v", err)
}

func flagsOf(cmd *cobra.Command) []string {
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	return names
}

// didYouMean ends a sentence about a word that nobody knows; "" when nothing
// is like it.
func didYouMean(prefix, word string, candidates []string) string {
	if near := config.Nearest(word, candidates); near != "" {
		return "; did you mean " + prefix + near + "?"
	}
	return ""
}

// unknownCommand says that there is no command below cmd that the words begin
// with, and what there is.
func unknownCommand(cmd *cobra.Command, words []string) error {
	root := cmd.Root()
	if cmd != root && cmd.HasSubCommands() {
		first := cmd
		for first.Parent() != root {
			first = first.Parent()
		}
		var below []string
		for _, c := range leaves(first) {
			below = append(below, nameOf(c))
		}
		return misuse(root, "%s is not a command by itself; there are: %s", nameOf(cmd), strings.Join(below, ", "))
	}
	if root.ArgsLenAtDash() == 0 {
		return misuse(root, "podgate takes no arguments by itself; write the command before the --")
	}
	var names []string
	for _, c := range leaves(root) {
		names = append(names, nameOf(c), strings.Fields(nameOf(c))[0])
	}
	near := didYouMean("", strings.Join(words[:min(2, len(words))], " "), names)
	if near == "" {
		near = didYouMean("", words[0], names)
	}
	return misuse(root, "there is no command %q%s", words[0], near)
}

// leaves returns the commands at and below cmd that do something, as help
// lists them.
func leaves(cmd *cobra.Command) []*cobra.Command {
	if !cmd.HasSubCommands() {
		return []*cobra.Command{cmd}
	}
	var list []*cobra.Command
	if argumentsOf(cmd) != "" { // it does something by itself too
		list = append(list, cmd)
	}
	for _, c := range cmd.Commands() {
		if !c.Hidden {
			list = append(list, leaves(c)...)
		}
	}
	return list
}
