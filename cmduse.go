package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"podgate/control"
	"podgate/store"
)

func (inv *invocation) podUse() *cobra.Command {
	cmd := &cobra.Command{
		Use: "use NAME", Short: "show what a pod used during the last day", Example: "podgate pod use hello", ValidArgsFunction: inv.ask(podNames),
		Long: "A line is an hour; --json has every five minutes in which it ran. It is for the server's machine.",
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return inv.withControl(cmd.Context(), false, func(c *control.Client) error {
			used, err := c.PodUse(cmd.Context(), args[0])
			switch {
			case err != nil:
				return err
			case *asJSON:
				return printJSON(inv.Stdout, used)
			case len(used.Points) == 0:
				return inv.say("Nothing was measured during the last day: the pod did not run.")
			}
			return printTable(inv.Stdout, useRows(used))
		})
	}
	return cmd
}

// useRows has a line for each hour in which something was measured: the most memory,
// CPU on average of what was measured, and bytes altogether.
func useRows(used control.PodUse) [][]string {
	rows := [][]string{{"HOUR", "MEMORY", "CORES", "RECEIVED", "SENT"}}
	var sum control.UsePoint
	n := 0
	flush := func() {
		if n > 0 {
			cores := float64(sum.CPU) / float64(n) / float64(store.UsageStep.Milliseconds())
			rows = append(rows, []string{sum.At.Format("2006-01-02 15:04Z"), size(sum.Memory), fmt.Sprintf("%.2f", cores), size(sum.Received), size(sum.Sent)})
		}
	}
	for _, p := range used.Points {
		if hour := p.At.Truncate(time.Hour); !hour.Equal(sum.At) {
			flush()
			sum, n = control.UsePoint{At: hour}, 0
		}
		n++
		sum.Memory = max(sum.Memory, p.Memory)
		sum.CPU, sum.Received, sum.Sent = sum.CPU+p.CPU, sum.Received+p.Received, sum.Sent+p.Sent
	}
	flush()
	return rows
}
