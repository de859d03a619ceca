package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"podgate/control"
	"podgate/internal/text"
)

func (inv *invocation) status() *cobra.Command {
	cmd := &cobra.Command{
		Use: "status", Short: "show how the running server is: problems, regions, certificates and backups", Example: "podgate status",
		Long: "What a client sees from outside is for «podgate doctor», and the settings in force for «podgate config show». The\nexit code is 1 when there is a problem, or no server runs.",
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := inv.running(cmd.Context())
		if err != nil {
			return err
		}
		defer c.Close() // nothing was written
		now, err := c.Status(cmd.Context())
		if err != nil {
			return err
		}
		if *asJSON {
			err = printJSON(inv.Stdout, now)
		} else {
			err = inv.printStatus(now)
		}
		if err == nil && len(now.Problems) > 0 {
			err = errSilent
		}
		return err
	}
	return cmd
}

// running connects to the server that runs from the data folder.
func (inv *invocation) running(ctx context.Context) (*control.Client, error) {
	s, err := inv.load()
	if err != nil {
		return nil, err
	}
	c, err := control.Running(ctx, s.DataDir)
	if err == nil && c == nil {
		err = fmt.Errorf("no server runs from %s", s.DataDir)
	}
	return c, err
}

func (inv *invocation) printStatus(s control.Status) error {
	rows := [][]string{{"ADDRESS", s.Address}, {"VERSION", s.Version}, {"STARTED", moment(s.Started)}}
	for _, p := range s.Problems {
		rows = append(rows, []string{"PROBLEM", p})
	}
	for _, r := range s.Regions {
		rows = append(rows, []string{"REGION", regionLine(r)})
	}
	for _, c := range s.Certificates {
		rows = append(rows, []string{"CERTIFICATE", certificateLine(c)})
	}
	if s.Backup != nil {
		rows = append(rows, []string{"BACKUP", backupLine(*s.Backup)})
	}
	if u := s.Undoable; u != nil {
		rows = append(rows, []string{"UNDO", fmt.Sprintf("snapshots: %d, %s; deleted pods: %d, %s", u.Snapshots, size(u.SnapshotBytes), u.DeletedPods, size(u.DeletedPodBytes))})
	}
	if s.Upgrade != nil {
		rows = append(rows, []string{"UPGRADE", upgradeLine(*s.Upgrade)})
	}
	return printTable(inv.Stdout, rows)
}

func upgradeLine(u control.Upgrade) string {
	line := fmt.Sprintf("from %s to %s, of %s: %s", u.From, u.To, moment(u.Began), u.State)
	if u.Reason != "" {
		line += "; " + text.Line(u.Reason, 300)
	}
	return line
}

func regionLine(r control.Region) string {
	how := "works"
	if !r.Works {
		how = "pods cannot run: " + r.Fault
	}
	return fmt.Sprintf("%s (%s): %s", r.Name, r.Runtime, how)
}

func backupLine(b control.Backup) string {
	line := "none yet"
	if !b.Last.IsZero() {
		line = "the last of " + moment(b.Last)
	}
	switch b.State {
	case "failed":
		return fmt.Sprintf("%s; failed: %s (%s); the next try is %s", line, b.Problem, moment(b.At), moment(b.Next))
	case "late":
		line += ", which is late"
	}
	return fmt.Sprintf("%s; the next is %s", line, moment(b.Next))
}

func certificateLine(c control.Certificate) string {
	line := c.Name + ": none in force"
	if c.State != "failed" {
		line = fmt.Sprintf("%s: in force until %s", c.Name, moment(c.Expires))
	}
	if c.Problem != "" {
		line += fmt.Sprintf("; %s (%s)", c.Problem, moment(c.At))
	}
	return line
}
