package pods

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"podgate/internal/authz"
	"podgate/store"
)

// Bounds of how the states of many pods are found out.
const (
	boardFresh    = 2 * time.Second        // an answer that is younger is not asked for again
	boardPatience = 700 * time.Millisecond // how long a list waits for agents that have not answered yet
	listPatience  = 3 * time.Second        // the same, of one that is to say which agents do not answer
	// heardFresh is how long the last word of an agent counts that could say more. An
	// agent that hangs says nothing, too, so then it is asked again.
	heardFresh = time.Minute
	useFresh   = 15 * time.Second // the same of what a pod uses, which its runtime reads from the kernel
)

// board has the newest of how each pod is, for lists of many pods and for whoever
// follows them. The first who looks has an agent asked; from then on it says by itself
// when something changes (see hear.go), so a look costs nothing more for a pod that runs.
type board struct {
	slots chan struct{} // holds a token for each question under way

	// Of each team so many are under way at a time that agents of one that are slow to
	// answer leave room for all others.
	teams sync.Map // of store.TeamID to chan struct{}

	mu   sync.Mutex
	seen map[store.PodID]*seenPod

	watches watches

	turn atomic.Int64 // grows when how a pod is may not be what lists have shown
}

// news notes that how a pod is may not be what was shown.
func (b *board) news() {
	b.turn.Add(1)
	b.watches.wake()
}

// seenPod is what was heard of one pod.
type seenPod struct {
	id   store.PodID
	word fact[word]
	use  fact[Usage]

	stream *hearing  // through which the agent says more; nil: none is open
	fails  int       // streams in a row that were refused or broke soon
	retry  time.Time // none is opened before
}

// word is what lists show of what an agent says.
type word struct {
	status, reason string
	started        time.Time
	restarts       int
}

func wordOf(p Pod) word { return word{p.Status, p.Reason, p.Started, p.Restarts} }

// fact is something that is asked once for all who want to know.
type fact[T any] struct {
	value  T
	known  bool
	at     time.Time     // of value; it stays when that counts no more
	answer chan struct{} // closed when the question under way has its answer; nil: there is none
	era    int           // of what was asked before it grew, no answer counts
}

// ask begins a question, unless one is under way.
func (f *fact[T]) ask() bool {
	if f.answer != nil {
		return false
	}
	f.answer = make(chan struct{})
	return true
}

// over ends a question.
func (f *fact[T]) over() {
	close(f.answer)
	f.answer = nil
}

func (f *fact[T]) set(value T, now time.Time) { f.value, f.known, f.at = value, true, now }

// void notes that what was heard counts no more.
func (f *fact[T]) void() {
	f.known = false
	f.era++
}

func newBoard() *board {
	return &board{slots: make(chan struct{}, 4*listWidth), seen: map[store.PodID]*seenPod{}, watches: newWatches()}
}

// changed notes that what was heard of a pod counts no more. What its agent has said
// and nobody has read is from before, so it is listened to anew.
func (b *board) changed(id store.PodID) {
	b.mu.Lock()
	if e := b.seen[id]; e != nil {
		e.word.void()
		e.use.void()
		e.word.at = time.Time{}
		e.listen(nil)
		e.fails, e.retry = 0, time.Time{}
	}
	b.mu.Unlock()
	b.news()
}

// drop forgets a pod.
func (b *board) drop(id store.PodID) {
	b.mu.Lock()
	if e := b.seen[id]; e != nil {
		e.listen(nil)
		delete(b.seen, id)
	}
	b.mu.Unlock()
	b.news()
}

// listen ends the stream that is open for another, or for none. The lock is held.
func (e *seenPod) listen(h *hearing) {
	if e.stream != nil {
		e.stream.close()
	}
	e.stream = h
}

// get returns what was heard of a pod last. known is false when that counts no more;
// since is then when it was heard, if anything was.
func (b *board) get(id store.PodID) (w word, use Usage, since time.Time, known bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.seen[id]
	if e == nil {
		return word{}, Usage{}, time.Time{}, false
	}
	if e.use.known {
		use = e.use.value
	}
	return e.word.value, use, e.word.at, e.word.known
}

// claim returns what the caller is to ask of a pod now, and what to wait for if it
// wants to know how the pod is, and with withUse what it uses.
func (b *board) claim(id store.PodID, withUse bool, now time.Time) (e *seenPod, askWord, askUse bool, wait []<-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e = b.seen[id]
	if e == nil {
		e = &seenPod{id: id}
		b.seen[id] = e
	}
	age := now.Sub(e.word.at)
	switch {
	case e.word.known && age < e.fresh():
	case e.word.known && e.stream != nil: // it is only to be heard again that the agent is there
		askWord = e.word.ask()
	default:
		askWord = e.word.ask()
		wait = append(wait, e.word.answer)
	}
	if withUse && !(e.use.known && now.Sub(e.use.at) < useFresh) {
		askUse = e.use.ask()
		wait = append(wait, e.use.answer)
	}
	return e, askWord, askUse, wait
}

// question returns in which era a pod is asked, and whether for a stream. ok is false
// when the pod is forgotten.
func (b *board) question(e *seenPod, now time.Time) (era int, listen, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return e.word.era, !now.Before(e.retry), b.seen[e.id] == e
}

// answered notes what an agent said, and the stream through which it says more, if
// there is one. It returns false, and the stream is not kept, when the pod was changed
// since it was asked. failed counts a stream that was wanted and not to be had.
func (b *board) answered(e *seenPod, era int, w word, h *hearing, failed bool, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e.word.era != era || b.seen[e.id] != e {
		return false
	}
	if e.word.value != w || !e.word.known {
		defer b.turn.Add(1)
	}
	e.word.set(w, now)
	e.listen(h)
	if failed {
		e.fail(now)
	}
	return true
}

// fail has the next stream wait. The lock is held.
func (e *seenPod) fail(now time.Time) {
	e.fails++
	e.retry = now.Add(min(backoff(e.fails), maxHearPause))
}

// heard notes what an agent said through a stream. It returns false when the stream
// is not that of the pod any more: what it says may be from before a start.
func (b *board) heard(e *seenPod, h *hearing, w word, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e.stream != h {
		return false
	}
	if e.word.value != w || !e.word.known {
		defer b.news()
	}
	e.word.set(w, now)
	return true
}

// broke notes that a stream has ended by itself: how the pod is, nobody knows. What was
// said by one that was opened just now counts as any answer to a question does.
func (b *board) broke(e *seenPod, h *hearing, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e.stream != h {
		return
	}
	e.stream = nil
	if now.Sub(h.opened) >= boardFresh {
		e.word.void()
	}
	if now.Sub(h.opened) >= heardFresh {
		e.fails = 0
	} else {
		e.fail(now)
	}
	b.news()
}

// lookAll asks about those pods of which there is no fresh answer. It returns true when all
// have answered, and false after patience, or when ctx ends; who is late then is heard for
// the next one who looks.
func (s *Service) lookAll(ctx context.Context, records []store.PodDeployed, withUse bool, patience time.Duration) bool {
	if !s.beginWork() {
		return false
	}
	defer s.work.Done()
	var waiting []<-chan struct{}
	for _, rec := range records {
		if !s.isAsked(rec.Pod) {
			continue
		}
		e, askWord, askUse, wait := s.board.claim(rec.ID, withUse, s.cfg.Now())
		waiting = append(waiting, wait...)
		if askWord {
			s.question(rec.Team, func() { s.askForBoard(rec.Pod, e) })
		}
		if askUse {
			s.question(rec.Team, func() { s.askForUse(rec.Pod, e) })
		}
	}
	if len(waiting) == 0 {
		return true
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for _, answer := range waiting {
		select {
		case <-answer:
		case <-ctx.Done():
			return false
		case <-timer.C:
			return false
		}
	}
	return true
}

// question does something beside the caller, of which so many go on at a time. The
// caller holds the door of s.work open.
func (s *Service) question(team store.TeamID, ask func()) {
	s.work.Go(func() {
		of, _ := s.board.teams.LoadOrStore(team, make(chan struct{}, listWidth))
		for _, slots := range []chan struct{}{of.(chan struct{}), s.board.slots} {
			slots <- struct{}{}
			defer func() { <-slots }()
		}
		ask()
	})
}

// isAsked reports whether how a pod is depends on what its agent says.
func (s *Service) isAsked(rec store.Pod) bool {
	_, err := s.runtime(rec.Region)
	return err == nil && rec.Want == store.WantRunning && s.of(rec).snapshot().phase == ""
}

// askForBoard asks how a pod is, again if it was changed meanwhile.
func (s *Service) askForBoard(rec store.Pod, e *seenPod) {
	for s.ctx.Err() == nil && s.isAsked(rec) {
		era, listen, ok := s.board.question(e, s.cfg.Now())
		if !ok {
			break
		}
		var pod Pod
		h, failed := s.askPod(s.of(rec), listen, &pod)
		if s.board.answered(e, era, wordOf(pod), h, failed, s.cfg.Now()) {
			if h != nil {
				s.work.Go(func() { s.listen(e, h) })
			}
			break
		}
		if h != nil {
			h.close()
		}
	}
	s.board.mu.Lock()
	defer s.board.mu.Unlock()
	e.word.over()
}

// askPod fills in what the agent says, and returns the stream through which it says
// more. Without listen, or when that cannot be had, which failed says, there is none.
func (s *Service) askPod(l *live, listen bool, pod *Pod) (h *hearing, failed bool) {
	if listen {
		h, state, err := l.client.hear(s.ctx, s.cfg.Now())
		switch {
		case err == nil, errors.Is(err, ErrNotRunning):
			s.showAnswer(l, pod, state, err)
			return h, false
		case errors.Is(err, context.DeadlineExceeded):
			s.showAnswer(l, pod, state, err)
			return nil, true
		}
		s.cfg.Log.Debug("an agent is not listened to, but asked", "pod", l.id, "error", err)
		failed = true
	}
	s.ask(s.ctx, l, pod)
	return nil, failed
}

// listen notes what an agent says until its stream ends.
func (s *Service) listen(e *seenPod, h *hearing) {
	defer h.close()
	for {
		state, err := h.next()
		if err != nil {
			s.cfg.Log.Debug("an agent is not heard any more", "pod", e.id, "error", err)
			s.board.broke(e, h, s.cfg.Now())
			return
		}
		var pod Pod
		pod.show(state)
		if !s.board.heard(e, h, wordOf(pod), s.cfg.Now()) {
			return
		}
	}
}

// askForUse asks what a pod uses.
func (s *Service) askForUse(rec store.Pod, e *seenPod) {
	b := s.board
	b.mu.Lock()
	era := e.use.era
	b.mu.Unlock()
	st := s.seen(s.ctx, rec)
	b.mu.Lock()
	defer b.mu.Unlock()
	if e.use.era == era {
		e.use.set(st.Usage, s.cfg.Now())
	}
	e.use.over()
}

// boarded is how a pod is by the answers that are there.
func (s *Service) boarded(rec store.PodDeployed) Pod {
	pod := s.label(rec.Pod)
	if rec.Last != nil {
		pod.LastDeploy = &Deploy{Number: rec.Last.Number, Action: rec.Last.Action, State: rec.Last.State, Reason: rec.Last.Reason}
	}
	s.judge(rec.Pod, &pod, func() {
		heard, use, since, known := s.board.get(rec.ID)
		if !known {
			pod.Status = StatusUnknown
			if !since.IsZero() {
				pod.Reason = "its agent was heard last at " + since.UTC().Format(time.RFC3339)
			}
			return
		}
		pod.Status, pod.Reason, pod.Started, pod.Restarts, pod.Usage = heard.status, heard.reason, heard.started, heard.restarts, use
	})
	return pod
}

// StatusUnknown is the status of a pod whose agent has not answered yet. Only lists
// have it, which do not wait for ever.
const StatusUnknown = "unknown"

// CountFailed returns how many pods of a person's teams failed or are failing, by what
// their agents said last. It waits for none: those of which nothing is known now are
// asked for the next time.
func (s *Service) CountFailed(ctx context.Context, user store.UserID, now time.Time) (int, error) {
	teams, _, err := s.cfg.DB.PodsFor(user, now)
	if err != nil {
		return 0, err
	}
	failed := 0
	var all []store.PodDeployed
	for _, t := range teams {
		all = append(all, t.Pods...)
		for _, rec := range t.Pods {
			if hasFailed(s.boarded(rec).Status) {
				failed++
			}
		}
	}
	s.lookAll(ctx, all, false, 0)
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
// the pods are is what their agents said last; those that have said nothing yet are asked
// side by side, and not waited for when they take long.
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
	s.lookAll(ctx, all, true, boardPatience)
	for i, records := range shown {
		for _, rec := range records {
			out.Teams[i].Pods = append(out.Teams[i].Pods, s.boarded(rec))
		}
	}
	return out, nil
}
