package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"podgate/account"
	"podgate/control"
	"podgate/internal/authz"
	"podgate/internal/config"
	"podgate/internal/text"
	"podgate/store"
)

// roleFlag declares --role.
func roleFlag(cmd *cobra.Command) *string {
	role := cmd.Flags().String("role", string(store.RoleMember), "as `ROLE`: owner, member, or viewer, who reads only")
	_ = cmd.RegisterFlagCompletionFunc("role", cobra.FixedCompletions(roleNames(), cobra.ShellCompDirectiveNoFileComp)) // it was declared here
	return role
}

func roleNames() []cobra.Completion {
	var names []cobra.Completion
	for _, r := range account.Roles() {
		names = append(names, string(r))
	}
	return names
}

func (inv *invocation) teamInvite() *cobra.Command {
	cmd := &cobra.Command{
		Use: "invite SLUG [EMAIL]", Short: "make a link with which somebody joins a team", Example: "podgate team invite makers eve@example.com --role viewer", ValidArgsFunction: inv.ask(slugs),
		Long: "The link works once, for 7 days; with EMAIL only for the account of that address. It is shown only now.",
	}
	asJSON, role := jsonFlag(cmd), roleFlag(cmd)
	mail := cmd.Flags().Bool("mail", false, "send it to EMAIL, where the server has a mail server")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		n := control.NewInvitation{Team: args[0], Role: store.Role(*role), Mail: *mail}
		if len(args) > 1 {
			n.Email = args[1]
		} else if *mail {
			return misuse(cmd, "--mail needs EMAIL")
		}
		return inv.withControl(cmd.Context(), false, func(c *control.Client) error {
			i, err := c.Invite(cmd.Context(), n)
			switch {
			case err != nil:
				return err
			case *asJSON:
				return printJSON(inv.Stdout, i)
			case i.Mailed:
				fmt.Fprintf(inv.Stderr, "It was sent to %s.\n", i.Email)
			case i.NoMail != "":
				fmt.Fprintf(inv.Stderr, "It could not be sent: %s\n", visibleLines(i.NoMail))
			case *mail:
				fmt.Fprintln(inv.Stderr, "It was not sent: no mail server is configured, or no server runs.")
			}
			return inv.say("%s", i.Link)
		})
	}
	return cmd
}

func (inv *invocation) invitationList() *cobra.Command {
	cmd := &cobra.Command{Use: "list SLUG", Short: "list the invitations to a team that wait", Example: "podgate team invitation list makers", ValidArgsFunction: inv.ask(slugs)}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return inv.withControl(cmd.Context(), false, func(c *control.Client) error {
			list, err := c.Invitations(cmd.Context(), args[0])
			switch {
			case err != nil:
				return err
			case *asJSON:
				return printJSON(inv.Stdout, list)
			}
			rows := [][]string{{"ID", "FOR", "ROLE", "BY", "UNTIL"}}
			for _, i := range list {
				by := i.By
				if by == "" {
					by = "command line"
				}
				rows = append(rows, []string{i.ID[:min(shownID, len(i.ID))], orDash(i.Email), string(i.Role), by, moment(i.Expires)})
			}
			return printTable(inv.Stdout, rows)
		})
	}
	return cmd
}

func (inv *invocation) invitationWithdraw() *cobra.Command {
	cmd := &cobra.Command{
		Use: "withdraw SLUG ID", Short: "end an invitation", Example: "podgate team invitation withdraw makers eve@example.com", ValidArgsFunction: inv.ask(slugs),
		Long: "ID is the address that it is for, or what «podgate team invitation list» shows.",
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return inv.withControl(cmd.Context(), false, func(c *control.Client) error {
			i, err := c.WithdrawInvitation(cmd.Context(), args[0], args[1])
			if err != nil {
				return err
			}
			return inv.done(*asJSON, i, "Withdrew the invitation for %s to %s.", cmp.Or(i.Email, "anybody"), i.Team)
		})
	}
	return cmd
}

func (inv *invocation) teamRename() *cobra.Command {
	cmd := &cobra.Command{
		Use: "rename SLUG NAME", Short: "change the name of a team", Example: "podgate team rename makers Tinkerers", ValidArgsFunction: inv.ask(slugs),
	}
	asJSON := jsonFlag(cmd)
	slug := cmd.Flags().String("slug", "", "change its short name to `SLUG` too")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return inv.withControl(cmd.Context(), false, func(c *control.Client) error {
			t, err := c.RenameTeam(cmd.Context(), args[0], *slug, args[1])
			if err != nil {
				return err
			}
			return inv.done(*asJSON, t, "The team is called %s now (%s).", text.Visible(t.Name), t.Slug)
		})
	}
	return cmd
}

func (inv *invocation) teamRemove() *cobra.Command {
	cmd := &cobra.Command{
		Use: "remove SLUG", Short: "remove a team that has no pods", Example: "podgate team remove makers --yes", ValidArgsFunction: inv.ask(slugs),
		Long: "Its connections and invitations end; the accounts of its members stay. Asks first on a terminal.",
	}
	asJSON := jsonFlag(cmd)
	yes := cmd.Flags().Bool("yes", false, "do not ask")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		if tty := inv.terminal(); tty != nil && !*yes {
			var use control.TeamUse
			err := inv.withControl(ctx, false, func(c *control.Client) (err error) { use, err = c.TeamUse(ctx, args[0]); return err })
			if err != nil {
				return err
			}
			question := fmt.Sprintf("Remove the team %s? Members who lose it: %d, connections that end: %d, invitations: %d.", args[0], use.Members, use.Connections, use.Invitations)
			if err := confirm(ctx, tty, inv.Stderr, question); err != nil {
				return err
			}
		}
		return inv.withControl(ctx, false, func(c *control.Client) error {
			was, err := c.RemoveTeam(ctx, args[0])
			if err != nil {
				return err
			}
			return inv.done(*asJSON, was, "Removed the team %s. Connections ended: %d.", args[0], was.Ended)
		})
	}
	return cmd
}

func (inv *invocation) memberRole() *cobra.Command {
	cmd := &cobra.Command{
		Use: "role SLUG EMAIL ROLE", Short: "give a member of a team another role", Example: "podgate team member role makers ada@example.com owner", ValidArgsFunction: inv.ask(slugs, memberEmails, roles),
		Long: "ROLE is owner, member, or viewer, who reads only. What their connections may do follows at once.",
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return inv.withControl(cmd.Context(), false, func(c *control.Client) error {
			t, err := c.SetRole(cmd.Context(), args[0], args[1], store.Role(args[2]))
			if err != nil {
				return err
			}
			return inv.done(*asJSON, t, "In %s %s is %s now.", args[0], args[1], args[2])
		})
	}
	return cmd
}

func roles(context.Context, *control.Client, []string) ([]cobra.Completion, error) {
	return roleNames(), nil
}

func (inv *invocation) userAdmin() *cobra.Command {
	cmd := &cobra.Command{
		Use: "admin EMAIL", Short: "make somebody an administrator", Example: "podgate user admin bob@example.com", ValidArgsFunction: inv.ask(emails),
	}
	asJSON := jsonFlag(cmd)
	off := cmd.Flags().Bool("off", false, "take it away")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return inv.withControl(cmd.Context(), false, func(c *control.Client) error {
			u, err := c.SetAdmin(cmd.Context(), args[0], !*off)
			switch {
			case err != nil:
				return err
			case *off:
				return inv.done(*asJSON, u, "%s is no administrator any more.", args[0])
			}
			return inv.done(*asJSON, u, "%s is an administrator now.", args[0])
		})
	}
	return cmd
}

func (inv *invocation) teamPolicy() *cobra.Command {
	cmd := &cobra.Command{
		Use: "policy SLUG", Short: "show or change what a team's connections may do at most", Example: "podgate team policy makers --scope pods:read --scope pods:write", ValidArgsFunction: inv.ask(slugs),
		Long: "Without flags it shows. What is left out of a change is no rule any more. It counts at once, also for connections\nthat there are; each may have less by itself.",
	}
	asJSON := jsonFlag(cmd)
	scopes, limits := scopeFlag(cmd, "let connections have the right `SCOPE` at most, such as pods:read; may be repeated"), limitFlags(cmd)
	none := cmd.Flags().Bool("none", false, "take every rule away")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		parsed, change, err := limits.parse(cmd)
		if err != nil {
			return err
		}
		ctx := cmd.Context()
		return inv.withControl(ctx, false, func(c *control.Client) (err error) {
			var r control.TeamRules
			switch {
			case *none:
				r, err = c.SetTeamPolicy(ctx, control.TeamRules{Team: args[0]})
			case change || len(*scopes) > 0:
				r, err = c.SetTeamPolicy(ctx, control.TeamRules{Team: args[0], Scopes: scopeList(*scopes), Limits: parsed})
			default:
				r, err = c.TeamRules(ctx, args[0])
			}
			return inv.printRules(r, err, *asJSON)
		})
	}
	return cmd
}

func (inv *invocation) teamQuota() *cobra.Command {
	cmd := &cobra.Command{
		Use: "quota SLUG", Short: "show or change how much a team may have", Example: "podgate team quota makers --pods 20 --memory 8GiB", ValidArgsFunction: inv.ask(slugs),
		Long: "Without flags it shows. What is left out of a change is what the server's settings give every team.",
	}
	asJSON := jsonFlag(cmd)
	pods := cmd.Flags().Int("pods", 0, "at most `N` pods")
	memory := cmd.Flags().String("memory", "", "pods whose memory is `SIZE` together, such as 8GiB")
	none := cmd.Flags().Bool("none", false, "leave both to the settings")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var size config.Size
		if *memory != "" {
			if err := size.UnmarshalText([]byte(*memory)); err != nil {
				return misuse(cmd, "--memory %q: %v", *memory, err)
			}
		}
		ctx := cmd.Context()
		return inv.withControl(ctx, false, func(c *control.Client) (err error) {
			var r control.TeamRules
			if *none || *pods != 0 || *memory != "" {
				r, err = c.SetTeamQuota(ctx, control.TeamRules{Team: args[0], Pods: *pods, Memory: int64(size)})
			} else {
				r, err = c.TeamRules(ctx, args[0])
			}
			return inv.printRules(r, err, *asJSON)
		})
	}
	return cmd
}

// printRules shows what holds for a team.
func (inv *invocation) printRules(r control.TeamRules, err error, asJSON bool) error {
	switch {
	case err != nil:
		return err
	case asJSON:
		return printJSON(inv.Stdout, r)
	}
	rights, pods, memory := "any", "as the settings say", "as the settings say"
	if len(r.Scopes) > 0 {
		rights = joinScopes(r.Scopes)
	}
	if r.Pods > 0 {
		pods = fmt.Sprint(r.Pods)
	}
	if r.Memory > 0 {
		memory = config.Size(r.Memory).String()
	}
	return printTable(inv.Stdout, [][]string{
		{"TEAM", r.Team},
		{"CONNECTIONS MAY", rights},
		{"LIMITS OF EACH", orDash(strings.Join(authz.LimitWords(r.Limits), ", "))},
		{"PODS AT MOST", fmt.Sprintf("%s (has %d)", pods, r.Use.Pods)},
		{"MEMORY AT MOST", memory},
		{"MEMBERS", fmt.Sprint(r.Use.Members)},
		{"CONNECTIONS", fmt.Sprint(r.Use.Connections)},
		{"INVITATIONS", fmt.Sprint(r.Use.Invitations)},
	})
}

// scopeFlag declares --scope.
func scopeFlag(cmd *cobra.Command, usage string) *[]string {
	scopes := cmd.Flags().StringArray("scope", nil, usage)
	_ = cmd.RegisterFlagCompletionFunc("scope", cobra.FixedCompletions(strings.Fields(joinScopes(authz.Scopes())), cobra.ShellCompDirectiveNoFileComp)) // it was declared here
	return scopes
}

func scopeList(words []string) []store.Scope {
	var list []store.Scope
	for _, w := range words {
		list = append(list, store.Scope(w))
	}
	return slices.Compact(list)
}

// limits are the flags for limits of connections.
type limits struct{ authz.LimitFields }

func limitFlags(cmd *cobra.Command) *limits {
	l := &limits{}
	cmd.Flags().BoolVar(&l.ReadOnly, "read-only", false, "reading only")
	cmd.Flags().StringVar(&l.Prefix, "prefix", "", "only pods whose name begins with `PREFIX`")
	cmd.Flags().StringVar(&l.MaxPods, "max-pods", "", "at most `N` pods")
	return l
}

// parse returns the limits, and whether a flag names any.
func (l *limits) parse(cmd *cobra.Command) (store.Limits, bool, error) {
	parsed, err := l.Parse()
	changed := slices.ContainsFunc([]string{"read-only", "prefix", "max-pods"}, cmd.Flags().Changed)
	if err != nil {
		return parsed, changed, misuse(cmd, "%s", strings.TrimPrefix(err.Error(), "authz: "))
	}
	return parsed, changed, nil
}
