package main

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"podgate/control"
	"podgate/internal/authz"
	"podgate/internal/text"
)

func (inv *invocation) connectionShow() *cobra.Command {
	cmd := &cobra.Command{
		Use: "show ID", Short: "show one connection", Example: "podgate connection show 4kq7xw2m", ValidArgsFunction: inv.ask(connectionIDs),
		Long: "ID is what «podgate connections» shows.",
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return inv.withControl(cmd.Context(), false, func(c *control.Client) error {
			shown, err := c.Connection(cmd.Context(), args[0])
			return inv.printConnection(shown, err, *asJSON)
		})
	}
	return cmd
}

func (inv *invocation) printConnection(c control.Connection, err error, asJSON bool) error {
	switch {
	case err != nil:
		return err
	case asJSON:
		return printJSON(inv.Stdout, c)
	}
	return printTable(inv.Stdout, [][]string{
		{"ID", string(c.ID)},
		{"NICKNAME", orDash(c.Nickname)},
		{"USER", c.User},
		{"CLIENT", c.Client},
		{"CALLS ITSELF", orDash(c.Name)},
		{"TEAM", c.Team},
		{"SCOPES", joinScopes(c.Scopes)},
		{"LIMITS", orDash(strings.Join(authz.LimitWords(c.Limits), ", "))},
		{"SINCE", moment(c.Created)},
		{"LAST USED", moment(c.LastUsed)},
		{"UNTIL", moment(c.Expires)},
		{"STATE", string(c.State.State)},
	})
}

func (inv *invocation) connectionLimit() *cobra.Command {
	cmd := &cobra.Command{
		Use: "limit ID", Short: "take rights from a connection", Example: "podgate connection limit 4kq7xw2m --read-only", ValidArgsFunction: inv.ask(connectionIDs),
		Long: "With --scope it keeps those alone; rights can only be taken away, and are given on the consent page. Limits are\nset anew as the flags say, or taken away with --no-limits. It counts at once.",
	}
	asJSON := jsonFlag(cmd)
	scopes, limits := scopeFlag(cmd, "keep the right `SCOPE`, such as pods:read; may be repeated"), limitFlags(cmd)
	none := cmd.Flags().Bool("no-limits", false, "take the limits away")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		n := control.Narrowing{ID: args[0], Scopes: scopeList(*scopes)}
		parsed, change, err := limits.parse(cmd)
		switch {
		case err != nil:
			return err
		case change && *none:
			return misuse(cmd, "--no-limits takes away what the other flags set")
		case change || *none:
			n.Limits = &parsed
		case len(n.Scopes) == 0:
			return misuse(cmd, "say what to take away: --scope, --read-only, --prefix or --max-pods")
		}
		return inv.withControl(cmd.Context(), false, func(c *control.Client) error {
			shown, err := c.LimitConnection(cmd.Context(), n)
			return inv.printConnection(shown, err, *asJSON)
		})
	}
	return cmd
}

func (inv *invocation) connectionNickname() *cobra.Command {
	cmd := &cobra.Command{
		Use: "nickname ID [NAME]", Short: "say what a connection is called", Example: "podgate connection nickname 4kq7xw2m Laptop", ValidArgsFunction: inv.ask(connectionIDs),
		Long: "Without NAME it loses the one it has.",
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return inv.withControl(cmd.Context(), false, func(c *control.Client) error {
			shown, err := c.NameConnection(cmd.Context(), args[0], strings.Join(args[1:], ""))
			switch {
			case err != nil:
				return err
			case shown.Nickname == "":
				return inv.done(*asJSON, shown, "The connection %s has no nickname.", shown.ID)
			}
			return inv.done(*asJSON, shown, "The connection %s is called %s.", shown.ID, text.Visible(shown.Nickname))
		})
	}
	return cmd
}

func (inv *invocation) client() *cobra.Command {
	return group("client", "list, block and forget the applications that connect", inv.clientList(),
		inv.clientEnd("block", "keep an application out, and end its connections", "Blocked", (*control.Client).BlockApp),
		inv.clientUnblock(),
		inv.clientEnd("forget", "take an application's registration away, and end its connections", "Forgot", (*control.Client).ForgetApp))
}

func (inv *invocation) clientList() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "list the applications that are known or blocked", Example: "podgate client list", Long: "Those that are blocked come first."}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return inv.withControl(cmd.Context(), false, func(c *control.Client) error {
			list, err := c.Apps(cmd.Context())
			switch {
			case err != nil:
				return err
			case *asJSON:
				return printJSON(inv.Stdout, list)
			}
			rows := [][]string{{"CLIENT", "CALLS ITSELF", "CONNECTIONS", "KNOWN SINCE", "BLOCKED SINCE"}}
			for _, a := range list {
				rows = append(rows, []string{string(a.ID), orDash(a.Name), strconv.Itoa(a.Connections), momentOrDash(a.Created), momentOrDash(a.Blocked)})
			}
			return printTable(inv.Stdout, rows)
		})
	}
	return cmd
}

// clientEnd is a command that ends the connections of an application.
func (inv *invocation) clientEnd(name, short, done string, do func(*control.Client, context.Context, string) (control.ChangedApp, error)) *cobra.Command {
	cmd := &cobra.Command{
		Use: name + " ID", Short: short, Example: "podgate client " + name + " https://app.example.com/client.json", ValidArgsFunction: inv.ask(clientIDs),
		Long: "ID is what «podgate client list» shows, or the address of a metadata document.",
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return inv.withControl(cmd.Context(), false, func(c *control.Client) error {
			app, err := do(c, cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return inv.done(*asJSON, app, "%s %s. Connections ended: %d.", done, text.Visible(args[0]), app.Ended)
		})
	}
	return cmd
}

func (inv *invocation) clientUnblock() *cobra.Command {
	cmd := &cobra.Command{
		Use: "unblock ID", Short: "let a blocked application in again", Example: "podgate client unblock https://app.example.com/client.json", ValidArgsFunction: inv.ask(clientIDs),
		Long: "Its connections stay ended; it may ask again.",
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return inv.withControl(cmd.Context(), false, func(c *control.Client) error {
			app, err := c.UnblockApp(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return inv.done(*asJSON, app, "%s may connect again.", text.Visible(args[0]))
		})
	}
	return cmd
}

func momentOrDash(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return moment(t)
}

func clientIDs(ctx context.Context, c *control.Client, _ []string) ([]cobra.Completion, error) {
	list, err := c.Apps(ctx)
	var found []cobra.Completion
	for _, a := range list {
		found = append(found, cobra.CompletionWithDesc(string(a.ID), text.Visible(a.Name)))
	}
	return found, err
}
