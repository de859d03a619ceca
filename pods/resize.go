package pods

import (
	"context"
	"errors"
	"slices"

	"podgate/internal/authz"
	"podgate/store"
)

// ChangePlan gives a pod the limits of another plan, as far as the team's quota
// allows. One that runs is started anew with them.
func (s *Service) ChangePlan(ctx context.Context, a authz.Actor, name, plan string, p Progress) (Pod, error) {
	rec, err := s.find(a, authz.ChangePlan, name)
	if err != nil {
		return Pod{}, err
	}
	if plan == "" {
		return Pod{}, refuse(ErrBadInput, "choose a plan")
	}
	to, err := s.plan(plan)
	if err != nil {
		return Pod{}, err
	}
	if _, err := s.runtime(rec.Region); err != nil {
		return Pod{}, err
	}
	err = s.operate(ctx, rec, "starting", turnWait, func(op *operation, rec store.Pod) error {
		if rec.Plan == to.Name {
			return refuse(ErrBadInput, "the pod has plan %s already", to.Name)
		}
		if err := s.fitsPlan(op.ctx, rec, to); err != nil {
			return err
		}
		now, err := s.cfg.DB.SetPlan(rec.ID, to.Name, s.allowance(a, to))
		if errors.Is(err, store.ErrNotFound) {
			err = errAbsent
		}
		if err != nil {
			return err
		}
		if c, cerr := s.copier(rec.Region); cerr == nil { // what is not done now is by Reconcile
			if err := s.trim(now); err != nil {
				return err
			}
			s.sweepSnapshots(op.ctx, c, rec.ID)
		}
		if rec.Want != store.WantRunning {
			return nil
		}
		p.status("stopping the environment")
		if err := s.stopEnvironment(op, now); err != nil {
			return err
		}
		return s.appAction("start", startWait, p)(op, now)
	})
	if err != nil {
		return Pod{}, err
	}
	if rec, err = s.current(rec.ID); err != nil {
		return Pod{}, err
	}
	return s.describe(ctx, rec), nil
}

// fitsPlan refuses a plan whose disk is smaller than what the pod's files take, or that
// has too little room for the snapshots that somebody asked for.
func (s *Service) fitsPlan(ctx context.Context, rec store.Pod, to Plan) error {
	c, err := s.copier(rec.Region)
	if err != nil || !rec.Made || to.Limits.Disk >= s.planOf(rec).Limits.Disk {
		return nil
	}
	size, err := c.Size(ctx, rec.ID)
	if err == nil && size > to.Limits.Disk {
		return refuse(ErrOverPlan, "its files take %d MiB, and plan %s has %d MiB of disk; delete files first", size>>20, to.Name, to.Limits.Disk>>20)
	}
	if err != nil {
		return nil
	}
	records, err := s.cfg.DB.SnapshotsOf(rec.ID)
	byHand := bytesOf(slices.DeleteFunc(records, unasked))
	if room := snapshotDisk * to.Limits.Disk; err == nil && byHand > room {
		return refuse(ErrOverPlan, "its snapshots that were made by hand take %d MiB, and plan %s has room for %d MiB of them; delete some with delete_snapshot first", byHand>>20, to.Name, room>>20)
	}
	return err
}

// Address is where a pod of that name answers.
func (s *Service) Address(name string) string { return s.cfg.URL(name) }
