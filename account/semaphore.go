package account

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// hashesAtOnce bounds memory: each takes defaultCost.memory. It is the default of
	// Config.HashesAtOnce.
	hashesAtOnce = 2
	// hashesWaiting bounds each of the two lines. At about 50 ms each the last in it
	// waits less than two seconds.
	hashesWaiting = 32
	hashPatience  = 5 * time.Second
)

// semaphore lets a few in at once and a few more wait, in two lines that have their
// turns: one of strangers, one of those whom the server knows. So whatever
// strangers do, every second slot that becomes free is for somebody known; and
// whatever those do, strangers have the other. No network has more than half of
// the strangers' line.
type semaphore struct {
	most     int // in each line
	patience time.Duration
	acquired atomic.Int64 // how many ever went in: what tests count instead of time

	mu        sync.Mutex
	free      int
	known     line
	strangers line
	lastKnown bool            // the last who went in
	keys      map[string]bool // of those known who wait or are in
}

// place says for whom somebody waits.
type place struct {
	known   string // whom the server knows; empty for a stranger
	network string // of a stranger
}

// waiter is one in a line. The channel is closed when they are in.
type waiter struct {
	in chan struct{}
	place
}

// line is who waits, the first first.
type line []waiter

// from is how many of a network wait.
func (l line) from(network string) (n int) {
	for _, w := range l {
		if w.network == network {
			n++
		}
	}
	return n
}

func newSemaphore(atOnce, waiting int, patience time.Duration) *semaphore {
	return &semaphore{most: waiting, patience: patience, free: atOnce, keys: map[string]bool{}}
}

// acquire waits for a slot, which release gives back. A second for the same known
// one at the same time is taken for a stranger, so that nobody can fill the line of
// those known. ErrBusy when too many wait already or patience ends; the context's
// error when that ends first.
func (s *semaphore) acquire(ctx context.Context, p place) (release func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	w, ok := s.join(p)
	if !ok {
		return nil, busy()
	}
	timer := time.NewTimer(s.patience)
	defer timer.Stop()
	select {
	case <-w.in:
		s.acquired.Add(1)
		return func() { s.leave(w) }, nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-timer.C:
		err = busy()
	}
	s.leave(w)
	return nil, err
}

// join puts the caller into a line and lets in who can go; not ok: there is no
// room in the line.
func (s *semaphore) join(p place) (w waiter, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys[p.known] {
		p.known = ""
	}
	w = waiter{make(chan struct{}), p}
	l := s.line(w)
	*l = append(*l, w)
	s.admitLocked()
	if len(*l) > s.most || p.known == "" && l.from(p.network) > max(1, s.most/2) { // then this one is still in it
		*l = (*l)[:len(*l)-1]
		return w, false
	}
	if p.known != "" {
		s.keys[p.known] = true
	}
	return w, true
}

func (s *semaphore) line(w waiter) *line {
	if w.known != "" {
		return &s.known
	}
	return &s.strangers
}

// leave gives the slot back, or the place in the line.
func (s *semaphore) leave(w waiter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.keys, w.known)
	l := s.line(w)
	if i := slices.IndexFunc(*l, func(x waiter) bool { return x.in == w.in }); i >= 0 {
		*l = slices.Delete(*l, i, i+1)
		return
	}
	s.free++
	s.admitLocked()
}

// admitLocked lets in as many as can go, from both lines in turn where both wait.
func (s *semaphore) admitLocked() {
	for s.free > 0 && len(s.known)+len(s.strangers) > 0 {
		s.lastKnown = len(s.strangers) == 0 || len(s.known) > 0 && !s.lastKnown
		l := &s.strangers
		if s.lastKnown {
			l = &s.known
		}
		close((*l)[0].in)
		*l = (*l)[1:]
		s.free--
	}
}

func busy() error {
	return &Error{Message: "Many people are signing in at this moment. Wait a few seconds and try again.", Wait: 5 * time.Second, Err: ErrBusy}
}
