package config

import (
	"errors"
	"fmt"

	"podgate/pods/egress"
)

// Lists are the name lists as rules. check has proved that they are some.
func (c *Config) Lists() map[string][]egress.Rule {
	lists := map[string][]egress.Rule{}
	for _, l := range c.NameLists {
		lists[l.Name], _ = egress.ParseRules(l.Names, nil)
	}
	return lists
}

// Policy is what the region lets pods reach. check has proved that it can be
// read.
func (r *Region) Policy(lists map[string][]egress.Rule) egress.Policy {
	names, _ := egress.ParseRules(r.Names, lists)
	local, _ := egress.ParseRules(r.AllowLocal, nil)
	return egress.Policy{Layers: []egress.Layer{{Who: egress.WhoRegion, Mode: egress.Mode(r.Network), Names: names}}, Local: local, Mail: r.Mail}
}

func (s *Settings) checkNetwork(key string, r Region, report func(string, error)) {
	lists := s.Lists()
	report(key+"network", oneOf(r.Network, networks))
	for i, name := range r.Names {
		_, err := egress.ParseRules([]string{name}, lists)
		report(fmt.Sprintf("%snames[%d]", key, i), err)
	}
	if len(r.Names) > 0 && r.Network != string(egress.ModeNames) {
		report(key+"names", fmt.Errorf("has no effect while network is %q; write network = \"names\", or leave it out", r.Network))
	}
	for i, address := range r.AllowLocal {
		_, err := egress.ParseLocal(address)
		report(fmt.Sprintf("%sallow_local[%d]", key, i), err)
	}
}

func (s *Settings) checkNameLists(report func(string, error)) {
	seen := map[string]bool{}
	for i, l := range s.NameLists {
		key := fmt.Sprintf("name_list[%d].", i)
		report(key+"name", checkName(l.Name, seen))
		if len(l.Names) == 0 {
			report(key+"names", errors.New("is empty; write the names of hosts, or leave the list out"))
		}
		for j, name := range l.Names {
			_, err := egress.ParseRule(name)
			report(fmt.Sprintf("%snames[%d]", key, j), err)
		}
	}
}
