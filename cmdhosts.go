package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"podgate/internal/registries"
	"podgate/pods/egress"
)

func (inv *invocation) network() *cobra.Command {
	return group("network", "find out what pods need of the network", inv.networkHosts())
}

func (inv *invocation) networkHosts() *cobra.Command {
	cmd := &cobra.Command{
		Use: "hosts", Short: "print the hosts that package managers install from, as a list for the configuration", Example: "podgate network hosts",
		Long: "npm, pip, composer and go on this machine are asked with an empty home and an empty environment, as pods have them,\n" +
			"so the machine's own mirrors count and a person's do not. With the list in the configuration, pods whose network\n" +
			"is names can be given @packages. Lists there replace all that come with podgate: keep those that you use.",
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		path, _ := inv.Env.Lookup("PATH")
		hosts, skipped, err := registries.Hosts(cmd.Context(), path)
		if err != nil {
			return err
		}
		for _, s := range skipped {
			fmt.Fprintf(inv.Stderr, "%s is left out: %s\n", s.Name, s.Why)
		}
		hosts = slices.DeleteFunc(hosts, func(host string) bool {
			_, err := egress.ParseRule(host)
			if err != nil {
				fmt.Fprintf(inv.Stderr, "a host is left out: %v\n", err)
			}
			return err != nil
		})
		list := nameList{Name: "packages", Names: hosts}
		switch {
		case len(hosts) == 0:
			return errors.New("no package manager on this machine names a host")
		case *asJSON:
			return printJSON(inv.Stdout, list)
		}
		return inv.say("%s", list)
	}
	return cmd
}

// nameList is a list for the configuration.
type nameList struct {
	Name  string   `json:"name"`
	Names []string `json:"names"`
}

// String is the list as it stands in the configuration. Hosts have nothing that
// TOML reads otherwise than Go.
func (l nameList) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "[[name_list]]\nname = %q\nnames = [\n", l.Name)
	for _, name := range l.Names {
		fmt.Fprintf(&b, "  %q,\n", name)
	}
	return b.String() + "]"
}
