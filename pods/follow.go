package pods

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"sync"
	"time"

	"podgate/internal/authz"
	"podgate/pods/wire"
	"podgate/store"
)

const (
	// MaxFollow is how long a call follows something before it ends without an
	// error: who wants to know more asks again, and is checked again.
	MaxFollow = 5 * time.Minute
	// recheck is how long a call goes on following after it may not any more.
	recheck = 5 * time.Second
	// lastLines is how long lines are awaited that the app wrote before the agent
	// said how it went.
	lastLines = 100 * time.Millisecond
)

// events is a stream that follows something in a pod.
type events struct {
	body   io.ReadCloser
	cancel context.CancelFunc
}

// follow opens a stream that follows.
func (c *client) follow(ctx context.Context, path string, query url.Values) (*events, error) {
	ctx, cancel := context.WithCancel(ctx)
	opening := time.AfterFunc(agentTimeout, cancel)
	query.Set("follow", "1")
	res, err := c.request(ctx, http.MethodGet, path, query, nil, "")
	opening.Stop()
	if err != nil {
		cancel()
		return nil, err
	}
	e := &events{res.Body, cancel}
	if err := wantEvents(res.Header); err != nil {
		return nil, errors.Join(err, e.close())
	}
	return e, nil
}

// each hands events over until it returns an error or the stream ends. What is
// not part of a stream that follows is an error.
func (e *events) each(do func(wire.Event) error) error {
	return readEvents(e.body, math.MaxInt64, func(ev wire.Event) (bool, error) {
		switch {
		case ev.Fault != nil:
			return true, ev.Fault
		case len(ev.Lines) > wire.MaxLines || ev.Lost < 0:
			return true, fmt.Errorf("%w: %d log lines, %d lost", errHostile, len(ev.Lines), ev.Lost)
		}
		ev.Lines = cleanLines(ev.Lines)
		return false, do(ev)
	})
}

func (e *events) close() error {
	e.cancel()
	return e.body.Close()
}

// FollowLogs hands over the newest lines that match, oldest first, then those
// that come, until each returns an error, ctx ends or MaxFollow is over. lost is
// how many lines after these are missing because each took too long. It ends
// with ErrInterrupted when the pod does, and soon after the actor may no longer
// read its logs with the error of that.
func (s *Service) FollowLogs(ctx context.Context, a authz.Actor, name string, q LogQuery, each func(lines []wire.LogLine, lost int64) error) error {
	if err := a.Allow(authz.ReadLogs, a.Team.ID); err != nil {
		return err
	}
	query, err := q.query()
	if err != nil {
		return err
	}
	return s.follow(ctx, a, authz.ReadLogs, name, wire.PathLogs, query, func(_ store.Pod, e wire.Event) error {
		if len(e.Lines) == 0 && e.Lost == 0 {
			return nil
		}
		return each(e.Lines, e.Lost)
	})
}

// Watch hands over a running pod as it is, then again after each change of its
// app, without what the runtime counts. It ends as FollowLogs does.
func (s *Service) Watch(ctx context.Context, a authz.Actor, name string, each func(Pod) error) error {
	return s.follow(ctx, a, authz.ReadPod, name, wire.PathState, url.Values{}, func(rec store.Pod, e wire.Event) error {
		if e.State == nil {
			return nil
		}
		pod := s.card(rec)
		pod.show(cleanState(*e.State))
		if phase := s.of(rec).snapshot().phase; phase != "" {
			pod.Status = phase
		}
		return each(pod)
	})
}

// errFollowed is a stream whose pod has ended.
var errFollowed = refuse(ErrInterrupted, "the pod has ended or was stopped; look with get_pod")

// follow hands over the events of a stream for as long as the actor may see
// them.
func (s *Service) follow(ctx context.Context, a authz.Actor, action authz.Action, name, path string, query url.Values, each func(store.Pod, wire.Event) error) error {
	var stopped error // what each said, which is the caller's own
	err := s.call(ctx, a, action, name, func(rec store.Pod, l *live) error {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		defer context.AfterFunc(s.ctx, func() { cancel(errFollowed) })()
		defer s.recheck(ctx, a, action, rec, cancel)()
		stream, err := l.client.follow(ctx, path, query)
		if err != nil {
			return err
		}
		err = stream.each(func(e wire.Event) error {
			stopped = each(rec, e)
			return stopped
		})
		_ = stream.close() // nothing more is wanted of it
		var f *wire.Fault
		switch {
		case stopped != nil, errors.Is(context.Cause(ctx), errFollowOver):
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, errHostile), errors.As(err, &f):
			return err
		}
		return errFollowed // however its end shows
	})
	if stopped != nil {
		return stopped
	}
	return err
}

var errFollowOver = errors.New("followed long enough")

// recheck ends what goes on with cancel when MaxFollow is over, or when the
// actor may not do action with the pod any more. The returned function ends it.
func (s *Service) recheck(ctx context.Context, a authz.Actor, action authz.Action, rec store.Pod, cancel context.CancelCauseFunc) (end func()) {
	over := time.AfterFunc(MaxFollow, func() { cancel(errFollowOver) })
	tick := time.NewTicker(recheck)
	var done sync.WaitGroup
	ctx, stop := context.WithCancel(ctx)
	done.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if err := s.mayStill(a, action, rec); err != nil {
					cancel(err)
					return
				}
			}
		}
	})
	return func() {
		stop()
		tick.Stop()
		over.Stop()
		done.Wait()
	}
}

// mayStill looks whether what let an actor at a pod still holds: the pod is
// there, of the same team, and the actor a member of it whose role, as it is now,
// lets them do action.
func (s *Service) mayStill(a authz.Actor, action authz.Action, rec store.Pod) error {
	m, err := s.cfg.DB.Member(rec.Team, a.User)
	if errors.Is(err, store.ErrNotMember) {
		return errAbsent
	}
	if err != nil {
		return err
	}
	a.Role = m.Role
	now, err := s.find(a, action, rec.Name)
	if err == nil && now.ID != rec.ID {
		err = errAbsent
	}
	return err
}

// tellLines runs do with a Progress that also hears the lines of the app, as
// they come meanwhile.
func (s *Service) tellLines(ctx context.Context, l *live, p Progress, do func(Progress) error) error {
	if p == nil {
		return do(nil)
	}
	stream, err := l.client.follow(ctx, wire.PathLogs, url.Values{"source": {"app"}, "lines": {"0"}})
	if err != nil {
		s.cfg.Log.Debug("follow an app that starts", "pod", l.id, "error", err)
		return do(p) // it can start unheard
	}
	var turn sync.Mutex
	heard := Progress(func(stream string, data []byte) {
		turn.Lock()
		defer turn.Unlock()
		p(stream, data)
	})
	var reading sync.WaitGroup
	reading.Go(func() {
		defer stream.close()
		_ = stream.each(func(e wire.Event) error { // ends when the stream is closed
			for _, line := range e.Lines {
				heard.say(line.Stream, []byte(line.Text+"\n"))
			}
			return nil
		})
	})
	err = do(heard)
	time.AfterFunc(lastLines, stream.cancel)
	reading.Wait()
	return err
}
