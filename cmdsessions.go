package main

import (
	"github.com/spf13/cobra"

	"podgate/control"
	"podgate/internal/text"
)

func (inv *invocation) userSessions() *cobra.Command {
	cmd := &cobra.Command{
		Use: "sessions EMAIL", Short: "list the browsers in which somebody is signed in", Example: "podgate user sessions bob@example.com", ValidArgsFunction: inv.ask(emails),
		Long: "The one that was used last comes first.",
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return inv.withControl(cmd.Context(), false, func(c *control.Client) error {
			list, err := c.Sessions(cmd.Context(), args[0])
			switch {
			case err != nil:
				return err
			case *asJSON:
				return printJSON(inv.Stdout, list)
			}
			rows := [][]string{{"ID", "FROM", "SINCE", "LAST USED", "UNTIL", "BROWSER"}}
			for _, s := range list {
				rows = append(rows, []string{s.ID.String()[:shownID], orDash(s.Addr), moment(s.Created), moment(s.LastUsed), moment(s.Expires), orDash(text.Line(s.Agent, 60))})
			}
			return printTable(inv.Stdout, rows)
		})
	}
	return cmd
}

func (inv *invocation) userSignOut() *cobra.Command {
	cmd := &cobra.Command{
		Use: "sign-out EMAIL", Short: "end all sessions and connections of somebody, or one session", Example: "podgate user sign-out bob@example.com", ValidArgsFunction: inv.ask(emails),
		Long: "What they are doing ends with it. Every browser has to sign in again, and every assistant to be connected again.",
	}
	asJSON := jsonFlag(cmd)
	session := cmd.Flags().String("session", "", "only the session `ID`, as «podgate user sessions» shows it; connections stay")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		return inv.withControl(ctx, false, func(c *control.Client) (err error) {
			var ended control.SignedOut
			if cmd.Flags().Changed("session") {
				ended, err = c.EndSession(ctx, args[0], *session)
			} else {
				ended, err = c.SignOut(ctx, args[0])
			}
			if err != nil {
				return err
			}
			return inv.done(*asJSON, ended, "Sessions of %s that ended: %d, connections: %d.", ended.User, len(ended.Sessions), ended.Ended)
		})
	}
	return cmd
}
