package pods

import (
	"context"
	"errors"
	"maps"
	"slices"

	"podgate/internal/authz"
	"podgate/pods/wire"
	"podgate/store"
)

// CloneRequest asks for a new pod with the files of another.
type CloneRequest struct {
	Name     string // the pod that is copied
	To       string // the new one
	Snapshot string // of it; empty: the files as they are
	WithEnv  bool   // the values of its environment variables, too
}

// Cloned is a pod that is a copy of another.
type Cloned struct {
	Pod
	WithoutEnv []string // names of variables that were not copied
}

// Clone makes a pod with another's preset, plan, files and network. A clone that is cut
// off is taken back.
func (s *Service) Clone(ctx context.Context, a authz.Actor, r CloneRequest, p Progress) (Cloned, error) {
	if err := a.Allow(authz.CreatePod, a.Team.ID); err != nil {
		return Cloned{}, err
	}
	source, err := s.find(a, authz.Deploy, r.Name)
	if err != nil {
		return Cloned{}, err
	}
	if err := CheckName(r.To); err != nil {
		return Cloned{}, err
	}
	if err := a.AllowPod(authz.CreatePod, a.Team.ID, r.To); err != nil {
		return Cloned{}, errDenied(a, err)
	}
	c, err := s.copier(source.Region)
	if err != nil {
		return Cloned{}, err
	}
	var out Cloned
	err = s.operate(ctx, source, "", turnWait, func(op *operation, source store.Pod) (err error) {
		out, err = s.clone(op.ctx, a, c, source, r, p)
		return err
	})
	if now, gone := s.current(out.ID); gone == nil {
		out.Pod = s.describe(context.WithoutCancel(ctx), now)
	}
	return out, err
}

// clone is Clone while the source does not change by an operation.
func (s *Service) clone(ctx context.Context, a authz.Actor, c Copier, source store.Pod, r CloneRequest, p Progress) (out Cloned, err error) {
	if !source.Made {
		return out, refuse(ErrNotCopied, "the pod has no files yet")
	}
	from := Place{Pod: source.ID}
	release, kind := source.Release, source.Preset
	if r.Snapshot != "" {
		of, err := s.snapshotOf(source, r.Snapshot)
		if err != nil {
			return out, err
		}
		from.Snapshot, release, kind = of.ID, of.Release, of.Preset
	}
	plan := s.planOf(source)
	rec := store.Pod{
		ID: store.PodID(store.NewID()), Name: r.To, Team: a.Team.ID, Preset: kind, Plan: plan.Name, Region: source.Region, Network: source.Network,
		Want: store.WantStopped, CreatedBy: a.By(), Created: s.cfg.Now(), Release: release, Deploys: source.Deploys, CopyOf: source.ID,
	}
	if r.WithEnv {
		rec.Env = maps.Clone(source.Env)
	} else {
		out.WithoutEnv = slices.Sorted(maps.Keys(source.Env))
	}
	op, err := s.begin(ctx, s.of(rec), "creating", turnWait)
	if err != nil {
		s.drop(s.of(rec))
		return out, err
	}
	defer op.end()
	if rec, err = s.insert(op.ctx, a, rec, plan); err != nil {
		s.drop(op.live)
		return out, err
	}
	p.status("copying the files")
	limited, cancel := context.WithTimeout(op.ctx, copyTimeout)
	defer cancel()
	if _, err := c.Fill(limited, Fill{Pod: rec.ID, Number: rec.Number, From: from, Most: s.snapshotRoom(rec)}); err != nil {
		err = s.notCopied(op.ctx, rec, err)
		s.undo(op, rec)
		return out, err
	}
	if rec, err = s.cfg.DB.EndCopy(rec.ID); err != nil {
		s.undo(op, rec)
		return out, err
	}
	out.ID = rec.ID
	return out, s.startPod(op, rec, wire.AppRequest{Action: "start", WaitMillis: millis(startWait)}, p)
}

// uncopied is the error of an operation on a pod whose files are not there yet.
func uncopied(rec store.Pod) error {
	if rec.CopyOf == "" {
		return nil
	}
	return refuse(ErrBusy, "its files were being copied when that was cut off, and it is being taken back; clone the pod again in a minute")
}

// takeBack removes a pod whose copying was cut off.
func (s *Service) takeBack(op *operation, rec store.Pod) error {
	s.cfg.Log.Warn("a pod is taken back whose files were not all copied", "pod", rec.ID, "name", rec.Name)
	err := s.cfg.DB.SetWant(rec.ID, store.WantGone)
	return errors.Join(err, s.remove(op.ctx, op.live, rec))
}
