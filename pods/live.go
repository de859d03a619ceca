package pods

import (
	"context"
	"net"
	"sync"
	"time"

	"podgate/pods/egress"
	"podgate/pods/preset"
	"podgate/pods/wire"
	"podgate/store"
)

// live is what the service knows of one pod beyond the store. All of it may be
// lost: Reconcile finds out again.
type live struct {
	id     store.PodID
	region string
	slot   chan struct{} // holds a token while an operation goes on
	client *client

	mu        sync.Mutex
	phase     string                  // the status while an operation goes on; else empty
	interrupt context.CancelCauseFunc // ends the operation; nil when it must be left alone
	up        bool                    // the app was started in the environment that runs now
	started   time.Time               // when up became true
	fails     int                     // starts that failed and environments that died young, in a row
	retry     time.Time               // no automatic start before this
	reason    string                  // why the last start failed or the environment ended
	wrote     written                 // bytes that were written since the disk was last measured
	coming    int64                   // bytes of uploads that are still to come
	gate      *egress.Gate            // nil before the first start
	visits    traffic
	carried   carried // in all, but for what visits and gate still hold
	noted     carried // how much of it is in the samples of the last day
	alarmed   alarmed
	going     *going // the deploy that goes on, or the last; nil: none yet
}

// of returns what is known of a pod, at first nothing.
func (s *Service) of(rec store.Pod) *live {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.pods[rec.ID]
	if l == nil {
		l = &live{id: rec.ID, region: rec.Region, slot: make(chan struct{}, 1)}
		l.client = newClient(func(ctx context.Context) (net.Conn, error) { return s.dial(ctx, rec.Region, rec.ID) })
		s.pods[rec.ID] = l
	}
	return l
}

func (s *Service) dial(ctx context.Context, region string, id store.PodID) (net.Conn, error) {
	runtime, err := s.runtime(region)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return runtime.Dial(ctx, id)
}

// drop forgets a pod that is gone.
func (s *Service) drop(l *live) {
	l.client.close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pods, l.id)
	delete(s.dueSince, l.id)
	s.board.drop(l.id)
}

// An operation is the only one that changes its pod until end is called. Its
// context ends with the caller's (unless detached), with Close, and when a stop
// or a delete interrupts it.
type operation struct {
	*live
	ctx context.Context
	end func()
}

// turn says how an operation comes to its turn on a pod.
type turn int

const (
	turnWait    turn = iota // waits for its turn
	turnPreempt             // ends what goes on, and once begun is not ended with its caller
	turnTry                 // gives up when another operation goes on
)

// detachedTimeout bounds an operation that preempts others, which its caller cannot end.
const detachedTimeout = time.Minute

// begin waits for the pod's turn, at most s.busyWait, and takes it. phase is
// the pod's status meanwhile.
//
// Who waited while the pod was put away or removed has the turn of nothing: another live
// may have taken the place of this one since, and the operation is one on that.
func (s *Service) begin(ctx context.Context, l *live, phase string, how turn) (*operation, error) {
	s.mu.Lock()
	rests := s.rests
	s.mu.Unlock()
	if rests {
		return nil, refuse(ErrUnavailable, "podgate is being upgraded; try again in a minute")
	}
	for {
		if how == turnPreempt {
			l.interruptOperation()
		}
		if err := s.takeTurn(ctx, l, how); err != nil {
			return nil, err
		}
		now := s.of(store.Pod{ID: l.id, Region: l.region})
		if now == l {
			break
		}
		<-l.slot
		l = now
	}
	if !s.beginWork() {
		<-l.slot
		return nil, refuse(ErrUnavailable, "the server is stopping; try again in a minute")
	}
	return s.newOperation(ctx, l, phase, how), nil
}

func (s *Service) takeTurn(ctx context.Context, l *live, how turn) error {
	select {
	case l.slot <- struct{}{}:
		return nil
	default:
	}
	busy := refuse(ErrBusy, "another operation on it goes on; wait a little, look with get_pod, then try again")
	if how == turnTry {
		return busy
	}
	timer := time.NewTimer(s.busyWait)
	defer timer.Stop()
	select {
	case l.slot <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.ctx.Done():
		return refuse(ErrUnavailable, "the server is stopping; try again in a minute")
	case <-timer.C:
		return busy
	}
}

func (s *Service) newOperation(ctx context.Context, l *live, phase string, how turn) *operation {
	timeout := func() {}
	if how == turnPreempt {
		ctx, timeout = context.WithTimeout(context.WithoutCancel(ctx), detachedTimeout)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.ctx, func() { cancel(context.Canceled) })
	l.mu.Lock()
	defer l.mu.Unlock()
	l.phase = phase
	if how != turnPreempt {
		l.interrupt = cancel
	}
	s.board.changed(l.id)
	return &operation{live: l, ctx: ctx, end: func() {
		stop()
		cancel(nil)
		timeout()
		l.mu.Lock()
		l.phase, l.interrupt = "", nil
		l.mu.Unlock()
		s.board.changed(l.id)
		<-l.slot
		s.work.Done()
	}}
}

func (l *live) interruptOperation() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.interrupt != nil {
		l.interrupt(refuse(ErrInterrupted, "the pod was stopped or deleted meanwhile"))
	}
}

const (
	youngDeath = time.Minute      // an environment that ends before that counts as a failure
	maxBackoff = 10 * time.Minute // between automatic starts
)

// succeeded notes that the environment and the app's supervision run.
func (l *live) succeeded(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.up, l.started, l.reason = true, now, ""
}

// failed notes a start that did not work, for a person.
func (l *live) failed(now time.Time, reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.up, l.reason = false, reason
	l.fails++
	l.retry = now.Add(backoff(l.fails))
}

// waits notes a start that did not work and is not tried again until a person
// asks for it.
func (l *live) waits(reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.up, l.reason, l.retry = false, reason, time.Unix(1<<40, 0)
}

// died notes that the environment ended by itself. The first time it may come
// back at once; one that keeps dying young waits longer each time.
func (l *live) died(now time.Time, reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.up {
		return
	}
	l.up, l.reason = false, reason
	if now.Sub(l.started) >= youngDeath {
		l.fails, l.retry = 0, time.Time{}
		return
	}
	if l.fails++; l.fails > 1 {
		l.retry = now.Add(backoff(l.fails - 1))
	}
}

// stopped notes that the environment was ended on purpose, or that somebody
// asked for a fresh start: earlier failures no longer count.
func (l *live) stopped() {
	l.client.close()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.up, l.fails, l.retry, l.reason = false, 0, time.Time{}, ""
}

// forgive lets the next start happen at once.
func (l *live) forgive() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fails, l.retry = 0, time.Time{}
}

// backoff is 2 s after the first failure and doubles up to maxBackoff.
func backoff(fails int) time.Duration {
	return min(time.Second<<min(fails, 20), maxBackoff)
}

// snapshot is a consistent look at a live pod.
type snapshot struct {
	phase  string
	up     bool
	reason string
	retry  time.Time
}

func (l *live) snapshot() snapshot {
	l.mu.Lock()
	defer l.mu.Unlock()
	return snapshot{l.phase, l.up, l.reason, l.retry}
}

// spec is what the agent must know of the pod's app.
func (s *Service) spec(rec store.Pod) *wire.AppSpec {
	return &wire.AppSpec{Preset: rec.Preset, Port: portOf(rec.Preset), Env: rec.Env, Name: rec.Name, URL: s.cfg.URL(rec.Name), Release: rec.Release}
}

// portOf is the port of a preset's apps, also of one that this version does not
// know any more; 0 for none.
func portOf(name string) int {
	if name == "" {
		return 0
	}
	if p, ok := preset.Find(name); ok {
		return p.Port
	}
	return 8080
}
