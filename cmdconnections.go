package main

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"podgate/control"
	"podgate/internal/authz"
	"podgate/internal/text"
	"podgate/store"
)

func (inv *invocation) connections() *cobra.Command {
	return inv.listConnections("connections", "podgate connections --wide")
}

// connectionList is the same where people look for it who know the other commands.
func (inv *invocation) connectionList() *cobra.Command {
	return inv.listConnections("list", "podgate connection list")
}

func (inv *invocation) listConnections(use, example string) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: "list the live connections", Example: example,
		Long: "Long names are cut so that a line fits 100 columns, and limits are left out; --wide shows both.",
	}
	asJSON := jsonFlag(cmd)
	wide := cmd.Flags().Bool("wide", false, "show everything in full, however wide")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		return inv.withControl(ctx, false, func(c *control.Client) error {
			list, err := c.Connections(ctx)
			switch {
			case err != nil:
				return err
			case *asJSON:
				return printJSON(inv.Stdout, list)
			case *wide:
				return printTable(inv.Stdout, wideConnections(list))
			}
			return printTable(inv.Stdout, narrowConnections(list))
		})
	}
	return cmd
}

func wideConnections(list []control.Connection) [][]string {
	rows := [][]string{{"ID", "USER", "CLIENT", "NAME", "TEAM", "SCOPES", "LIMITS", "LAST USED", "UNTIL", "STATE"}}
	for _, c := range list {
		rows = append(rows, []string{
			string(c.ID), c.User, c.Client, orDash(c.Name), c.Team, joinScopes(c.Scopes), orDash(strings.Join(authz.LimitWords(c.Limits), ", ")),
			moment(c.LastUsed), c.Expires.Format(time.DateOnly), string(c.State.State),
		})
	}
	return rows
}

// shownID is how much of an id is shown where there is little room. It is enough
// to name a connection.
const shownID = 8

// narrowConnections fits a terminal of 100 columns. Of the host that the code
// went to the end is kept, because that says whose it is.
func narrowConnections(list []control.Connection) [][]string {
	rows := [][]string{{"ID", "USER", "CLIENT", "NAME", "TEAM", "SCOPES", "LAST USED", "STATE"}}
	for _, c := range list {
		scopes := c.Scopes
		if c.Limits.ReadOnly {
			scopes = []store.Scope{authz.ScopeRead}
		}
		rows = append(rows, []string{
			string(c.ID[:min(shownID, len(c.ID))]), c.User, c.Client, orDash(c.Name), c.Team, strings.ReplaceAll(joinScopes(scopes), "pods:", ""),
			c.LastUsed.UTC().Format(time.DateOnly), string(c.State.State),
		})
	}
	fit(rows, 100, column{1, text.Short}, column{2, shortHost}, column{3, text.Short}, column{4, text.Short})
	return rows
}

func joinScopes(scopes []store.Scope) string {
	var words []string
	for _, s := range scopes {
		words = append(words, string(s))
	}
	return orDash(strings.Join(words, " "))
}

// shortHost returns the end of a host in at most max characters.
func shortHost(host string, max int) string {
	if r := []rune(host); len(r) > max {
		return "…" + string(r[len(r)-max+1:])
	}
	return host
}

func (inv *invocation) connection() *cobra.Command {
	return group("connection", "list, show, limit, name and end connections", inv.connectionList(), inv.connectionShow(), inv.connectionLimit(), inv.connectionNickname(), inv.connectionRevoke())
}

func (inv *invocation) connectionRevoke() *cobra.Command {
	cmd := &cobra.Command{
		Use: "revoke ID", Short: "end one connection and what it is doing", Example: "podgate connection revoke 4kq7xw2m", ValidArgsFunction: inv.ask(connectionIDs),
		Long: "ID is what «podgate connections» shows. Pods go on running, and the app may ask to be let in again.",
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		return inv.withControl(ctx, false, func(c *control.Client) error {
			was, err := c.RevokeConnection(ctx, args[0])
			if err != nil {
				return err
			}
			return inv.done(*asJSON, was, "Revoked what %s let %s do for the team %s.", was.User, text.Visible(was.Client), was.Team)
		})
	}
	return cmd
}
