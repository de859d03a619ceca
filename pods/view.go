package pods

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"podgate/internal/authz"
	"podgate/internal/text"
	"podgate/pods/egress"
	"podgate/pods/wire"
	"podgate/store"
)

// glanceTimeout is how long a pod's agent may take to say how its app is
// before the pod counts as not answering.
const glanceTimeout = 2 * time.Second

// listWidth is how many agents are asked at a time.
const listWidth = 16

// List returns the pods of the actor's team by name, as far as the limits of
// the connection let it see them. How they are is what their agents said last, without
// what the runtime counts; agents that have not said anything since their pods were
// changed are waited for.
func (s *Service) List(ctx context.Context, a authz.Actor) ([]Pod, error) {
	if err := a.Allow(authz.ListPods, a.Team.ID); err != nil {
		return nil, err
	}
	all, err := s.podsOf(a.Team.ID)
	if err != nil {
		return nil, fmt.Errorf("pods: list: %w", err)
	}
	seen := make([]store.PodDeployed, 0, len(all))
	for _, rec := range all {
		if a.Sees(rec.Name) {
			seen = append(seen, rec)
		}
	}
	for again := true; ; again = false {
		answered := s.lookAll(ctx, seen, false, listPatience)
		list, unknown := make([]Pod, len(seen)), false
		for i, rec := range seen {
			list[i] = s.boarded(rec)
			unknown = unknown || list[i].Status == StatusUnknown
		}
		// Something that changed a pod may have ended just now.
		if !again || !answered || !unknown {
			return list, nil
		}
	}
}

// Get returns one pod with all that is known of it.
func (s *Service) Get(ctx context.Context, a authz.Actor, name string) (Pod, error) {
	rec, err := s.find(a, authz.ReadPod, name)
	if err != nil {
		return Pod{}, err
	}
	return s.describe(ctx, rec), nil
}

// describe makes what people see of a pod: how its app is, and what its runtime
// counts.
func (s *Service) describe(ctx context.Context, rec store.Pod) Pod {
	pod := s.glance(ctx, rec)
	s.showNetwork(rec, &pod)
	if rec.Want != store.WantRunning {
		return pod
	}
	st := s.seen(ctx, rec)
	pod.blame(st.Kills)
	if st.Running {
		pod.Usage, pod.Enforced = st.Usage, slices.Clone(st.Enforced)
		if st.NoNetwork != "" {
			pod.Network, pod.NetworkNames, pod.Refused = string(egress.ModeNone), nil, []string{"the pod has no network on this server: " + st.NoNetwork}
		}
	}
	return pod
}

// card is what the records say.
func (s *Service) card(rec store.Pod) Pod {
	pod := s.label(rec)
	if last, err := s.cfg.DB.LastDeploy(rec); err == nil {
		d := s.showDeploy(rec, last, nil)
		pod.LastDeploy = &d
	}
	return pod
}

// label is what the pod's own record says.
func (s *Service) label(rec store.Pod) Pod {
	return Pod{
		ID: rec.ID, Name: rec.Name, Team: rec.Team, URL: s.cfg.URL(rec.Name),
		Preset: rec.Preset, Plan: rec.Plan, Region: rec.Region, Created: rec.Created, Port: portOf(rec.Preset), Env: slices.Sorted(maps.Keys(rec.Env)),
		Limits: s.planOf(rec).Limits,
	}
}

// glance is describe without what the runtime counts.
func (s *Service) glance(ctx context.Context, rec store.Pod) Pod {
	pod := s.card(rec)
	s.judge(rec, &pod, func() { s.ask(ctx, s.of(rec), &pod) })
	return pod
}

// judge says how a pod is. ask fills in what its agent says, where that counts.
func (s *Service) judge(rec store.Pod, pod *Pod, ask func()) {
	_, err := s.runtime(rec.Region)
	switch phase := s.of(rec).snapshot().phase; {
	case phase != "":
		pod.Status = phase
	case rec.Want == store.WantStopped:
		pod.Status = "stopped"
	case err != nil:
		pod.Status, pod.Reason = "failed", err.Error()
	default:
		ask()
		if last := pod.LastDeploy; last != nil && last.State == store.DeployFailed {
			pod.Reason = strings.TrimPrefix(fmt.Sprintf("%s; the last %s failed: %s", pod.Reason, last.Action, last.Reason), "; ")
		}
		if gone := s.planGone(rec); gone != "" {
			pod.Reason = strings.TrimPrefix(pod.Reason+"; "+gone, "; ")
		}
	}
}

// ask fills in what the agent knows.
func (s *Service) ask(ctx context.Context, l *live, pod *Pod) {
	ctx, cancel := context.WithTimeout(ctx, glanceTimeout)
	defer cancel()
	state, err := l.client.state(ctx)
	s.showAnswer(l, pod, state, err)
}

// showAnswer fills in what the agent said, or that it did not.
func (s *Service) showAnswer(l *live, pod *Pod, state wire.State, err error) {
	switch {
	case errors.Is(err, ErrNotRunning):
		pod.Status, pod.Reason = "starting", l.snapshot().reason
		if s.cfg.Now().Before(l.snapshot().retry) {
			pod.Status = "failed"
		}
		s.wake(l.region)
	case err != nil:
		pod.Status, pod.Reason = "failed", "the pod's agent does not answer; use manage_pod with action stop, then start"
	default:
		pod.show(state)
	}
}

// show fills in how the app is.
func (p *Pod) show(s wire.State) {
	p.Status, p.Reason, p.Tail = statusOf(s), s.Reason, s.Tail
	p.Started, p.Restarts, p.Command = s.Started, s.Restarts, s.Command
	p.deaths = s.Deaths
	p.Workers, p.Crons = s.Workers, s.Crons
	if s.LastExit != nil {
		p.LastExit = Kill{s.LastExit.Time, s.LastExit.Reason}
	}
}

// killedFor is how far the death of an app and what the runtime knows of it can be
// apart.
const killedFor = 3 * time.Second

// blame adds what the runtime has killed, and why, to how the app ended: the app's
// own agent cannot know.
func (p *Pod) blame(kills []Kill) {
	if len(kills) == 0 {
		return
	}
	last := kills[len(kills)-1]
	last.Reason = text.Line(last.Reason, maxReason)
	apart := p.LastExit.At.Sub(last.At)
	switch {
	case apart > killedFor:
	case apart < -killedFor || p.LastExit.Reason == "":
		p.LastExit = last
	default:
		if p.Reason == p.LastExit.Reason {
			p.Reason += "; " + last.Reason
		}
		p.LastExit.Reason += "; " + last.Reason
	}
}

// loopDeaths is how many deaths in a row make an app that runs one that is about to
// die again.
const loopDeaths = 3

// statusOf gives the pod's status from the app's. An app that died and will be
// tried again is failing, and so is one that runs between deaths: who looks at the
// right moment must not see another state than anybody else. Only one that is given
// up is failed.
func statusOf(s wire.State) string {
	switch {
	case s.App == wire.AppFailed:
		return "failed"
	case s.App == wire.AppWaiting, s.Deaths >= loopDeaths, s.App == wire.AppStarting && s.Deaths > 0:
		return "failing"
	case s.App == wire.AppRunning:
		return "running"
	}
	return "starting"
}

// seen is the pod as its runtime sees it; the zero Status when that is not to
// be had.
func (s *Service) seen(ctx context.Context, rec store.Pod) Status {
	runtime, err := s.runtime(rec.Region)
	if err != nil {
		return Status{}
	}
	ctx, cancel := context.WithTimeout(ctx, glanceTimeout)
	defer cancel()
	st, err := runtime.Status(ctx, rec.ID)
	if err != nil {
		s.cfg.Log.Warn("ask how a pod is", "region", rec.Region, "pod", rec.ID, "error", err)
		return Status{}
	}
	return st
}
