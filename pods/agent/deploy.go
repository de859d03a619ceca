package agent

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"podgate/pods/preset"
	"podgate/pods/wire"
)

// backTime is how long what ran before may take to answer again.
const backTime = 15 * time.Second

// serveDeploy is POST /v1/deploy.
func (a *agent) serveDeploy(w http.ResponseWriter, r *http.Request) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 2*maxAppBody))
	if err != nil {
		return err
	}
	req, err := parseDeploy(body)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	out := newEventStream(w, cancel)
	ctx, end := a.installs.begin(ctx)
	defer end()
	d := &deployment{agent: a, DeployRequest: req, tap: func(b []byte) { out.send(wire.Event{Stream: sourceInstall, Data: b}) }}
	done, err := d.run(ctx)
	switch {
	case err != nil && out.started():
		out.send(wire.Event{Fault: asFault(err)})
	case err != nil:
		return err
	default:
		out.send(wire.Event{Deployed: done})
	}
	return nil
}

func parseDeploy(body []byte) (wire.DeployRequest, error) {
	var r wire.DeployRequest
	if err := decode(body, &r); err != nil {
		return r, err
	}
	switch {
	case r.Release < 0 || r.Release > maxRelease || r.Release == 0 && !r.Kept:
		return r, badRequest("release must be 1 to %d", maxRelease)
	case r.Max < 1 && !r.Kept:
		return r, badRequest("max is missing")
	case r.WaitMillis < 0 || r.WaitMillis > int(maxWait/time.Millisecond):
		return r, badRequest("wait_millis must be 0 to %d", maxWait/time.Millisecond)
	case r.Git != nil && r.Archive != "", r.Kept && (r.Git != nil || r.Archive != ""):
		return r, badRequest("a deploy has one source")
	}
	if err := checkSpec(&r.Before); err != nil {
		return r, err
	}
	guessed := r.Spec
	if guessed.Preset == "" {
		guessed.Preset, guessed.Port = r.Before.Preset, cmp.Or(guessed.Port, r.Before.Port)
	}
	if err := checkSpec(&guessed); err != nil {
		return r, err
	}
	if r.Archive != "" {
		if err := checkPath(r.Archive); err != nil {
			return r, err
		}
	}
	if r.Git != nil {
		if err := r.Git.Check(); err != nil {
			return r, badRequest("%v", err)
		}
	}
	return r, nil
}

// deployment is one deploy while it goes on.
type deployment struct {
	agent *agent
	wire.DeployRequest
	tap    func([]byte)
	commit string
}

// run carries a deploy out. When it fails, the app is what it was, and nothing of a
// new folder is left.
func (d *deployment) run(ctx context.Context) (*wire.Deployed, error) {
	defer removeTree(d.agent.folders.home.root, making)
	d.agent.prune(append(slices.Clone(d.Keep), d.Release)) // what an earlier one left that was cut off
	err := d.build(ctx)
	if err == nil {
		var done *wire.Deployed
		if done, err = d.goLive(ctx); err == nil {
			d.agent.prune(append(slices.Clone(d.Keep), d.Release))
			return done, nil
		}
	}
	if !d.Kept && !d.agent.leadsTo(d.Release) {
		if derr := removeTree(d.agent.folders.home.root, releaseName(d.Release)); derr != nil {
			d.agent.log.Printf("delete release %d: %v", d.Release, derr)
		}
	}
	return nil, err
}

// build makes the app in its folder, up to the command that starts it.
func (d *deployment) build(ctx context.Context) error {
	a := d.agent
	if err := d.fetch(ctx); err != nil {
		return err
	}
	dir := a.releaseDir(d.Release)
	info, err := a.folders.home.root.Stat(releaseName(d.Release))
	if err != nil || !info.IsDir() {
		return faultf(wire.FaultNotFound, "the folder of release %d is not there any more", d.Release)
	}
	if err := d.choose(preset.App{Dir: dir}); err != nil {
		return err
	}
	p := presetOf(d.Spec)
	if !d.Kept {
		steps, err := a.steps(dir, d.Spec)
		if err == nil {
			err = a.runSteps(ctx, steps, d.tap)
		}
		if err != nil {
			return err
		}
		// What goes live is there after a power cut too: the server notes the release,
		// and files that are only on their way to the disk would then be empty.
		syncDisk(a.folders.home.root)
	}
	env := newEnviron(a.appEnv(dir, d.Spec))
	if _, err := p.Start(preset.App{Dir: dir, Path: env.get("PATH")}); err != nil {
		return faultf(wire.FaultFailed, "%v", err)
	}
	return ctx.Err()
}

// choose guesses the preset of an app for which none was given.
func (d *deployment) choose(app preset.App) error {
	if d.Spec.Preset != "" {
		return nil
	}
	name := preset.Guess(app)
	if name == "" && d.Kept {
		name = d.Before.Preset
	}
	if name == "" {
		return badRequest("nothing there says what kind of app it is; give the preset, one of %s", strings.Join(preset.Names(), ", "))
	}
	p, _ := preset.Find(name)
	d.Spec.Preset = p.Name
	if d.Spec.Port == 0 {
		d.Spec.Port = p.Port
	}
	return nil
}

// fetch brings the source to its folder.
func (d *deployment) fetch(ctx context.Context) error {
	switch {
	case d.Git != nil:
		return d.clone(ctx)
	case d.Archive != "":
		return d.unpack(ctx)
	}
	return nil
}

func (d *deployment) unpack(ctx context.Context) error {
	a := d.agent
	s, err := a.folders.resolve(d.Archive)
	if err != nil {
		return err
	}
	f, _, err := openRegular(s)
	if errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(d.Archive, wire.ForDeployPrefix) {
		return faultf(wire.FaultNotFound, "what was sent for this deploy is gone, as the pod has ended since; send it again")
	}
	if err != nil {
		return fileFault(s.virtual, err)
	}
	defer f.Close()
	defer context.AfterFunc(ctx, func() { f.Close() })() // headers without end are not asked for ctx
	if err := a.clearRelease(d.Release); err != nil {
		return err
	}
	archive, err := inflate(f)
	if err != nil {
		return badRequest("%s cannot be read: %v", s.virtual, err)
	}
	if err := newReleaseUnpacker(ctx, d.Max).unpackInto(a.folders.home.root, releaseName(d.Release), archive); err != nil {
		return err
	}
	return a.hoist(d.Release)
}

// hoist takes away the one folder that holds all of an archive, which is how most
// tools pack an app.
func (a *agent) hoist(release int) error {
	home, name := a.folders.home.root, releaseName(release)
	entries, err := fs.ReadDir(home.FS(), name)
	if err != nil || len(entries) != 1 || !entries[0].IsDir() {
		return fileFault(path.Join(podHome, name), err)
	}
	err = errors.Join(removeTree(home, outer), home.Rename(name, outer))
	if err == nil {
		err = errors.Join(home.Rename(path.Join(outer, entries[0].Name()), name), removeTree(home, outer))
	}
	return fileFault(path.Join(podHome, name), err)
}

func newReleaseUnpacker(ctx context.Context, limit int64) *unpacker {
	return &unpacker{ctx: ctx, left: limit, limit: limit, what: "the app"}
}

// inflate reads a tar that may be compressed with gzip.
func inflate(r io.Reader) (io.Reader, error) {
	b := bufio.NewReaderSize(r, 64<<10)
	if head, err := b.Peek(2); err == nil && head[0] == 0x1f && head[1] == 0x8b {
		return gzip.NewReader(b)
	}
	return b, nil
}

// goLive lets the new app take the place of the one that runs, and brings that back
// when the new one does not answer.
func (d *deployment) goLive(ctx context.Context) (*wire.Deployed, error) {
	a := d.agent
	d.Spec.Release = d.Release
	goBack, err := a.point(d.Release)
	if err != nil {
		return nil, err
	}
	a.app.Restart(d.Spec)
	state := a.app.Settled(ctx, time.Duration(d.WaitMillis)*time.Millisecond)
	if state.App == wire.AppRunning && state.Reason == "" {
		done := d.live(ctx, state)
		if answers := done.Answer != nil || state.PID == 0; answers && ctx.Err() == nil { // or nobody would hear that it is live
			return done, nil
		}
	}
	fault := faultf(wire.FaultFailed, "%s; what ran before is back", d.silence(ctx, state))
	fault.Lines = a.Tail(tailLines)
	err = goBack()
	a.app.Restart(d.Before)
	back, cancel := context.WithTimeout(a.ctx, backTime)
	defer cancel()
	a.app.Settled(back, backTime)
	if err != nil {
		return nil, errors.Join(err, fault)
	}
	return nil, fault
}

// live looks at an app that runs as its first visitor does.
func (d *deployment) live(ctx context.Context, state wire.State) *wire.Deployed {
	done := &wire.Deployed{Preset: d.Spec.Preset, Commit: d.commit, State: state}
	if state.PID == 0 {
		return done // it has workers and cron lines alone
	}
	done.Answer = d.agent.askApp(ctx, d.Spec)
	if done.Answer != nil && done.Answer.Status >= http.StatusInternalServerError {
		done.Lines = d.agent.Tail(tailLines)
	}
	return done
}

// silence words why a new app did not go live.
func (d *deployment) silence(ctx context.Context, s wire.State) string {
	switch {
	case ctx.Err() != nil:
		return "the deploy was cancelled"
	case s.Reason != "":
		return strings.TrimSuffix(s.Reason, thenReload) // which would start the one that is back
	case s.App == wire.AppRunning:
		return fmt.Sprintf("the app listens on $PORT, which is %d, and gives no answer to GET / over HTTP within %.0f s", d.Spec.Port, answerTime.Seconds())
	}
	return fmt.Sprintf("the app did not listen on $PORT, which is %d, in time", d.Spec.Port)
}
