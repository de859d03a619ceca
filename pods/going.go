package pods

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"podgate/internal/authz"
	"podgate/pods/wire"
	"podgate/store"
)

// A deploy, reload or rollback is a job as well: it is looked at, waited for and ended
// like a command in the background, by a name made of its number.
const deployJob = "deploy-"

// DeployJob is the name of a deploy among the jobs of its pod.
func DeployJob(number int) string { return deployJob + strconv.Itoa(number) }

// deployNumber is the number of the deploy that a job is named after.
func deployNumber(id string) (number int, ok bool) {
	digits, named := strings.CutPrefix(id, deployJob)
	number, err := strconv.Atoi(digits)
	return number, named && err == nil && DeployJob(number) == id
}

// What a deploy prints is kept in memory: the newest of it while it goes on, less of
// it afterwards, until the next one begins.
const (
	goingOutput = 64 << 10
	endedOutput = 8 << 10
)

// going is the deploy of a pod that goes on, or the last that did since the server
// began.
type going struct {
	number int
	ended  chan struct{}

	mu      sync.Mutex
	kept    []byte
	printed int64 // bytes, with those that are not kept
	stopped bool
}

// goes makes a deploy the one that goes on. Its output is heard through the Progress;
// over is called once it has ended and that is noted.
func (op *operation) goes(d store.Deploy, p Progress) (heard Progress, over func()) {
	g := &going{number: d.Number, ended: make(chan struct{})}
	op.mu.Lock()
	op.going = g
	op.mu.Unlock()
	heard = func(stream string, data []byte) {
		g.add(data)
		p.say(stream, data)
	}
	return heard, func() {
		g.mu.Lock()
		g.trim(endedOutput)
		g.mu.Unlock()
		close(g.ended)
	}
}

func (g *going) add(data []byte) {
	g.mu.Lock()
	g.kept = append(g.kept, data...)
	g.printed += int64(len(data))
	if len(g.kept) > 2*goingOutput { // not each time: a byte may come at a time
		g.trim(goingOutput)
	}
	g.mu.Unlock()
}

// trim keeps the newest of what is kept. g.mu is held.
func (g *going) trim(most int) {
	if len(g.kept) > most {
		g.kept = append(make([]byte, 0, most), g.kept[len(g.kept)-most:]...)
	}
}

// goingOf is what is known of a deploy since the server began; nil: nothing.
func (l *live) goingOf(number int) *going {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.going == nil || l.going.number != number {
		return nil
	}
	return l.going
}

// stopDeploy ends a deploy as a stop of its pod would, without that. One that has
// ended, or cannot be ended any more, is left alone.
func (l *live) stopDeploy(g *going) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-g.ended:
		return
	default:
	}
	if l.interrupt != nil {
		g.mu.Lock()
		g.stopped = true
		g.mu.Unlock()
		l.interrupt(refuse(ErrInterrupted, "it was stopped with stop_job"))
	}
}

// deployAsJob shows a deploy of a pod as a job, after waiting for its end.
func (s *Service) deployAsJob(ctx context.Context, rec store.Pod, number int, q JobQuery) (JobOutput, error) {
	g := s.of(rec).goingOf(number)
	if g != nil && q.Wait > 0 {
		timer := time.NewTimer(q.Wait)
		defer timer.Stop()
		select {
		case <-g.ended:
		case <-timer.C:
		case <-ctx.Done():
			return JobOutput{}, context.Cause(ctx)
		}
	}
	d, err := s.cfg.DB.DeployOf(rec.ID, number)
	if err != nil {
		return JobOutput{}, errNoJob
	}
	job := jobOf(d)
	if g == nil {
		data := []byte(strings.Join(d.Lines, "\n"))
		job.Output = int64(len(data))
		return part(job, data, q), nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if job.Output = g.printed; g.stopped && job.State == wire.JobExited && job.Code != 0 {
		job.State = wire.JobStopped
	}
	return part(job, g.kept, q), nil
}

// part is what a query asks for of the newest output of a job.
func part(job Job, newest []byte, q JobQuery) JobOutput {
	from := job.Output - int64(len(newest))
	at := max(q.Offset, from)
	if q.Offset < 0 {
		at = max(from, job.Output-q.Limit)
	}
	at = min(at, job.Output)
	end := min(at+q.Limit, job.Output)
	return JobOutput{Job: cleanJob(job), Offset: at, Data: append([]byte(nil), newest[at-from:end-from]...)}
}

// jobOf is a deploy as a job. It ends with code 0 where its app went live, otherwise
// with 1.
func jobOf(d store.Deploy) Job {
	job := Job{ID: DeployJob(d.Number), Command: d.Action, Dir: "/home/pod/app", State: wire.JobExited, Started: d.Began, Ended: d.Ended}
	if d.Source != "" {
		job.Command += " of " + d.Source
	}
	switch d.State {
	case store.DeployBuilding:
		job.State = wire.JobRunning
	case store.DeployFailed:
		job.Code, job.Reason = 1, d.Reason
	}
	return job
}

// stopDeployJob ends a deploy and waits for that.
func (s *Service) stopDeployJob(ctx context.Context, rec store.Pod, number int) (Job, error) {
	l := s.of(rec)
	if g := l.goingOf(number); g != nil {
		l.stopDeploy(g)
	}
	out, err := s.deployAsJob(ctx, rec, number, JobQuery{Offset: -1, Wait: stopJobTimeout})
	return out.Job, err
}

// goingJobs are the deploys of a pod that go on, as jobs: one or none.
func (s *Service) goingJobs(ctx context.Context, rec store.Pod) []Job {
	l := s.of(rec)
	l.mu.Lock()
	g := l.going
	l.mu.Unlock()
	if g == nil {
		return nil
	}
	out, err := s.deployAsJob(ctx, rec, g.number, JobQuery{})
	if err != nil || out.Job.State != wire.JobRunning {
		return nil
	}
	return []Job{out.Job}
}

// later begins what its caller does not wait for. do tells when it has begun: what is
// refused before that is the caller's to hear, and until then it ends with them.
func (s *Service) later(ctx context.Context, do func(context.Context, func(store.Deploy)) error) (d store.Deploy, err error) {
	began, refused := make(chan store.Deploy, 1), make(chan error, 1)
	goes, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	waits := context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
	go func() {
		defer cancel(nil)
		refused <- do(goes, func(d store.Deploy) { waits(); began <- d })
	}()
	select {
	case d = <-began:
		return d, nil
	case err := <-refused:
		select {
		case d = <-began: // it is over already
			return d, nil
		default:
			return d, err
		}
	}
}

// ReloadLater is Reload for a caller who does not wait: it returns when the reload has
// begun, which goes on when they leave.
func (s *Service) ReloadLater(ctx context.Context, a authz.Actor, name string) (Pod, Deploy, error) {
	rec, err := s.find(a, authz.ManagePod, name)
	if err != nil {
		return Pod{}, Deploy{}, err
	}
	d, err := s.later(ctx, func(ctx context.Context, began func(store.Deploy)) error {
		_, err := s.reload(ctx, a, name, began, nil)
		return err
	})
	if err != nil {
		return Pod{}, Deploy{}, err
	}
	if rec, err = s.current(rec.ID); err != nil {
		return Pod{}, Deploy{}, err
	}
	return s.describe(ctx, rec), s.showDeploy(rec, d, nil), nil
}
