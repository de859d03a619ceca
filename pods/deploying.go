package pods

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	"podgate/internal/authz"
	"podgate/internal/trace"
	"podgate/pods/preset"
	"podgate/pods/wire"
	"podgate/store"
)

type planner func(*operation, store.Pod) (deployPlan, error)

// deployed carries a deploy out and returns the pod after it.
func (s *Service) deployed(ctx context.Context, a authz.Actor, rec store.Pod, plan planner, p Progress) (out Deployment, err error) {
	if _, err := s.runtime(rec.Region); err != nil {
		return out, err
	}
	err = s.operate(ctx, rec, "", turnWait, func(op *operation, rec store.Pod) error {
		out, err = s.deploy(op, a, rec, plan, nil, p)
		return err
	})
	if now, gone := s.current(rec.ID); gone == nil {
		out.Pod = s.describe(context.WithoutCancel(ctx), now)
	}
	return out, err
}

// deployLater begins a deploy that its caller does not wait for. What can be refused
// at once is.
func (s *Service) deployLater(ctx context.Context, a authz.Actor, rec store.Pod, plan planner, _ Progress) (out Deployment, err error) {
	if _, err := s.runtime(rec.Region); err != nil {
		return out, err
	}
	d, err := s.later(ctx, func(ctx context.Context, began func(store.Deploy)) error {
		return s.operate(ctx, rec, "", turnWait, func(op *operation, rec store.Pod) error {
			_, err := s.deploy(op, a, rec, plan, began, nil)
			return err
		})
	})
	if err != nil {
		return out, err
	}
	out.Deploy = s.showDeploy(rec, d, nil)
	if now, gone := s.current(rec.ID); gone == nil {
		out.Pod = s.describe(ctx, now)
	}
	return out, nil
}

// deploy is one deploy. began hears when it is noted and
// its files are in the pod; nil: nobody does.
func (s *Service) deploy(op *operation, a authz.Actor, rec store.Pod, plan planner, began func(store.Deploy), p Progress) (Deployment, error) {
	todo, err := plan(op, rec)
	if err != nil {
		return Deployment{}, err
	}
	todo.record.Pod, todo.record.By, todo.record.Began = rec.ID, a.By(), s.cfg.Now()
	d, err := trace.Do(op.ctx, "store begin_deploy", func() (store.Deploy, error) { return s.cfg.DB.BeginDeploy(todo.record) })
	if errors.Is(err, store.ErrNotFound) {
		err = errAbsent
	}
	if err != nil {
		return Deployment{}, err
	}
	p, over := op.goes(d, p)
	defer over()
	todo.begun = func() {
		clear(todo.files) // what they hold is counted no longer than the caller waits
		if began != nil {
			began(d)
		}
	}
	done, err := s.carryOut(op, rec, d, &todo, p)
	defer s.discard(op, todo.spent)
	var app *store.App
	if err == nil {
		d.Preset, d.Commit = done.Preset, cmp.Or(done.Commit, d.Commit)
		app = &store.App{Release: d.Release, Preset: done.Preset, Env: todo.request.Spec.Env}
	}
	if d, err = s.endDeploy(d, app, err); err != nil {
		return Deployment{Deploy: s.showDeploy(rec, d, nil), Snapshot: todo.snapshot}, err
	}
	out := Deployment{Snapshot: todo.snapshot, Deploy: s.showDeploy(rec, d, nil), Answer: done.Answer, Listens: done.State.PID != 0}
	out.Deploy.Live = true
	for _, line := range done.Lines {
		out.Lines = append(out.Lines, line.Text)
	}
	return out, nil
}

// discard deletes what was sent for a deploy, also of one that failed or was ended:
// its room is the pod's.
func (s *Service) discard(op *operation, file string) {
	if file == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(op.ctx), agentTimeout)
	defer cancel()
	if _, err := op.client.delete(ctx, file, false); err != nil {
		s.cfg.Log.Debug("the archive of a deploy stays in its pod", "pod", op.id, "error", err)
	}
}

// carryOut has the agent do it.
func (s *Service) carryOut(op *operation, rec store.Pod, d store.Deploy, todo *deployPlan, p Progress) (*wire.Deployed, error) {
	ctx, cancel := context.WithTimeout(op.ctx, reloadTimeout)
	defer cancel()
	if err := s.rouse(op, rec); err != nil {
		return nil, err
	}
	if !op.snapshot().up {
		if err := s.startPod(op, rec, wire.AppRequest{Action: "start"}, p); err != nil {
			return nil, err
		}
	}
	req := todo.request
	req.Release, req.Before, req.WaitMillis = d.Release, *s.spec(rec), millis(deployWait)
	records, err := s.cfg.DB.DeploysOf(rec.ID)
	if err != nil {
		return nil, err
	}
	req.Keep = releasesToKeep(rec, records)
	if !req.Kept { // going back needs no room, and what it goes back to
		req.Keep = s.tight(ctx, op, rec, req.Keep)
	}
	if req.Max, err = s.room(ctx, rec, op.live, 0); err != nil {
		return nil, s.fromAgent(ctx, rec, err)
	}
	if req.Max = min(req.Max, wire.MaxTransfer); req.Max < 1 && !req.Kept {
		return nil, refuse(ErrOverPlan, "the pod's disk is full; delete files first")
	}
	if todo.replaces {
		todo.snapshot = s.snapshotBefore(ctx, rec, d, p)
	}
	if len(todo.files) > 0 {
		p.status("send the files")
		if err := s.sendFiles(ctx, op.live, req, todo.files); err != nil {
			return nil, s.fromAgent(ctx, rec, err)
		}
	}
	todo.begun()
	p.status(d.Action)
	return s.awaitDeploy(ctx, op, rec, d, req, p)
}

// tight gives up what could be gone back to, but the newest, when more than half of
// the pod's disk is used: a deploy needs room beside what runs. It returns what of
// kept, which begins with what runs, is still there.
func (s *Service) tight(ctx context.Context, op *operation, rec store.Pod, kept []int) []int {
	if s.seen(ctx, rec).Usage.Disk < s.planOf(rec).Limits.Disk/2 || len(kept) <= 2 {
		return kept
	}
	for _, n := range kept[2:] {
		if n == 0 {
			continue // what people made by hand
		}
		_, err := op.client.delete(ctx, "/home/pod/releases/"+strconv.Itoa(n), true)
		if err != nil {
			s.cfg.Log.Debug("give up a release", "pod", rec.ID, "release", n, "error", err) // it may be gone already
		}
	}
	return kept[:2]
}

// awaitDeploy hears of a deploy to its end.
func (s *Service) awaitDeploy(ctx context.Context, op *operation, rec store.Pod, d store.Deploy, req wire.DeployRequest, p Progress) (done *wire.Deployed, err error) {
	err = s.tellLines(ctx, op.live, p, func(p Progress) error {
		done, err = op.client.deploy(ctx, req, p)
		return err
	})
	if err != nil {
		return nil, s.appFailed(op, rec, d.Action, d.Began, err)
	}
	if _, known := preset.Find(done.Preset); !known {
		return nil, &fault{word: ErrNotAnswering, text: "its agent gave an answer that makes no sense; use manage_pod with action stop, then start"}
	}
	op.succeeded(s.cfg.Now())
	return done, nil
}

// deploy has the agent make an app and hears how it goes.
func (c *client) deploy(ctx context.Context, r wire.DeployRequest, p Progress) (*wire.Deployed, error) {
	var done *wire.Deployed
	err := c.stream(ctx, wire.PathDeploy, r, maxAppStream, func(e wire.Event) (bool, error) {
		switch {
		case e.Fault != nil:
			return true, e.Fault
		case e.Deployed != nil:
			done = cleanDeployed(e.Deployed)
			return true, nil
		}
		p.say(e.Stream, e.Data)
		return false, nil
	})
	return done, err
}

// sendFiles streams files to the folder of a release.
func (s *Service) sendFiles(ctx context.Context, l *live, req wire.DeployRequest, files []SourceFile) error {
	r, w := io.Pipe()
	packed := make(chan struct{})
	go func() {
		defer close(packed)
		w.CloseWithError(pack(w, files))
	}()
	defer func() { r.Close(); <-packed }()
	src := &source{transfer: newTransfer(ctx), r: r, take: func(int) error { return nil }}
	query := url.Values{"release": {strconv.Itoa(req.Release)}, "max": {strconv.FormatInt(req.Max, 10)}}
	return l.client.put(src, wire.PathRelease, query, -1, new(wire.Imported))
}

// pack writes files as a tar. What begins as a script can be run.
func pack(w io.Writer, files []SourceFile) error {
	archive := tar.NewWriter(w)
	now := time.Now()
	for _, f := range files {
		h := &tar.Header{Name: f.Path, Mode: 0o644, Size: int64(len(f.Content)), ModTime: now}
		if strings.HasPrefix(string(f.Content[:min(2, len(f.Content))]), "#!") {
			h.Mode = 0o755
		}
		if err := archive.WriteHeader(h); err != nil {
			return err
		}
		if _, err := archive.Write(f.Content); err != nil {
			return err
		}
	}
	return archive.Close()
}
