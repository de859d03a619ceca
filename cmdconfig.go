package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"podgate/backup"
	"podgate/certs"
	"podgate/internal/config"
)

func (inv *invocation) configCommand() *cobra.Command {
	return group("config", "show and check the configuration", inv.configShow(), inv.configCheck())
}

func (inv *invocation) configShow() *cobra.Command {
	cmd := &cobra.Command{
		Use: "show", Short: "print every setting in force and where it came from", Example: "podgate config show",
		Long: "What it prints is a configuration file with the same effect.",
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		s, err := inv.load()
		if err != nil {
			return err
		}
		if *asJSON {
			return printJSON(inv.Stdout, s.List())
		}
		text, err := s.Render()
		if err != nil {
			return err
		}
		_, err = fmt.Fprint(inv.Stdout, text)
		return err
	}
	return cmd
}

func (inv *invocation) configCheck() *cobra.Command {
	cmd := &cobra.Command{
		Use: "check", Short: "say what is wrong with the configuration", Example: "podgate config check --config /etc/podgate.toml",
		Long: "It looks at the values, at the files they name, and where the names lead. It changes nothing.",
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		s, err := inv.load()
		if err == nil {
			err = inv.checkSurroundings(ctx, s)
		}
		var faults *config.Error
		if *asJSON && (err == nil || errors.As(err, &faults)) {
			return inv.printConfigReport(s, faults)
		}
		if err != nil {
			return err
		}
		for _, w := range s.Warnings {
			if err := inv.say("note: %s", w); err != nil {
				return err
			}
		}
		return inv.say("ok")
	}
	return cmd
}

// checkSurroundings looks at what only the machine can tell: files that cannot
// be used are faults, the rest are remarks.
func (inv *invocation) checkSurroundings(ctx context.Context, s *config.Settings) error {
	if faults := openable(s, time.Now()); len(faults) > 0 {
		return &config.Error{Faults: faults}
	}
	m := inv.Machine
	if m == nil {
		m = config.ThisMachine()
	}
	s.Warnings = append(s.Warnings, s.Advise(ctx, m)...)
	return nil
}

// openable reports what is wrong with the files that the settings name. Only who
// runs as the server's user can tell.
func openable(s *config.Settings, now time.Time) []config.Fault {
	var all []config.Fault
	add := func(key string, err error) {
		if err != nil {
			all = append(all, config.Fault{Key: key, Source: s.Source(key), Message: err.Error()})
		}
	}
	u, err := url.Parse(s.PublicURL)
	add("public_url", err)
	if s.TLS.Mode == config.TLSFiles && err == nil {
		add("tls.cert_files", certs.CheckFiles(pairs(s.TLS), u.Hostname(), now))
	}
	_, err = backup.Recipients(s.Backup.Recipients, nil)
	add("backup.recipients", err)
	if s.Backup.On() && !config.IsBucket(s.Backup.To) {
		_, err = os.Stat(s.Backup.To)
		add("backup.to", err)
	}
	secrets := map[string]string{"mail.password_file": s.Mail.PasswordFile, "notify.webhook_secret_file": s.Notify.WebhookSecretFile, "backup.s3_secret_key_file": s.Backup.S3SecretKeyFile}
	if s.TLS.Mode == config.TLSAuto {
		secrets["tls.eab_key_file"], secrets["tls.cloudflare_token_file"] = s.TLS.EABKeyFile, s.TLS.CloudflareTokenFile
	}
	for _, key := range slices.Sorted(maps.Keys(secrets)) {
		_, err := config.SecretFile(secrets[key])
		add(key, err)
	}
	return all
}

type configReport struct {
	OK       bool           `json:"ok"`
	Faults   []config.Fault `json:"faults"`
	Warnings []string       `json:"warnings"`
}

func (inv *invocation) printConfigReport(s *config.Settings, faults *config.Error) error {
	report := configReport{OK: faults == nil, Faults: []config.Fault{}, Warnings: []string{}}
	if faults != nil {
		report.Faults = faults.Faults
	} else {
		report.Warnings = append(report.Warnings, s.Warnings...)
	}
	if err := printJSON(inv.Stdout, report); err != nil {
		return err
	}
	if !report.OK {
		return errSilent
	}
	return nil
}
