package pods

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"podgate/internal/authz"
	"podgate/store"
)

// purgePause is how long a deleted pod must have been due before it goes for good: a
// clock that is set wrong must not take it away before somebody has put that right.
const purgePause = time.Hour

// overdue reports whether a deleted pod has to go now.
func (s *Service) overdue(rec store.Pod) bool {
	if rec.Until.IsZero() {
		return true // somebody gave it up, or it was never to be kept
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cfg.Now().Before(rec.Until) {
		delete(s.dueSince, rec.ID)
		return false
	}
	since, seen := s.dueSince[rec.ID]
	if !seen {
		since = time.Now()
		s.dueSince[rec.ID] = since
	}
	return time.Since(since) >= s.purgePause
}

// DeletedPod is a pod that can be brought back.
type DeletedPod struct {
	ID      string // tells it from another that had the same name
	Name    string
	Preset  string
	Plan    string
	Deleted time.Time
	Until   time.Time // from then on it is gone for good
}

// DeletedPods returns the pods of the actor's team that can be brought back, the newest
// deleted first.
func (s *Service) DeletedPods(a authz.Actor) ([]DeletedPod, error) {
	if err := a.Allow(authz.UndeletePod, a.Team.ID); err != nil {
		return nil, err
	}
	records, err := s.cfg.DB.DeletedOf(a.Team.ID, s.cfg.Now())
	list := make([]DeletedPod, len(records))
	for i, r := range records {
		list[i] = DeletedPod{string(r.ID), r.Name, r.Preset, r.Plan, r.Deleted, r.Until}
	}
	return list, err
}

// deletedPod finds one of them by its name, or by its id.
func (s *Service) deletedPod(a authz.Actor, name string) (store.Pod, error) {
	if err := a.Allow(authz.UndeletePod, a.Team.ID); err != nil {
		return store.Pod{}, err
	}
	records, err := s.cfg.DB.DeletedOf(a.Team.ID, s.cfg.Now())
	if err != nil {
		return store.Pod{}, err
	}
	i := slices.IndexFunc(records, func(r store.Pod) bool { return r.Name == name || string(r.ID) == name })
	if i < 0 {
		return store.Pod{}, refuse(ErrNotFound, "the team has deleted no pod %s in the last %d days", strings.ToValidUTF8(name, "?"), int(Reserved/(24*time.Hour)))
	}
	return records[i], nil
}

// Undelete brings back a pod that was deleted, under its name or, with as, another, and
// starts it. Of several that had the name it is the newest; name may be an id as well.
func (s *Service) Undelete(ctx context.Context, a authz.Actor, name, as string, p Progress) (Pod, error) {
	rec, err := s.deletedPod(a, name)
	if err != nil {
		return Pod{}, err
	}
	as = cmp.Or(as, rec.Name)
	if err := CheckName(as); err != nil {
		return Pod{}, err
	}
	if _, err := s.runtime(rec.Region); err != nil {
		return Pod{}, err
	}
	// The delete may still be ending what runs of it.
	op, err := s.begin(ctx, s.of(rec), "starting", turnWait)
	if err != nil {
		return Pod{}, err
	}
	back, err := s.undelete(op, a, rec, as, p)
	op.end()
	if now, gone := s.current(rec.ID); gone == nil && back {
		return s.describe(context.WithoutCancel(ctx), now), err
	}
	return Pod{}, err
}

// undelete reports whether the pod is back, also when it does not start.
func (s *Service) undelete(op *operation, a authz.Actor, rec store.Pod, as string, p Progress) (back bool, err error) {
	id := rec.ID
	rec, err = s.cfg.DB.UndeletePod(id, as, s.cfg.Now(), s.allowance(a, s.planOf(rec)))
	if err != nil {
		s.drop(op.live)
	}
	switch {
	case errors.Is(err, store.ErrTaken), errors.Is(err, store.ErrReserved):
		return false, &fault{word: ErrNameTaken, text: "another pod has the name " + as + " by now; bring it back under another one", cause: err}
	case errors.Is(err, store.ErrNotFound):
		return false, refuse(ErrNotFound, "it is gone for good by now")
	case err != nil:
		return false, err
	}
	s.cfg.Log.Info("a deleted pod was brought back", "pod", rec.ID, "name", rec.Name, "team", a.Team.Slug)
	if rec.Restore != nil {
		if rec, err = s.finishRestore(op, rec, p); err != nil {
			return true, err
		}
	}
	return true, s.appAction("start", startWait, p)(op, rec)
}

// Purge deletes a deleted pod for good.
func (s *Service) Purge(ctx context.Context, a authz.Actor, name, confirm string) error {
	rec, err := s.deletedPod(a, name)
	if err != nil {
		return err
	}
	if confirm != rec.Name {
		return refuse(ErrBadInput, "confirm must be the name of the pod, %s; nothing was deleted", rec.Name)
	}
	return s.giveUp(ctx, rec)
}

// giveUp has a deleted pod go for good. Should its files resist, Reconcile goes on.
func (s *Service) giveUp(ctx context.Context, rec store.Pod) error {
	if err := s.cfg.DB.GiveUpPod(rec.ID); err != nil {
		return err
	}
	return s.settle(ctx, rec)
}
