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
// whatever those do, strangers have the other.
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

// line is who waits, the first first. The channel is closed when they are in.
type line []chan struct{}

func newSemaphore(atOnce, waiting int, patience time.Duration) *semaphore {
	return &semaphore{most: waiting, patience: patience, free: atOnce, keys: map[string]bool{}}
}

// acquire waits for a slot, which release gives back. key names whom the server
// knows, and is empty for a stranger; a second with the same key at the same time
// is taken for a stranger, so that nobody can fill the line of those known.
// ErrBusy when too many wait already or patience ends; the context's error when
// that ends first.
func (s *semaphore) acquire(ctx context.Context, key string) (release func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	in, key, ok := s.join(key)
	if !ok {
		return nil, busy()
	}
	timer := time.NewTimer(s.patience)
	defer timer.Stop()
	select {
	case <-in:
		s.acquired.Add(1)
		return func() { s.leave(in, key) }, nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-timer.C:
		err = busy()
	}
	s.leave(in, key)
	return nil, err
}

// join puts the caller into a line and lets in who can go. It returns the key that
// counts; not ok: the line is full.
func (s *semaphore) join(key string) (in chan struct{}, counted string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := &s.strangers
	if s.keys[key] {
		key = ""
	}
	if key != "" {
		l = &s.known
	}
	in = make(chan struct{})
	*l = append(*l, in)
	s.admitLocked()
	if len(*l) > s.most { // then this one is still in it
		*l = (*l)[:len(*l)-1]
		return nil, "", false
	}
	if key != "" {
		s.keys[key] = true
	}
	return in, key, true
}

// leave gives the slot back, or the place in the line.
func (s *semaphore) leave(in chan struct{}, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.keys, key)
	l := &s.strangers
	if key != "" {
		l = &s.known
	}
	if i := slices.Index(*l, in); i >= 0 {
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
		close((*l)[0])
		*l = (*l)[1:]
		s.free--
	}
}

func busy() error {
	return &Error{Message: "Many people are signing in at this moment. Wait a few seconds and try again.", Wait: 5 * time.Second, Err: ErrBusy}
}
