package pods

import (
	"cmp"
	"context"
	"hash/fnv"
	"slices"
	"strconv"
	"sync"
	"time"

	"podgate/store"
)

// Pace of the rounds in which the pods that somebody follows are looked at: one after
// another with a pause that grows with what a round costs.
const (
	watchPause    = 2 * time.Second
	watchPauseMax = 15 * time.Second
	watchShare    = 40 // a pause is at least so many times as long as its round
	watchWake     = 200 * time.Millisecond
)

// Change is how a pod is since lately.
type Change struct {
	Name, Status, Reason string
	Team                 store.TeamID
	Started              time.Time
}

// Watch follows how the pods of some teams are. What waits for a slow reader is the
// newest of each pod and no more.
type Watch struct {
	teams   []store.TeamID
	service *Service
	more    chan struct{} // holds a value when something waits

	mu         sync.Mutex
	waiting    map[string]Change
	list       string // of names; see Listed
	told       string // which list the reader knows of
	failed     int    // of all the pods that are followed
	toldFailed int    // how many the reader knows of; -1: none yet
}

// watches are those who follow, and what they were told last.
type watches struct {
	wakeup chan struct{}

	mu      *sync.Mutex
	all     map[*Watch]bool
	running bool
}

func newWatches() watches {
	return watches{wakeup: make(chan struct{}, 1), mu: new(sync.Mutex), all: map[*Watch]bool{}}
}

// wake asks for a round soon.
func (w *watches) wake() {
	select {
	case w.wakeup <- struct{}{}:
	default:
	}
}

// WatchPods begins to follow the pods of some teams, at first with how all of them are.
// Whoever asks decides before whether they may.
func (s *Service) WatchPods(teams []store.TeamID) *Watch {
	w := &Watch{teams: slices.Clone(teams), service: s, more: make(chan struct{}, 1), waiting: map[string]Change{}, toldFailed: -1}
	b := &s.board.watches
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all[w] = true
	if !b.running && s.beginWork() {
		b.running = true
		go func() {
			defer s.work.Done()
			s.watchRounds(b)
		}()
	}
	b.wake()
	return w
}

// Close ends following.
func (w *Watch) Close() {
	b := &w.service.board.watches
	b.mu.Lock()
	delete(b.all, w)
	b.mu.Unlock()
	b.wake() // the last one ends the rounds
}

// More has a value when there is something to take.
func (w *Watch) More() <-chan struct{} { return w.more }

// Take returns what changed since the last call, and the list of names, by which two
// lists are told apart, when it changed.
func (w *Watch) Take() (changes []Change, list string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.waiting {
		changes = append(changes, c)
	}
	slices.SortFunc(changes, func(a, b Change) int { return cmp.Compare(a.Name, b.Name) })
	clear(w.waiting)
	if w.list != w.told {
		w.told, list = w.list, w.list
	}
	return changes, list
}

// Failed returns how many of the pods that are followed failed or are failing, and
// whether it is another number than the last call returned.
func (w *Watch) Failed() (n int, changed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	changed = w.failed != w.toldFailed
	w.toldFailed = w.failed
	return w.failed, changed
}

// watchRounds looks at what is followed until nobody follows anything.
func (s *Service) watchRounds(b *watches) {
	last := map[store.PodID]Change{}
	for {
		b.mu.Lock()
		following := make([]*Watch, 0, len(b.all))
		for w := range b.all {
			following = append(following, w)
		}
		if len(following) == 0 || s.ctx.Err() != nil {
			b.running = false
			b.mu.Unlock()
			return
		}
		b.mu.Unlock()
		began := s.cfg.Now()
		last = s.watchRound(following, last)
		pause := min(max(watchPause, watchShare*s.cfg.Now().Sub(began)), watchPauseMax)
		s.pauseRounds(b, pause)
	}
}

// pauseRounds waits for the next round, which comes sooner when something happens
// here, but not at once: much happens in bursts.
func (s *Service) pauseRounds(b *watches, pause time.Duration) {
	sleep(s.ctx, watchWake)
	timer := time.NewTimer(max(0, pause-watchWake))
	defer timer.Stop()
	select {
	case <-s.ctx.Done():
	case <-timer.C:
	case <-b.wakeup:
	}
}

// watched are the pods of the teams that anybody follows.
func (s *Service) watched(following []*Watch) ([]store.PodDeployed, error) {
	var teams []store.TeamID
	for _, w := range following {
		teams = append(teams, w.teams...)
	}
	slices.Sort(teams)
	return s.podsOf(slices.Compact(teams)...)
}

// watchRound tells those who follow what is different from the last round.
func (s *Service) watchRound(following []*Watch, last map[store.PodID]Change) map[store.PodID]Change {
	records, err := s.watched(following)
	if err != nil {
		s.cfg.Log.Error("how pods are cannot be told", "error", err)
		return last
	}
	s.lookAll(context.WithoutCancel(s.ctx), records, false, listPatience)
	now, names, bad := map[store.PodID]Change{}, map[store.TeamID][]string{}, map[store.TeamID]int{}
	var changed []Change
	for _, rec := range records {
		pod := s.boarded(rec)
		c := Change{pod.Name, pod.Status, pod.Reason, pod.Team, pod.Started}
		now[rec.ID] = c
		names[c.Team] = append(names[c.Team], c.Name)
		if hasFailed(c.Status) {
			bad[c.Team]++
		}
		if before, known := last[rec.ID]; !known || before != c {
			changed = append(changed, c)
		}
	}
	for _, w := range following {
		w.tell(now, changed, names, bad)
	}
	return now
}

// tell adds to what waits for one who follows.
func (w *Watch) tell(now map[store.PodID]Change, changed []Change, names map[store.TeamID][]string, failed map[store.TeamID]int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.list == "" { // the first time
		changed = changed[:0:0]
		for _, c := range now {
			changed = append(changed, c)
		}
	}
	for _, c := range changed {
		if slices.Contains(w.teams, c.Team) {
			w.waiting[c.Name] = c
		}
	}
	var mine []string
	w.failed = 0
	for _, t := range w.teams {
		mine = append(mine, names[t]...)
		w.failed += failed[t]
	}
	w.list = Listed(mine)
	if len(w.waiting) > 0 || w.list != w.told || w.failed != w.toldFailed {
		select {
		case w.more <- struct{}{}:
		default:
		}
	}
}

// Listed is a short word for a list of pods' names, whatever their order: another
// list has another one.
func Listed(names []string) string {
	names = slices.Sorted(slices.Values(names))
	h := fnv.New64a()
	for _, name := range names {
		h.Write([]byte(name + "\n"))
	}
	return strconv.FormatUint(h.Sum64(), 36)
}
