package main

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"podgate/internal/config"
)

// invocation is one use of podgate: what it gets from the system, and what the
// flags that every command has say.
type invocation struct {
	process
	config  string            // --config
	changed map[string]string // settings that flags change, by key
}

// commands returns podgate's command line, ready to be executed once. Each
// command is one value, declared beside what it does.
func commands(p process) *cobra.Command {
	inv := &invocation{process: p, changed: map[string]string{}}
	root := &cobra.Command{
		Use: "podgate", Args: noCommand, RunE: inv.serve,
		Short: "let AI assistants run small isolated apps, called pods, on this machine",
		Long: "Without a command it is the server: it prints an address, and at first a link that makes the first account.\n" +
			"Settings come from the flags, from the environment (PODGATE_LISTEN and so on) and from the configuration file.",
		SilenceErrors: true, SilenceUsage: true, // run prints errors, once
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	inv.everyFlag(root.PersistentFlags())
	inv.listenFlag(root)
	inv.addCommands(root)
	for _, c := range leaves(root) {
		if c.Args == nil {
			c.Args = countArguments
		}
	}
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	root.SetHelpFunc(printHelp)
	root.SetFlagErrorFunc(flagError)
	root.SetArgs(wordsOf(p.Args))
	root.SetIn(p.Stdin)
	root.SetOut(p.Stdout)
	root.SetErr(p.Stderr)
	return root
}

// addCommands puts every command into its group.
func (inv *invocation) addCommands(root *cobra.Command) {
	add := func(title string, list ...*cobra.Command) {
		root.AddGroup(&cobra.Group{ID: title, Title: title})
		for _, c := range list {
			c.GroupID = title
		}
		root.AddCommand(list...)
	}
	help := helpCommand()
	root.SetHelpCommand(help)
	add("Server", inv.serveCommand(), inv.serviceCommand(), inv.setupLink(), inv.status())
	add("People and teams", inv.team(), inv.user())
	add("Pods", inv.podCommand(), inv.login(), inv.logout(), inv.network())
	add("Connections", inv.audit(), inv.client(), inv.connection(), inv.connections(), inv.timeline())
	add("Upkeep", inv.backup(), inv.check(), inv.compact(), inv.configCommand(), inv.debug(), inv.doctor(), inv.mailCommand(), inv.restore(), inv.upgrade())
	root.AddCommand(inv.rehearse()) // for podgate itself
	add("This program", completion(), help, inv.man(), inv.version())
}

// group is a word that commands begin with, and no command itself.
func group(name, short string, below ...*cobra.Command) *cobra.Command {
	g := &cobra.Command{Use: name, Short: short, Args: unknownCommand, RunE: unknownCommand}
	g.AddCommand(below...)
	return g
}

// noCommand lets podgate be used without words, which means serve.
func noCommand(root *cobra.Command, words []string) error {
	if len(words) == 0 {
		return nil
	}
	return unknownCommand(root, words)
}

// wordsOf returns the arguments as the tree knows them. People try --version
// first.
func wordsOf(args []string) []string {
	if len(args) > 0 && args[0] == "--version" {
		return append([]string{"version"}, args[1:]...)
	}
	return append([]string{}, args...) // nil would mean those of this process
}

// everyFlag declares the flags that every command has.
func (inv *invocation) everyFlag(flags *pflag.FlagSet) {
	flags.StringVar(&inv.config, "config", "", "read the configuration from `FILE`")
	inv.setting(flags, "data", "data_dir", "keep everything in the folder `DIR`")
	flags.BoolP("help", "h", false, "explain the command")
	_ = cobra.MarkFlagFilename(flags, "config", "toml") // both were declared here
	_ = cobra.MarkFlagDirname(flags, "data")
}

// setting declares a flag that changes a setting.
func (inv *invocation) setting(flags *pflag.FlagSet, name, key, usage string) {
	flags.Func(name, usage, func(value string) error { inv.changed[key] = value; return nil })
}

// load reads the configuration, with what the flags change.
func (inv *invocation) load() (*config.Settings, error) {
	return config.Load(inv.config, inv.Env, inv.changed)
}
