package main

import (
	"context"
	"fmt"
	"strings"

	"podgate/control"
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

func setupSetupLink(inv *invocation) func(context.Context) error {
	asJSON := inv.jsonFlag()
	return func(ctx context.Context) error {
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
}

func userCommands() []command {
	return []command{
		{name: "user add", args: "EMAIL", least: 1, most: 1, summary: "add a person", setup: setupUserAdd,
			details: "Asks for a password on a terminal. Without one, a password is made and printed once."},
		{name: "user list", summary: "list everybody", setup: setupUserList},
		{name: "user passwd", args: "EMAIL", least: 1, most: 1, summary: "give somebody a new password", setup: setupUserPasswd,
			details: "All sessions and connections of that person end."},
		{name: "user remove", args: "EMAIL", least: 1, most: 1, summary: "remove somebody with all sessions and connections", setup: setupUserRemove,
			details: "Teams and pods stay."},
	}
}

func setupUserAdd(inv *invocation) func(context.Context) error {
	var teams []string
	admin := inv.flags.Bool("admin", false, "make the person an administrator")
	name := inv.flags.String("name", "", "the person's `NAME` (default: the part of EMAIL before the @)")
	inv.flags.Func("team", "put the person into the team `SLUG`; may be repeated", func(s string) error { teams = append(teams, s); return nil })
	secret := inv.passwordFlags()
	return func(ctx context.Context) error {
		password, err := secret.get(ctx, inv)
		if err != nil {
			return err
		}
		return inv.withControl(ctx, true, func(c *control.Client) error {
			u, err := c.AddUser(ctx, control.NewUser{Email: inv.args[0], Name: *name, Password: password.text, Admin: *admin, Teams: teams})
			if err != nil {
				return err
			}
			if err := inv.say("Added %s.", u.Email); err != nil {
				return err
			}
			return password.reveal(inv)
		})
	}
}

func setupUserList(inv *invocation) func(context.Context) error {
	asJSON := inv.jsonFlag()
	return func(ctx context.Context) error {
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

func setupUserPasswd(inv *invocation) func(context.Context) error {
	secret := inv.passwordFlags()
	return func(ctx context.Context) error {
		password, err := secret.get(ctx, inv)
		if err != nil {
			return err
		}
		return inv.withControl(ctx, false, func(c *control.Client) error {
			if err := c.SetPassword(ctx, inv.args[0], password.text); err != nil {
				return err
			}
			if err := inv.say("%s has a new password. All their sessions and connections have ended.", inv.args[0]); err != nil {
				return err
			}
			return password.reveal(inv)
		})
	}
}

func setupUserRemove(inv *invocation) func(context.Context) error {
	return func(ctx context.Context) error {
		return inv.withControl(ctx, false, func(c *control.Client) error {
			if err := c.RemoveUser(ctx, inv.args[0]); err != nil {
				return err
			}
			return inv.say("Removed %s.", inv.args[0])
		})
	}
}

func teamCommands() []command {
	return []command{
		{name: "team add", args: "SLUG", least: 1, most: 1, summary: "add a team", setup: setupTeamAdd,
			details: "SLUG is its short name: lower-case letters, digits and hyphens."},
		{name: "team list", summary: "list the teams and their members", setup: setupTeamList},
		{name: "team member add", args: "SLUG EMAIL", least: 2, most: 2, summary: "put somebody into a team, or change the role there", setup: setupMemberAdd},
		{name: "team member remove", args: "SLUG EMAIL", least: 2, most: 2, summary: "take somebody out of a team", setup: setupMemberRemove,
			details: "The connections that they made for the team end."},
	}
}

func setupTeamAdd(inv *invocation) func(context.Context) error {
	name := inv.flags.String("name", "", "the `NAME` that people see (default: SLUG)")
	return func(ctx context.Context) error {
		return inv.withControl(ctx, true, func(c *control.Client) error {
			t, err := c.AddTeam(ctx, inv.args[0], *name)
			if err != nil {
				return err
			}
			return inv.say("Added the team %s.", t.Slug)
		})
	}
}

func setupTeamList(inv *invocation) func(context.Context) error {
	asJSON := inv.jsonFlag()
	return func(ctx context.Context) error {
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

func setupMemberAdd(inv *invocation) func(context.Context) error {
	owner := inv.flags.Bool("owner", false, "as an owner, who may change the team")
	return func(ctx context.Context) error {
		return inv.withControl(ctx, false, func(c *control.Client) error {
			if err := c.AddMember(ctx, inv.args[0], inv.args[1], *owner); err != nil {
				return err
			}
			role := "a member"
			if *owner {
				role = "an owner"
			}
			return inv.say("%s is %s of %s.", inv.args[1], role, inv.args[0])
		})
	}
}

func setupMemberRemove(inv *invocation) func(context.Context) error {
	return func(ctx context.Context) error {
		return inv.withControl(ctx, false, func(c *control.Client) error {
			revoked, err := c.RemoveMember(ctx, inv.args[0], inv.args[1])
			if err != nil {
				return err
			}
			return inv.say("%s is no longer in %s. Connections ended: %d.", inv.args[1], inv.args[0], revoked)
		})
	}
}

func setupCheck(inv *invocation) func(context.Context) error {
	asJSON := inv.jsonFlag()
	return func(ctx context.Context) error {
		return inv.withControl(ctx, false, func(c *control.Client) error {
			report, err := c.Check(ctx)
			if err != nil {
				return err
			}
			if err := inv.printReport(report, *asJSON); err != nil {
				return err
			}
			if !report.OK {
				return errSilent
			}
			return nil
		})
	}
}

func (inv *invocation) printReport(r control.Report, asJSON bool) error {
	if asJSON {
		return printJSON(inv.Stdout, r)
	}
	if !r.OK {
		return inv.say("The database is damaged:\n  %s", strings.Join(r.Faults, "\n  "))
	}
	var counts []string
	for _, c := range r.Counts {
		counts = append(counts, fmt.Sprintf("%s %d", c.Kind, c.N))
	}
	return inv.say("ok: %s", strings.Join(counts, ", "))
}
