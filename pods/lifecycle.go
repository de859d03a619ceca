package pods

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"syscall"
	"time"

	"podgate/internal/authz"
	"podgate/internal/text"
	"podgate/internal/trace"
	"podgate/pods/preset"
	"podgate/pods/wire"
	"podgate/store"
)

// Reserved is how long the name of a deleted pod stays its team's.
const Reserved = 7 * 24 * time.Hour

const (
	appTimeout    = 40 * time.Second // of an app action without install
	reloadTimeout = 20 * time.Minute // of one with install, which the agent ends after 15
	startWait     = 15 * time.Second // for the port of a started app to answer
	reloadWait    = 65 * time.Second // until the agent says what it listens on instead
)

// find returns the actor's pod of that name once the actor may do action with
// it. A foreign pod, one outside the limits of the connection and an absent one
// give the same error, unless the user is a member of the team that owns it:
// then it says to choose that team. A name outside the limits is not even
// looked up.
func (s *Service) find(a authz.Actor, action authz.Action, name string) (store.Pod, error) {
	if err := a.AllowPod(action, a.Team.ID, name); err != nil {
		return store.Pod{}, errDenied(a, err)
	}
	rec, err := lookup(s.cfg.DB, name)
	if err != nil || rec.Team == a.Team.ID {
		return rec, err
	}
	switch _, err := s.cfg.DB.Member(rec.Team, a.User); {
	case err == nil:
		return store.Pod{}, errForeign
	case errors.Is(err, store.ErrNotMember):
		return store.Pod{}, errAbsent
	default:
		return store.Pod{}, fmt.Errorf("pods: look up a member: %w", err)
	}
}

// TeamOf returns the team of a pod, for whoever is to decide whether somebody may
// know of it; ErrNotFound.
func (s *Service) TeamOf(name string) (store.TeamID, error) {
	rec, err := lookup(s.cfg.DB, name)
	return rec.Team, err
}

// IDIn returns the identifier of a team's pod, for records, since a name can be given
// again; empty when the team has none of that name.
func (s *Service) IDIn(team store.TeamID, name string) store.PodID {
	rec, err := lookup(s.cfg.DB, name)
	if err != nil || rec.Team != team {
		return ""
	}
	return rec.ID
}

// CreateRequest asks for a new pod. Plan and Region may be empty.
type CreateRequest struct {
	Name, Preset, Plan, Region string
	Env                        map[string]string
}

// Create makes a pod and returns when its first page answers. Bad input, a
// region that cannot run pods, and a caller who leaves before the environment
// is up leave nothing behind. An environment that fails to start for another
// reason leaves the pod as failed, with ErrNotStarted: it is returned beside
// the error, and can be started again or deleted.
func (s *Service) Create(ctx context.Context, a authz.Actor, r CreateRequest, p Progress) (Pod, error) {
	if err := a.Allow(authz.CreatePod, a.Team.ID); err != nil {
		return Pod{}, err
	}
	rec, plan, err := s.draft(a, r)
	if err != nil {
		return Pod{}, err
	}
	l := s.of(rec)
	op, err := s.begin(ctx, l, "creating", turnWait)
	if err != nil {
		s.drop(l)
		return Pod{}, err
	}
	err = s.create(op, a, rec, plan, p)
	op.end()
	if now, gone := s.current(rec.ID); gone == nil {
		return s.describe(context.WithoutCancel(ctx), now), err
	}
	return Pod{}, err
}

// draft checks a request and makes the record of it.
func (s *Service) draft(a authz.Actor, r CreateRequest) (store.Pod, Plan, error) {
	if err := CheckName(r.Name); err != nil {
		return store.Pod{}, Plan{}, err
	}
	if err := a.AllowPod(authz.CreatePod, a.Team.ID, r.Name); err != nil {
		return store.Pod{}, Plan{}, errDenied(a, err)
	}
	kind, err := findPreset(r.Preset)
	if err != nil {
		return store.Pod{}, Plan{}, err
	}
	plan, err := s.plan(r.Plan)
	if err != nil {
		return store.Pod{}, Plan{}, err
	}
	if err := checkEnv(r.Env); err != nil {
		return store.Pod{}, Plan{}, err
	}
	region, err := s.region(r.Region)
	if err != nil {
		return store.Pod{}, Plan{}, err
	}
	if err := region.provides(kind.Needs); err != nil {
		return store.Pod{}, Plan{}, err
	}
	return store.Pod{
		ID: store.PodID(store.NewID()), Name: r.Name, Team: a.Team.ID, Preset: kind.Name, Plan: plan.Name, Region: region.Name,
		Env: maps.Clone(r.Env), Want: store.WantRunning, CreatedBy: a.By(), Created: s.cfg.Now(),
	}, plan, nil
}

func (s *Service) create(op *operation, a authz.Actor, rec store.Pod, plan Plan, p Progress) error {
	rec, err := s.insert(op.ctx, a, rec, plan)
	if err != nil {
		s.drop(op.live)
		return err
	}
	if err := s.startEnvironment(op, rec, p); err != nil {
		if op.ctx.Err() != nil || errors.Is(err, ErrUnavailable) {
			s.undo(op, rec)
		}
		return err
	}
	return s.direct(op, rec, wire.AppRequest{Action: "start", WaitMillis: millis(startWait)}, p)
}

// insert puts the record into the store and returns what is there then. Errors
// are in the words of this package.
func (s *Service) insert(ctx context.Context, a authz.Actor, rec store.Pod, plan Plan) (store.Pod, error) {
	err := trace.Run(ctx, "store create_pod", func() error { return s.cfg.DB.CreatePod(rec, rec.Created, s.allowance(a, plan)) })
	switch {
	case errors.Is(err, store.ErrTaken), errors.Is(err, store.ErrReserved):
		return store.Pod{}, &fault{word: ErrNameTaken, text: "choose another name", cause: err}
	case errors.Is(err, store.ErrNotFound):
		return store.Pod{}, &fault{word: ErrNotMember, text: "the team does not exist any more; reconnect and choose another", cause: err}
	case err != nil:
		return store.Pod{}, err
	}
	s.cfg.Log.Info("a pod was made", "pod", rec.ID, "name", rec.Name, "team", a.Team.Slug, "preset", rec.Preset, "plan", rec.Plan)
	return s.cfg.DB.Pod(rec.ID)
}

// undo takes back a pod that never ran. What it cannot finish, Reconcile does.
func (s *Service) undo(op *operation, rec store.Pod) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(op.ctx), detachedTimeout)
	defer cancel()
	err := s.cfg.DB.SetWant(rec.ID, store.WantGone)
	if err == nil {
		err = s.remove(ctx, op.live, rec)
	}
	if err != nil {
		s.cfg.Log.Error("a pod that was not created is not gone yet", "pod", rec.ID, "error", err)
	}
}

// startPod makes the environment run and tells the agent what to do with the app.
func (s *Service) startPod(op *operation, rec store.Pod, r wire.AppRequest, p Progress) error {
	if err := s.startEnvironment(op, rec, p); err != nil {
		return err
	}
	return s.direct(op, rec, r, p)
}

// direct has the agent do something with the app. A pod that was not made yet gets its
// first page, and is made: whoever was making it may have been cut off.
func (s *Service) direct(op *operation, rec store.Pod, r wire.AppRequest, p Progress) error {
	timeout := appTimeout
	if r.Action == "reload" {
		timeout = reloadTimeout
	}
	ctx, cancel := context.WithTimeout(op.ctx, timeout)
	defer cancel()
	r.Spec, r.Welcome = s.spec(rec), r.Action == "start" && !rec.Made
	p.status(r.Action + " the app")
	began := s.cfg.Now()
	err := s.tellLines(ctx, op.live, p, func(p Progress) error {
		_, err := op.client.app(ctx, r, p)
		return err
	})
	if _, answered := errors.AsType[*wire.Fault](err); err == nil || answered {
		if err := s.made(op, rec); err != nil {
			return err
		}
	}
	if err != nil {
		err = s.appFailed(op, rec, r.Action, began, err)
	} else {
		op.succeeded(s.cfg.Now())
	}
	return err
}

// made notes that a pod has what it begins with. From then on its files must be there.
func (s *Service) made(op *operation, rec store.Pod) error {
	if rec.Made {
		return nil
	}
	if err := s.cfg.DB.SetMade(rec.ID); err != nil {
		return s.notStarted(op, rec, err)
	}
	return nil
}

// startEnvironment makes the environment run, and notes and words why not.
func (s *Service) startEnvironment(op *operation, rec store.Pod, p Progress) error {
	runtime, err := s.runtime(rec.Region)
	if err != nil {
		return s.notStarted(op, rec, err)
	}
	plan := s.planOf(rec)
	up := op.snapshot().up
	if !up {
		p.status("starting the environment")
	}
	kind, _ := preset.Find(rec.Preset) // one that podgate has no more needs nothing
	spec := Spec{ID: rec.ID, Number: rec.Number, Name: rec.Name, Made: rec.Made, Needs: kind.Needs, Limits: plan.Limits, Gate: s.gate(rec, op.live)}
	ran := up || runs(op.ctx, runtime, rec.ID) // it was handed over by the program before
	if err := startIn(op.ctx, runtime, spec, p); err != nil {
		return s.notStarted(op, rec, err)
	}
	if !ran {
		s.cfg.Log.Info("a pod was started", "pod", rec.ID, "name", rec.Name)
	}
	return nil
}

// runs reports whether a pod runs already.
func runs(ctx context.Context, runtime Runtime, id store.PodID) bool {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	conn, err := runtime.Dial(ctx, id)
	return err == nil && conn.Close() == nil
}

var errSilent = fmt.Errorf("the runtime said nothing for %s", StartSilence)

// startIn has a runtime start a pod. How long that may take is the runtime's to
// know, as long as it says what it does.
func startIn(ctx context.Context, runtime Runtime, spec Spec, p Progress) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(StartSilence, func() { cancel(errSilent) })
	defer silence.Stop()
	err := runtime.Start(ctx, spec, func(line string) {
		silence.Reset(StartSilence)
		p.status(line)
	})
	if err != nil && errors.Is(context.Cause(ctx), errSilent) {
		return errSilent
	}
	return err
}

// notStarted notes why the environment did not start and words it.
func (s *Service) notStarted(op *operation, rec store.Pod, err error) error {
	if op.ctx.Err() != nil {
		return context.Cause(op.ctx)
	}
	s.cfg.Log.Error("pod did not start", "pod", rec.ID, "error", err)
	var u *UnavailableError
	var f *fault
	var files *FilesError
	switch {
	case errors.As(err, &f):
	case errors.As(err, &files):
		err = &fault{word: ErrNotStarted, text: files.Words, cause: err}
		op.waits(text.Line(err.Error(), maxReason))
		return err
	case errors.As(err, &u):
		err = unavailable(u)
	case errors.Is(err, store.ErrDiskFull), errors.Is(err, syscall.ENOSPC):
		err = &fault{word: ErrNotStarted, text: "the disk of the server is full; whoever runs it has to make room, then use manage_pod with action start", cause: err}
	case errors.Is(err, store.ErrDiskFailed), errors.Is(err, syscall.EROFS), errors.Is(err, syscall.EIO):
		err = &fault{word: ErrNotStarted, text: "the disk of the server does not work; whoever runs it has to mend it, then use manage_pod with action start", cause: err}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, errSilent):
		err = &fault{word: ErrNotStarted, text: "its environment took too long; use manage_pod with action start to try again", cause: err}
	default:
		err = &fault{word: ErrNotStarted, text: "its environment failed, the log of the server says why; use manage_pod with action start to try again, or delete", cause: err}
	}
	op.failed(s.cfg.Now(), text.Line(err.Error(), maxReason))
	return err
}

// appFailed words an app action that the agent did not carry out. The
// environment goes on, so files and commands can be used to mend things.
func (s *Service) appFailed(op *operation, rec store.Pod, action string, began time.Time, err error) error {
	if op.ctx.Err() != nil {
		return context.Cause(op.ctx)
	}
	var f *wire.Fault
	if errors.As(err, &f) {
		op.succeeded(s.cfg.Now())
		return &fault{word: ErrAppFailed, text: action + ": " + text.Line(f.Message, maxReason), cause: err, lines: s.lastLines(op.live, began, f.Lines)}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return &fault{word: ErrTimedOut, text: fmt.Sprintf("%s of the app took too long; look at get_logs", action), cause: err}
	}
	s.cfg.Log.Error("agent failed an app action", "pod", rec.ID, "action", action, "error", err)
	op.failed(s.cfg.Now(), "the pod's agent did not answer")
	return &fault{word: ErrNotAnswering, text: "its agent failed; use manage_pod with action stop, then start", cause: err}
}

// manage runs one operation on a pod and returns the pod after it.
func (s *Service) manage(ctx context.Context, a authz.Actor, name, phase string, how turn, do func(*operation, store.Pod) error) (Pod, error) {
	rec, err := s.find(a, authz.ManagePod, name)
	if err != nil {
		return Pod{}, err
	}
	if _, err := s.runtime(rec.Region); err != nil {
		return Pod{}, err
	}
	err = s.operate(ctx, rec, phase, how, do)
	if err != nil {
		return Pod{}, err
	}
	if rec, err = s.current(rec.ID); err != nil {
		return Pod{}, err
	}
	return s.describe(ctx, rec), nil
}

// operate runs do as the only operation on the pod, with its record as it is
// by then.
func (s *Service) operate(ctx context.Context, rec store.Pod, phase string, how turn, do func(*operation, store.Pod) error) error {
	op, err := s.begin(ctx, s.of(rec), phase, how)
	if err != nil {
		return err
	}
	defer op.end()
	now, err := s.current(rec.ID)
	if err != nil {
		if errors.Is(err, ErrNotFound) {
			s.drop(op.live)
		}
		return err
	}
	if how != turnPreempt { // a stop or a delete needs no files
		if err := uncopied(now); err != nil {
			return err
		}
		if now.Restore != nil {
			if now, err = s.finishRestore(op, now, nil); err != nil {
				return err
			}
		}
	}
	return do(op, now)
}

// current reads a pod's record again; errAbsent when it is gone by now.
func (s *Service) current(id store.PodID) (store.Pod, error) {
	return present(s.cfg.DB.Pod(id))
}

// Start makes a pod run and returns it when its app answers, or when it is
// clear that it does not: Status and Reason then say why.
func (s *Service) Start(ctx context.Context, a authz.Actor, name string, p Progress) (Pod, error) {
	return s.manage(ctx, a, name, "starting", turnWait, s.appAction("start", startWait, p))
}

// Restart ends everything that runs in the pod and starts the app again, without
// an install. A stopped pod is started.
func (s *Service) Restart(ctx context.Context, a authz.Actor, name string, p Progress) (Pod, error) {
	return s.manage(ctx, a, name, "starting", turnWait, s.appAction("restart", startWait, p))
}

// Reload installs what the app needs, finds its start command and starts it
// again, as Restart does. A stopped pod is started.
func (s *Service) Reload(ctx context.Context, a authz.Actor, name string, p Progress) (Pod, error) {
	return s.reload(ctx, a, name, func(store.Deploy) {}, p)
}

// reload is Reload. began hears when it is noted.
func (s *Service) reload(ctx context.Context, a authz.Actor, name string, began func(store.Deploy), p Progress) (Pod, error) {
	return s.manage(ctx, a, name, "starting", turnWait, func(op *operation, rec store.Pod) error {
		if err := s.rouse(op, rec); err != nil {
			return err
		}
		if err := s.startEnvironment(op, rec, p); err != nil {
			return err
		}
		d, err := s.cfg.DB.BeginDeploy(store.Deploy{Pod: rec.ID, Action: "reload", Release: rec.Release, By: a.By(), Began: s.cfg.Now()})
		if err != nil {
			return err
		}
		p, over := op.goes(d, p)
		defer over()
		began(d)
		err = s.direct(op, rec, wire.AppRequest{Action: "reload", WaitMillis: millis(reloadWait)}, p)
		d.Preset = rec.Preset
		_, err = s.endDeploy(d, nil, err)
		return err
	})
}

// appAction wants the pod running and has the agent carry out action.
func (s *Service) appAction(action string, wait time.Duration, p Progress) func(*operation, store.Pod) error {
	return func(op *operation, rec store.Pod) error {
		if err := s.rouse(op, rec); err != nil {
			return err
		}
		return s.startPod(op, rec, wire.AppRequest{Action: action, WaitMillis: millis(wait)}, p)
	}
}

// rouse wants a pod running, and lets it be tried at once.
func (s *Service) rouse(op *operation, rec store.Pod) error {
	op.forgive()
	s.rearm(rec, op.live)
	return s.want(rec, store.WantRunning)
}

func (s *Service) want(rec store.Pod, want store.Want) error {
	if rec.Want == want {
		return nil
	}
	err := s.cfg.DB.SetWant(rec.ID, want)
	if errors.Is(err, store.ErrNotFound) {
		return errAbsent
	}
	return err
}

// Stop ends everything in the pod; its home stays. It interrupts a start or
// reload that goes on, and once begun it is carried out even when the caller
// leaves.
func (s *Service) Stop(ctx context.Context, a authz.Actor, name string, p Progress) (Pod, error) {
	return s.manage(ctx, a, name, "stopping", turnPreempt, func(op *operation, rec store.Pod) error {
		if err := s.want(rec, store.WantStopped); err != nil {
			return err
		}
		p.status("stopping the environment")
		return s.stopEnvironment(op, rec)
	})
}

// stopEnvironment stops the environment.
func (s *Service) stopEnvironment(op *operation, rec store.Pod) error {
	err := s.endEnvironment(op, rec)
	if err == nil {
		s.cfg.Log.Info("a pod was stopped", "pod", rec.ID, "name", rec.Name)
	}
	return err
}

func (s *Service) endEnvironment(op *operation, rec store.Pod) error {
	runtime, err := s.runtime(rec.Region)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(op.ctx, changeTimeout)
	defer cancel()
	if err := runtime.Stop(ctx, rec.ID); err != nil {
		s.cfg.Log.Error("pod did not stop", "pod", rec.ID, "error", err)
		return &fault{word: ErrNotAnswering, text: "it has not stopped yet; podgate goes on trying, look again with get_pod", cause: err}
	}
	op.stopped()
	return nil
}

// Delete takes the pod away for everybody. confirm must be its name. For the time of
// Reserved an owner of its team can bring it back with all its files: see Undelete. A
// pod that never ran is gone at once. Should its environment or its files resist,
// Reconcile goes on.
func (s *Service) Delete(ctx context.Context, a authz.Actor, name, confirm string) error {
	rec, err := s.find(a, authz.DeletePod, name)
	if err != nil {
		return err
	}
	if confirm != rec.Name {
		return refuse(ErrBadInput, "confirm must be the name of the pod, %s; nothing was deleted", rec.Name)
	}
	if _, err := s.runtime(rec.Region); err != nil {
		return err
	}
	err = s.operate(ctx, rec, "stopping", turnPreempt, func(op *operation, rec store.Pod) error {
		if !rec.Made || rec.CopyOf != "" {
			if err := s.want(rec, store.WantGone); err != nil {
				return err
			}
			err = s.remove(op.ctx, op.live, rec)
		} else {
			now := s.cfg.Now()
			if err := s.cfg.DB.DeletePod(rec.ID, now, now.Add(Reserved)); err != nil {
				return err
			}
			err = s.putAway(op, rec)
		}
		if err != nil {
			s.cfg.Log.Error("a deleted pod is not gone yet", "pod", rec.ID, "error", err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.boundDeleted(context.WithoutCancel(ctx), a)
	s.wake(rec.Region) // its room may be needed
	return nil
}

// putAway ends what runs of a deleted pod, whose files stay.
func (s *Service) putAway(op *operation, rec store.Pod) error {
	if err := s.endEnvironment(op, rec); err != nil {
		return err
	}
	s.drop(op.live)
	s.cfg.Log.Info("a pod was deleted", "pod", rec.ID, "name", rec.Name)
	return nil
}

// remove takes away the environment, then the record of a pod that is wanted
// gone. A crash in between is mended by doing it again.
func (s *Service) remove(ctx context.Context, l *live, rec store.Pod) error {
	runtime, err := s.runtime(rec.Region)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	if err := runtime.Remove(ctx, rec.ID); err != nil {
		return err
	}
	if err := s.cfg.DB.ForgetPod(rec.ID, s.cfg.Now().Add(Reserved)); err != nil {
		return err
	}
	s.drop(l)
	if rec.Deleted.IsZero() {
		s.cfg.Log.Info("a pod was deleted", "pod", rec.ID, "name", rec.Name)
	} else {
		s.cfg.Log.Info("a deleted pod is gone for good", "pod", rec.ID, "name", rec.Name)
	}
	return nil
}

func millis(d time.Duration) int { return int(d / time.Millisecond) }
