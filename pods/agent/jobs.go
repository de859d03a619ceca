package agent

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"podgate/pods/wire"
)

const (
	maxRunningJobs = 16
	keepJob        = 24 * time.Hour // after its end
	sweepJobs      = 10 * time.Minute
)

// Why a job ended that did not end by itself, for a person.
const (
	jobStopped  = "it was stopped on request"
	jobTimedOut = "its time was up"
	jobPodEnded = "it ended with the pod, which was stopped or died"
)

// jobs are the commands in the background, those that run and those that ended
// not long ago, also in an earlier life of the pod.
type jobs struct {
	folder  *jobFolder
	now     func() time.Time
	running sync.WaitGroup

	mu   sync.Mutex
	list []*job // in the order of their starts
}

// job is one command in the background.
type job struct {
	out  *jobOutput
	stop chan struct{} // closed when somebody wants its end
	once sync.Once     // of closing stop
	done chan struct{} // closed at its end

	mu   sync.Mutex
	info wire.Job // without Output and Lost, which out knows
}

// openJobs finds the jobs of earlier lives.
func openJobs(dir string, now func() time.Time) (*jobs, error) {
	folder, err := openJobFolder(dir)
	if err != nil {
		return nil, err
	}
	js := &jobs{folder: folder, now: now}
	for _, info := range folder.load() {
		if info.State == wire.JobRunning {
			info.State, info.Reason, info.Ended = wire.JobInterrupted, jobPodEnded, now()
			folder.save(info)
		}
		j := &job{info: info, out: folder.output(info.ID), done: make(chan struct{})}
		j.out.lost = info.Lost
		close(j.done)
		js.list = append(js.list, j)
	}
	slices.SortFunc(js.list, func(a, b *job) int { return a.info.Started.Compare(b.info.Started) })
	js.sweep(wire.MaxJobs)
	return js, nil
}

// close waits until all jobs have ended, which the end of all processes brings.
func (js *jobs) close() {
	js.running.Wait()
	js.folder.root.Close()
}

func (js *jobs) find(id string) (*job, error) {
	js.mu.Lock()
	defer js.mu.Unlock()
	for _, j := range js.list {
		if j.info.ID == id {
			return j, nil
		}
	}
	return nil, faultf(wire.FaultNotFound, "there is no such job; those that ended over a day ago, or before the last %d, are gone", wire.MaxJobs)
}

// all returns all jobs, the newest first.
func (js *jobs) all() []wire.Job {
	js.sweep(wire.MaxJobs)
	js.mu.Lock()
	defer js.mu.Unlock()
	out := []wire.Job{}
	for _, j := range slices.Backward(js.list) {
		out = append(out, j.look())
	}
	return out
}

// sweep forgets what ended over a day ago, and of the rest the oldest that
// ended beyond the newest most.
func (js *jobs) sweep(most int) {
	js.mu.Lock()
	defer js.mu.Unlock()
	over, now := len(js.list)-most, js.now()
	js.list = slices.DeleteFunc(js.list, func(j *job) bool {
		info := j.look()
		if info.State == wire.JobRunning || over <= 0 && now.Sub(info.Ended) < keepJob {
			return false
		}
		over--
		js.folder.remove(info.ID)
		return true
	})
}

// sweepNowAndThen gives back what jobs take on the disk, also when nobody asks
// for any.
func (js *jobs) sweepNowAndThen(ctx context.Context) {
	t := time.NewTicker(sweepJobs)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			js.sweep(wire.MaxJobs)
		}
	}
}

// add makes a job of a command, if there may be one more.
func (js *jobs) add(r wire.JobRequest) (*job, error) {
	js.sweep(wire.MaxJobs - 1)
	js.mu.Lock()
	defer js.mu.Unlock()
	running := 0
	for _, j := range js.list {
		if j.look().State == wire.JobRunning {
			running++
		}
	}
	if running >= maxRunningJobs {
		return nil, faultf(wire.FaultBusy, "%d jobs run already; stop one, or wait until one ends", maxRunningJobs)
	}
	info := wire.Job{
		ID: newJobID(), Command: beginning(r.Command, wire.MaxJobCommand), Dir: r.Dir,
		State: wire.JobRunning, Started: js.now().UTC(),
	}
	if err := js.folder.create(info); err != nil {
		return nil, fileFault("the folder of the job", err)
	}
	j := &job{info: info, out: js.folder.output(info.ID), stop: make(chan struct{}), done: make(chan struct{})}
	js.list = append(js.list, j)
	return j, nil
}

// drop takes back a job that could not be started.
func (js *jobs) drop(j *job) {
	js.mu.Lock()
	defer js.mu.Unlock()
	js.list = slices.DeleteFunc(js.list, func(o *job) bool { return o == j })
	js.folder.remove(j.info.ID)
}

func beginning(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "")
}

// look returns the job as it is.
func (j *job) look() wire.Job {
	j.mu.Lock()
	defer j.mu.Unlock()
	info := j.info
	info.Output, info.Lost = j.out.sizes()
	return info
}

// startJob starts a command that nobody waits for.
func (a *agent) startJob(r wire.JobRequest) (wire.Job, error) {
	dir, err := a.folders.dir(r.Dir)
	if err != nil {
		return wire.Job{}, err
	}
	j, err := a.jobs.add(r)
	if err != nil {
		return wire.Job{}, err
	}
	c := command{path: a.cfg.Shell, shell: true, argv: []string{"sh", "-c", r.Command}, dir: dir.real(), env: a.commandEnv(r.Env)}
	p, pipes, err := a.startPiped(c, r.Stdin, true)
	if err != nil {
		a.jobs.drop(j)
		return wire.Job{}, faultf(wire.FaultFailed, "the command cannot be started: %v", err)
	}
	first := j.look()
	a.jobs.running.Go(func() { a.attend(j, p, pipes, time.Duration(r.TimeoutMillis)*time.Millisecond) })
	return first, nil
}

// attend keeps what a job prints until it ends, and notes how it did. What it
// left in the background lives on, as with any command, unless its time was up
// or somebody stopped it.
func (a *agent) attend(j *job, p *proc, pipes *execPipes, limit time.Duration) {
	var reader sync.WaitGroup
	reader.Go(func() { a.drains.readUntilDeadline(pipes.out, j.out.add) })
	state, reason := a.await(j, p, limit)
	pipes.stopInput()
	pipes.out.SetReadDeadline(time.Now().Add(pipeGrace))
	reader.Wait()
	j.out.close()
	j.mu.Lock()
	j.info.State, j.info.Reason, j.info.Ended = state, reason, a.cfg.Now().UTC()
	j.info.Code, j.info.Signal = exitCode(p.status)
	j.mu.Unlock()
	a.jobs.folder.save(j.look())
	close(j.done)
}

// await returns when the job has ended, and why it did if not by itself.
func (a *agent) await(j *job, p *proc, limit time.Duration) (state, reason string) {
	var timeUp <-chan time.Time
	if limit > 0 {
		t := time.NewTimer(limit)
		defer t.Stop()
		timeUp = t.C
	}
	state = wire.JobExited
	select {
	case <-p.done:
	case <-timeUp:
		state, reason = wire.JobTimedOut, jobTimedOut
	case <-j.stop:
		state, reason = wire.JobStopped, jobStopped
		a.askTree(p)
	}
	if state != wire.JobExited {
		if err := p.killTree(); err != nil {
			a.log.Printf("job: %v", err)
		}
	}
	switch {
	case p.mustEnd():
		return wire.JobInterrupted, endedWithAll
	case a.ctx.Err() != nil && p.status.Signaled():
		return wire.JobInterrupted, jobPodEnded
	}
	return state, reason
}

// askTree asks all that p became to end, and gives it the time for it.
func (a *agent) askTree(p *proc) {
	p.signalGroup(syscall.SIGTERM)
	if err := askAll(p.tree, a.cfg.GraceStop); err != nil {
		a.log.Printf("job: %v", err)
	}
}

// end ends the job, if it runs, and waits until it has.
func (j *job) end(ctx context.Context) {
	if j.stop != nil {
		j.once.Do(func() { close(j.stop) })
	}
	select {
	case <-j.done:
	case <-ctx.Done():
	}
}

// ended waits for the end of the job.
func (j *job) ended(ctx context.Context, wait time.Duration) {
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-j.done:
	case <-t.C:
	case <-ctx.Done():
	}
}

// serveStartJob is POST /v1/job.
func (a *agent) serveStartJob(w http.ResponseWriter, r *http.Request) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxExecBody))
	if err != nil {
		return err
	}
	req, err := parseJob(body)
	if err != nil {
		return err
	}
	info, err := a.startJob(req)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, info)
	return nil
}

// serveJobs is GET /v1/jobs.
func (a *agent) serveJobs(w http.ResponseWriter, r *http.Request) error {
	if _, err := parseQuery(r.URL.RawQuery); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, a.jobs.all())
	return nil
}

// serveJob is GET /v1/job.
func (a *agent) serveJob(w http.ResponseWriter, r *http.Request) error {
	q, err := parseJobQuery(r.URL.RawQuery)
	if err != nil {
		return err
	}
	j, err := a.jobs.find(q.ID)
	if err != nil {
		return err
	}
	j.ended(r.Context(), q.Wait)
	answer := wire.JobOutput{Job: j.look()}
	answer.Offset, answer.Data = j.out.read(q.Offset, q.Limit)
	writeJSON(w, http.StatusOK, answer)
	return nil
}

// serveStopJob is DELETE /v1/job.
func (a *agent) serveStopJob(w http.ResponseWriter, r *http.Request) error {
	q, err := parseQuery(r.URL.RawQuery, "id")
	if err != nil {
		return err
	}
	j, err := a.jobs.find(q["id"])
	if err != nil {
		return err
	}
	j.end(r.Context())
	writeJSON(w, http.StatusOK, j.look())
	return nil
}
