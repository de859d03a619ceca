package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"podgate/internal/mail"
	"podgate/internal/text"
)

func (inv *invocation) mailCommand() *cobra.Command {
	return group("mail", "try the mail server", inv.mailTest())
}

// mailStep is one step of sending a mail, for people and programs.
type mailStep struct {
	Step mail.Step `json:"step"`
	OK   bool      `json:"ok"`
	What string    `json:"what"`
}

func (inv *invocation) mailTest() *cobra.Command {
	cmd := &cobra.Command{
		Use: "test ADDRESS", Short: "send one mail, and say what went wrong at which step", Example: "podgate mail test ada@example.com",
		Long: "It uses the settings below [mail], whether the server runs or not. The exit code is 1 when the mail server did not take it.",
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := inv.load()
		if err != nil {
			return err
		}
		sender, err := mailer(s)
		if err != nil {
			return err
		}
		if sender == nil {
			return errors.New("there is no mail server in the configuration; write mail.host and mail.from, which config.example.toml explains")
		}
		steps := []mailStep{}
		tell := func(step mail.Step, ok bool, what string) {
			steps = append(steps, mailStep{step, ok, what})
			if !*asJSON {
				_ = inv.say("%-5s %-10s %s", map[bool]string{true: "ok", false: "FAULT"}[ok], step, text.Visible(what))
			}
		}
		host := s.MailHost()
		err = sender.SendWith(cmd.Context(), mail.Message{
			To: args[0], Subject: "A test of podgate's mail",
			Text: fmt.Sprintf("podgate on %s can send mail: somebody gave the command «podgate mail test» there.\n\nThere is nothing to do.", host),
		}, func(step mail.Step, what string) { tell(step, true, what) })
		var failed *mail.Error
		if errors.As(err, &failed) {
			tell(failed.Step, false, failed.Words)
		}
		if *asJSON {
			if err := printJSON(inv.Stdout, steps); err != nil {
				return err
			}
		}
		if failed != nil {
			return errSilent
		}
		if err == nil && !*asJSON {
			return inv.say("The mail server took it. Look whether it arrives, and whether as spam.")
		}
		return err
	}
	return cmd
}
