package main

import (
	"github.com/spf13/cobra"

	"podgate/internal/config"
)

func (inv *invocation) serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "serve", Short: "run the server (the default)", Example: "podgate serve --listen :8080", RunE: inv.serve,
		Long: "Without any configuration it listens on http://localhost:8080 and keeps everything in ./data.",
	}
	inv.listenFlag(cmd)
	return cmd
}

// listenFlag declares --listen, for serve and for podgate alone.
func (inv *invocation) listenFlag(cmd *cobra.Command) {
	inv.setting(cmd.Flags(), "listen", "listen", "listen on `ADDRESS`, such as localhost:8080 or :8080")
}

func (inv *invocation) serve(cmd *cobra.Command, _ []string) error {
	s, err := inv.load()
	if inv.Baton != nil && inv.Baton.Failure() != "" {
		// What the file says by now may be what the next program could not do.
		var was handed
		if err = inv.Baton.Get("server", &was); err == nil {
			s, err = config.LoadText(was.Settings, inv.config, inv.Env, inv.changed)
		}
		if err == nil && was.Reloaded != nil {
			inv.Reloaded, err = config.LoadText(*was.Reloaded, inv.config, inv.Env, inv.changed)
		}
	}
	if err != nil {
		return err
	}
	return serve(cmd.Context(), s, inv.load, inv.process, inv.rehearsalArgs())
}
