package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"podgate/control"
	"podgate/internal/text"
	"podgate/store"
)

// withControl opens the way to the running server or to the database, calls
// act and closes it again. create says whether the command may begin a
// database.
func (inv *invocation) withControl(ctx context.Context, create bool, act func(*control.Client) error) error {
	s, err := inv.load()
	if err != nil {
		return err
	}
	c, err := control.Open(ctx, s.DataDir, create, localControl(s))
	if err != nil {
		return dataDirWords(err, s)
	}
	if m := c.Migrated; m != nil {
		fmt.Fprintf(inv.Stderr, "The database was migrated from format %d to %d. As it was it is %s.\n", m.From, m.To, m.Copy)
	}
	err = act(c)
	if closed := c.Close(); err == nil {
		err = closed
	}
	return err
}

func (inv *invocation) say(format string, args ...any) error {
	_, err := fmt.Fprintf(inv.Stdout, format+"\n", args...)
	return err
}

func (inv *invocation) setupLink() *cobra.Command {
	cmd := &cobra.Command{
		Use: "setup-link", Short: "make a fresh one-time link for the first administrator", Example: "podgate setup-link",
		Long: "Earlier links no longer work. The link is good for 30 minutes. A browser that does not find podgate.localhost, such as\nSafari, finds it at localhost in its place.",
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		return inv.withControl(ctx, true, func(c *control.Client) error {
			link, err := c.SetupLink(ctx)
			if err != nil {
				return err
			}
			if *asJSON {
				return printJSON(inv.Stdout, link)
			}
			if !c.Running {
				if err := inv.say("The server does not run. Start it, then open this link:"); err != nil {
					return err
				}
			}
			return inv.say("%s", link.URL)
		})
	}
	return cmd
}

func (inv *invocation) user() *cobra.Command {
	return group("user", "add, list, sign out and remove people", inv.userAdd(), inv.userList(), inv.userPasswd(), inv.userSessions(), inv.userSignOut(), inv.userAdmin(), inv.userRemove())
}

func (inv *invocation) userAdd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "add EMAIL", Short: "add a person", Example: "podgate user add ada@example.com --admin --team makers",
		Long: "Asks for a password on a terminal. Without one, a password is made and printed once.",
	}
	var teams []string
	admin := cmd.Flags().Bool("admin", false, "make the person an administrator")
	name := cmd.Flags().String("name", "", "the person's `NAME` (default: the part of EMAIL before the @)")
	cmd.Flags().StringArrayVar(&teams, "team", nil, "put the person into the team `SLUG`; may be repeated")
	asJSON, secret := jsonFlag(cmd), passwordFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		password, err := secret.get(ctx, inv)
		if err != nil {
			return err
		}
		return inv.withControl(ctx, true, func(c *control.Client) error {
			u, err := c.AddUser(ctx, control.NewUser{Email: args[0], Name: *name, Password: password.text, Admin: *admin, Teams: teams})
			if err != nil {
				return err
			}
			return password.reveal(inv, *asJSON, u, fmt.Sprintf("Added %s.", u.Email))
		})
	}
	return cmd
}

func (inv *invocation) userList() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "list everybody", Example: "podgate user list"}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		return inv.withControl(ctx, false, func(c *control.Client) error {
			users, err := c.Users(ctx)
			if err != nil {
				return err
			}
			if *asJSON {
				return printJSON(inv.Stdout, users)
			}
			return printTable(inv.Stdout, userRows(users))
		})
	}
	return cmd
}

func userRows(users []control.User) [][]string {
	rows := [][]string{{"EMAIL", "NAME", "ADMIN", "TEAMS"}}
	for _, u := range users {
		var teams []string
		for _, t := range u.Teams {
			teams = append(teams, fmt.Sprintf("%s (%s)", t.Slug, t.Role))
		}
		rows = append(rows, []string{u.Email, u.Name, yesNo(u.Admin), orDash(strings.Join(teams, ", "))})
	}
	return rows
}

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func (inv *invocation) userPasswd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "passwd EMAIL", Short: "give somebody a new password", Example: "podgate user passwd ada@example.com", ValidArgsFunction: inv.ask(emails),
		Long: "All sessions, connections and passkeys of that person end.",
	}
	asJSON, secret := jsonFlag(cmd), passwordFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		password, err := secret.get(ctx, inv)
		if err != nil {
			return err
		}
		return inv.withControl(ctx, false, func(c *control.Client) error {
			u, err := c.SetPassword(ctx, args[0], password.text)
			if err != nil {
				return err
			}
			return password.reveal(inv, *asJSON, u, args[0]+" has a new password. All their sessions, connections and passkeys have ended.")
		})
	}
	return cmd
}

func (inv *invocation) userRemove() *cobra.Command {
	cmd := &cobra.Command{
		Use: "remove EMAIL", Short: "remove somebody with all sessions and connections", Example: "podgate user remove ada@example.com", ValidArgsFunction: inv.ask(emails),
		Long: "Teams and pods stay; teams that nobody else owns are named. Asks first on a terminal.",
	}
	asJSON := jsonFlag(cmd)
	yes := cmd.Flags().Bool("yes", false, "do not ask")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		if !*yes {
			if err := inv.confirmRemoval(ctx, args[0]); err != nil {
				return err
			}
		}
		return inv.withControl(ctx, false, func(c *control.Client) error {
			was, err := c.RemoveUser(ctx, args[0])
			if err != nil {
				return err
			}
			return inv.done(*asJSON, was, "Removed %s.%s", args[0], ownerless("Nobody owns", was.OnlyOwnerOf...))
		})
	}
	return cmd
}

// confirmRemoval asks at a terminal, if there is one. The database is let go
// before: somebody may think for long, and a server could not start.
func (inv *invocation) confirmRemoval(ctx context.Context, email string) error {
	tty := inv.terminal()
	if tty == nil {
		return nil
	}
	var u control.UserDetail
	err := inv.withControl(ctx, false, func(c *control.Client) (err error) {
		u, err = c.User(ctx, email)
		return err
	})
	if err != nil {
		return err
	}
	return confirm(ctx, tty, inv.Stderr, removalQuestion(u))
}

// removalQuestion names a person and what ends with them.
func removalQuestion(u control.UserDetail) string {
	who := u.Email
	if u.Name != "" {
		who += fmt.Sprintf(" (%s)", u.Name)
	}
	if u.Admin {
		who += ", an administrator"
	}
	return fmt.Sprintf("Remove %s? Sessions that end: %d, connections: %d. Teams and pods stay.%s", text.Visible(who), u.Sessions, u.Connections, ownerless("Nobody will own", u.OnlyOwnerOf...))
}

// ownerless names teams that nobody owns without somebody, and what to do.
func ownerless(begin string, slugs ...string) string {
	if len(slugs) == 0 {
		return ""
	}
	return fmt.Sprintf(" %s: %s; «podgate team member add SLUG EMAIL --owner» gives a team one.", begin, strings.Join(slugs, ", "))
}

func (inv *invocation) team() *cobra.Command {
	return group("team", "add and list teams, and say who is in them and what they may do", inv.teamAdd(), inv.teamList(), inv.teamRename(),
		group("member", "say who is in a team", inv.memberAdd(), inv.memberRole(), inv.memberRemove()),
		inv.teamInvite(), group("invitation", "list and end invitations to a team", inv.invitationList(), inv.invitationWithdraw()),
		inv.teamPolicy(), inv.teamQuota(), inv.teamNetwork(), inv.teamRemove())
}

func (inv *invocation) teamAdd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "add SLUG", Short: "add a team", Example: "podgate team add makers --name Makers",
		Long: "SLUG is its short name: lower-case letters, digits and hyphens.",
	}
	asJSON := jsonFlag(cmd)
	name := cmd.Flags().String("name", "", "the `NAME` that people see (default: SLUG)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		return inv.withControl(ctx, true, func(c *control.Client) error {
			t, err := c.AddTeam(ctx, args[0], *name)
			if err != nil {
				return err
			}
			return inv.done(*asJSON, t, "Added the team %s.", t.Slug)
		})
	}
	return cmd
}

func (inv *invocation) teamList() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "list the teams and their members", Example: "podgate team list"}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		return inv.withControl(ctx, false, func(c *control.Client) error {
			teams, err := c.Teams(ctx)
			if err != nil {
				return err
			}
			if *asJSON {
				return printJSON(inv.Stdout, teams)
			}
			return printTable(inv.Stdout, teamRows(teams))
		})
	}
	return cmd
}

func teamRows(teams []control.Team) [][]string {
	rows := [][]string{{"TEAM", "NAME", "MEMBERS"}}
	for _, t := range teams {
		var members []string
		for _, m := range t.Members {
			members = append(members, fmt.Sprintf("%s (%s)", m.Email, m.Role))
		}
		rows = append(rows, []string{t.Slug, t.Name, orDash(strings.Join(members, ", "))})
	}
	return rows
}

func (inv *invocation) memberAdd() *cobra.Command {
	cmd := &cobra.Command{Use: "add SLUG EMAIL", Short: "put somebody into a team, or change the role there", Example: "podgate team member add makers ada@example.com --owner", ValidArgsFunction: inv.ask(slugs, emails)}
	asJSON := jsonFlag(cmd)
	owner := cmd.Flags().Bool("owner", false, "as an owner, who may change the team")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		return inv.withControl(ctx, false, func(c *control.Client) error {
			t, err := c.AddMember(ctx, args[0], args[1], *owner)
			if err != nil {
				return err
			}
			role := "a member"
			if *owner {
				role = "an owner"
			}
			return inv.done(*asJSON, t, "%s is %s of %s.", args[1], role, args[0])
		})
	}
	return cmd
}

func (inv *invocation) memberRemove() *cobra.Command {
	cmd := &cobra.Command{
		Use: "remove SLUG EMAIL", Short: "take somebody out of a team", Example: "podgate team member remove makers ada@example.com", ValidArgsFunction: inv.ask(slugs, memberEmails),
		Long: "The connections that they made for the team end.",
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		return inv.withControl(ctx, false, func(c *control.Client) error {
			t, err := c.RemoveMember(ctx, args[0], args[1])
			if err != nil {
				return err
			}
			words := ""
			if !slices.ContainsFunc(t.Members, func(m control.TeamMember) bool { return m.Role == store.RoleOwner }) {
				words = ownerless("Nobody owns", t.Slug)
			}
			return inv.done(*asJSON, t, "%s is no longer in %s. Connections ended: %d.%s", args[1], args[0], t.Ended, words)
		})
	}
	return cmd
}

func (inv *invocation) check() *cobra.Command {
	cmd := &cobra.Command{
		Use: "check", Short: "verify the database", Example: "podgate check",
		Long: "Verifies every record, index entry and reference, also while the server runs.",
	}
	asJSON := jsonFlag(cmd)
	repair := cmd.Flags().Bool("repair", false, "first make indexes and deadlines anew from the records")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		return inv.withControl(ctx, false, func(c *control.Client) error {
			look := c.Check
			if *repair {
				look = c.Repair
			}
			report, err := look(ctx)
			if err != nil {
				return err
			}
			if err := inv.printReport(report, *asJSON, *repair); err != nil {
				return err
			}
			if !report.OK {
				return errSilent
			}
			return nil
		})
	}
	return cmd
}

func (inv *invocation) printReport(r control.Report, asJSON, repaired bool) error {
	if asJSON {
		return printJSON(inv.Stdout, r)
	}
	if !r.OK {
		next := "«podgate check --repair» mends what can be made from the records."
		if repaired {
			next = "This cannot be made from the records; a copy of podgate.db from before may have it."
		}
		return inv.say("The database is damaged:\n  %s\n%s", strings.Join(r.Damage, "\n  "), next)
	}
	var counts []string
	for _, c := range r.Counts {
		counts = append(counts, fmt.Sprintf("%s %d", c.Kind, c.N))
	}
	return inv.say("ok: %s", strings.Join(counts, ", "))
}
