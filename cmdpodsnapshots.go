package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"podgate/control"
	"podgate/internal/text"
)

func (inv *invocation) podSnapshot() *cobra.Command {
	cmd := &cobra.Command{
		Use: "snapshot NAME", Short: "copy a pod's files as they are, to come back to", Example: "podgate pod snapshot hello --note moved", ValidArgsFunction: inv.completePods(),
		Long: "A deploy and a restore take one by themselves before they change anything. A pod keeps ten; the oldest make room,\nthose taken with this command last.",
	}
	note := cmd.Flags().String("note", "", "a `LINE` to know it by")
	return inv.toolCommand(cmd, "snapshot_pod", func(args []string) (map[string]any, error) {
		return map[string]any{"name": args[0], "note": *note}, nil
	})
}

func (inv *invocation) podSnapshots() *cobra.Command {
	cmd := &cobra.Command{
		Use: "snapshots NAME", Short: "list a pod's snapshots, or delete one", Example: "podgate pod snapshots hello", ValidArgsFunction: inv.completePods(),
	}
	f := inv.toolFlags(cmd)
	gone := cmd.Flags().String("delete", "", "delete the snapshot with this `ID`")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		tool, in := "list_snapshots", map[string]any{"name": args[0]}
		if *gone != "" {
			tool, in["snapshot"] = "delete_snapshot", *gone
		}
		r, err := f.call(cmd.Context(), tool, in, nil)
		if err != nil {
			return err
		}
		return f.print(r)
	}
	return cmd
}

func (inv *invocation) podRestore() *cobra.Command {
	return inv.toolCommand(&cobra.Command{
		Use: "restore NAME SNAPSHOT", Short: "put the files of a snapshot in the place of a pod's files", Example: "podgate pod restore hello k3v9q2m7xa", ValidArgsFunction: inv.completePods(),
		Long: "SNAPSHOT is an id that «podgate pod snapshots» shows. The files as they are become a snapshot themselves, so that a\nrestore can be undone. Environment variables stay as they are.",
	}, "restore_snapshot", func(args []string) (map[string]any, error) {
		return map[string]any{"name": args[0], "snapshot": args[1]}, nil
	})
}

func (inv *invocation) podClone() *cobra.Command {
	cmd := &cobra.Command{
		Use: "clone NAME NEW", Short: "make a pod with the files, the preset, the plan and the network of another", Example: "podgate pod clone hello hello-test", ValidArgsFunction: inv.completePods(),
		Long: "Values of environment variables are copied only with --with-env; otherwise it says which are missing.",
	}
	snapshot := cmd.Flags().String("snapshot", "", "copy the snapshot with this `ID` (default: the files as they are)")
	withEnv := cmd.Flags().Bool("with-env", false, "copy the values of environment variables too, which may be secrets")
	return inv.toolCommand(cmd, "clone_pod", func(args []string) (map[string]any, error) {
		return map[string]any{"name": args[0], "new_name": args[1], "snapshot": *snapshot, "with_env": *withEnv}, nil
	})
}

func (inv *invocation) podPlan() *cobra.Command {
	return inv.toolCommand(&cobra.Command{
		Use: "plan NAME PLAN", Short: "give a pod another plan: more or less memory, CPU and disk", Example: "podgate pod plan hello large", ValidArgsFunction: inv.completePods(),
		Long: "A pod that runs is started anew with it. Its files stay.",
	}, "resize_pod", func(args []string) (map[string]any, error) {
		return map[string]any{"name": args[0], "plan": args[1]}, nil
	})
}

func (inv *invocation) podUndelete() *cobra.Command {
	cmd := &cobra.Command{
		Use: "undelete [NAME]", Short: "bring a deleted pod back, or list those that can be", Example: "podgate pod undelete hello",
		Long: "For seven days a deleted pod is kept with all its files, its variables, its deploys and its snapshots; without NAME it\n" +
			"shows those of every team. It is for the server's machine: elsewhere owners of the team do it on the page of pods.\n" +
			"NAME may be an id that the list shows, where several pods had the name.",
	}
	asJSON := jsonFlag(cmd)
	as := cmd.Flags().String("as", "", "bring it back under another `NAME`")
	team := cmd.Flags().String("team", "", "of the team `SLUG`")
	forGood := cmd.Flags().Bool("for-good", false, "delete it for good instead")
	yes := cmd.Flags().Bool("yes", false, "with --for-good: do not ask")
	_ = cmd.RegisterFlagCompletionFunc("team", inv.askForFlag(slugs)) // it was declared here
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		return inv.withControl(ctx, false, func(c *control.Client) error {
			switch {
			case len(args) == 0:
				list, err := c.DeletedPods(ctx, *team)
				if err != nil {
					return err
				}
				return inv.printDeleted(list, *asJSON)
			case *forGood:
				if err := inv.confirmPurge(cmd, args[0], *yes); err != nil {
					return err
				}
				p, err := c.Purge(ctx, args[0], *team)
				if err != nil || *asJSON {
					return orPrint(inv, p, err)
				}
				return inv.say("Pod %s is gone for good.", p.Name)
			}
			p, err := c.Undelete(ctx, args[0], *as, *team)
			if err != nil || *asJSON {
				return orPrint(inv, p, err)
			}
			if p.Reason != "" {
				return inv.say("Pod %s is back, but %s", p.Name, text.Visible(p.Reason))
			}
			return inv.say("Pod %s is back and is %s, at %s", p.Name, p.Status, p.URL)
		})
	}
	return cmd
}

// orPrint prints for a program what there is, unless there is an error.
func orPrint(inv *invocation, v any, err error) error {
	if err != nil {
		return err
	}
	return printJSON(inv.Stdout, v)
}

func (inv *invocation) printDeleted(list []control.DeletedPod, asJSON bool) error {
	switch {
	case asJSON:
		return printJSON(inv.Stdout, list)
	case len(list) == 0:
		return inv.say("No pod was deleted in the last seven days.")
	}
	rows := [][]string{{"POD", "ID", "TEAM", "PRESET", "DELETED", "GONE FOR GOOD"}}
	for _, p := range list {
		rows = append(rows, []string{p.Name, p.ID, p.Team, p.Preset, p.Deleted.Format(time.DateTime), p.Until.Format(time.DateTime)})
	}
	return printTable(inv.Stdout, rows)
}

// confirmPurge has the name typed.
func (inv *invocation) confirmPurge(cmd *cobra.Command, name string, yes bool) error {
	if yes {
		return nil
	}
	tty := inv.terminal()
	if tty == nil {
		return misuse(cmd, "nobody can be asked here; write --yes to delete %s for good", text.Visible(name))
	}
	typed, err := askLine(cmd.Context(), tty, inv.Stderr, fmt.Sprintf("All its files and snapshots are lost then. Type %s to delete it for good: ", text.Visible(name)))
	if err == nil && typed != name {
		err = errDeclined
	}
	return err
}
