package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"podgate/control"
	"podgate/doctor"
	"podgate/internal/config"
	"podgate/oauth"
)

func (inv *invocation) doctor() *cobra.Command {
	cmd := &cobra.Command{
		Use: "doctor [URL]", Short: "see whether clients can connect, and what stops them", Example: "podgate doctor https://pods.example.com/api/mcp",
		Long: `Takes the steps of a client from this machine, up to the sign-in: name, certificate, discovery, challenge, and what a
proxy in front does to headers, bodies and streams. Each line is ok, a warning or a fault, with what to do. Without URL
it looks at the running server, or at public_url of the configuration. The exit code is 1 when there is a fault.`,
	}
	asJSON := jsonFlag(cmd)
	local := false
	cmd.Flags().BoolVar(&local, "local", false, "ask nobody but URL: leave out the documents of known clients")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		options, err := inv.doctorOptions(cmd, args)
		if err != nil {
			return err
		}
		if local {
			options.Documents = nil
		}
		report := doctor.Run(ctx, options)
		if *asJSON {
			err = printJSON(inv.Stdout, report)
		} else {
			err = report.Write(inv.Stdout)
		}
		if err == nil && !report.OK {
			err = errSilent
		}
		return err
	}
	return cmd
}

// doctorOptions says what to look at: the address that was given, or the
// server of the configuration. The domain of pods is known for that one only.
func (inv *invocation) doctorOptions(cmd *cobra.Command, args []string) (doctor.Options, error) {
	options := doctor.Options{Now: time.Now, Documents: oauth.KnownDocuments()}
	s, err := inv.load()
	if err != nil && (len(args) == 0 || inv.config != "") {
		return options, err
	}
	ours := ""
	if err == nil {
		ours = address(cmd.Context(), s)
	}
	typed := ours
	if len(args) > 0 {
		typed = args[0]
	}
	if options.Target, err = doctor.ParseTarget(typed); err != nil {
		return options, misuse(cmd, "%v", err)
	}
	if ours != "" && options.Target.Origin == ours {
		options.PodsDomain = s.Pods.Domain
		if !s.OAuth.ClientMetadataDocuments {
			options.Documents = nil // the server does not fetch them
		}
	}
	return options, nil
}

// address returns where the server of this configuration is: what it says
// itself when it runs, as flags may have changed it.
func address(ctx context.Context, s *config.Settings) string {
	if c, err := control.Open(ctx, s.DataDir, false, localControl(s)); err == nil {
		defer c.Close() // nothing was written
		if address, err := c.Address(ctx); err == nil {
			return address
		}
	}
	return s.ConfiguredIssuer()
}
