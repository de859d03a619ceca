package pods

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"podgate/internal/authz"
	"podgate/internal/text"
	"podgate/store"
)

const (
	// MaxSnapshots is how many snapshots of a pod are kept.
	MaxSnapshots = 10
	// snapshotDisk is how much they may have together, in disks of the pod's plan. With
	// less than two a home of more than half of it could not be restored and that undone.
	snapshotDisk = 2

	maxNote     = 200              // characters of a snapshot's note
	copyTimeout = 20 * time.Minute // of a copy that somebody asked for
	autoTimeout = time.Minute      // of one that a deploy waits for
	busyPause   = 3 * time.Second  // until a pod's snapshots are looked at again
)

// Snapshot is a copy of a pod's files as they were.
type Snapshot struct {
	ID      string
	Why     string // manual, deploy or restore: before one of these
	Note    string
	By      string // the person's name; empty when they are gone
	Created time.Time
	Bytes   int64
	LeftOut int      // files that are not in it
	Such    []string // the first of these, with reasons; only of one that was just made
	Moving  bool     // it is not of one moment
	Preset  string
	Release int
}

var errNoSnapshot = refuse(ErrNoSnapshot, "the pod has none with that id; list_snapshots shows those it has")

var errByHand = refuse(ErrOverPlan, "those that were made by hand leave no room for it; delete one with delete_snapshot")

// copier is the runtime of a region as one that copies.
func (s *Service) copier(region string) (Copier, error) {
	runtime, err := s.runtime(region)
	if err != nil {
		return nil, err
	}
	c, ok := runtime.(Copier)
	if !ok {
		return nil, refuse(ErrNotCopied, "the region %s keeps no snapshots", region)
	}
	return c, nil
}

// Snapshots returns those of a pod, the newest first.
func (s *Service) Snapshots(a authz.Actor, name string) ([]Snapshot, error) {
	rec, err := s.find(a, authz.ReadPod, name)
	if err != nil {
		return nil, err
	}
	records, err := s.cfg.DB.SnapshotsOf(rec.ID)
	if err != nil {
		return nil, err
	}
	list := make([]Snapshot, 0, len(records))
	for _, r := range slices.Backward(records) {
		list = append(list, s.showSnapshot(r))
	}
	return list, nil
}

func (s *Service) showSnapshot(r store.Snapshot) Snapshot {
	out := Snapshot{
		ID: string(r.ID), Why: r.Why, Note: r.Note, Created: r.Created, Bytes: r.Bytes, LeftOut: r.LeftOut, Moving: r.Moving, Preset: r.Preset, Release: r.Release,
	}
	if by, err := s.cfg.DB.User(r.By); err == nil {
		out.By = by.Name
	}
	return out
}

// TakeSnapshot copies a pod's files as they are. The oldest snapshots make room for it,
// those that somebody asked for last.
func (s *Service) TakeSnapshot(ctx context.Context, a authz.Actor, name, note string, p Progress) (Snapshot, error) {
	rec, err := s.find(a, authz.Deploy, name)
	if err != nil {
		return Snapshot{}, err
	}
	if err := checkNote(note); err != nil {
		return Snapshot{}, err
	}
	var out Snapshot
	err = s.operate(ctx, rec, "", turnWait, func(op *operation, rec store.Pod) (err error) {
		p.status("copying the files")
		out, err = s.snapshot(op.ctx, rec, store.Snapshot{Why: store.SnapshotByHand, Note: note, By: a.By()}, copyTimeout)
		return err
	})
	return out, err
}

func checkNote(note string) error {
	if !isText(note) || len([]rune(note)) > maxNote || text.Visible(note) != note {
		return refuse(ErrBadInput, "a note is one line of at most %d characters", maxNote)
	}
	return nil
}

// snapshot copies the files and notes the copy. The caller has the pod's turn.
func (s *Service) snapshot(ctx context.Context, rec store.Pod, as store.Snapshot, most time.Duration) (Snapshot, error) {
	c, err := s.copier(rec.Region)
	if err != nil {
		return Snapshot{}, err
	}
	if !rec.Made {
		return Snapshot{}, refuse(ErrNotCopied, "the pod has no files yet")
	}
	limited, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	if as.Why == store.SnapshotDeploy { // before it is copied in vain
		if fits, err := s.roomForOne(limited, c, rec); err != nil {
			return Snapshot{}, err
		} else if !fits {
			return Snapshot{}, errByHand
		}
	}
	as.ID, as.Pod, as.Release, as.Preset = newSnapshotID(), rec.ID, rec.Release, rec.Preset
	copied, err := c.Snapshot(limited, rec.ID, as.ID, s.snapshotRoom(rec))
	if err != nil {
		return Snapshot{}, s.notCopied(ctx, rec, err)
	}
	as.Created, as.Bytes, as.LeftOut, as.Moving = s.cfg.Now(), copied.Bytes, copied.LeftOut, copied.Moving
	dropped, err := s.cfg.DB.AddSnapshot(as, s.makeRoomFor(rec, as))
	if err == nil {
		s.evicted(rec, forNewer, dropped...)
	}
	s.sweepSnapshots(ctx, c, rec.ID) // also of this one, when it was not noted
	if err != nil {
		return Snapshot{}, err
	}
	s.cfg.Log.Info("a snapshot was made", "pod", rec.ID, "name", rec.Name, "snapshot", as.ID, "why", as.Why, "bytes", as.Bytes, "left_out", as.LeftOut)
	out := s.showSnapshot(as)
	for _, such := range copied.Such {
		out.Such = append(out.Such, text.Line(such, maxReason))
	}
	return out, nil
}

// newSnapshotID has 50 random bits: it is no secret, and people type it.
func newSnapshotID() store.SnapshotID { return store.SnapshotID(store.NewID()[:10]) }

// snapshotRoom is how many bytes the snapshots of a pod may have.
func (s *Service) snapshotRoom(rec store.Pod) int64 {
	return snapshotDisk * s.planOf(rec).Limits.Disk
}

func bytesOf(list []store.Snapshot) (sum int64) {
	for _, r := range list {
		sum += r.Bytes
	}
	return sum
}

// sweepSnapshots deletes the files of a pod that belong to no snapshot. The caller has
// the pod's turn. What it cannot do, Reconcile does.
func (s *Service) sweepSnapshots(ctx context.Context, c Copier, id store.PodID) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), changeTimeout)
	defer cancel()
	if err := s.keepFiles(ctx, c, id); err != nil {
		s.cfg.Log.Error("files of snapshots that are gone are there still", "pod", id, "error", err)
	}
}

func (s *Service) keepFiles(ctx context.Context, c Copier, id store.PodID) error {
	records, err := s.cfg.DB.SnapshotsOf(id)
	if err != nil {
		return err
	}
	var keep []store.SnapshotID
	for _, r := range records {
		keep = append(keep, r.ID)
	}
	rec, err := s.cfg.DB.Pod(id)
	switch {
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return err
	case err == nil && rec.Restore != nil:
		keep = append(keep, rec.Restore.Old) // its record comes when that is done
	}
	return c.Keep(ctx, id, keep)
}

// notCopied words why files were not copied.
func (s *Service) notCopied(ctx context.Context, rec store.Pod, err error) error {
	var f *FilesError
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &f):
		return &fault{word: ErrNotCopied, text: f.Words, cause: err}
	case errors.Is(err, context.DeadlineExceeded):
		return &fault{word: ErrNotCopied, text: "it took too long; try again when less goes on", cause: err}
	}
	s.cfg.Log.Error("files of a pod could not be copied", "pod", rec.ID, "error", err)
	return &fault{word: ErrNotCopied, text: "the log of the server says why", cause: err}
}

// DeleteSnapshot deletes one snapshot of a pod.
func (s *Service) DeleteSnapshot(ctx context.Context, a authz.Actor, name, id string) error {
	rec, err := s.find(a, authz.Deploy, name)
	if err != nil {
		return err
	}
	return s.operate(ctx, rec, "", turnWait, func(op *operation, rec store.Pod) error {
		c, err := s.copier(rec.Region)
		if err != nil {
			return err
		}
		r, err := s.snapshotOf(rec, id)
		if err != nil {
			return err
		}
		if err := s.cfg.DB.ForgetSnapshot(r.ID); err != nil {
			return err
		}
		s.sweepSnapshots(op.ctx, c, rec.ID)
		return nil
	})
}

// snapshotOf finds a snapshot among those of a pod.
func (s *Service) snapshotOf(rec store.Pod, id string) (store.Snapshot, error) {
	records, err := s.cfg.DB.SnapshotsOf(rec.ID)
	if err != nil {
		return store.Snapshot{}, err
	}
	i := slices.IndexFunc(records, func(r store.Snapshot) bool { return string(r.ID) == id })
	if i < 0 {
		return store.Snapshot{}, errNoSnapshot
	}
	return records[i], nil
}

// RestoreSnapshot puts a copy of a snapshot in the place of the pod's files, which
// become a snapshot themselves, and starts the app again if the pod is to run. It is
// noted before anything changes, and a crash after that does not keep it from being
// carried out.
func (s *Service) RestoreSnapshot(ctx context.Context, a authz.Actor, name, id string, p Progress) (Pod, error) {
	rec, err := s.find(a, authz.Deploy, name)
	if err != nil {
		return Pod{}, err
	}
	c, err := s.copier(rec.Region)
	if err != nil {
		return Pod{}, err
	}
	err = s.operate(ctx, rec, "starting", turnWait, func(op *operation, rec store.Pod) error {
		from, err := s.snapshotOf(rec, id)
		if err != nil {
			return err
		}
		if fits, err := s.roomForOne(op.ctx, c, rec); err != nil {
			return err
		} else if !fits {
			return refuse(ErrOverPlan, "the files as they are now become a snapshot, for which those made by hand leave no room; delete one with delete_snapshot first")
		}
		note := "before " + string(from.ID) + " was restored"
		if rec, err = s.cfg.DB.BeginRestore(rec.ID, store.Restore{From: from.ID, Old: newSnapshotID(), By: a.By(), Note: note}); err != nil {
			return err
		}
		if rec, err = s.finishRestore(op, rec, p); err != nil || rec.Want != store.WantRunning {
			return err
		}
		return s.appAction("start", startWait, p)(op, rec)
	})
	if now, gone := s.current(rec.ID); gone == nil {
		return s.describe(context.WithoutCancel(ctx), now), err
	}
	return Pod{}, err
}

// roomForOne reports whether a snapshot of a pod as it is pushes out none that somebody
// asked for.
func (s *Service) roomForOne(ctx context.Context, c Copier, rec store.Pod) (bool, error) {
	records, err := s.cfg.DB.SnapshotsOf(rec.ID)
	if err != nil {
		return false, err
	}
	byHand := slices.DeleteFunc(records, func(r store.Snapshot) bool { return r.Why != store.SnapshotByHand })
	if len(byHand) == 0 || len(byHand) >= MaxSnapshots {
		return len(byHand) == 0, nil
	}
	size, err := c.Size(ctx, rec.ID)
	if err != nil {
		return false, s.notCopied(ctx, rec, err)
	}
	return bytesOf(byHand)+size <= s.snapshotRoom(rec), nil
}

// finishRestore carries out what BeginRestore noted, and returns the pod after it. What
// cannot be done leaves the pod as it was; only what the end of the server cuts off, or
// has come so far that the old files have moved, is tried again.
func (s *Service) finishRestore(op *operation, rec store.Pod, p Progress) (store.Pod, error) {
	c, err := s.copier(rec.Region)
	if err != nil {
		return rec, err
	}
	p.status("copying the files")
	ctx, cancel := context.WithTimeout(op.ctx, copyTimeout)
	defer cancel()
	r := rec.Restore
	filled, err := c.Fill(ctx, Fill{
		Pod: rec.ID, Number: rec.Number, From: Place{rec.ID, r.From}, Old: r.Old, Most: s.snapshotRoom(rec),
	})
	if err != nil && !filled.Had && s.ctx.Err() == nil {
		if derr := s.cfg.DB.DropRestore(rec.ID); derr != nil {
			return rec, derr
		}
		s.sweepSnapshots(op.ctx, c, rec.ID)
		rec.Restore = nil
	}
	if err != nil {
		return rec, s.notCopied(op.ctx, rec, err)
	}
	op.stopped()
	var old *store.Snapshot
	if filled.Had {
		old = &store.Snapshot{
			ID: r.Old, Pod: rec.ID, Why: store.SnapshotRestore, Note: r.Note, By: r.By, Created: s.cfg.Now(), Bytes: filled.Bytes, Release: rec.Release, Preset: rec.Preset,
		}
	}
	var keep store.Keep
	if old != nil {
		keep = s.makeRoomFor(rec, *old)
	}
	now, dropped, err := s.cfg.DB.EndRestore(rec.ID, old, keep)
	if err != nil {
		return rec, err
	}
	s.evicted(rec, forNewer, dropped...)
	s.sweepSnapshots(op.ctx, c, rec.ID)
	s.cfg.Log.Info("a snapshot was restored", "pod", rec.ID, "name", rec.Name, "snapshot", r.From, "old", r.Old)
	return now, nil
}

// snapshotBefore takes the snapshot that belongs before a deploy, and says so. The
// deploy does not depend on it.
func (s *Service) snapshotBefore(ctx context.Context, rec store.Pod, d store.Deploy, p Progress) string {
	p.status("taking a snapshot")
	note := fmt.Sprintf("before deploy %d", d.Number)
	made, err := s.snapshot(ctx, rec, store.Snapshot{Why: store.SnapshotDeploy, Note: note, By: d.By}, autoTimeout)
	if err == nil {
		return "snapshot " + made.ID + " has the files as they were before"
	}
	if !IsPublic(err) {
		s.cfg.Log.Error("there is no snapshot of before a deploy", "pod", rec.ID, "error", err)
		err = ErrNotCopied
	}
	said := "there is no snapshot of before this deploy: " + err.Error()
	p.status(said)
	return said
}

// settleSnapshots makes files and records of a pod's snapshots agree, in a round. Where
// another operation goes on, it may be the one that makes them, so another round looks.
func (s *Service) settleSnapshots(ctx context.Context, r *region, c Copier, rec store.Pod) error {
	l := s.of(rec)
	op, err := s.begin(ctx, l, l.snapshot().phase, turnTry)
	if err != nil {
		time.AfterFunc(busyPause, r.wake)
		return nil
	}
	defer op.end()
	if rec.Want == store.WantGone {
		defer s.drop(op.live) // it is known for this alone
	}
	found, err := c.Snapshots(op.ctx)
	if err != nil {
		return err
	}
	records, err := s.cfg.DB.SnapshotsOf(rec.ID)
	if err != nil {
		return err
	}
	for _, r := range records {
		if slices.Contains(found[rec.ID], r.ID) {
			continue
		}
		s.cfg.Log.Warn("a snapshot is forgotten, as its files are gone", "pod", rec.ID, "snapshot", r.ID)
		if err := s.cfg.DB.ForgetSnapshot(r.ID); err != nil && !errors.Is(err, store.ErrTaken) {
			return err
		}
	}
	if err := s.trim(rec); err != nil {
		return err
	}
	return s.keepFiles(op.ctx, c, rec.ID)
}

// snapshotsDiffer finds the pods of a region whose snapshots are not what is recorded, or
// are more than their plan has room for, and those that are unknown. found was read before records.
func (s *Service) snapshotsDiffer(region string, found map[store.PodID][]store.SnapshotID, records []store.Pod) (differ []store.Pod, unknown []store.PodID, err error) {
	all, err := s.cfg.DB.Snapshots()
	if err != nil {
		return nil, nil, err
	}
	noted, of := map[store.PodID][]store.SnapshotID{}, map[store.PodID][]store.Snapshot{}
	for _, r := range all {
		noted[r.Pod], of[r.Pod] = append(noted[r.Pod], r.ID), append(of[r.Pod], r)
	}
	for _, rec := range records {
		if rec.Region != region {
			continue
		}
		is, want := slices.Sorted(slices.Values(found[rec.ID])), slices.Sorted(slices.Values(noted[rec.ID]))
		if _, empty := found[rec.ID]; !slices.Equal(is, want) || empty && len(want) == 0 || rec.Restore == nil && len(s.overPlan(rec, of[rec.ID])) > 0 {
			differ = append(differ, rec)
		}
		delete(found, rec.ID)
	}
	for id := range found {
		unknown = append(unknown, id)
	}
	return differ, unknown, nil
}
