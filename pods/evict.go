package pods

import (
	"cmp"
	"context"
	"slices"

	"podgate/internal/authz"
	"podgate/store"
)

// What can be undone takes room on the disk, and what has to go for that goes by these
// rules. None of it can be brought back, so all of it is told to Config.Evicted.
//
// Snapshots of a pod have snapshotDisk times the disk of its plan, and are MaxSnapshots:
// those that nobody asked for go first, the oldest of them, and then the oldest
// (makeRoomFor). A plan with less room takes those that nobody asked for at once (trim).
//
// Deleted pods of a team have the quota that its other pods have, once more: those go
// that lived shortest (boundDeleted).
//
// When the disk is nearly full one thing goes each round: the oldest deleted pod of the
// team that has most of them, and else the oldest snapshot that nobody asked for
// (makeRoom).

// Evicted is what went for good to make room, without being asked for.
type Evicted struct {
	Pod      store.Pod        // that was deleted, or whose snapshot it was
	Snapshot store.SnapshotID // empty: the deleted pod
	Why      string           // in a few words
}

func (s *Service) evicted(rec store.Pod, why string, snapshots ...store.SnapshotID) {
	for _, id := range snapshots {
		s.cfg.Log.Info("a snapshot makes room", "pod", rec.ID, "name", rec.Name, "snapshot", id, "why", why)
		s.cfg.Evicted(Evicted{Pod: rec, Snapshot: id, Why: why})
	}
}

const forNewer = "a newer one took its room"

// makeRoomFor is the rule by which snapshots make room for a new one: the oldest that
// nobody asked for goes first, and then the oldest, but for one that nobody asked for
// either.
func (s *Service) makeRoomFor(rec store.Pod, newest store.Snapshot) store.Keep {
	room := s.snapshotRoom(rec)
	return func(list []store.Snapshot) (drop []store.SnapshotID, err error) {
		for len(list)+1 > MaxSnapshots || bytesOf(list)+newest.Bytes > room {
			i := slices.IndexFunc(list, unasked)
			if i < 0 && newest.Why == store.SnapshotDeploy && len(list) > 0 {
				return nil, errByHand
			}
			if len(list) == 0 {
				break
			}
			i = max(i, 0)
			drop = append(drop, list[i].ID)
			list = slices.Delete(list, i, i+1)
		}
		return drop, nil
	}
}

func unasked(r store.Snapshot) bool { return r.Why != store.SnapshotByHand }

// overPlan names the snapshots, the oldest first, that have no room in the plan of
// their pod any more and that nobody asked for. Those that somebody did ask for stay
// until there is a newer one: a slip in a plan must not cost them.
func (s *Service) overPlan(rec store.Pod, list []store.Snapshot) (drop []store.SnapshotID) {
	over := bytesOf(list) - s.snapshotRoom(rec)
	for _, r := range list {
		if over > 0 && unasked(r) {
			over -= r.Bytes
			drop = append(drop, r.ID)
		}
	}
	return drop
}

// trim forgets what overPlan names. The caller has the pod's turn and deletes the files.
func (s *Service) trim(rec store.Pod) error {
	dropped, err := s.cfg.DB.TrimSnapshots(rec.ID, func(list []store.Snapshot) ([]store.SnapshotID, error) { return s.overPlan(rec, list), nil })
	s.evicted(rec, "its plan has less room", dropped...)
	return err
}

// evictPod gives up a deleted pod.
func (s *Service) evictPod(ctx context.Context, rec store.Pod, why string) error {
	s.cfg.Log.Warn("a deleted pod goes for good to make room", "pod", rec.ID, "name", rec.Name, "why", why)
	if err := s.cfg.DB.GiveUpPod(rec.ID); err != nil {
		return err
	}
	s.cfg.Evicted(Evicted{Pod: rec, Why: why})
	return s.settle(ctx, rec)
}

// boundDeleted evicts deleted pods of a team when they are more, or of larger plans, than
// its quota lets it have pods: otherwise who makes and deletes pods could fill the disk.
// It is those that lived shortest, among those that the actor could have deleted: what
// somebody makes only to delete it pushes out nothing else. One always stays.
func (s *Service) boundDeleted(ctx context.Context, a authz.Actor) {
	kept, err := s.cfg.DB.DeletedOf(a.Team.ID, s.cfg.Now())
	if err != nil {
		s.cfg.Log.Error("deleted pods could not be looked through", "team", a.Team.Slug, "error", err)
		return
	}
	most, has := s.QuotaOf(a.Team), Quota{Pods: len(kept)}
	for _, rec := range kept {
		has.Memory += s.planOf(rec).Limits.Memory
	}
	theirs := slices.DeleteFunc(kept, func(p store.Pod) bool { return a.AllowPod(authz.DeletePod, a.Team.ID, p.Name) != nil })
	slices.SortStableFunc(theirs, func(x, y store.Pod) int {
		return cmp.Compare(x.Deleted.Sub(x.Created), y.Deleted.Sub(y.Created))
	})
	for _, rec := range theirs {
		if has.Pods <= 1 || has.Pods <= most.Pods && has.Memory <= most.Memory {
			return
		}
		has.Pods--
		has.Memory -= s.planOf(rec).Limits.Memory
		if err := s.evictPod(ctx, rec, "the team has deleted more than it may have"); err != nil {
			s.cfg.Log.Error("a deleted pod is not gone yet", "pod", rec.ID, "error", err)
		}
	}
}

// makeRoom evicts a deleted pod of a region, the oldest of the team that has most of
// them, or, when there is none, the oldest snapshot that nobody asked for, as the disk is
// nearly full. One a round: file systems take a while to give back what was deleted.
func (s *Service) makeRoom(ctx context.Context, c Copier, r *region, records []store.Pod) error {
	const why = "the disk is nearly full"
	now := s.cfg.Now()
	var oldest *store.Pod
	of := map[store.TeamID]int{}
	for _, rec := range records {
		if rec.Region == r.Name && now.Before(rec.Until) {
			of[rec.Team]++
		}
	}
	here := map[store.PodID]store.Pod{}
	for _, rec := range records {
		if rec.Region != r.Name {
			continue
		}
		here[rec.ID] = rec
		if !now.Before(rec.Until) {
			continue
		}
		if oldest == nil || of[rec.Team] > of[oldest.Team] || of[rec.Team] == of[oldest.Team] && rec.Deleted.Before(oldest.Deleted) {
			oldest = &rec
		}
	}
	if oldest != nil {
		return s.evictPod(ctx, *oldest, why)
	}
	all, err := s.cfg.DB.Snapshots()
	if err != nil {
		return err
	}
	for _, snap := range all {
		rec, ok := here[snap.Pod]
		if !ok || !unasked(snap) || rec.Restore != nil {
			continue
		}
		if err := s.cfg.DB.ForgetSnapshot(snap.ID); err != nil {
			return err
		}
		s.evicted(rec, why, snap.ID)
		return s.settleSnapshots(ctx, r, c, rec)
	}
	return nil
}

// Undoable is what could be undone, and what that takes of the disk.
type Undoable struct {
	Snapshots, DeletedPods         int
	SnapshotBytes, DeletedPodBytes int64
}

// Undoable says what of all pods could be undone. Deleted pods are measured once each,
// since nothing in them changes; one that cannot be counts as nothing.
func (s *Service) Undoable(ctx context.Context) (u Undoable, err error) {
	all, err := s.cfg.DB.Snapshots()
	if err != nil {
		return u, err
	}
	u.Snapshots, u.SnapshotBytes = len(all), bytesOf(all)
	records, err := s.cfg.DB.Pods()
	if err != nil {
		return u, err
	}
	s.mu.Lock()
	before := s.measured
	s.mu.Unlock()
	measured := map[store.PodID]int64{}
	for _, rec := range records {
		if rec.Want != store.WantGone || rec.Until.IsZero() {
			continue
		}
		size, known := before[rec.ID]
		if c, err := s.copier(rec.Region); !known && err == nil {
			size, err = c.Size(ctx, rec.ID)
			known = err == nil
		}
		if known {
			measured[rec.ID] = size
		}
		u.DeletedPods++
		u.DeletedPodBytes += size
	}
	s.mu.Lock()
	s.measured = measured
	s.mu.Unlock()
	return u, nil
}
