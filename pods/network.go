package pods

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"podgate/internal/authz"
	"podgate/pods/egress"
	"podgate/pods/wire"
	"podgate/store"
)

// PodNetwork is what a pod may reach and what it has reached.
type PodNetwork struct {
	Region string
	Mode   egress.Mode
	Names  []string       // of ModeNames: what all of the layers with a list have listed
	Own    store.Network  // what the pod's own setting says, as it was written
	Layers []egress.Layer // who decides, the region first
	// Ledger is since this server was started, the newest first.
	Ledger []egress.Entry
}

// networkOf is the policy of a pod: of its region, its team and itself. What
// cannot be read allows nothing.
func (s *Service) networkOf(rec store.Pod) egress.Policy {
	closed := func(who string, err error) egress.Policy {
		s.cfg.Log.Error("a pod's network is closed", "pod", rec.ID, "error", err)
		return egress.Policy{Layers: []egress.Layer{{Who: who, Mode: egress.ModeNone}}}
	}
	r, err := s.region(rec.Region)
	if err != nil {
		return closed(egress.WhoRegion, err)
	}
	team, err := s.cfg.DB.Team(rec.Team)
	if err != nil {
		return closed(egress.WhoTeam, err)
	}
	return s.narrowed(r, team.Network, rec.Network)
}

// narrowed is the policy of a region with what the team leaves of it, and then
// the pod.
func (s *Service) narrowed(r *region, below ...store.Network) egress.Policy {
	rules := s.rules.Load()
	policy := rules.networks[r.Name] // all regions have one
	policy.Layers = slices.Clone(policy.Layers)
	for i, n := range below {
		names, err := egress.ParseRules(n.Names, rules.lists)
		if err != nil {
			s.cfg.Log.Warn("a part of what pods may reach is not understood and left out", "region", r.Name, "error", err)
		}
		policy.Layers = append(policy.Layers, egress.Layer{Who: []string{egress.WhoTeam, egress.WhoPod}[i], Mode: egress.Mode(n.Mode), Names: names})
	}
	return policy
}

// gate is the pod's way out, with the policy as it is now. It is read under the
// lock: a change that comes meanwhile finds the gate there and reads it again.
func (s *Service) gate(rec store.Pod, l *live) *egress.Gate {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now, err := s.cfg.DB.Pod(rec.ID); err == nil {
		rec = now
	}
	policy := s.networkOf(rec)
	if l.gate == nil {
		l.gate = egress.NewGate(s.cfg.Egress, policy)
	} else {
		l.gate.SetPolicy(policy)
	}
	return l.gate
}

// NetworkChanged reads the policies of all pods again. They count at once: for
// what is asked from then on, and for what is open.
func (s *Service) NetworkChanged() error {
	records, err := s.cfg.DB.Pods()
	if err != nil {
		return fmt.Errorf("pods: network: %w", err)
	}
	for _, rec := range records {
		if rec.Want == store.WantGone {
			continue // it is ended, and so is what it has open
		}
		if l := s.of(rec); l.hasGate() {
			s.gate(rec, l)
		}
	}
	return nil
}

func (l *live) hasGate() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.gate != nil
}

// Network returns what a pod may reach and has reached.
func (s *Service) Network(a authz.Actor, name string) (PodNetwork, error) {
	rec, err := s.find(a, authz.ReadPod, name)
	if err != nil {
		return PodNetwork{}, err
	}
	return s.NetworkOf(rec), nil
}

// NetworkOf is Network for whoever has the record already.
func (s *Service) NetworkOf(rec store.Pod) PodNetwork {
	n := shown(rec.Region, s.networkOf(rec))
	n.Own = rec.Network
	l := s.of(rec)
	if l.hasGate() {
		l.mu.Lock()
		n.Ledger = l.gate.Ledger()
		l.mu.Unlock()
	}
	return n
}

// NetworksOf returns what the pods of a team may reach at most, in each region.
func (s *Service) NetworksOf(team store.Team) []PodNetwork {
	var all []PodNetwork
	for _, r := range s.regions {
		all = append(all, shown(r.Name, s.narrowed(r, team.Network)))
	}
	return all
}

func shown(region string, policy egress.Policy) PodNetwork {
	n := PodNetwork{Region: region, Mode: policy.Mode(), Layers: policy.Layers}
	for _, layer := range policy.Layers {
		if layer.Mode == egress.ModeNames {
			n.Names = append(n.Names, layer.Hosts()...)
		}
	}
	return n
}

const (
	refusedLately = 15 * time.Minute
	refusedShown  = 5
)

// showNetwork fills in what people see of a pod's network.
func (s *Service) showNetwork(rec store.Pod, pod *Pod) {
	n := s.NetworkOf(rec)
	pod.Network, pod.NetworkNames = string(n.Mode), n.Names
	for _, line := range s.networkLines(s.of(rec), LogQuery{Since: s.cfg.Now().Add(-refusedLately)}) {
		pod.Refused = append(pod.Refused, line.Text)
	}
	pod.Refused = pod.Refused[max(0, len(pod.Refused)-refusedShown):]
}

// networkSource is the source of log lines that say what a pod was refused.
const networkSource = "network"

// networkLines are the refusals of a pod that a query wants, oldest first. They
// are the server's and not the agent's, so a pod cannot make them up.
func (s *Service) networkLines(l *live, q LogQuery) (lines []wire.LogLine) {
	l.mu.Lock()
	gate := l.gate
	l.mu.Unlock()
	if gate == nil {
		return nil
	}
	for _, line := range gate.Refusals() {
		text := line.Text
		if line.Count > 1 {
			text = fmt.Sprintf("%s (%d times)", text, line.Count)
		}
		if line.Time.Before(q.Since) || !q.Before.IsZero() && !line.Time.Before(q.Before) || q.Stream != "" || !strings.Contains(text, q.Grep) {
			continue
		}
		lines = append(lines, wire.LogLine{Time: line.Time.UTC(), Source: networkSource, Stream: "refused", Text: text})
	}
	return lines
}

// withNetwork adds the refusals to the lines of an agent, and keeps the newest.
func (s *Service) withNetwork(l *live, q LogQuery, lines []wire.LogLine) []wire.LogLine {
	lines = append(lines, s.networkLines(l, q)...)
	slices.SortStableFunc(lines, func(a, b wire.LogLine) int { return a.Time.Compare(b.Time) })
	if most := cmp.Or(q.Lines, defaultLines); len(lines) > most {
		lines = lines[len(lines)-most:]
	}
	return lines
}

// CheckNetwork says what is wrong with a setting that somebody makes.
func (s *Service) CheckNetwork(n store.Network) error { return CheckNetwork(n, s.rules.Load().lists) }

// SetTeamNetwork changes what the pods of the actor's team may reach, those that
// run included. ErrBadInput, a *authz.Denied.
func (s *Service) SetTeamNetwork(a authz.Actor, n store.Network) error {
	if err := a.Allow(authz.ChangeNetwork, a.Team.ID); err != nil {
		return err
	}
	if err := s.CheckNetwork(n); err != nil {
		return err
	}
	if err := s.cfg.DB.SetTeamNetwork(a.Team.ID, n); err != nil {
		return fmt.Errorf("pods: network: %w", err)
	}
	return s.NetworkChanged()
}

// SetNetwork changes what a pod may reach, also while it runs. ErrBadInput, a
// *authz.Denied.
func (s *Service) SetNetwork(a authz.Actor, name string, n store.Network) error {
	rec, err := s.find(a, authz.ChangeNetwork, name)
	if err != nil {
		return err
	}
	if err := s.CheckNetwork(n); err != nil {
		return err
	}
	if err := s.cfg.DB.SetPodNetwork(rec.ID, n); err != nil {
		return fmt.Errorf("pods: network: %w", err)
	}
	return s.NetworkChanged()
}

// CheckNetwork is [Service.CheckNetwork] for these lists.
func CheckNetwork(n store.Network, lists map[string][]egress.Rule) error {
	if n.Mode != "" && !slices.Contains(egress.Modes(), egress.Mode(n.Mode)) {
		return refuse(ErrBadInput, "the network is none, names, internet, or inherit for what stands above it; not %q", n.Mode)
	}
	if len(n.Names) > 0 && n.Mode != string(egress.ModeNames) {
		return refuse(ErrBadInput, "names are listed only where the network is names")
	}
	if len(n.Names) > maxNetworkNames {
		return refuse(ErrBadInput, "at most %d names can be listed; make a [[name_list]] in the configuration", maxNetworkNames)
	}
	if _, err := egress.ParseRules(n.Names, lists); err != nil {
		return refuse(ErrBadInput, "%v", err)
	}
	return nil
}

const maxNetworkNames = 200
