package pods

import (
	"context"
	"fmt"

	"podgate/internal/authz"
	"podgate/pods/wire"
	"podgate/store"
)

// ImportRequest asks for a pod whose files come from elsewhere.
type ImportRequest struct {
	CreateRequest
	Network          store.Network
	Release, Deploys int  // see store.Pod
	Stopped          bool // it is not started
}

// CheckImport returns what the plan of a pod to import allows, or why there cannot be one.
func (s *Service) CheckImport(a authz.Actor, r ImportRequest) (Limits, error) {
	rec, plan, err := s.draftImport(a, r)
	if err != nil {
		return Limits{}, err
	}
	if _, err := s.cfg.DB.PodByName(rec.Name); err == nil {
		return Limits{}, refuse(ErrNameTaken, "there is a pod %s already; choose another name", rec.Name)
	}
	have, err := s.cfg.DB.PodsOf(a.Team.ID)
	if err == nil {
		err = s.allowance(a, plan)(have)
	}
	return plan.Limits, err
}

func (s *Service) draftImport(a authz.Actor, r ImportRequest) (store.Pod, Plan, error) {
	if err := a.Allow(authz.CreatePod, a.Team.ID); err != nil {
		return store.Pod{}, Plan{}, err
	}
	rec, plan, err := s.draft(a, r.CreateRequest)
	if err == nil {
		err = s.CheckNetwork(r.Network)
	}
	rec.Network, rec.Release, rec.Deploys, rec.Made = r.Network, r.Release, r.Deploys, true
	if r.Stopped {
		rec.Want = store.WantStopped
	}
	return rec, plan, err
}

// Import makes a pod of files that place puts where its runtime keeps those of the pod
// with that id, as a whole. The pod is in the store when they are there, so whoever
// places them has to take away what a process that was killed in between has left:
// Discard.
func (s *Service) Import(ctx context.Context, a authz.Actor, r ImportRequest, place func(store.PodID) error, p Progress) (Pod, error) {
	rec, plan, err := s.draftImport(a, r)
	if err != nil {
		return Pod{}, err
	}
	op, err := s.begin(ctx, s.of(rec), "creating", turnWait)
	if err != nil {
		s.drop(s.of(rec))
		return Pod{}, err
	}
	made := rec
	if err = place(rec.ID); err == nil {
		made, err = s.insert(ctx, a, rec, plan)
	}
	if err != nil {
		op.end()
		s.drop(op.live)
		return Pod{}, err
	}
	if !r.Stopped {
		err = s.startPod(op, made, wire.AppRequest{Action: "start", WaitMillis: millis(startWait)}, p)
	}
	op.end()
	return s.describe(context.WithoutCancel(ctx), made), err
}

// Discard deletes the files of a pod that is not in the store.
func (s *Service) Discard(ctx context.Context, region string, id store.PodID) error {
	if _, err := s.cfg.DB.Pod(id); err == nil {
		return fmt.Errorf("the pod %s is there", id)
	}
	r, err := s.region(region)
	if err != nil {
		return err
	}
	runtime, err := r.get()
	if err != nil {
		return err
	}
	return runtime.Remove(ctx, id)
}
