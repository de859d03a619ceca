package pods

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"podgate/internal/text"
	"podgate/pods/wire"
	"podgate/store"
)

const (
	reconcileEvery = 30 * time.Second
	reconcilePause = time.Second // at least this between two rounds
	reconcileWidth = 4           // pods started or stopped at a time
)

// Run reconciles every region at once and then on a timer, when its runtime
// says that a pod ended, and when a failed pod is due, until ctx ends. Regions do
// not wait for each other.
func (s *Service) Run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	var loops sync.WaitGroup
	for _, r := range s.regions {
		loops.Go(func() { s.keep(ctx, r) })
		loops.Go(func() { s.watch(ctx, r) })
	}
	loops.Go(func() {
		for ctx.Err() == nil {
			s.sweepLinks(ctx)
			sleep(ctx, reconcileEvery)
		}
	})
	loops.Go(func() { s.measure(ctx) })
	loops.Go(func() { s.cfg.Egress.Follow(ctx) })
	loops.Wait()
}

// keep is Run of one region.
func (s *Service) keep(ctx context.Context, r *region) {
	for ctx.Err() == nil {
		if err := s.round(ctx, r); err != nil && ctx.Err() == nil {
			s.cfg.Log.Error("reconcile", "region", r.Name, "error", err)
		}
		s.rest(ctx, r)
	}
}

// watch has a round begin when a pod of the region ends by itself.
func (s *Service) watch(ctx context.Context, r *region) {
	select {
	case <-ctx.Done():
		return
	case <-r.opened:
	}
	for {
		runtime, _ := r.get() // open: see above
		death, err := runtime.Ended(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.cfg.Log.Error("the deaths of pods are not heard of; they are looked for every half minute", "region", r.Name, "error", err)
			sleep(ctx, reconcileEvery)
		default:
			s.cfg.Log.Warn("a pod ended by itself", "pod", death.ID, "region", r.Name, "reason", death.Reason)
			r.wake()
		}
	}
}

// wake asks Run for a round in a region soon.
func (s *Service) wake(name string) {
	if r, err := s.region(name); err == nil {
		r.wake()
	}
}

// rest waits until the next round in the region is due.
func (s *Service) rest(ctx context.Context, r *region) {
	sleep(ctx, reconcilePause)
	timer := time.NewTimer(s.untilRetry(r))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-r.wakeup:
	case <-timer.C:
	}
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// untilRetry is how long until the region, or a failed pod in it, is due, at
// most reconcileEvery.
func (s *Service) untilRetry(r *region) time.Duration {
	now := s.cfg.Now()
	if wait, closed := r.untilRetry(now); closed {
		return wait
	}
	wait := reconcileEvery
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.pods {
		if due := l.snapshot().retry; l.region == r.Name && due.After(now) {
			wait = min(wait, due.Sub(now))
		}
	}
	return wait
}

// Reconcile makes what runs agree with what the store says should run: it
// starts and stops, and finishes deletions that were cut short. It deletes
// no pod that the store does not name as to be deleted: a lost record must not
// cost anybody their files. Snapshots go with their records, and these with them. A pod with an operation of its own is left to it.
// Regions are done side by side, and those that are not open are opened when
// that is due.
func (s *Service) Reconcile(ctx context.Context) error {
	errs := make([]error, len(s.regions))
	var all sync.WaitGroup
	for i, r := range s.regions {
		all.Go(func() { errs[i] = s.round(ctx, r) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// round is Reconcile of one region.
func (s *Service) round(ctx context.Context, r *region) error {
	s.openRegion(ctx, r)
	runtime, err := r.get()
	if err != nil {
		return nil // it was said when it failed to open
	}
	// What runs is read before what should run: a pod is recorded before it
	// starts and forgotten after it is removed, so in this order no pod seems
	// unknown that is only new or just deleted.
	found, err := list(ctx, runtime)
	if err != nil {
		return fmt.Errorf("pods: list what runs in region %s: %w", r.Name, err)
	}
	copier, copies := runtime.(Copier)
	var snapshots map[store.PodID][]store.SnapshotID
	if copies {
		if snapshots, err = copier.Snapshots(ctx); err != nil {
			return fmt.Errorf("pods: list the snapshots in region %s: %w", r.Name, err)
		}
	}
	records, err := s.cfg.DB.Pods()
	if err != nil {
		return err
	}
	is := make(map[store.PodID]Status, len(found))
	for _, st := range found {
		is[st.ID] = st
	}
	var todo errgroup.Group
	todo.SetLimit(reconcileWidth)
	for _, rec := range records {
		st := is[rec.ID]
		delete(is, rec.ID)
		if rec.Region == r.Name && s.differs(rec, st) {
			todo.Go(func() error { return s.settle(ctx, rec) })
		}
	}
	for id, st := range is {
		todo.Go(func() error { return s.stopOrphan(ctx, r.Name, runtime, id, st) })
	}
	err = todo.Wait()
	if copies {
		err = errors.Join(err, s.agree(ctx, r, copier, snapshots, records))
	}
	return errors.Join(err, s.look(ctx, r, records))
}

// agree sees to the snapshots of a region, and to room on its disk.
func (s *Service) agree(ctx context.Context, r *region, c Copier, found map[store.PodID][]store.SnapshotID, records []store.Pod) error {
	differ, unknown, err := s.snapshotsDiffer(r.Name, found, records)
	if err != nil {
		return err
	}
	var faults []error
	for _, rec := range differ {
		faults = append(faults, s.settleSnapshots(ctx, r, c, rec))
	}
	for _, id := range unknown {
		faults = append(faults, c.Keep(ctx, id, nil))
	}
	if c.Short() {
		faults = append(faults, s.makeRoom(ctx, c, r, records))
	}
	return errors.Join(faults...)
}

func list(ctx context.Context, runtime Runtime) ([]Status, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return runtime.List(ctx)
}

// differs reports whether something may have to be done about a pod now. What
// it goes by may be old already, so settle looks again.
func (s *Service) differs(rec store.Pod, st Status) bool {
	if rec.Want == store.WantGone {
		return st.Running || s.overdue(rec)
	}
	snap := s.of(rec).snapshot()
	switch {
	case rec.CopyOf != "":
		return true
	case rec.Restore != nil:
		return !s.cfg.Now().Before(snap.retry)
	case rec.Want == store.WantStopped:
		return st.Running
	}
	return !(st.Running && snap.up) && !s.cfg.Now().Before(snap.retry)
}

// settle brings one pod to what its record says by now. Errors are noted with
// the pod; only those of the store are returned.
func (s *Service) settle(ctx context.Context, rec store.Pod) error {
	phase := "starting"
	if rec.Want != store.WantRunning {
		phase = "stopping"
	}
	l := s.of(rec)
	op, err := s.begin(ctx, l, phase, turnTry)
	if err != nil {
		return nil // an operation goes on, or the server stops
	}
	later := false
	defer func() {
		if !later {
			op.end()
		}
	}()
	rec, err = s.cfg.DB.Pod(rec.ID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		s.drop(op.live)
		return nil
	case err != nil:
		return err
	case rec.CopyOf != "" && rec.Want != store.WantGone:
		err = s.takeBack(op, rec)
	case rec.Restore != nil && rec.Want != store.WantGone:
		later = true // other pods do not wait for the copy
		go func() {
			defer op.end()
			s.finishLater(op, rec)
		}()
	case rec.Want == store.WantRunning:
		err = s.resume(op, rec)
	case rec.Want == store.WantStopped:
		err = s.stopEnvironment(op, rec)
	case !s.overdue(rec):
		err = s.putAway(op, rec)
	default:
		err = s.remove(op.ctx, op.live, rec)
	}
	if err != nil && op.ctx.Err() == nil {
		s.cfg.Log.Warn("pod is not yet what it should be", "pod", rec.ID, "want", rec.Want, "error", err)
	}
	return nil
}

// finishLater finishes a restore that was cut off.
func (s *Service) finishLater(op *operation, rec store.Pod) {
	rec, err := s.finishRestore(op, rec, nil)
	if err != nil && op.ctx.Err() == nil {
		op.failed(s.cfg.Now(), text.Line(err.Error(), maxReason))
	} else if err == nil && rec.Want == store.WantRunning {
		err = s.resume(op, rec)
	}
	if err != nil && op.ctx.Err() == nil {
		s.cfg.Log.Warn("a restore that was cut off is not finished", "pod", rec.ID, "error", err)
	}
}

// resume makes a pod run that should, and starts its app unless the agent says
// that it is looked after already. One that keeps ending by itself is left
// alone until it is due.
func (s *Service) resume(op *operation, rec store.Pod) error {
	if op.snapshot().up {
		if _, err := op.client.state(op.ctx); !errors.Is(err, ErrNotRunning) {
			return nil // somebody else brought it back, or it runs and is ill, which a start would not mend
		}
		op.died(s.cfg.Now(), s.whyEnded(op.ctx, rec))
		if err := s.due(op.live); err != nil {
			return err
		}
	}
	if err := s.startEnvironment(op, rec, nil); err != nil {
		return err
	}
	state, err := op.client.state(op.ctx)
	if err == nil && state.App != wire.AppStopped {
		op.succeeded(s.cfg.Now())
		return s.made(op, rec)
	}
	return s.direct(op, rec, wire.AppRequest{Action: "start"}, nil)
}

// stopOrphan stops a pod that the store does not know, and keeps its files: it may
// be the record that was lost.
func (s *Service) stopOrphan(ctx context.Context, region string, runtime Runtime, id store.PodID, st Status) error {
	if !st.Running {
		s.cfg.Log.Debug("files of a pod that the store does not know; they are kept", "pod", id, "region", region)
		return nil
	}
	s.cfg.Log.Warn("stopping a pod that the store does not know; its files are kept", "pod", id, "region", region)
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	if err := runtime.Stop(ctx, id); err != nil {
		return fmt.Errorf("pods: stop unknown pod %s: %w", id, err)
	}
	return nil
}

// due returns nil when a pod may be started without being asked for.
func (s *Service) due(l *live) error {
	if snap := l.snapshot(); s.cfg.Now().Before(snap.retry) {
		return refuse(ErrNotRunning, "%s; use manage_pod with action start to try again now", snap.reason)
	}
	return nil
}

// whyEnded asks the runtime why a pod ended by itself.
func (s *Service) whyEnded(ctx context.Context, rec store.Pod) string {
	const bare = "the pod's environment ended by itself"
	st := s.seen(ctx, rec)
	if st.Exit == "" {
		return bare
	}
	return bare + ": " + text.Line(st.Exit, maxReason)
}

// revive brings back a pod that should run and does not, for a caller who
// needs it now.
func (s *Service) revive(ctx context.Context, rec store.Pod) error {
	if err := s.due(s.of(rec)); err != nil {
		return err
	}
	return s.operate(ctx, rec, "starting", turnWait, func(op *operation, rec store.Pod) error {
		if rec.Want != store.WantRunning {
			return errStopped
		}
		return s.resume(op, rec)
	})
}
