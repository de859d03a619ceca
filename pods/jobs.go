package pods

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"podgate/internal/authz"
	"podgate/internal/text"
	"podgate/pods/wire"
	"podgate/store"
)

// Job is a command in the background, and JobOutput a part of what it printed.
type (
	Job       = wire.Job
	JobOutput = wire.JobOutput
)

// JobRunning is the state of a job that has not ended.
const JobRunning = wire.JobRunning

// Limits of jobs, for those who describe them.
const (
	MaxJobTimeout = wire.MaxJobTimeout
	MaxJobWait    = wire.MaxJobWait
	MaxJobOutput  = wire.MaxJobOutput // bytes of one answer
	MaxJobs       = wire.MaxJobs      // kept in a pod
)

const (
	maxJobID       = 40
	stopJobTimeout = time.Minute // for what a job became to end, asked and then killed
)

// StartJob starts a command in a running pod and does not wait for it. It
// belongs to the pod: it goes on when who started it is gone, and ends with the
// pod. Timeout 0 is none; MaxOutput has no meaning.
func (s *Service) StartJob(ctx context.Context, a authz.Actor, name string, r ExecRequest) (Job, error) {
	if err := a.Allow(authz.Exec, a.Team.ID); err != nil {
		return Job{}, err
	}
	if err := r.check(0, wire.MaxJobTimeout); err != nil {
		return Job{}, err
	}
	req := wire.JobRequest{Command: r.Command, Dir: r.Dir, Stdin: r.Stdin, TimeoutMillis: millis(r.Timeout)}
	var job Job
	err := s.call(ctx, a, authz.Exec, name, func(rec store.Pod, l *live) (err error) {
		req.Env = rec.Env
		err = l.client.post(ctx, wire.PathJob, req, maxSmallAnswer, &job)
		return err
	})
	return cleanJob(job), err
}

// Jobs returns the jobs of a pod, the newest first.
func (s *Service) Jobs(ctx context.Context, a authz.Actor, name string) ([]Job, error) {
	if err := a.Allow(authz.ReadLogs, a.Team.ID); err != nil {
		return nil, err
	}
	rec, err := s.find(a, authz.ReadLogs, name)
	if err != nil {
		return nil, err
	}
	goes := s.goingJobs(ctx, rec)
	var list []Job
	err = s.call(ctx, a, authz.ReadLogs, name, func(_ store.Pod, l *live) (err error) {
		list, err = l.client.jobs(ctx)
		return err
	})
	if err != nil && len(goes) > 0 {
		err = nil // the pod may be on its way up for it
	}
	return append(goes, list...), err
}

// JobQuery selects a part of what a job printed.
type JobQuery struct {
	Offset int64         // negative: the newest
	Limit  int64         // bytes; at most MaxJobOutput
	Wait   time.Duration // for the end of the job, at most MaxJobWait
}

// Job returns a job and a part of what it printed.
func (s *Service) Job(ctx context.Context, a authz.Actor, name, id string, q JobQuery) (JobOutput, error) {
	if err := a.Allow(authz.ReadLogs, a.Team.ID); err != nil {
		return JobOutput{}, err
	}
	if q.Limit < 0 || q.Limit > MaxJobOutput || q.Wait < 0 || q.Wait > MaxJobWait {
		return JobOutput{}, refuse(ErrBadInput, "the wait must be at most %d s", MaxJobWait/time.Second)
	}
	if number, ok := deployNumber(id); ok {
		rec, err := s.find(a, authz.ReadLogs, name)
		if err != nil {
			return JobOutput{}, err
		}
		return s.deployAsJob(ctx, rec, number, q)
	}
	var out JobOutput
	err := s.callJob(ctx, a, authz.ReadLogs, name, id, func(c *client) (err error) {
		out, err = c.job(ctx, id, q)
		return err
	})
	return out, err
}

// StopJob ends a job with all that it started, and returns it after that. One
// that has ended stays as it is.
func (s *Service) StopJob(ctx context.Context, a authz.Actor, name, id string) (Job, error) {
	if err := a.Allow(authz.Exec, a.Team.ID); err != nil {
		return Job{}, err
	}
	if number, ok := deployNumber(id); ok {
		rec, err := s.find(a, authz.Exec, name)
		if err != nil {
			return Job{}, err
		}
		return s.stopDeployJob(ctx, rec, number)
	}
	var job Job
	err := s.callJob(ctx, a, authz.Exec, name, id, func(c *client) (err error) {
		job, err = c.stopJob(ctx, id)
		return err
	})
	return job, err
}

// callJob is call for what names a job.
func (s *Service) callJob(ctx context.Context, a authz.Actor, action authz.Action, name, id string, do func(*client) error) error {
	return s.call(ctx, a, action, name, func(_ store.Pod, l *live) error {
		if id == "" || len(id) > maxJobID || !isText(id) {
			return errNoJob
		}
		err := do(l.client)
		var f *wire.Fault
		if errors.As(err, &f) && f.Code == wire.FaultNotFound {
			return errNoJob
		}
		return err
	})
}

var errNoJob = refuse(ErrNoJob, "the pod has no such job; list_jobs shows those it has. They are kept for a day after their end")

func (c *client) jobs(ctx context.Context) ([]Job, error) {
	var list []Job
	if err := c.get(ctx, wire.PathJobs, nil, maxListAnswer, &list); err != nil {
		return nil, err
	}
	if len(list) > wire.MaxJobs {
		return nil, fmt.Errorf("%w: %d jobs", errHostile, len(list))
	}
	for i := range list {
		list[i] = cleanJob(list[i])
	}
	return list, nil
}

func (c *client) job(ctx context.Context, id string, q JobQuery) (JobOutput, error) {
	ctx, cancel := context.WithTimeout(ctx, q.Wait+agentTimeout)
	defer cancel()
	query := url.Values{"id": {id}, "limit": {strconv.FormatInt(q.Limit, 10)}, "wait_millis": {strconv.Itoa(millis(q.Wait))}}
	if q.Offset >= 0 {
		query.Set("offset", strconv.FormatInt(q.Offset, 10))
	}
	var out JobOutput
	if err := c.askJob(ctx, http.MethodGet, query, &out); err != nil {
		return JobOutput{}, err
	}
	if int64(len(out.Data)) > q.Limit || out.Offset < 0 {
		return JobOutput{}, fmt.Errorf("%w: %d bytes from %d of a job", errHostile, len(out.Data), out.Offset)
	}
	out.Job = cleanJob(out.Job)
	return out, nil
}

func (c *client) stopJob(ctx context.Context, id string) (job Job, err error) {
	ctx, cancel := context.WithTimeout(ctx, stopJobTimeout)
	defer cancel()
	err = c.askJob(ctx, http.MethodDelete, url.Values{"id": {id}}, &job)
	return cleanJob(job), err
}

func (c *client) askJob(ctx context.Context, method string, query url.Values, answer any) error {
	res, err := c.request(ctx, method, wire.PathJob, query, nil, "")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	return decode(res.Body, maxSmallAnswer, answer)
}

// cleanJob makes what an agent says of a job fit to show.
func cleanJob(j Job) Job {
	j.ID, j.State, j.Signal = text.Line(j.ID, maxJobID), text.Line(j.State, 20), text.Line(j.Signal, 20)
	j.Command, j.Dir, j.Reason = text.Line(j.Command, wire.MaxJobCommand), text.Line(j.Dir, maxPath), text.Line(j.Reason, maxReason)
	j.Output, j.Lost = max(0, j.Output), max(0, j.Lost)
	return j
}
