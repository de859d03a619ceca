package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"podgate/pods/preset"
	"podgate/pods/wire"
)

// Actions of an AppRequest.
const (
	actionStart   = "start"
	actionStop    = "stop"
	actionRestart = "restart"
	actionReload  = "reload"
)

const (
	preparing  = "installing what the app needs"
	tailLines  = wire.TailLines
	firstProbe = time.Millisecond
	lastProbe  = 500 * time.Millisecond

	// silentAfter is how long an app may take to listen before it counts as one
	// that runs and does not.
	silentAfter = 60 * time.Second
)

// child is one life of the app.
type child interface {
	PID() int
	Done() <-chan struct{}
	// End returns how it ended, once Done is closed.
	End() string
	// Stop asks it to end, waits for the grace time, then kills what is left
	// of it. It returns when nothing runs any more; also wanted after Done.
	Stop()
}

// launcher is what a supervisor needs of the pod: a seam, so that the restart
// policy can be tested without processes and in fake time.
type launcher interface {
	// Launch starts the app. A *Fault means that there is nothing to start,
	// and that trying again is no use.
	Launch(spec wire.AppSpec) (c child, command string, err error)
	// Beside returns what runs beside the app.
	Beside(spec wire.AppSpec) (preset.Beside, error)
	// LaunchBeside starts one process of that. Its lines go to the log under
	// source, each after label, in the part of it that has this slot.
	LaunchBeside(spec wire.AppSpec, source string, slot int, label, shell string) (child, error)
	// Answers reports whether something accepts on the port.
	Answers(port int) bool
	// Listening returns the ports that something in the pod listens on, as far
	// as that can be told.
	Listening() []int
	// EndAll ends everything else in the pod but the agent.
	EndAll()
	Remark(format string, args ...any)
	Tail(lines int) []wire.LogLine
	// LastRuns returns how the cron lines ran last, as KeepRuns was told it, also by
	// an agent before this one.
	LastRuns() map[string]*wire.CronRun
	KeepRuns(map[string]*wire.CronRun)
}

// supervisor keeps the app running. Actions come one at a time (act); one
// goroutine at most (keep) lives between a start and the next stop.
type supervisor struct {
	l   launcher
	now func() time.Time

	act    sync.Mutex
	closed bool               // nothing starts any more
	cancel context.CancelFunc // of keep; nil when none was started
	ended  chan struct{}      // closed when keep is over

	keeping sync.Mutex // of ran on the disk; taken before mu

	mu      sync.Mutex
	state   wire.State
	spec    *wire.AppSpec
	workers []wire.Worker // with the state, whatever becomes of that
	crons   []wire.Cron
	ran     map[string]*wire.CronRun // the last run of each cron line that there is
	changed chan struct{}            // closed and replaced with every change of state
}

func newSupervisor(l launcher, now func() time.Time) *supervisor {
	return &supervisor{l: l, now: now, state: wire.State{App: wire.AppStopped}, ran: l.LastRuns(), changed: make(chan struct{})}
}

// State returns the app as it is.
func (s *supervisor) State() wire.State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shown()
}

// look returns the app as it is, and a channel that is closed when that is no
// longer so.
func (s *supervisor) look() (wire.State, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shown(), s.changed
}

func (s *supervisor) lastSpec() *wire.AppSpec {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.spec
}

func (s *supervisor) update(f func(*wire.State)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.state.LastExit
	f(&s.state)
	if s.state.LastExit == nil {
		s.state.LastExit = last
	}
	close(s.changed)
	s.changed = make(chan struct{})
}

// Start begins keeping the app, unless it runs or is about to.
func (s *supervisor) Start(spec wire.AppSpec) {
	s.act.Lock()
	defer s.act.Unlock()
	if st := s.State().App; st == wire.AppRunning || st == wire.AppStarting {
		return
	}
	s.replaceLocked(spec)
}

// Restart begins anew with spec, whatever was: everything in the pod ends first.
func (s *supervisor) Restart(spec wire.AppSpec) {
	s.act.Lock()
	defer s.act.Unlock()
	s.stopLocked()
	s.l.EndAll()
	s.replaceLocked(spec)
}

// Stop ends the app, then everything else in the pod but the agent.
func (s *supervisor) Stop() {
	s.act.Lock()
	defer s.act.Unlock()
	s.stopLocked()
	s.l.EndAll()
}

// Close is Stop for good.
func (s *supervisor) Close() {
	s.act.Lock()
	defer s.act.Unlock()
	s.closed = true
	s.stopLocked()
}

// Preparing shows an app that does not run as starting, for as long as the
// returned function has not been called with the outcome.
func (s *supervisor) Preparing() (done func(error)) {
	s.act.Lock()
	defer s.act.Unlock()
	if st := s.State().App; st != wire.AppStopped && st != wire.AppFailed {
		return func(error) {}
	}
	s.stopLocked()
	s.update(func(st *wire.State) { st.App, st.Reason = wire.AppStarting, preparing })
	return func(err error) {
		s.act.Lock()
		defer s.act.Unlock()
		if st := s.State(); err != nil && st.Reason == preparing {
			s.fail(wire.AppFailed, asFault(err).Message, time.Time{})
		}
	}
}

func (s *supervisor) replaceLocked(spec wire.AppSpec) {
	s.stopLocked()
	if s.closed {
		return
	}
	s.mu.Lock()
	s.spec = &spec
	s.mu.Unlock()
	s.update(func(st *wire.State) {
		*st = wire.State{App: wire.AppStarting, Port: spec.Port, Restarts: st.Restarts}
	})
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel, s.ended = cancel, make(chan struct{})
	go s.keep(ctx, spec, s.ended)
}

func (s *supervisor) stopLocked() {
	if s.cancel != nil {
		s.cancel()
		<-s.ended
		s.cancel = nil
	}
	s.update(func(st *wire.State) {
		*st = wire.State{App: wire.AppStopped, Port: st.Port, Restarts: st.Restarts}
	})
}

// keep starts the app again and again until ctx ends or the policy gives up.
func (s *supervisor) keep(ctx context.Context, spec wire.AppSpec, ended chan struct{}) {
	defer close(ended)
	beside, err := s.l.Beside(spec)
	if err != nil {
		s.fail(wire.AppFailed, err.Error(), time.Time{})
		return
	}
	stop := s.keepBeside(ctx, spec, beside)
	defer stop()
	s.again(ctx, func() (string, bool) { return s.live(ctx, spec) }, func(reason string, deaths int, next time.Time) {
		s.update(func(st *wire.State) { st.Deaths, st.LastExit = deaths, &wire.LastExit{Time: s.now(), Reason: reason} })
		app := wire.AppWaiting
		if next.IsZero() {
			app = wire.AppFailed
		}
		s.fail(app, reason, next)
	}, func() {
		s.update(func(st *wire.State) {
			*st = wire.State{App: wire.AppStarting, Port: st.Port, Restarts: st.Restarts + 1, Deaths: st.Deaths}
		})
	})
}

// again lives again and again until ctx ends or the policy gives up. live returns
// why a life ended, and whether another is pointless. died hears of each end, the
// how many-th in a row it was, and when the next try is, which is never when that
// is zero.
func (s *supervisor) again(ctx context.Context, live func() (string, bool), died func(reason string, deaths int, next time.Time), restart func()) {
	var policy restartPolicy
	for {
		began := s.now()
		reason, final := live()
		if ctx.Err() != nil {
			return
		}
		pause, again := policy.died(s.now().Sub(began))
		if final || !again {
			if !final {
				reason += "; that was the tenth time in a row. Mend it, then start or reload the pod"
			}
			died(reason, policy.deaths, time.Time{})
			return
		}
		died(reason, policy.deaths, s.now().Add(pause))
		if !sleep(ctx, pause) {
			return
		}
		restart()
	}
}

// live is one life of the app. It returns why it ended, and whether trying
// again is pointless.
func (s *supervisor) live(ctx context.Context, spec wire.AppSpec) (reason string, final bool) {
	c, command, err := s.l.Launch(spec)
	if err != nil {
		var nothing *wire.Fault
		if errors.As(err, &nothing) {
			return nothing.Message, true
		}
		return "the app cannot be started: " + err.Error(), false
	}
	defer c.Stop()
	s.l.Remark("started: %s", command)
	s.update(func(st *wire.State) {
		st.Command, st.PID, st.Started = command, c.PID(), s.now()
	})
	if c == (idle{}) || s.awaitPort(ctx, c, spec.Port) {
		s.update(func(st *wire.State) { st.App, st.Reason, st.Tail = wire.AppRunning, "", nil })
	}
	good := time.NewTimer(goodLife)
	defer good.Stop()
	for {
		select {
		case <-ctx.Done():
			s.l.Remark("stopping")
			return "", false
		case <-c.Done():
			return "the app " + c.End(), false
		case <-good.C:
			s.update(func(st *wire.State) { st.Deaths = 0 })
		}
	}
}

// awaitPort polls until the port answers; false when the app or ctx ended. An
// app that runs for long without listening is shown as what it is.
func (s *supervisor) awaitPort(ctx context.Context, c child, port int) bool {
	began, told := s.now(), false
	for {
		// Who has waited long can wait an eighth longer.
		t := time.NewTimer(min(max(firstProbe, s.now().Sub(began)/8), lastProbe))
		select {
		case <-ctx.Done():
			t.Stop()
			return false
		case <-c.Done():
			t.Stop()
			return false
		case <-t.C:
		}
		if s.l.Answers(port) {
			return true
		}
		if !told && s.now().Sub(began) >= silentAfter {
			told = true
			s.silent(port)
		}
	}
}

const thenReload = ", then reload"

// silent shows an app that runs and does not listen where it should.
func (s *supervisor) silent(port int) {
	reason := fmt.Sprintf("it runs, but nothing listens on $PORT, which is %d", port)
	if others := s.l.Listening(); len(others) > 0 {
		reason += fmt.Sprintf("; something listens on %s. Make the app listen on $PORT", joinPorts(others))
	} else {
		reason += ". Make the app listen there"
	}
	reason += thenReload
	s.l.Remark("%s", reason)
	tail := s.l.Tail(tailLines)
	s.update(func(st *wire.State) { st.App, st.Reason, st.Tail = wire.AppRunning, reason, tail })
}

// maxPorts bounds what is told of ports that are not the right one.
const maxPorts = 8

func joinPorts(ports []int) string {
	var words []string
	for _, p := range ports[:min(len(ports), maxPorts)] {
		words = append(words, strconv.Itoa(p))
	}
	return strings.Join(words, ", ")
}

func (s *supervisor) fail(app, reason string, next time.Time) {
	if next.IsZero() {
		s.l.Remark("failed: %s", reason)
	} else {
		s.l.Remark("%s; next try in %v", reason, next.Sub(s.now()).Round(time.Second))
	}
	tail := s.l.Tail(tailLines)
	s.update(func(st *wire.State) {
		*st = wire.State{
			App: app, Reason: reason, Command: st.Command, Port: st.Port,
			Restarts: st.Restarts, Deaths: st.Deaths, Started: st.Started, NextTry: next, Tail: tail,
		}
	})
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// Settled waits until the app is no longer starting, ctx ends, or wait is over,
// and returns its state.
func (s *supervisor) Settled(ctx context.Context, wait time.Duration) wire.State {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		state, changed := s.look()
		if state.App != wire.AppStarting || wait <= 0 {
			return state
		}
		select {
		case <-ctx.Done():
			return s.State()
		case <-changed:
		}
	}
}

// serveState is GET /v1/state.
func (a *agent) serveState(w http.ResponseWriter, r *http.Request) error {
	q, err := parseQuery(r.URL.RawQuery, "follow")
	if err != nil {
		return err
	}
	follow, err := q.flag("follow")
	if err != nil {
		return err
	}
	if follow {
		return a.followState(w, r)
	}
	writeJSON(w, http.StatusOK, a.app.State())
	return nil
}

// serveApp is POST /v1/app.
func (a *agent) serveApp(w http.ResponseWriter, r *http.Request) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxAppBody))
	if err != nil {
		return err
	}
	req, err := parseApp(body)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	if !strings.Contains(r.Header.Get("Accept"), ndjson) {
		state, err := a.act(ctx, req, nil)
		if err != nil {
			return err
		}
		writeJSON(w, http.StatusOK, state)
		return nil
	}
	out := newEventStream(w, cancel)
	state, err := a.act(ctx, req, func(b []byte) { out.send(wire.Event{Stream: sourceInstall, Data: b}) })
	switch {
	case err != nil && out.started():
		out.send(wire.Event{Fault: asFault(err)})
	case err != nil:
		return err
	default:
		out.send(wire.Event{State: &state})
	}
	return nil
}

// act carries out req. Output of an install goes to tap as well.
func (a *agent) act(ctx context.Context, req wire.AppRequest, tap func([]byte)) (wire.State, error) {
	if req.Action != actionStart {
		a.installs.clear()
	}
	if req.Action == actionStop {
		a.app.Stop()
		return a.app.State(), nil
	}
	if err := a.follow(req.Spec.Release); err != nil {
		return wire.State{}, err
	}
	a.finishing.Do(a.clearUnfinished)
	if req.Welcome && req.Action == actionStart {
		if err := a.writeWelcome(*req.Spec); err != nil {
			return wire.State{}, err
		}
	}
	switch req.Action {
	case actionStart:
		a.app.Start(*req.Spec)
	case actionRestart:
		a.app.Restart(*req.Spec)
	case actionReload:
		if err := a.install(ctx, a.appDir(), *req.Spec, tap); err != nil {
			return wire.State{}, err
		}
		a.app.Restart(*req.Spec)
	}
	return a.app.Settled(ctx, time.Duration(req.WaitMillis)*time.Millisecond), nil
}
