package main

import (
	"context"
	"time"

	"podgate/control"
	"podgate/doctor"
	"podgate/internal/config"
	"podgate/oauth"
)

func doctorCommand() command {
	return command{name: "doctor", args: "[URL]", most: 1, summary: "see whether clients can connect, and what stops them", setup: setupDoctor,
		details: `Takes the steps of a client from this machine, up to the sign-in: name, certificate, discovery, challenge, and what a
proxy in front does to headers, bodies and streams. Each line is ok, a warning or a fault, with what to do. Without URL
it looks at the running server, or at public_url of the configuration. The exit code is 1 when there is a fault.`}
}

func setupDoctor(inv *invocation) func(context.Context) error {
	asJSON := inv.jsonFlag()
	local := false
	inv.flags.BoolVar(&local, "local", false, "ask nobody but URL: leave out the documents of known clients")
	return func(ctx context.Context) error {
		options, err := inv.doctorOptions(ctx)
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
}

// doctorOptions says what to look at: the address that was given, or the
// server of the configuration. The domain of pods is known for that one only.
func (inv *invocation) doctorOptions(ctx context.Context) (doctor.Options, error) {
	options := doctor.Options{Now: time.Now, Documents: oauth.KnownDocuments()}
	s, err := inv.load()
	if err != nil && (len(inv.args) == 0 || inv.config != "") {
		return options, err
	}
	ours := ""
	if err == nil {
		ours = address(ctx, s)
	}
	typed := ours
	if len(inv.args) > 0 {
		typed = inv.args[0]
	}
	if options.Target, err = doctor.ParseTarget(typed); err != nil {
		return options, &usageError{err.Error(), helpHint("doctor")}
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
