package pods

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"podgate/internal/authz"
	"podgate/internal/text"
	"podgate/pods/preset"
	"podgate/store"
)

// catalogue returns the presets as they stand now.
func (s *Service) catalogue() []Preset {
	var list []Preset
	for _, known := range preset.All() {
		p := Preset{Name: known.Name, Description: known.Description, Port: known.Port}
		var reasons []string
		for _, r := range s.regions {
			here := PresetHere{Region: r.Name}
			var why *fault
			if errors.As(r.provides(known.Needs), &why) {
				here.Reason = why.text
				reasons = append(reasons, here.Reason)
			}
			p.Regions = append(p.Regions, here)
		}
		if p.Available = len(reasons) < len(s.regions); !p.Available {
			p.Reason = strings.Join(slices.Compact(reasons), "; ")
		}
		if len(s.regions) == 1 {
			p.Regions = nil
		}
		list = append(list, p)
	}
	return list
}

// provides returns nil when pods with these needs can run in the region, and
// otherwise an ErrPresetMissing or ErrUnavailable in the region's own words.
func (r *region) provides(needs preset.Needs) error {
	runtime, err := r.get()
	if err != nil {
		return unavailable(err)
	}
	if err := runtime.Provides(needs); err != nil {
		return &fault{word: ErrPresetMissing, text: text.Line(err.Error(), maxReason), cause: err}
	}
	return nil
}

func findPreset(name string) (preset.Preset, error) {
	if p, ok := preset.Find(name); ok {
		return p, nil
	}
	return preset.Preset{}, refuse(ErrUnknownPreset, "%q; choose one of %s", text.Short(name, maxSnippet), strings.Join(preset.Names(), ", "))
}

// DefaultPlans are the plans of a server whose configuration names none.
func DefaultPlans() []Plan {
	return []Plan{
		{"small", Limits{Memory: 256 << 20, CPUs: 0.5, Disk: 1 << 30, Processes: 256}},
		{"medium", Limits{Memory: 512 << 20, CPUs: 1, Disk: 5 << 30, Processes: 256}},
		{"large", Limits{Memory: 2 << 30, CPUs: 2, Disk: 20 << 30, Processes: 256}},
	}
}

// DefaultQuota is what a team may have when the configuration does not say.
func DefaultQuota() Quota { return Quota{Pods: 10, Memory: 4 << 30} }

// plan returns the plan of that name; the first when name is empty.
func (s *Service) plan(name string) (Plan, error) {
	all := s.rules.Load().plans
	if name == "" {
		return all[0], nil
	}
	i := slices.IndexFunc(all, func(p Plan) bool { return p.Name == name })
	if i < 0 {
		return Plan{}, refuse(ErrUnknownPlan, "%q; choose one of %s", text.Short(name, maxSnippet), names(all, func(p Plan) string { return p.Name }))
	}
	return all[i], nil
}

// planOf is the plan of a pod that there is. One that has been taken out of the
// configuration since costs nobody a pod: what runs keeps its limits, and what is
// started has those of the first plan.
func (s *Service) planOf(rec store.Pod) Plan {
	if plan, err := s.plan(rec.Plan); err == nil {
		return plan
	}
	return Plan{Name: rec.Plan, Limits: s.rules.Load().plans[0].Limits}
}

// planGone says of a pod what became of its plan; empty when that is there.
func (s *Service) planGone(rec store.Pod) string {
	if _, err := s.plan(rec.Plan); err == nil {
		return ""
	}
	return fmt.Sprintf("its plan %s is not in the configuration any more: from its next start on it has the limits of plan %s", rec.Plan, s.rules.Load().plans[0].Name)
}

// warnOfPlans tells the log of pods whose plan is gone.
func (s *Service) warnOfPlans() error {
	all, err := s.cfg.DB.Pods()
	for _, rec := range all {
		if gone := s.planGone(rec); gone != "" && rec.Want != store.WantGone {
			s.cfg.Log.Warn("a pod without its plan goes on", "pod", rec.ID, "name", rec.Name, "reason", gone)
		}
	}
	return err
}

func names[T any](list []T, name func(T) string) string {
	var all []string
	for _, v := range list {
		all = append(all, name(v))
	}
	return strings.Join(all, ", ")
}

// allowance is the check that CreatePod makes inside its transaction: whether
// the actor may have one more pod, and the team one more of that plan. Pods
// being deleted no longer count.
func (s *Service) allowance(a authz.Actor, plan Plan) func([]store.Pod) error {
	return func(have []store.Pod) error {
		if err := oneMore(a, have); err != nil {
			return err
		}
		used, q := s.used(have), s.QuotaOf(a.Team)
		count, memory := used.Pods, used.Memory
		switch {
		case count >= q.Pods:
			return refuse(ErrOverQuota, "the team has %d pods of %d allowed; delete one first", count, q.Pods)
		case memory+plan.Limits.Memory > q.Memory && a.Bounds().Prefix != "":
			// How large the pods are that it cannot see is not told.
			return refuse(ErrOverQuota, "the team has no room for plan %s with %d MiB; choose a smaller plan or delete a pod", plan.Name, plan.Limits.Memory>>20)
		case memory+plan.Limits.Memory > q.Memory:
			return refuse(ErrOverQuota, "the team's pods have %d MiB of the %d MiB allowed and plan %s needs %d MiB; choose a smaller plan or delete a pod",
				memory>>20, q.Memory>>20, plan.Name, plan.Limits.Memory>>20)
		}
		return nil
	}
}

// QuotaOf returns what a team may have: what the settings give every team, or what
// administrators gave this one.
func (s *Service) QuotaOf(t store.Team) Quota {
	q := s.rules.Load().quota
	return Quota{Pods: cmp.Or(t.Quota.Pods, q.Pods), Memory: cmp.Or(t.Quota.Memory, q.Memory)}
}

// UsedBy returns what a team has of its quota. It is for pages of the team, of which
// whoever asks has seen to who may.
func (s *Service) UsedBy(id store.TeamID) (Quota, error) {
	have, err := s.cfg.DB.PodsOf(id)
	return s.used(have), err
}

func (s *Service) used(have []store.Pod) (q Quota) {
	for _, p := range have {
		if p.Want != store.WantGone {
			q.Pods++
			q.Memory += s.planOf(p).Limits.Memory
		}
	}
	return q
}

// Presets says what kinds of pod this server offers.
func (s *Service) Presets(a authz.Actor) ([]Preset, error) {
	if err := a.Allow(authz.SeeCatalogue, a.Team.ID); err != nil {
		return nil, err
	}
	return s.catalogue(), nil
}

// Plans says what limits a pod can be made with; the first is the default.
func (s *Service) Plans(a authz.Actor) ([]Plan, error) {
	if err := a.Allow(authz.SeeCatalogue, a.Team.ID); err != nil {
		return nil, err
	}
	return slices.Clone(s.rules.Load().plans), nil
}
