package pods

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"podgate/internal/authz"
	"podgate/internal/text"
	"podgate/pods/wire"
	"podgate/store"
)

const (
	keptReleases = 3   // that can be gone back to, beside the one that runs
	maxLine      = 300 // characters of a line beside a reason
)

// Deploy is one time that a pod's app was made anew: by a deploy, a reload or a
// rollback.
type Deploy struct {
	Number  int
	Action  string // deploy, reload, rollback
	Source  string
	Preset  string
	Commit  string
	State   store.DeployState
	Live    bool   // what runs now was made by it
	Kept    bool   // a rollback to it is possible
	Reason  string // why it failed
	Lines   []string
	By      string // the person's name; empty when they are gone
	Release int
	Began   time.Time
	Ended   time.Time
}

// Deploys returns what is remembered of a pod's deploys, the newest first.
func (s *Service) Deploys(a authz.Actor, name string) ([]Deploy, error) {
	rec, err := s.find(a, authz.ReadPod, name)
	if err != nil {
		return nil, err
	}
	records, err := s.cfg.DB.DeploysOf(rec.ID)
	if err != nil {
		return nil, err
	}
	kept := releasesToKeep(rec, records)
	list := make([]Deploy, len(records))
	for i, d := range records {
		list[i] = s.showDeploy(rec, d, kept)
	}
	if i := slices.IndexFunc(list, func(d Deploy) bool { return d.made(rec) }); i >= 0 {
		list[i].Live = true
	}
	return list, nil
}

// made reports whether the app that runs came live by it.
func (d Deploy) made(rec store.Pod) bool {
	return d.State == store.DeploySucceeded && d.Release == rec.Release
}

func (s *Service) showDeploy(rec store.Pod, d store.Deploy, kept []int) Deploy {
	out := Deploy{
		Number: d.Number, Action: d.Action, Source: d.Source, Preset: d.Preset, Commit: d.Commit, State: d.State, Reason: d.Reason,
		Lines: d.Lines, Release: d.Release, Began: d.Began, Ended: d.Ended,
		Kept: d.State == store.DeploySucceeded && d.Release != rec.Release && slices.Contains(kept, d.Release),
	}
	if by, err := s.cfg.DB.User(d.By); err == nil {
		out.By = by.Name
	}
	return out
}

// releasesToKeep are the folders of the newest deploys that worked, and that of what
// runs. records begin with the newest.
func releasesToKeep(rec store.Pod, records []store.Deploy) []int {
	kept := []int{rec.Release}
	for _, d := range records {
		if d.State == store.DeploySucceeded && !slices.Contains(kept, d.Release) && len(kept) <= keptReleases {
			kept = append(kept, d.Release)
		}
	}
	return kept
}

// endDeploy notes how a deploy ended, and returns it as noted, with err. What of the pod it changed
// comes with it; nil: nothing.
func (s *Service) endDeploy(d store.Deploy, app *store.App, err error) (store.Deploy, error) {
	d.State, d.Ended = store.DeploySucceeded, s.cfg.Now()
	var f *fault
	switch {
	case errors.As(err, &f):
		d.State, d.Reason, d.Lines = store.DeployFailed, strings.TrimPrefix(f.text, d.Action+": "), f.lines
	case err != nil:
		d.State, d.Reason = store.DeployFailed, "it was cut off before it ended"
	}
	if err != nil {
		app = nil
	}
	serr := s.cfg.DB.EndDeploy(d, app)
	if serr == nil || errors.Is(serr, store.ErrNotFound) {
		return d, err
	}
	s.cfg.Log.Error("how a deploy ended could not be noted", "pod", d.Pod, "deploy", d.Number, "error", serr)
	return d, errors.Join(err, serr)
}

// lastLines is what a failure printed last, and what the pod was refused by the
// network meanwhile: an install that cannot reach its registry says so in many words,
// and never why.
func (s *Service) lastLines(l *live, began time.Time, printed []wire.LogLine) []string {
	var lines []string
	for _, line := range cleanLines(printed[max(0, len(printed)-wire.TailLines):]) {
		start, _ := text.Start(line.Text, maxLine)
		lines = append(lines, start)
	}
	refused := s.networkLines(l, LogQuery{Since: began})
	for _, line := range refused[max(0, len(refused)-refusedShown):] {
		lines = append(lines, "network: "+line.Text)
	}
	return lines
}

// Rollback lets an earlier deploy's app take the place of the one that runs, without
// an install; nil goes back to the one before. 0 is what there was before the first
// deploy. When the app does not answer, nothing changes.
func (s *Service) Rollback(ctx context.Context, a authz.Actor, name string, number *int, p Progress) (Deployment, error) {
	if err := a.Allow(authz.Deploy, a.Team.ID); err != nil {
		return Deployment{}, err
	}
	rec, err := s.find(a, authz.Deploy, name)
	if err != nil {
		return Deployment{}, err
	}
	return s.deployed(ctx, a, rec, func(op *operation, rec store.Pod) (deployPlan, error) {
		records, err := s.cfg.DB.DeploysOf(rec.ID)
		if err != nil {
			return deployPlan{}, err
		}
		target, err := rollbackTo(rec, records, number)
		if err != nil {
			return deployPlan{}, err
		}
		spec := s.spec(rec)
		spec.Preset, spec.Port = target.Preset, portOf(target.Preset)
		return deployPlan{
			record:  store.Deploy{Action: "rollback", Source: target.Source, Release: target.Release, Commit: target.Commit},
			request: wire.DeployRequest{Kept: true, Spec: *spec},
		}, nil
	}, p)
}

// rollbackTo chooses the deploy to go back to.
func rollbackTo(rec store.Pod, records []store.Deploy, number *int) (store.Deploy, error) {
	first := store.Deploy{Source: "what there was before the first deploy"}
	kept := releasesToKeep(rec, records)
	could := func(d store.Deploy) bool {
		return d.State == store.DeploySucceeded && d.Release != rec.Release && slices.Contains(kept, d.Release)
	}
	switch {
	case number == nil:
		if i := slices.IndexFunc(records, could); i >= 0 {
			return back(records[i]), nil
		}
		if rec.Release != 0 {
			return first, nil
		}
		return first, refuse(ErrBadInput, "there is nothing to go back to: no other deploy has worked")
	case *number == 0 && rec.Release != 0:
		return first, nil
	}
	i := slices.IndexFunc(records, func(d store.Deploy) bool { return d.Number == *number })
	switch {
	case i >= 0 && could(records[i]):
		return back(records[i]), nil
	case i >= 0 && records[i].Release == rec.Release && records[i].State == store.DeploySucceeded:
		return first, refuse(ErrBadInput, "deploy %d is what runs now", *number)
	}
	return first, refuse(ErrBadInput, "there is no going back to deploy %d; list_deploys shows those that were kept", *number)
}

// back is a deploy as the source of a rollback to it.
func back(d store.Deploy) store.Deploy {
	d.Source = fmt.Sprintf("deploy %d", d.Number)
	return d
}
