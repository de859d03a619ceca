package pods

import (
	"context"
	"errors"

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
		if err != nil || rec.Want != store.WantRunning {
			return err
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

// fitsPlan refuses a plan whose disk is smaller than what the pod's files take.
func (s *Service) fitsPlan(ctx context.Context, rec store.Pod, to Plan) error {
	c, err := s.copier(rec.Region)
	if err != nil || !rec.Made || to.Limits.Disk >= s.planOf(rec).Limits.Disk {
		return nil
	}
	size, err := c.Size(ctx, rec.ID)
	if err == nil && size > to.Limits.Disk {
		return refuse(ErrOverPlan, "its files take %d MiB, and plan %s has %d MiB of disk; delete files first", size>>20, to.Name, to.Limits.Disk>>20)
	}
	return nil
}

// Address is where a pod of that name answers.
func (s *Service) Address(name string) string { return s.cfg.URL(name) }
