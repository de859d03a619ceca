package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"podgate/control"
	"podgate/pods/egress"
)

func (inv *invocation) teamNetwork() *cobra.Command {
	cmd := &cobra.Command{
		Use: "network SLUG", Short: "show or change what a team's pods may reach", Example: "podgate team network makers --allow api.example.com --allow @github", ValidArgsFunction: inv.ask(slugs),
		Long: "Without flags it shows. A team can only take away from what the region lets its pods reach. A change counts at\n" +
			"once, also for connections that are open.",
	}
	asJSON, change := jsonFlag(cmd), networkFlagsOf(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		return inv.withControl(ctx, false, func(c *control.Client) (err error) {
			var n control.TeamNetwork
			if setting := change.setting(cmd, args[0]); setting != nil {
				n, err = c.SetTeamNetwork(ctx, *setting)
			} else {
				n, err = c.TeamNetwork(ctx, args[0])
			}
			switch {
			case err != nil:
				return err
			case *asJSON:
				return printJSON(inv.Stdout, n)
			}
			return printTable(inv.Stdout, networkRows(n.Regions...))
		})
	}
	return cmd
}

func (inv *invocation) podNetwork() *cobra.Command {
	cmd := &cobra.Command{
		Use: "network NAME", Short: "show or change what a pod may reach, and show what it has reached", Example: "podgate pod network hello --mode none", ValidArgsFunction: inv.ask(podNames),
		Long: "Without flags it shows. A pod can only have less than its team and its region. A change counts at once, also for\n" +
			"connections that are open. What a pod has reached is kept in memory while the server runs.",
	}
	asJSON, change := jsonFlag(cmd), networkFlagsOf(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		return inv.withControl(ctx, false, func(c *control.Client) (err error) {
			var n control.PodNetwork
			if setting := change.setting(cmd, args[0]); setting != nil {
				n, err = c.SetPodNetwork(ctx, *setting)
			} else {
				n, err = c.PodNetwork(ctx, args[0])
			}
			switch {
			case err != nil:
				return err
			case *asJSON:
				return printJSON(inv.Stdout, n)
			}
			return inv.printPodNetwork(n, c.Running)
		})
	}
	return cmd
}

func (inv *invocation) printPodNetwork(n control.PodNetwork, running bool) error {
	if err := printTable(inv.Stdout, networkRows(n.Network)); err != nil {
		return err
	}
	switch {
	case !running:
		return inv.say("\nThe server does not run: nothing is known of what the pod has reached.")
	case len(n.Ledger) == 0:
		return inv.say("\nThe pod has reached for nothing since the server was started.")
	}
	if err := inv.say(""); err != nil {
		return err
	}
	return printTable(inv.Stdout, ledgerRows(n.Ledger))
}

// networkChange are the flags that change what may be reached.
type networkChange struct {
	mode  string
	allow []string
}

func networkFlagsOf(cmd *cobra.Command) *networkChange {
	n := &networkChange{}
	cmd.Flags().StringVar(&n.mode, "mode", "", "let it reach `MODE`: none, names, internet, or inherit for what stands above it")
	cmd.Flags().StringArrayVar(&n.allow, "allow", nil, "let it reach `HOST`: a name, *.example.net, HOST:PORT, or @LIST of the configuration; may be repeated, and replaces the list")
	modes := []cobra.Completion{control.Inherit}
	for _, m := range egress.Modes() {
		modes = append(modes, string(m))
	}
	_ = cmd.RegisterFlagCompletionFunc("mode", cobra.FixedCompletions(modes, cobra.ShellCompDirectiveNoFileComp)) // it was declared here
	return n
}

// setting is the change that the flags ask for; nil when there are none. Hosts
// without a mode are meant as names.
func (n *networkChange) setting(cmd *cobra.Command, name string) *control.NetworkSetting {
	mode := n.mode
	switch {
	case cmd.Flags().Changed("mode"):
	case len(n.allow) == 0:
		return nil
	default:
		mode = string(egress.ModeNames)
	}
	return &control.NetworkSetting{Name: name, Mode: mode, Allow: n.allow}
}

// networkRows shows who decides what, and what comes of it, in each region.
func networkRows(regions ...control.Network) [][]string {
	rows := [][]string{{"REGION", "WHO DECIDES", "NETWORK", "NAMES"}}
	for _, n := range regions {
		for _, l := range n.Layers {
			names := l.Allow
			if len(names) == 0 {
				names = l.Names
			}
			rows = append(rows, []string{n.Region, l.Who, l.Mode, orDash(strings.Join(names, ", "))})
		}
		rows = append(rows, []string{n.Region, "together", n.Mode, togetherNames(n)})
	}
	return rows
}

// togetherNames are the names that all layers let through, in words where there
// are several lists: only a question can tell what stands on all of them.
func togetherNames(n control.Network) string {
	if n.Mode != string(egress.ModeNames) {
		return "-"
	}
	lists := slices.DeleteFunc(slices.Clone(n.Layers), func(l control.NetworkLayer) bool { return l.Mode != string(egress.ModeNames) })
	if len(lists) > 1 {
		return "what is on each list"
	}
	return orDash(strings.Join(lists[0].Names, ", "))
}

func ledgerRows(ledger []egress.Entry) [][]string {
	rows := [][]string{{"HOST", "PORT", "NETWORK", "CONNECTIONS", "OPEN", "SENT", "RECEIVED", "REFUSED", "FAILED", "FIRST", "LAST", "WHY NOT"}}
	for _, e := range ledger {
		port := "-"
		if e.Port != 0 {
			port = fmt.Sprint(e.Port)
		}
		rows = append(rows, []string{
			e.Target, port, e.Network, fmt.Sprint(e.Connections), fmt.Sprint(e.Open), fmt.Sprint(e.Sent), fmt.Sprint(e.Received),
			fmt.Sprint(e.Refused), fmt.Sprint(e.Failed), moment(e.First), moment(e.Last), orDash(e.Reason),
		})
	}
	return rows
}
