package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"podgate/internal/config"
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
	err := dispatch(ctx, p)
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
	fmt.Fprintf(p.Stderr, "podgate: %s\n", inWords(err))
	return exitFailed
}

// errSilent fails a command that has already said why.
var errSilent = errors.New("failed")

// usageError is a command line that cannot be understood.
type usageError struct{ message, hint string }

func (e *usageError) Error() string { return e.message }

// command is one command as data: the table in commands is all there is to
// know about the command line.
type command struct {
	name    string // such as "team member add"
	args    string // as the usage shows them, such as "SLUG EMAIL"
	summary string
	details string // more for its own help; may be empty
	least   int    // positional arguments
	most    int
	setup   func(*invocation) func(context.Context) error
}

// invocation is one use of a command: its flags while they are declared, then
// its arguments.
type invocation struct {
	process
	flags   *flag.FlagSet
	args    []string
	config  string            // --config
	changed map[string]string // settings that flags change, by key
}

func commands() []command {
	list := []command{
		{name: "serve", summary: "run the server (the default)", setup: setupServe,
			details: "Without any configuration it listens on http://localhost:8080 and keeps everything in ./data."},
		{name: "setup-link", summary: "make a fresh one-time link for the first administrator", setup: setupSetupLink,
			details: "Earlier links no longer work. The link is good for 30 minutes."},
	}
	list = append(list, userCommands()...)
	list = append(list, teamCommands()...)
	list = append(list, historyCommands()...)
	list = append(list, configCommands()...)
	return append(list,
		command{name: "check", summary: "verify the database", setup: setupCheck,
			details: "Verifies every record, index entry and reference, also while the server runs."},
		doctorCommand(),
		command{name: "version", summary: "print the version", setup: setupVersion},
		command{name: "help", args: "[COMMAND]", summary: "explain podgate or one command", most: 3, setup: setupHelp},
	)
}

// dispatch finds the command, reads its flags and runs it.
func dispatch(ctx context.Context, p process) error {
	c, inv, rest, err := p.command()
	if err != nil {
		return err
	}
	act := c.setup(inv)
	switch err := inv.parse(rest); {
	case errors.Is(err, flag.ErrHelp):
		return printHelp(p.Stdout, c)
	case err != nil:
		return &usageError{strings.Replace(err.Error(), "flag provided but not defined: -", "there is no flag --", 1), helpHint(c.name)}
	case len(inv.args) < c.least:
		return &usageError{fmt.Sprintf("%s needs %s", c.name, c.args), helpHint(c.name)}
	case len(inv.args) > c.most:
		return &usageError{fmt.Sprintf("%s does not take the argument %q", c.name, inv.args[c.most]), helpHint(c.name)}
	}
	return act(ctx)
}

// command finds the command that the arguments name, perhaps behind flags that
// every command has, and returns the arguments that are left. Flags alone, or
// ones that only serve has, mean serve.
func (p process) command() (command, *invocation, []string, error) {
	inv := newInvocation(p)
	switch err := inv.flags.Parse(p.Args); {
	case errors.Is(err, flag.ErrHelp):
		c, _, err := findCommand([]string{"help"})
		return c, newInvocation(p), nil, err
	case len(p.Args) > 0 && strings.TrimLeft(p.Args[0], "-") == "version":
		c, _, err := findCommand([]string{"version"})
		return c, newInvocation(p), p.Args[1:], err
	case err != nil:
		return commands()[0], newInvocation(p), p.Args, nil
	}
	c, rest, err := findCommand(inv.flags.Args())
	return c, inv, rest, err
}

// newInvocation declares the flags that every command has.
func newInvocation(p process) *invocation {
	inv := &invocation{process: p, flags: flag.NewFlagSet("podgate", flag.ContinueOnError), changed: map[string]string{}}
	inv.flags.SetOutput(io.Discard) // faults are printed by run, once
	inv.flags.StringVar(&inv.config, "config", "", "read the configuration from `FILE`")
	inv.setting("data", "data_dir", "keep everything in the folder `DIR`")
	return inv
}

// setting declares a flag that changes a setting.
func (inv *invocation) setting(name, key, usage string) {
	inv.flags.Func(name, usage, func(value string) error { inv.changed[key] = value; return nil })
}

// parse reads flags before, between and after positional arguments. After --
// everything is positional.
func (inv *invocation) parse(args []string) error {
	for {
		if err := inv.flags.Parse(args); err != nil {
			return err
		}
		rest := inv.flags.Args()
		if done := len(args) - len(rest); done > 0 && args[done-1] == "--" {
			inv.args = append(inv.args, rest...)
			return nil
		}
		if len(rest) == 0 {
			return nil
		}
		inv.args, args = append(inv.args, rest[0]), rest[1:]
	}
}

// load reads the configuration, with what the flags change.
func (inv *invocation) load() (*config.Settings, error) {
	return config.Load(inv.config, inv.Env, inv.changed)
}

func helpHint(name string) string {
	return strings.TrimSpace("«podgate help "+name) + "» explains it."
}

// findCommand takes the longest command name that the words begin with. No
// words mean serve.
func findCommand(words []string) (command, []string, error) {
	all := commands()
	if len(words) == 0 {
		return all[0], nil, nil
	}
	for n := min(3, len(words)); n > 0; n-- {
		name := strings.Join(words[:n], " ")
		if i := slices.IndexFunc(all, func(c command) bool { return c.name == name }); i >= 0 {
			return all[i], words[n:], nil
		}
	}
	return command{}, nil, unknownCommand(all, words)
}

func unknownCommand(all []command, words []string) error {
	var names, below []string
	for _, c := range all {
		names = append(names, c.name, strings.Fields(c.name)[0])
		if strings.HasPrefix(c.name, words[0]+" ") {
			below = append(below, c.name)
		}
	}
	if len(below) > 0 {
		return &usageError{fmt.Sprintf("%s is not a command by itself; there are: %s", words[0], strings.Join(below, ", ")), helpHint("")}
	}
	message := fmt.Sprintf("there is no command %q", words[0])
	near := config.Nearest(strings.Join(words[:min(2, len(words))], " "), names)
	if near == "" {
		near = config.Nearest(words[0], names)
	}
	if near != "" {
		message += fmt.Sprintf("; did you mean %s?", near)
	}
	return &usageError{message, helpHint("")}
}
