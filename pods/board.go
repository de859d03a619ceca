package pods

import (
	"context"
	"errors"
	"sync"
	"time"

	"podgate/internal/authz"
	"podgate/store"
)

// Bounds of how the states of many pods are found out.
const (
	boardFresh    = 2 * time.Second        // an answer that is younger is not asked for again
	boardPatience = 700 * time.Millisecond // how long a list waits for agents that have not answered yet
)

// board has the newest answer of each agent, for lists of many pods and for whoever
// follows them: an agent is asked once for all who look.
type board struct {
	slots chan struct{} // holds a token for each question under way

	mu   sync.Mutex
	seen map[store.PodID]*seenPod

	watches watches
}

// seenPod is what was asked of one pod.
type seenPod struct {
	asking bool
	again  bool // something was done with the pod since it was asked
	known  bool
	at     time.Time // of the answer
	pod    Pod       // what the agent and the runtime filled in, and nothing else
}

func newBoard() *board {
	return &board{slots: make(chan struct{}, listWidth), seen: map[store.PodID]*seenPod{}, watches: newWatches()}
}

// changed notes that what was heard of a pod counts no more.
func (b *board) changed(id store.PodID) {
	b.mu.Lock()
	if e := b.seen[id]; e != nil {
		e.at, e.again = time.Time{}, e.asking
	}
	b.mu.Unlock()
	b.watches.wake()
}

// drop forgets a pod.
func (b *board) drop(id store.PodID) {
	b.mu.Lock()
	delete(b.seen, id)
	b.mu.Unlock()
	b.watches.wake()
}

// get returns what was heard of a pod last.
func (b *board) get(id store.PodID) (Pod, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.seen[id]
	if e == nil || !e.known {
		return Pod{}, false
	}
	return e.pod, true
}

// olderThan reports whether the answer of a pod is from before a time, or none.
func (b *board) olderThan(id store.PodID, at time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.seen[id]
	return e == nil || e.at.Before(at)
}

// claim makes the caller the one who asks a pod, when it is time to.
func (b *board) claim(id store.PodID, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.seen[id]
	if e == nil {
		e = &seenPod{}
		b.seen[id] = e
	}
	if e.asking || now.Sub(e.at) < boardFresh {
		return false
	}
	e.asking = true
	return true
}

func (b *board) answered(id store.PodID, pod Pod, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.seen[id]; e != nil {
		e.pod, e.known, e.asking, e.at = pod, true, false, now
		if e.again {
			e.again, e.at = false, time.Time{}
		}
	}
}

// lookAll asks the agents of those pods of which there is no fresh answer. It returns
// when all have answered, after patience, or when ctx ends; who is late then is heard
// for the next one who looks.
func (s *Service) lookAll(ctx context.Context, records []store.PodDeployed, patience time.Duration) {
	if !s.beginWork() {
		return
	}
	defer s.work.Done()
	var asked sync.WaitGroup
	for _, rec := range records {
		if !s.isAsked(rec.Pod) || !s.board.claim(rec.ID, s.cfg.Now()) {
			continue
		}
		asked.Add(1)
		s.work.Add(1) // beginWork above holds the door open
		go func() {
			defer s.work.Done()
			defer asked.Done()
			s.board.slots <- struct{}{}
			defer func() { <-s.board.slots }()
			s.askForBoard(rec.Pod)
		}()
	}
	done := make(chan struct{})
	go func() { asked.Wait(); close(done) }()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-done:
	case <-ctx.Done():
	case <-timer.C:
	}
}

// isAsked reports whether how a pod is depends on what its agent says.
func (s *Service) isAsked(rec store.Pod) bool {
	_, err := s.runtime(rec.Region)
	return err == nil && rec.Want == store.WantRunning && s.of(rec).snapshot().phase == ""
}

func (s *Service) askForBoard(rec store.Pod) {
	var pod Pod
	s.ask(s.ctx, s.of(rec), &pod)
	if st := s.seen(s.ctx, rec); st.Running {
		pod.Usage = st.Usage
	}
	s.board.answered(rec.ID, pod, s.cfg.Now())
}

// boarded is how a pod is by the answers that are there.
func (s *Service) boarded(rec store.PodDeployed) Pod {
	pod := s.label(rec.Pod)
	if rec.Last != nil {
		pod.LastDeploy = &Deploy{Number: rec.Last.Number, Action: rec.Last.Action, State: rec.Last.State, Reason: rec.Last.Reason}
	}
	s.judge(rec.Pod, &pod, func() {
		heard, known := s.board.get(rec.ID)
		if !known {
			pod.Status = StatusUnknown
			return
		}
		pod.Status, pod.Reason, pod.Started, pod.Restarts, pod.Usage = heard.Status, heard.Reason, heard.Started, heard.Restarts, heard.Usage
	})
	return pod
}

// StatusUnknown is the status of a pod whose agent has not answered yet. Only lists
// have it, which do not wait.
const StatusUnknown = "unknown"

// boardKnown is how long the number of failed pods goes by an answer, until the agent
// is asked for the next time that somebody wants to know.
const boardKnown = 20 * time.Second

// CountFailed returns how many pods of a person's teams failed or are failing, by what
// their agents said last. It waits for none: those that have said nothing for a while
// are asked for the next time.
func (s *Service) CountFailed(ctx context.Context, user store.UserID, now time.Time) (int, error) {
	teams, _, err := s.cfg.DB.PodsFor(user, now)
	if err != nil {
		return 0, err
	}
	failed := 0
	var old []store.PodDeployed
	for _, t := range teams {
		for _, rec := range t.Pods {
			if hasFailed(s.boarded(rec).Status) {
				failed++
			}
			if s.board.olderThan(rec.ID, now.Add(-boardKnown)) {
				old = append(old, rec)
			}
		}
	}
	s.lookAll(ctx, old, 0)
	return failed, nil
}

// hasFailed reports whether a status is one that somebody should see to.
func hasFailed(status string) bool { return status == "failed" || status == "failing" }

// Front is all that a person has, for a page of it.
type Front struct {
	Teams       []FrontTeam
	Connections int
	Deleted     int // pods that the person may bring back
}

// FrontTeam is a team with its pods by name.
type FrontTeam struct {
	Actor authz.Actor // the person in the team
	Pods  []Pod
}

// Front returns the pods of all teams of a person, from one read of the store. How
// the pods are is what their agents said last; they are asked side by side, and those
// that take long are not waited for.
func (s *Service) Front(ctx context.Context, user store.UserID, now time.Time) (Front, error) {
	teams, connections, err := s.cfg.DB.PodsFor(user, now)
	if err != nil {
		return Front{}, err
	}
	out := Front{Connections: connections}
	var shown [][]store.PodDeployed
	var all []store.PodDeployed
	for _, t := range teams {
		a := authz.Person(user, t.Membership)
		if err := a.Allow(authz.ListPods, a.Team.ID); err != nil {
			var denied *authz.Denied
			if errors.As(err, &denied) {
				t.Pods = nil
			}
		}
		if a.Allow(authz.UndeletePod, a.Team.ID) == nil {
			out.Deleted += t.Deleted
		}
		out.Teams, shown, all = append(out.Teams, FrontTeam{Actor: a}), append(shown, t.Pods), append(all, t.Pods...)
	}
	s.lookAll(ctx, all, boardPatience)
	for i, records := range shown {
		for _, rec := range records {
			out.Teams[i].Pods = append(out.Teams[i].Pods, s.boarded(rec))
		}
	}
	return out, nil
}
