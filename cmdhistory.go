package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"podgate/control"
	"podgate/history"
	"podgate/internal/text"
	"podgate/store"
)

// moment is a time for a terminal.
func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

// listFlags declares --since and --limit.
func listFlags(cmd *cobra.Command, limit int) *control.ListRequest {
	r := &control.ListRequest{Limit: limit}
	cmd.Flags().Func("since", "only from `TIME` on: 30m, 24h, 7d, or a date such as 2026-03-01", func(s string) (err error) {
		r.Since, err = parseSince(s, time.Now())
		return err
	})
	cmd.Flags().Func("limit", fmt.Sprintf("at most `N` (default %d)", limit), func(s string) error {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return fmt.Errorf("write a number from 1 on")
		}
		r.Limit = n
		return nil
	})
	return r
}

// parseSince reads a time before now, or a date.
func parseSince(s string, now time.Time) (time.Time, error) {
	for _, form := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(form, s); err == nil {
			return t, nil
		}
	}
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return now.AddDate(0, 0, -int(n)), nil
		}
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	return time.Time{}, fmt.Errorf("write a time such as 30m, 24h or 7d, or a date such as 2026-03-01")
}

func (inv *invocation) timeline() *cobra.Command {
	cmd := &cobra.Command{
		Use: "timeline [CLIENT]", Short: "show how clients fared on their way to a connection", Example: "podgate timeline claude --since 1h",
		Long: "The newest attempt comes first, each with what happened, what was expected next and what usually stops it there.\n" +
			"CLIENT is a client id, or part of a client's name or host or of a person's address. Steps are kept for 14 days.",
	}
	asJSON := jsonFlag(cmd)
	request := listFlags(cmd, 10)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		if len(args) > 0 {
			request.Client = args[0]
		}
		return inv.withControl(ctx, false, func(c *control.Client) error {
			list, err := c.Timeline(ctx, *request)
			if err != nil {
				return err
			}
			if *asJSON {
				return printJSON(inv.Stdout, list)
			}
			if len(list) == 0 {
				return inv.sayNoAttempts(ctx, c, *request)
			}
			return inv.printTimeline(list)
		})
	}
	return cmd
}

func (inv *invocation) printTimeline(list []control.Attempt) error {
	for i, a := range list {
		if i > 0 {
			if err := inv.say(""); err != nil {
				return err
			}
		}
		if err := inv.say("%s", attemptHead(a)); err != nil {
			return err
		}
		if err := printTable(inv.Stdout, stepRows(a)); err != nil {
			return err
		}
	}
	return nil
}

// sayNoAttempts says why a timeline is empty, and whose attempts there are.
func (inv *invocation) sayNoAttempts(ctx context.Context, c *control.Client, r control.ListRequest) error {
	none := "No attempts"
	if !r.Since.IsZero() {
		none += " since " + moment(r.Since)
	}
	others, err := c.Timeline(ctx, control.ListRequest{Since: r.Since, Limit: maxNamed})
	switch {
	case err != nil:
		return err
	case len(others) == 0:
		return inv.say("%s. Give a client the address of this server, and its steps appear here.", none)
	}
	var names []string
	for _, a := range others {
		name := clientOf(a)
		if a.Name != "" {
			name = text.Line(a.Name, 40) + " (" + name + ")"
		}
		if name = text.Visible(name); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return inv.say("%s of %q. The latest are of: %s.", none, r.Client, strings.Join(names, ", "))
}

// maxNamed is how many attempts are looked at to say whose there are.
const maxNamed = 20

// clientOf is the client as far as it is known.
func clientOf(a control.Attempt) string { return cmp.Or(a.Host, string(a.Client), "unknown client") }

// attemptHead is the client as far as it is known, and how it fared.
func attemptHead(a control.Attempt) string {
	parts := []string{strings.ToUpper(string(a.Diagnosis.State)), clientOf(a)}
	if a.Name != "" {
		parts = append(parts, fmt.Sprintf("calls itself %q", text.Visible(a.Name)))
	}
	if a.User != "" {
		parts = append(parts, a.User)
	}
	if a.Team != "" {
		parts = append(parts, "team "+a.Team)
	}
	return text.Visible(strings.Join(parts, " · ")) + "\n  " + text.Visible(a.Diagnosis.Text())
}

func stepRows(a control.Attempt) [][]string {
	var rows [][]string
	for _, s := range a.Steps {
		text := s.Text
		if s.Count > 1 {
			text += fmt.Sprintf(" (%d times, last %s)", s.Count, moment(s.Last))
		}
		rows = append(rows, []string{"  " + moment(s.At), text, s.Addr, s.Agent})
	}
	return rows
}

func (inv *invocation) audit() *cobra.Command {
	cmd := &cobra.Command{
		Use: "audit", Short: "show who did what", Example: "podgate audit --since 24h",
		Long: "Sign-ins, consents, tokens, revocations, changes of users and teams, and tools that change something; no arguments. Kept for 90 days.",
	}
	asJSON := jsonFlag(cmd)
	request := listFlags(cmd, 100)
	cmd.Flags().StringVar(&request.Pod, "pod", "", "only what was done to the pod `NAME`")
	_ = cmd.RegisterFlagCompletionFunc("pod", inv.askForFlag(podNames)) // it was declared here
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		return inv.withControl(ctx, false, func(c *control.Client) error {
			list, err := c.Audit(ctx, *request)
			if err != nil {
				return err
			}
			if *asJSON {
				return printJSON(inv.Stdout, list)
			}
			return printTable(inv.Stdout, auditRows(list))
		})
	}
	return cmd
}

func auditRows(list []control.Entry) [][]string {
	rows := [][]string{{"TIME", "WHO", "WHAT", "ON", "THROUGH", "TEAM", "OUTCOME", "FROM"}}
	for _, e := range list {
		what := history.AuditWords(store.AuditEntry{Action: e.Action, Outcome: e.Outcome})
		if e.Count > 1 {
			what += fmt.Sprintf(" (%d times)", e.Count)
		}
		through := e.Client
		if e.Name != "" {
			through += fmt.Sprintf(" (%s)", text.Line(e.Name, 40))
		}
		rows = append(rows, []string{moment(e.Last), orDash(e.Actor), what, orDash(e.Object), orDash(through), orDash(e.Team), e.Outcome, orDash(e.Addr)})
	}
	return rows
}
